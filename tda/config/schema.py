"""The typed root of the configuration."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from tda.config.resolvers import every_pair, files_in, folders_in
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
for name, resolver in (("folders_in", folders_in), ("files_in", files_in), ("every_pair", every_pair)):
    OmegaConf.register_new_resolver(name, resolver, replace=True)
