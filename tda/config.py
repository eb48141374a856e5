"""From the command line to what runs: the typed root config, the cells of a sweep, and the objects they name."""

import inspect
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from itertools import permutations, product
from math import prod
from pathlib import Path
from typing import Any, cast, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, TypeAdapter, ValidationError

from tda import distances
from tda.backbones.weights import fingerprint
from tda.cache import digest
from tda.errors import UsageError, unknown
from tda.resources import folder

ANY_CLASS = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
PLAIN_NAME = re.compile(r"[\w.+-]+")
NEVER_SWEPT = ("results", "name", "runtime", "allow_external", "trainer.seed")


def user_cache() -> str:
    """Return the folder for what can be built again: ``$TDA_CACHE``, else tda's part of the user's cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return os.environ.get("TDA_CACHE", str(base / "tda"))


@dataclass
class Runtime:
    """How a cell is computed; nothing here changes what is computed, nor a record's key."""

    device: str = "auto"  # auto, cpu, cuda, cuda:N, mps
    threads: int | None = None  # of a worker; None: all cores
    cache: str = field(default_factory=user_cache)
    data: str = field(default_factory=lambda: os.environ.get("TDA_DATA", str(Path(user_cache()) / "data")))


@dataclass
class Root:
    """The root of the configuration; the groups are checked against the signatures of what they name."""

    name: str
    task: str = "???"
    seed: int = 0
    results: str = "results"  # the store and the tables
    distances: list[str] = field(default_factory=list)  # measured between the domains as a method leaves them
    allow_external: bool = False  # let a config name a class outside tda
    runtime: Runtime = field(default_factory=Runtime)
    dataset: dict[str, Any] = field(default_factory=dict)
    backbone: dict[str, Any] = field(default_factory=dict)
    method: dict[str, Any] = field(default_factory=dict)
    classifier: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)


ConfigStore.instance().store(name="schema", node=Root)


def below(root: str) -> list[Path]:
    """Return what lies in a folder, hidden things left out, in the order of the names."""
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise UsageError(f"dataset.root={root}: no such folder; give the one that holds the domains")
    return sorted(path for path in folder.iterdir() if path.name[0] != ".")


def folders_in(root: str) -> dict[str, str]:
    """Return the folders below `root`, by name: the domains of a folder of images."""
    return {path.name: path.name for path in below(root) if path.is_dir()}


def files_in(root: str) -> dict[str, str]:
    """Return the files in `root` by their name without suffix: the domains of a folder of features."""
    return {path.stem: path.name for path in below(root) if path.is_file()}


def every_pair(domains: Mapping[str, Any] | Sequence[str]) -> str:
    """Return every ordered pair of two domains as tasks, separated by commas.

    Examples
    --------
    >>> every_pair(["A", "D", "W"])
    'A-D,A-W,D-A,D-W,W-A,W-D'
    """
    if len(list(domains)) < 2:
        raise UsageError(f"expected at least two domains, given {', '.join(map(str, domains)) or 'none'}")
    return ",".join(f"{source}-{target}" for source, target in permutations(map(str, domains), 2))


for name, resolver in (("folders_in", folders_in), ("files_in", files_in), ("every_pair", every_pair)):
    OmegaConf.register_new_resolver(name, resolver, replace=True)


@dataclass(frozen=True)
class Cell:
    """One job of a sweep: what was typed for it, and the resolved configuration."""

    overrides: tuple[str, ...]
    config: DictConfig

    @cached_property
    def address(self) -> tuple[str, str, str, str]:
        """Where its record is: dataset, method, task, and the hash of all that the result depends on."""
        return address(self.config)


def changed(config: DictConfig, values: Mapping[str, Any]) -> DictConfig:
    """Return a copy of a configuration with other values in it."""
    return cast(DictConfig, OmegaConf.merge(config, values))


def resolved(node: DictConfig) -> dict[str, Any]:
    """Return a config node as plain values, its interpolations resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))


def identity(config: DictConfig) -> dict[str, Any]:
    """Return all that a cell's result depends on: dataset, task, backbone, method and, where used, trainer and seed.

    Runtime, labels and what only concerns the table are left out; the seed is in where a method or its trainer names
    it, so a deterministic method has one cell however many seeds are swept. An oracle depends on the target alone. A
    file of weights stands for its content, wherever it is.
    """
    masked = changed(config, {"runtime": {"threads": None, "device": "", "cache": "", "data": ""}})
    plain = {group: resolved(masked[group]) for group in ("dataset", "backbone", "method")}
    for described in ("tasks", "features", "network", "counts", "download"):
        plain["dataset"].pop(described, None)
    plain["backbone"].pop("augment", None)
    if (weights := plain["backbone"].get("weights", "none")) != "none":
        plain["backbone"]["weights"] = fingerprint(weights)
    run = plain["method"].pop("run")
    del plain["method"]["label"]
    domains = config.task if run["trained_on"] == "source" else config.task.rpartition("-")[2]
    measured = {"distances": list(config.distances)} if config.distances else {}
    return plain | measured | {"task": domains, "trainer": run["trainer"], "trained_on": run["trained_on"]}


def address(config: DictConfig) -> tuple[str, str, str, str]:
    """Return where a cell's record is in the store: dataset, method, task, key."""
    return config.dataset.name, config.method.name, config.task, digest(identity(config))


def setting(config: DictConfig) -> dict[str, Any]:
    """Return the identity of a cell without its task and seed: what one row of a table has in common."""
    return identity(changed(config, {"seed": 0})) | {"task": None}


def seeded(config: DictConfig) -> bool:
    """Return whether the seed can change the result."""
    return identity(config) != identity(changed(config, {"seed": config.seed + 1}))


def complete(config: DictConfig) -> DictConfig:
    """Put the dataset's own choice in the place of ``backbone: auto``."""
    if "_target_" not in config.backbone:
        choice = folder("conf") / "backbone" / f"{config.backbone.name}.yaml"
        if not choice.is_file():
            known = [path.stem for path in choice.parent.glob("*.yaml")]
            raise unknown("backbone of tda's own (name another with backbone=)", config.backbone.name, known)
        config = deepcopy(config)
        OmegaConf.update(config, "backbone", OmegaConf.load(choice), merge=False, force_add=True)
    return config


class Sweep:
    """The cells of one dataset's sweep, in the order in which Hydra will launch them: tasks outermost.

    Composes once for every combination of config groups and sets plain values in the result, so that planning a
    large sweep costs little more than listing it.

    Parameters
    ----------
    overrides : sequence of str
        As typed: ``["method=tca,coral", "seed=range(3)"]``.

    Attributes
    ----------
    cells : list of Cell
        Every cell, each checked as far as it can be without data.

    Raises
    ------
    UsageError
        For whatever is wrong with an override or with a configuration that it makes.
    """

    def __init__(self, overrides: Sequence[str]) -> None:
        self.overrides = tuple(overrides)
        with usage_errors(overrides), composer():
            self._axes = axes(self.overrides)
            composed: dict[tuple[str, ...], DictConfig] = {}
            checked: set[str] = set()
            self.cells = []
            for choice in product(*self._axes.values()):
                groups = tuple(o for o in choice if not is_value(o))
                if groups not in composed:
                    composed[groups] = compose("config", list(choice))
                config = complete(set_values(composed[groups], [o for o in choice if is_value(o)]))
                if OmegaConf.is_missing(config, "task"):
                    raise UsageError(f"task is missing; choose one with task=, from {config.dataset.tasks}")
                if (what := digest(setting(config))) not in checked:
                    check(config)
                    checked.add(what)
                build(config.dataset, "dataset", config.allow_external).pair(config.task)
                self.cells.append(Cell(choice, config))

    def only(self, wanted: Sequence[Cell]) -> tuple[list[str], int]:
        """Return the overrides of the smallest grid that holds the `wanted` cells, and its number of cells.

        The grid stands for the sweeper's own parameters too, which would otherwise come first.
        """
        used = {override for cell in wanted for override in cell.overrides}
        grid = {key: [o for o in axis if o in used] for key, axis in self._axes.items()}
        lines = [f"{key}={','.join(o.partition('=')[2] for o in axis)}" for key, axis in grid.items()]
        return [*lines, "hydra.sweeper.params=null"], prod(map(len, grid.values()))


def by_dataset(overrides: Sequence[str]) -> list[list[str]]:
    """Split a sweep over datasets into one sweep each, since each has tasks of its own."""
    with usage_errors(overrides), composer():
        rest = [o for o in overrides if not o.startswith("dataset=")]
        return [[dataset, *rest] for dataset in axes(overrides).get("dataset", [])] or [rest]


@contextmanager
def usage_errors(overrides: Sequence[str]) -> Iterator[None]:
    """Turn what Hydra says of a mistake in `overrides` into one clear line."""
    try:
        yield
    except MissingConfigException as error:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        raise unknown(group, name, error.options or []) from None
    except (HydraException, OmegaConfBaseException) as error:
        if isinstance(error.__cause__, UsageError):
            raise error.__cause__ from None
        line = one_line(error)
        known_keys(overrides)
        raise UsageError(line) from None


def composer() -> initialize_config_dir:
    """Return the context in which Hydra's `compose` reads tda's configuration."""
    return initialize_config_dir(str(folder("conf")), job_name="tda", version_base=None)


def one_line(error: BaseException) -> str:
    """Return an error's message and its cause's as one line."""
    lines = [*str(error).splitlines(), *(str(error.__cause__).splitlines() if error.__cause__ else [])]
    kept = [line.strip() for line in lines if line.strip() and not line.strip().startswith("object_type=")]
    return "; ".join(dict.fromkeys(kept))


def axes(overrides: Sequence[str]) -> dict[str, list[str]]:
    """Return the grid: for each key its ``key=value`` strings, the task first, so that the methods alternate."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    typed = parser.parse_overrides(list(overrides))
    fixed = [str(o.input_line) for o in typed if not o.is_sweep_override()]
    master = compose("config", fixed, return_hydra_config=True)
    HydraConfig.instance().set_config(master)
    alone = master.hydra.mode == RunMode.RUN
    params = {} if alone else resolved(master.hydra.sweeper.params)
    grid = {}
    for override in [*parser.parse_overrides([f"{k}={v}" for k, v in params.items()]), *typed]:
        key = override.get_key_element()
        if override.is_sweep_override() and key.startswith(NEVER_SWEPT):
            raise UsageError(f"{key} cannot be swept" + ("; sweep seed instead" if key == "trainer.seed" else ""))
        grid[key] = expanded(override)
    return {key: grid[key] for key in sorted(grid, key=lambda key: key != "task")}


def expanded(override: Override) -> list[str]:
    """Return the ``key=value`` strings that an override stands for, more than one if it sweeps."""
    sweep = override.is_sweep_override()
    values = override.sweep_string_iterator() if sweep else [override.get_value_element_as_str()]
    return [f"{override.get_key_element()}={value}" for value in values]


def is_value(override: str) -> bool:
    """Return whether an override sets one value of a composed config, rather than choosing or adding something."""
    key = override.partition("=")[0]
    return key[0] not in "+~" and "@" not in key and not (folder("conf") / key).is_dir() and "hydra" not in key


def set_values(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return a copy of a composed config with these values in it."""
    config = deepcopy(config)
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        OmegaConf.update(config, override.key_or_group, override.value())
    return config


def known_keys(overrides: Sequence[str]) -> None:
    """Raise for the first override whose key is not in the configuration, with the nearest key that is.

    Raises
    ------
    UsageError
        If there is such an override. None is raised where the groups themselves cannot be composed.
    """
    with composer():
        try:
            typed = OverridesParser.create().parse_overrides(list(overrides))
            keys = [str(o.input_line).partition("=")[0] for o in typed if is_value(str(o.input_line))]
            choices = [expanded(o) for o in typed if not is_value(str(o.input_line))]
            roots = [compose("config", list(choice)) for choice in product(*choices)]
        except HydraException:
            return
        for root, key in product(roots, keys):
            if key.startswith("backbone.") and "_target_" not in root.backbone:
                raise UsageError(
                    f"{key}: backbone=auto has no settings; name the backbone too: backbone={root.backbone.name}"
                )
            node: Any = root
            for depth, part in enumerate(key.split(".")):
                there = [str(k) for k in node] if isinstance(node, DictConfig) else []
                if part not in there:
                    where = ".".join(key.split(".")[:depth]) or "the configuration"
                    where += f" {node.name}" if depth and "name" in there else ""
                    raise unknown(f"key of {where}", part, [k for k in there if k[0] != "_"])
                node = None if OmegaConf.is_missing(node, part) else node[part]


def check(config: DictConfig) -> None:
    """Check the parameters of everything that a cell is made of, without making it."""
    external = config.allow_external
    for name in (config.name, config.dataset.name, config.backbone.name, config.method.name):
        if not PLAIN_NAME.fullmatch(str(name)):
            raise UsageError(f"{name!r} is a part of file names; expected letters, digits and . _ + - only")
    distances.check(config.distances)
    if config.method.run.trained_on not in ("source", "target"):
        raise unknown("choice of method.run.trained_on", config.method.run.trained_on, ("source", "target"))
    if config.runtime.threads is not None and config.runtime.threads < 1:
        raise UsageError(f"runtime.threads={config.runtime.threads}: expected at least 1, or null for all cores")
    for group in ("dataset", "method"):
        validate(config[group], group, external)
    backbone = validate(config.backbone, "backbone", external)
    if config.method.run.trainer is not None:
        validate(config.method.run.trainer, "trainer", external)
    elif not getattr(backbone, "pretrained", False):
        raise UsageError(
            f"method {config.method.name} needs features, and backbone {config.backbone.name} has none before it is "
            f"trained; choose a pretrained backbone or backbone={config.dataset.features}"
        )


# Keys that describe a choice: a class is given one only if it asks for it.
DESCRIBING = {"_target_", "name", "label", "run", "features", "network", "frozen", "download", "augment"}


def parameters(node: Mapping[str, Any], found: type) -> dict[str, Any]:
    """Return what a config node passes to the constructor of the class that it names."""
    plain = resolved(node) if isinstance(node, DictConfig) else node
    left_out = DESCRIBING - set(inspect.signature(found).parameters)
    return {str(k): v for k, v in plain.items() if k not in left_out}


def locate(node: Mapping[str, Any], where: str, allow_external: bool) -> type:
    """Return the class that ``_target_`` names, refusing what is not tda's own unless that is allowed.

    Raises
    ------
    UsageError
        If there is no such class, or it lies outside tda.
    """
    path = str(node["_target_"])
    module, _, name = path.rpartition(".")
    if not path.startswith("tda.") and not allow_external:
        raise UsageError(f"{where}._target_ = {path!r} lies outside tda; add allow_external=true if you trust it")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"{where}._target_ = {path!r} cannot be imported: {error}") from error
    if not isinstance(found, type) or (not found.__module__.startswith("tda.") and not allow_external):
        raise UsageError(f"{where}._target_ = {path!r} is not a class of tda")
    return found


def validate(node: Any, where: str, allow_external: bool = False) -> type:
    """Check a node's parameters against the signature of its class, and return the class.

    Raises
    ------
    UsageError
        For an unknown, missing, ill-typed or out-of-range parameter.
    """
    if not isinstance(node, Mapping | DictConfig) or "_target_" not in node:
        raise UsageError(f"{where}={node}: expected the name of a config in conf/{where}, which names a class")
    found = locate(node, where, allow_external)
    given = parameters(node, found)
    hints = get_type_hints(inspect.unwrap(found.__init__), include_extras=True)  # type: ignore[misc]
    signature = inspect.signature(found).parameters
    for name in given:
        if name not in signature:
            raise unknown(f"parameter of {found.__name__}", name, signature)
    for name, parameter in signature.items():
        if name not in given:
            if parameter.default is parameter.empty:
                raise UsageError(f"{where}.{name} is missing; {found.__name__} needs it")
        elif isinstance(given[name], dict) and "_target_" in given[name]:
            validate(given[name], f"{where}.{name}", allow_external)
        else:
            try:
                TypeAdapter(hints.get(name, Any), config=ANY_CLASS).validate_python(given[name], strict=True)
            except ValidationError as error:
                first = error.errors()[0]
                raise UsageError(f"{where}.{name}={given[name]}: {first['msg'].lower()}") from None
    return found


def build(node: Mapping[str, Any], where: str, allow_external: bool = False) -> Any:
    """Construct what a config node names, and what its parameters name in turn."""
    found = validate(node, where, allow_external)
    arguments = parameters(node, found)
    for name, value in arguments.items():
        if isinstance(value, dict) and "_target_" in value:
            arguments[name] = build(value, f"{where}.{name}", allow_external)
    return found(**arguments)
