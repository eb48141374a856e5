"""``tda list``: what can be named in ``tda run``."""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from tda.commands import Commands
from tda.errors import UsageError
from tda.resources import folder

LISTED = {
    "methods": "method",
    "datasets": "dataset",
    "backbones": "backbone",
    "extractors": "extractor",
    "classifiers": "classifier",
    "trainers": "trainer",
    "selections": "selection",
    "experiments": "experiment",
}


def add(commands: Commands) -> None:
    """Add this command's parser."""
    command = commands.add_parser(
        "list",
        help=f"what there is: {', '.join(LISTED)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="List what can be named in `tda run`, one line each.",
        epilog="examples:\n  tda list methods\n  tda list datasets",
    )
    command.add_argument("kind", choices=LISTED, metavar="KIND", help=f"one of {', '.join(LISTED)}")
    command.set_defaults(call=show_list)


def show_list(options: argparse.Namespace) -> int:
    """Print the names of one kind, each with its first line of comment."""
    described = {path.stem: path.read_text(encoding="utf-8") for path in choices(LISTED[options.kind])}
    width = max(map(len, described), default=0)
    for name, content in described.items():
        summary = next(line for line in content.splitlines() if not line.startswith("# @package"))
        column = f"{kind(name, described):<9}" if options.kind == "methods" else ""
        print(f"{name:<{width}}  {column}{summary.removeprefix('# ')}")
    return 0


def kind(method: str, described: Mapping[str, str]) -> str:
    """Return what a method is, ``shallow`` or ``deep``: what its config, or the one that it starts from, builds on."""
    try:
        first = str(yaml.safe_load(described[method])["defaults"][0])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        said = " ".join(str(error).split())
        raise UsageError(f"method/{method}.yaml: expected YAML with `defaults: [...]` first; {said}") from None
    return first.partition("@")[0].removeprefix("/kind/") if first.startswith("/") else kind(first, described)


def choices(group: str) -> Iterator[Path]:
    """Yield the configs of a group."""
    yield from sorted((folder("conf") / group).glob("*.yaml"))
