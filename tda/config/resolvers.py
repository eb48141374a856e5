"""What the files of the configuration may ask: the domains in a folder, and their pairs."""

from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

from tda.data.base import check_domain
from tda.data.feature_files import READERS
from tda.errors import UsageError


def below(root: str) -> list[Path]:
    """Return what lies in a folder, hidden things left out, in the order of the names."""
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise UsageError(f"dataset.root={root}: no such folder; give the one that holds the domains")
    return sorted(path for path in folder.iterdir() if path.name[0] != ".")


def folders_in(root: str) -> dict[str, str]:
    """Return the folders below `root`, by name: the domains of a folder of images."""
    found = {path.name: path.name for path in below(root) if path.is_dir()}
    if not found:
        raise UsageError(f"dataset.root={root}: no folders there; expected one for each domain, <domain>/<class>/*.jpg")
    return found


def files_in(root: str) -> dict[str, str]:
    """Return the files of features in `root` by their name without suffix: the domains of a folder of features."""
    files = [path for path in below(root) if path.is_file() and path.suffix.lower() in READERS]
    if not files:
        raise UsageError(
            f"dataset.root={root}: no features there; expected one of {', '.join(READERS)} for each domain"
        )
    found = {path.stem: path.name for path in files}
    for path in files:
        if (other := found[path.stem]) != path.name:
            raise UsageError(
                f"dataset.root={root}: {path.name} and {other} are both domain {path.stem}; "
                "leave one there, or name the domains in dataset.domains"
            )
    return found


def every_pair(domains: Mapping[str, Any] | Sequence[str] | None) -> str:
    """Return every ordered pair of two domains as tasks, separated by commas.

    Examples
    --------
    >>> every_pair(["A", "D", "W"])
    'A-D,A-W,D-A,D-W,W-A,W-D'
    """
    names: list[str] = []
    if isinstance(domains, Mapping | Sequence) and not isinstance(domains, str):
        names += map(str, domains)
    if len(names) < 2:
        raise UsageError(
            f"expected a mapping of at least two domains, given {', '.join(names) or domains or 'none'}; "
            "name them: 'dataset.domains={A: ..., B: ...}', for image_lists 'dataset.lists={A: a.txt, B: b.txt}'"
        )
    for name in names:
        check_domain(name)
    return ",".join(f"{source}-{target}" for source, target in permutations(names, 2))
