"""The typed root of the configuration, and what its files may ask: the domains in a folder, and their pairs."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from tda.data.base import check_domain
from tda.data.feature_files import READERS
from tda.errors import UsageError
from tda.selection import Selection


def user_cache() -> str:
    """Return the folder for what can be built again: ``$TDA_CACHE``, else tda's part of the user's cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return os.environ.get("TDA_CACHE") or str(base / "tda")


@dataclass
class Runtime:
    """How a cell is computed; nothing here changes what is computed, nor a record's key."""

    device: str = "auto"  # auto, cpu, cuda, cuda:N, mps
    threads: int | None = None  # of a worker; None: its share of the cores
    per_gpu: int = 1  # workers that share one GPU
    compile: bool = False  # have torch.compile translate backbones that train on images; minutes, once a cell
    checkpoint: float = 600.0  # seconds between saves of a deep run's state; 0: only when it is told to stop
    cache: str = field(default_factory=user_cache)
    data: str = field(default_factory=lambda: os.environ.get("TDA_DATA") or str(Path(user_cache()) / "data"))


@dataclass
class Root:
    """The root of the configuration; the groups are checked against the signatures of what they name."""

    name: str
    task: str = "???"
    seed: int = 0
    results: str = "results"  # the store and the tables
    shard: str = "1/1"  # i/n: the i-th of n parts of the sweep, for a machine of its own
    distances: list[str] = field(default_factory=list)  # measured between the domains as a method leaves them
    keep_features: bool = False  # keep a picture of them, before and after, for the report
    allow_external: bool = False  # let a config name a class outside tda
    runtime: Runtime = field(default_factory=Runtime)
    dataset: dict[str, Any] = field(default_factory=dict)
    backbone: dict[str, Any] = field(default_factory=dict)
    extractor: dict[str, Any] = field(default_factory=dict)
    method: dict[str, Any] = field(default_factory=dict)
    classifier: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    selection: Selection = field(default_factory=Selection)


ConfigStore.instance().store(name="schema", node=Root)


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


for name, resolver in (("folders_in", folders_in), ("files_in", files_in), ("every_pair", every_pair)):
    OmegaConf.register_new_resolver(name, resolver, replace=True)
