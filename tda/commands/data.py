"""``tda data``: what is there, get it, check it, count it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

from tda.commands import Commands, add_overrides, check_readable
from tda.errors import UsageError, unknown

if TYPE_CHECKING:
    from tda.data.base import Dataset
    from tda.data.catalogue import Source


def add(commands: Commands) -> None:
    """Add this command's parser."""
    command = commands.add_parser(
        "data",
        help="data sets: what is there, get it, check it, count it",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Look after the data sets on this machine.",
        epilog=dedent("""\
            examples:
              tda data list                           which data sets are here, and how to get the others
              tda data fetch mnist_usps               download, check and unpack; an interrupted download goes on
              tda data fetch office31 --from domain_adaptation_images.tar.gz     unpack what you got from its owners
              tda data verify office31                its classes and counts beside the published ones
              tda data stats image_folder dataset.root=photographs               the same of a folder of your own

            exit codes: 0 fine, 1 it differs or cannot be had, 2 wrong usage"""),
    )
    actions = command.add_subparsers(required=True, dest="action", metavar="ACTION")
    for action, about, call in (
        ("list", "whether each data set is here, its size and its licence", list_data),
        ("fetch", "download a data set, or say where its owners publish it and where to put it", fetch_data),
        ("verify", "compare files, classes and counts with the published ones", verify_data),
        ("stats", "samples, classes and sizes of each domain", data_statistics),
    ):
        command = actions.add_parser(action, help=about, description=about[0].upper() + about[1:] + ".")
        command.add_argument(
            "--data",
            type=Path,
            metavar="PATH",
            help="the data folder (default: $TDA_DATA, else data in $TDA_CACHE or ~/.cache/tda)",
        )
        command.set_defaults(call=call)
    for action in ("fetch", "verify", "stats"):
        actions.choices[action].add_argument("name", metavar="NAME", help="one of `tda list datasets`")
    for action in ("verify", "stats"):
        add_overrides(actions.choices[action])
    actions.choices["fetch"].add_argument(
        "--from", dest="archives", nargs="+", type=Path, default=[], metavar="ARCHIVE", help="unpack these, zip or tar"
    )


def list_data(options: argparse.Namespace) -> int:
    """Print of every data set whether its files are here, how to get them, their size and licence."""
    from tda.data.catalogue import catalogue

    data = data_folder(options)
    rows = [("DATASET", "FILES OF", "STATE", "TO GET", "SIZE", "LICENCE")]
    for name, needed in catalogue():
        rows += [
            (name, one.name, one.state(data), "fetch" if one.automatic else "by hand", one.size, one.licence)
            for one in needed
        ] or [(name, *"-----")]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    absent = "" if data.exists() else ", which does not exist"
    print(f"data folder: {data}{absent} (--data PATH, or the environment's TDA_DATA)", file=sys.stderr)
    return 0


def fetch_data(options: argparse.Namespace) -> int:
    """Bring a data set to the data folder, and verify it; exit code 1 if it cannot be had."""
    from tda.data.catalogue import obtain
    from tda.data.download import FetchError

    data = data_folder(options)
    for archive in options.archives:
        if not archive.is_file():
            raise UsageError(f"--from {archive}: no such file")
    try:
        for one in sources_of(options.name):
            print(f"{one.name}: {obtain(one, data, options.archives)}", file=sys.stderr)
    except FetchError as error:
        print(f"tda: {error}", file=sys.stderr)
        return 1
    return verify_data(argparse.Namespace(name=options.name, data=data, overrides=[]))


def verify_data(options: argparse.Namespace) -> int:
    """Print how a data set differs from what was published; exit code 1 if it does."""
    from tda.data.catalogue import used, verify

    data = data_folder(options)
    dataset = dataset_of(options.name, data, options.overrides)
    if problems := verify(dataset, sources_of(options.name), data):
        print("\n".join(problems))
        return 1
    domains = used(dataset)
    samples = sum(dataset.census(name).total() for name in domains)
    against = "as published" if dataset.counts else "no published counts to compare with"
    print(f"{dataset.name}: {samples:,} samples, {len(dataset.classes)} classes, {len(domains)} domains: {against}")
    return 0


def data_statistics(options: argparse.Namespace) -> int:
    """Print what each domain of a data set holds."""
    from tda.data.catalogue import statistics

    for domain in statistics(dataset_of(options.name, data_folder(options), options.overrides)):
        (few, least), (many, most) = domain.smallest, domain.largest
        print(
            f"{domain.name} ({domain.what}): {domain.samples:,} samples of {domain.classes} classes, "
            f"from {least} of {few!r} to {most} of {many!r}; {domain.shape}"
        )
    return 0


def data_folder(options: argparse.Namespace) -> Path:
    """Return the data folder: as typed, else as in a run."""
    from tda.config import Runtime

    data = Path(options.data or Runtime().data).expanduser().resolve()
    check_readable(data)
    return data


def sources_of(name: str) -> "list[Source]":
    """Return what a data set needs from elsewhere."""
    from tda.data.catalogue import catalogue

    known = dict(catalogue())
    if name not in known:
        raise unknown("dataset", name, known)
    return known[name]


def dataset_of(name: str, data: Path, overrides: Sequence[str]) -> "Dataset":
    """Build a data set of the configuration, its files below `data`."""
    from hydra import compose

    from tda.config import build, composer, usage_errors

    sources_of(name)
    for override in overrides:
        if override.startswith("runtime.data="):
            raise UsageError(f"{override}: for tda data that is --data {override.partition('=')[2]}")
    typed = [f"dataset={name}", *overrides]
    with usage_errors(typed), composer():
        config = compose("config", typed)
        config.runtime.data = str(data)
        dataset: Dataset = build(config.dataset, "dataset", config.allow_external)
    return dataset
