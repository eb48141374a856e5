"""From the command line to what runs: the typed root config, the cells of a sweep, and the objects they name."""

import inspect
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache, lru_cache
from importlib import import_module
from itertools import permutations, product
from pathlib import Path
from traceback import walk_tb
from typing import Any, NamedTuple, cast, get_type_hints
from uuid import uuid4

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, TypeAdapter, ValidationError

from tda import distances
from tda.backbones.weights import fingerprint
from tda.cache import digest
from tda.data.arrays import READERS
from tda.data.base import Dataset, check_domain
from tda.errors import UsageError, unknown
from tda.methods.deep.base import DeepMethod
from tda.methods.shallow.base import Aligner
from tda.resources import config_names, folder
from tda.selection import LAST, Selection
from tda.store import Record

ANY_CLASS = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
PLAIN_NAME = re.compile(r"[\w+][\w.+-]*")
TASK_MATTERS = re.compile(r"\$\{[^{}]*\btask\b")
TAKEN = re.compile(r"\$\{(trainer|classifier)\}")
NEVER_SWEPT = ("results", "name", "keep_features", "runtime", "shard", "allow_external", "trainer.seed")
EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray", "ray_aws": "ray"}
WRAPPING = re.compile(r"^\w+ (raised )?while resolving interpolation: ")
NOT_CONVERTED = re.compile(r"^Error merging override (.+?); (.+?); full_key: .*$")
MEANT = {  # by what OmegaConf says of a config of one's own
    re.compile(r"^Interpolation key 'method\.run\..*"): (
        "the method's config does not say of which kind it is; "
        "begin it with defaults: [/kind/shallow@_here_, _self_], or with /kind/deep where it trains a network"
    ),
    re.compile(r"^Key 'name' is not in struct; full_key: (\w+)\..*"): r"this \1's config has no name; add name: NAME",
}
OF_OMEGACONF = ("object_type=", "reference_type=")
NOT_OF_A_JOB = ("help", "hydra_help", "hydra_logging", "sweeper", "launcher")


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


ONE_VALUE = {part.name for part in fields(Root) if part.type in (str, int, bool)}
SWEPT_AS = {"dataset.tasks": "task", "hydra.sweeper.params.task": "task"}
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


@dataclass(frozen=True, slots=True)
class Cell:
    """One job of a sweep.

    Attributes
    ----------
    overrides : tuple of str
        What was typed for it.
    address : tuple of str
        Where its record is: dataset, method, task, and the hash of all that the result depends on.
    label, baseline : str
        Of its method, as tables print it now.
    composed : DictConfig
        What its groups make, shared with the cells that differ from it by values of the same keys.
    """

    overrides: tuple[str, ...]
    address: tuple[str, str, str, str]
    label: str
    baseline: str | None
    composed: DictConfig = field(repr=False, compare=False)

    @property
    def config(self) -> DictConfig:
        """Its configuration; a new copy every time."""
        return complete(set_values(without_hydra(self.composed), self.overrides))


@contextmanager
def changed(config: DictConfig, values: Mapping[str, Any]) -> Iterator[DictConfig]:
    """Put other values (of ``key`` or ``group.key``) in a configuration while the block lasts; a copy takes longer."""
    before = []
    try:
        for key, value in values.items():
            parent, _, name = key.rpartition(".")
            node = config[parent] if parent else config
            before.append((node, name, deepcopy(node._get_node(name))))
            node[name] = value
        yield config
    finally:
        for node, name, value in before:
            node[name] = value


def resolved(node: DictConfig, without: Collection[str] = ()) -> dict[str, Any]:
    """Return a config node as plain values, its interpolations resolved, some of its keys left out."""
    if not without:
        return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
    kept = {str(key): node[key] for key in node if key not in without}
    return {key: resolved(value) if OmegaConf.is_config(value) else value for key, value in kept.items()}


NOT_OF_AN_IDENTITY = {
    "dataset": {"tasks", "features", "network", "counts", "download"},
    "backbone": {"augment"},
    "method": {"label"},
}
NOWHERE = {f"runtime.{key}": value for key, value in asdict(Runtime(device="", cache="", data="")).items()}


def identity(config: DictConfig, **other: Any) -> dict[str, Any]:
    """Return all that a cell's result depends on: dataset, task, backbone, method and, where used, trainer and seed.

    Runtime, labels and what only concerns the table are left out; the seed is in where a method or its trainer names
    it, so a deterministic method has one cell however many seeds are swept. An oracle depends on the target alone,
    unless its features were trained on a source, or its distances are measured to one. A file of weights stands for its
    content, wherever it is. `other` are values to take instead of the config's own.
    """
    with changed(config, NOWHERE | other):
        plain = {group: resolved(config[group], without) for group, without in NOT_OF_AN_IDENTITY.items()}
        tuned = config.extractor.trainer is not None
        seen = {"extractor": config.extractor.name, "finetuning": resolved(config.extractor.trainer)} if tuned else {}
    if (weights := plain["backbone"].get("weights", "none")) != "none":
        plain["backbone"]["weights"] = fingerprint(weights)
    run = plain["method"].pop("run")
    measured = {"distances": list(config.distances)} if config.distances else {}
    trained = {"trainer": run["trainer"], "trained_on": run["trained_on"]}
    return on_task(plain | seen | measured | selected(config).identity() | trained, config.task)


def on_features(config: DictConfig) -> bool:
    """Return whether a cell's method is given features: a shallow one, or a deep one on a frozen backbone."""
    return config.method.run.trainer is None or bool(config.backbone.get("frozen"))


def on_task(made_of: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Return an identity with another task; an oracle's is its target, unless features or distances are of a source."""
    whole = made_of["trained_on"] == "source" or not made_of.keys().isdisjoint({"finetuning", "distances"})
    return {**made_of, "task": task if whole else task.rpartition("-")[2]}


def selected(config: DictConfig) -> Selection:
    """Return how the iterate that is scored is chosen; of a network that is trained on the target it is the last.

    A shallow method has no other, and only of an aligner do validators say anything.
    """
    asked = cast(Selection, OmegaConf.to_object(config.selection))
    if config.method.run.trained_on == "target":
        return Selection()
    if config.method.run.trainer is not None:
        return asked
    scored = asked.scores and issubclass(locate(config.method, "method", config.allow_external), Aligner)
    return replace(asked, chooser=LAST) if scored else Selection()


def address(config: DictConfig) -> tuple[str, str, str, str]:
    """Return where a cell's record is in the store: dataset, method, task, key."""
    return config.dataset.name, config.method.name, config.task, digest(identity(config))


def setting(config: DictConfig, made_of: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return what a cell has in common with the others of its row in a table, and whether the seed matters to it.

    Parameters
    ----------
    config : DictConfig
        The cell's.
    made_of : mapping
        Its identity.

    Returns
    -------
    dict
        The identity without task and seed.
    bool
        Whether another seed gives another identity.
    """
    first = made_of if config.seed == 0 else identity(config, seed=0)
    other = identity(config, seed=1) if config.seed == 0 else made_of
    return {**first, "task": None}, first != other


def chosen(config: DictConfig) -> dict[str, DictConfig]:
    """Return the dataset's own choice where the configuration says ``backbone: auto``, otherwise nothing."""
    return {} if "_target_" in config.backbone else {"backbone": backbone(config.backbone.name)}


@lru_cache
def backbone(name: str) -> DictConfig:
    """Return tda's configuration of the backbone called `name`.

    Raises
    ------
    UsageError
        If there is none.
    """
    choice = folder("conf") / "backbone" / f"{name}.yaml"
    if not choice.is_file():
        raise unknown("backbone of tda's own (name another with backbone=)", name, config_names("backbone"))
    return cast(DictConfig, OmegaConf.load(choice))


def complete(config: DictConfig) -> DictConfig:
    """Return the configuration with the dataset's own choice for ``backbone: auto``, its cache's ``~`` written out."""
    config.update(chosen(config))
    config.runtime.cache = str(Path(config.runtime.cache).expanduser())
    return config


def without_hydra(config: DictConfig) -> DictConfig:
    """Return a copy of a configuration, Hydra's own part left out."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


class Loader(ConfigLoaderImpl):
    """Hydra's loader, which composes anew for every job, made to compose once for each choice of config groups.

    The values that a job sets are set in a copy of what its groups make. Hydra's launchers send the loader along with
    each job: all its copies in one process share what was composed there.

    Parameters
    ----------
    search_path : ConfigSearchPath
        Where configurations are looked for.
    hydra : sequence of str
        Overrides of Hydra's own part.
    """

    def __init__(self, search_path: ConfigSearchPath, hydra: Sequence[str]) -> None:
        super().__init__(search_path)
        self.hydra = tuple(hydra)
        self.sweep = uuid4().hex

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Loader) and other.sweep == self.sweep

    def __hash__(self) -> int:
        return hash(self.sweep)

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Return what the groups among a job's overrides make: one object, however often it is asked for."""
        return composed(self, (*self.hydra, *(o for o in overrides if not is_value(o))))

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Return the configuration of one job; Hydra's launchers call this."""
        config = deepcopy(self.compose(sweep_overrides))
        config.hydra.overrides.task = sweep_overrides
        OmegaConf.copy_cache(from_config=master_config, to_config=config)
        return set_values(config, sweep_overrides)


@lru_cache(maxsize=1024)
def composed(loader: Loader, overrides: tuple[str, ...]) -> DictConfig:
    """Compose a job's configuration, without what only concerns the sweep; once in a process."""
    config = loader.load_configuration("config", list(overrides), RunMode.RUN, from_shell=False)
    with flag_override(config.hydra, ["struct", "readonly"], False):
        for part in NOT_OF_A_JOB:
            del config.hydra[part]
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
        Every cell of the sweep or of its shard, each checked as far as it can be without data.
    master : DictConfig
        What all cells have in common, with Hydra's own part.
    loader : Loader
        Of the cells' configurations.
    datasets : dict of str to Dataset
        The sweep's, by the hash of what the records say of them.
    unread : list of str
        The overrides of trainer, classifier and selection that no method of the sweep reads.

    Raises
    ------
    UsageError
        For whatever is wrong with an override or with a configuration that it makes.
    """

    def __init__(self, overrides: Sequence[str]) -> None:
        with usage_errors(overrides), composer():
            self.master, grid = axes(overrides)
            check_sweep(self.master, grid)
            own = list(self.master.hydra.overrides.hydra)
            self.loader = Loader(GlobalHydra.instance().config_loader().get_search_path(), own)
            datasets: dict[tuple[str, ...], Dataset] = {}
            rows: dict[tuple[str, ...], Row] = {}
            self.cells: list[Cell] = []
            self.datasets: dict[str, Dataset] = {}
            for choice in product(*grid.values()):
                row = without(choice, "task=")
                if row not in rows or rows[row].task_matters:
                    rows[row] = self._row(choice, datasets)
                    self.datasets[digest(rows[row].made_of["dataset"])] = rows[row].domains
                task = next((str(parsed(o).value()) for o in choice if o.startswith("task=")), rows[row].task)
                self.cells.append(rows[row].cell(choice, task))
            self.cells = part_of(self.cells, self.master.shard)
            unread = {"trainer", "classifier", "selection"}.difference(*(row.reads for row in rows.values()))
            self.unread = [o for o in overrides if re.split("[.=]", o)[0] in unread]

    def outdated(self, records: Iterable[Record]) -> list[str]:
        """Say of each domain whose files have changed, and have no published counts, how many `records` that spoils.

        Of files that are not there now nothing is said.
        """
        now: Callable[[Dataset, str], str] = cache(lambda dataset, domain: dataset.content(domain))
        spoilt: Counter[tuple[str, str]] = Counter()
        for record in records:
            dataset = self.datasets[digest(record.config["dataset"])]
            for domain, before in record.data.items() if dataset.counts is None else ():
                with suppress(OSError, UsageError):
                    spoilt[record.dataset, domain] += now(dataset, domain) != before
        return [
            f"{dataset} {domain} has changed since {number} of these cells were computed; to have them computed again, "
            f"delete their records, or set dataset.name to another name"
            for (dataset, domain), number in spoilt.items()
            if number
        ]

    def _row(self, choice: tuple[str, ...], datasets: dict[tuple[str, ...], Dataset]) -> "Row":
        """Check and resolve what cells have in common that differ by their task alone."""
        config = set_values(self.loader.compose(choice), choice)
        if OmegaConf.is_missing(config, "task"):
            raise UsageError(f"task is missing; choose one with task=, from {config.dataset.tasks}")
        with changed(config, chosen(config)):
            what = without(choice, "task=", "seed=")
            if what not in datasets:
                check(config)
                datasets[what] = build(config.dataset, "dataset", config.allow_external)
            method, written = config.method, OmegaConf.to_yaml(config)
            trained = method.run.trainer is not None and method.run.trained_on == "source"
            chosen_among = trained or selected(config).judging
            return Row(
                config.dataset.name, method.name, config.task, identity(config), method.label, method.run.baseline,
                datasets[what], config, any(TASK_MATTERS.search(o) for o in (written, *choice)),
                {*TAKEN.findall(written), *(["selection"] if chosen_among else [])},
            )  # fmt: skip


def check_sweep(master: DictConfig, grid: Mapping[str, list[str]]) -> None:
    """Raise `UsageError` for what all cells have in common and no cell could be run, or be found again, with."""
    for key in NEVER_SWEPT:
        OmegaConf.select(master, key)  # raises for an interpolation that leads nowhere
    if not master.results:
        raise UsageError("results is empty; expected the folder of the records and tables")
    if master.hydra.job.chdir:
        raise UsageError("hydra.job.chdir=true would let every cell write elsewhere; leave it out, and set results=")
    for seed in (parsed(override).value() for override in grid.get("seed", [f"seed={master.seed}"])):
        if isinstance(seed, int) and seed < 0:
            raise UsageError(f"seed={seed}: expected 0 or more")
    size = master.hydra.sweeper.get("max_batch_size")
    if size is not None and size < 1:
        raise UsageError(f"hydra.sweeper.max_batch_size={size}: expected at least 1 cell, or null for all")


class Row(NamedTuple):
    """What the cells of a sweep have in common that differ by their task alone."""

    dataset: str
    method: str
    task: str
    made_of: dict[str, Any]
    label: str
    baseline: str | None
    domains: Dataset
    composed: DictConfig
    task_matters: bool  # to more than the choice of the domains
    reads: set[str]  # which of trainer, classifier and selection the method, or what extracts its features, takes

    def cell(self, choice: tuple[str, ...], task: str) -> Cell:
        """Return the cell of one task.

        Raises
        ------
        UsageError
            If the dataset has no such task.
        """
        self.domains.pair(task)
        key = digest(on_task(self.made_of, task))
        return Cell(choice, (self.dataset, self.method, task, key), self.label, self.baseline, self.composed)


def without(overrides: Sequence[str], *keys: str) -> tuple[str, ...]:
    """Return the overrides of other keys than these."""
    return tuple(o for o in overrides if not o.startswith(keys))


def part_of(cells: Sequence[Cell], shard: str) -> list[Cell]:
    """Return one of n equal parts of a sweep, the same on every machine: ``2/3`` is the second of three.

    Dealt out in the order of their keys, which mixes quick methods with slow ones; cells with one key, the oracles of
    one target, stay together.

    Raises
    ------
    UsageError
        If `shard` is not ``i/n`` with i from 1 to n.
    """
    part, parts = (int(n) for n in shard.split("/")) if re.fullmatch(r"\d+/\d+", shard) else (0, 0)
    if not 1 <= part <= parts:
        raise UsageError(f"shard={shard}: expected i/n with i from 1 to n, as in shard=2/4")
    own = set(sorted({cell.address[-1] for cell in cells})[part - 1 :: parts])
    return [cell for cell in cells if cell.address[-1] in own]


def separate(overrides: Sequence[str]) -> list[list[str]]:
    """Split a sweep over experiments, and one over datasets, into one each, since each has a grid of its own."""
    with usage_errors(overrides), composer():
        loader = GlobalHydra.instance().config_loader()
        typed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
        named = [expanded(o) for o in typed if o.key_or_group == "experiment"]
    if not named:
        return by_dataset(overrides)
    rest = without(overrides, "experiment=")
    return [one for experiment in named[-1] for one in by_dataset([experiment, *rest])]


def by_dataset(overrides: Sequence[str]) -> list[list[str]]:
    """Split a sweep over datasets into one sweep each, since each has tasks of its own."""
    with usage_errors(overrides), composer():
        rest = without(overrides, "dataset=")
        return [[dataset, *rest] for dataset in axes(overrides)[1].get("dataset", [])] or [list(rest)]


@contextmanager
def usage_errors(overrides: Sequence[str]) -> Iterator[None]:
    """Turn what Hydra says of a mistake in `overrides` into one clear line."""
    try:
        yield
    except UsageError:
        raise
    except yaml.YAMLError as error:
        raise UsageError(f"a config is no YAML: {' '.join(str(error).split())}") from None
    except MissingConfigException as error:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        if group == "hydra/launcher" and name in EXTRAS:
            raise UsageError(
                f"{group}={name} needs more than is installed: pip install -e '.[{EXTRAS[name]}]' where tda's source is"
            ) from None
        raise unknown(group, name, error.options or config_names(group)) from None
    except OverrideParseException as error:
        raise UsageError(
            f"{error.override!r} is not understood; expected KEY=VALUE, and a value with other characters than letters "
            "a to z, digits and / - + . _ : % @ ? | $ * in quotes of its own: \"KEY='VALUE'\""
        ) from None
    except (HydraException, OmegaConfBaseException) as error:
        if isinstance(error.__cause__, UsageError):
            raise error.__cause__ from None
        line = NOT_CONVERTED.sub(r"\1: \2", one_line(error))
        if isinstance(cause := error.__cause__, OmegaConfBaseException) and "is not a ListConfig" in line:
            line = f"{cause.full_key}: expected a list, {cause.full_key}=[...]"
        for what, meant in MEANT.items():
            line = what.sub(meant, line)
        known_keys(overrides)
        raise UsageError(line) from None
    except (ValueError, TypeError) as error:
        *_, (frame, _) = walk_tb(error.__traceback__)
        if not frame.f_globals["__name__"].startswith("hydra."):
            raise
        raise UsageError(f"{' '.join(overrides)!r} is not understood: {one_line(error)}") from None


def composer() -> initialize_config_dir:
    """Return the context in which Hydra's `compose` reads tda's configuration."""
    return initialize_config_dir(str(folder("conf")), job_name="tda", version_base=None)


def one_line(error: BaseException) -> str:
    """Return an error's message and its cause's as one line."""
    lines = [*str(error).splitlines(), *(str(error.__cause__).splitlines() if error.__cause__ else [])]
    where = "full_key:" if any(WRAPPING.match(line) for line in lines) else "full_key: hydra."
    kept = [WRAPPING.sub("", line.strip()) for line in lines if not line.strip().startswith((*OF_OMEGACONF, where))]
    said = "; ".join(dict.fromkeys(filter(None, kept)))
    missing = re.match(r"Missing mandatory value: ([\w.]+)", said)
    return f"{missing[1]} is missing; give {missing[1]}=..." if missing else said


def axes(overrides: Sequence[str]) -> tuple[DictConfig, dict[str, list[str]]]:
    """Return what all cells of a sweep have in common, and its grid.

    Returns
    -------
    master : DictConfig
        Composed of what is not swept, with Hydra's own part.
    grid : dict of str to list of str
        For each key its ``key=value`` strings, the task first, so that the methods alternate.
    """
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    typed = parser.parse_overrides(list(overrides))
    for override in typed:
        check_choice(override)
        check_list(override)
    swept = {o.get_key_element() for o in typed if o.is_sweep_override()}
    fixed = [str(o.input_line) for o in typed if not o.is_sweep_override() and not of_a_choice(o, swept)]
    master = compose("config", fixed, return_hydra_config=True)
    HydraConfig.instance().set_config(master)
    alone = master.hydra.mode == RunMode.RUN
    params = master.hydra.sweeper.params
    proposed = resolved(params) if isinstance(params, DictConfig) and not alone else {}
    grid = {}
    for override in [*parser.parse_overrides([f"{k}={v}" for k, v in proposed.items()]), *typed]:
        key = override.get_key_element()
        if override.is_sweep_override() and (key.startswith(NEVER_SWEPT) or override.is_hydra_override()):
            raise UsageError(f"{key} cannot be swept" + ("; sweep seed instead" if key == "trainer.seed" else ""))
        if not override.is_hydra_override():
            grid[key] = expanded(override)
            if not grid[key]:
                raise UsageError(f"{override.input_line} sweeps nothing; expected at least one value")
    return master, {key: grid[key] for key in sorted(grid, key=lambda key: key != "task")}


def check_choice(override: Override) -> None:
    """Raise `UsageError` for a config group that is given no name: deleted, null, empty or a list."""
    group = override.key_or_group
    grouped = (folder("conf") / group).is_dir() and "/" not in group and group != "experiment"
    if not grouped or override.is_sweep_override():
        return
    value = None if override.is_delete() else override.value()
    if not value or isinstance(value, list):
        known = ", ".join(config_names(group))
        raise UsageError(f"{override.input_line}: expected a name, {group}=NAME. Choose from: {known}")


def check_list(override: Override) -> None:
    """Raise `UsageError` for a list where one value is expected; those of a sweep stand without brackets."""
    key = override.key_or_group
    swept = SWEPT_AS.get(key, key)
    if swept not in ONE_VALUE or override.is_sweep_override() or not isinstance(override.value(), list):
        return
    values = override.get_value_element_as_str()[1:-1]
    meant = "" if swept in NEVER_SWEPT or not values else f"; without brackets, {swept}={values}, each has its cells"
    raise UsageError(f"{override.input_line}: expected one value, given a list{meant}")


def of_a_choice(override: Override, swept: Collection[str]) -> bool:
    """Return whether an override sets a value of what cells choose, of the method say: then it is no common one.

    A dataset is chosen by the whole sweep, unless it is `swept`.
    """
    key = override.get_key_element()
    group = key.partition(".")[0]
    chosen = (folder("conf") / group).is_dir() and (group != "dataset" or group in swept)
    return chosen and is_value(str(override.input_line))


def expanded(override: Override) -> list[str]:
    """Return the ``key=value`` strings that an override stands for, more than one if it sweeps."""
    sweep = override.is_sweep_override()
    values = override.sweep_string_iterator() if sweep else [override.get_value_element_as_str()]
    return [f"{override.get_key_element()}={value}" for value in values]


@cache
def is_value(override: str) -> bool:
    """Return whether an override sets one value of a composed config, rather than choosing, adding or merging."""
    key, _, value = override.partition("=")
    composes = key[:1] in "+~" or "@" in key or key.startswith("hydra") or value[:1] == "{"
    return not composes and not (folder("conf") / key).is_dir()


@cache
def parsed(override: str) -> Override:
    """Return what an override means: its key, its value or values."""
    (one,) = OverridesParser.create().parse_overrides([override])
    return one


def set_values(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Set the plain values among `overrides` in a composed config, and return it."""
    for override in overrides:
        if is_value(override):
            meant = parsed(override)
            OmegaConf.update(config, meant.key_or_group, meant.value())
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
            values = [o for o in typed if is_value(str(o.input_line)) or str(o.input_line).startswith("hydra.")]
            keys = [str(o.input_line).partition("=")[0] for o in values]
            choices = [expanded(o) for o in typed if o not in values]
            added = [str(o.input_line) for o in typed if o.key_or_group == "hydra.searchpath"]
            roots = [compose("config", [*choice, *added], return_hydra_config=True) for choice in product(*choices)]
        except (HydraException, ValueError, TypeError):
            return
        for key in keys:
            errors = [unknown_key(root, key) for root in roots]
            refused = next((error for error in errors if error), None)
            if refused is None:
                continue
            group = key.partition(".")[0]
            fitting = [root for root, one in zip(roots, errors, strict=True) if one is None and group != "hydra"]
            if fitting:
                names = ", ".join(sorted({root[group].name for root in fitting}))
                raise UsageError(f"{refused}. Of those named only {names} can take {key}: run it apart")
            raise refused


def unknown_key(root: DictConfig, key: str) -> UsageError | None:
    """Say that a composed config has no such key, with the nearest that it has; None if it has the key."""
    if key.startswith("backbone.") and "_target_" not in root.backbone:
        return UsageError(f"{key}: backbone=auto has no settings; name the backbone too: backbone={root.backbone.name}")
    node: Any = root
    for depth, part in enumerate(key.split(".")):
        there = [str(k) for k in node] if isinstance(node, DictConfig) else []
        if part not in there:
            if key.startswith("hydra.launcher.") and root.hydra.runtime.choices["hydra/launcher"] == "basic":
                return UsageError(f"{key}: name the launcher that it is for too: hydra/launcher=joblib")
            where = ".".join(key.split(".")[:depth]) or "the configuration"
            where += f" {node.name}" if depth and "name" in there else ""
            return unknown(f"key of {where}", part, [k for k in there if k[0] != "_"])
        node = None if OmegaConf.is_missing(node, part) else node[part]
    return None


def check(config: DictConfig) -> None:
    """Check the parameters of everything that a cell is made of, without making it."""
    external = config.allow_external
    known = [part.name for part in fields(Root)]
    for key in config:
        if key not in (*known, "hydra"):
            raise unknown("key of the configuration", key, known)
    for name in (config.name, config.dataset.name, config.backbone.name, config.method.name):
        if not PLAIN_NAME.fullmatch(str(name)):
            raise UsageError(
                f"{name!r} is a part of file names; expected letters, digits and . _ + -, not . or - first"
            )
    label = config.method.get("label")
    if not isinstance(label, str) or not label.strip():
        raise UsageError(f"method {config.method.name}: its config has no label, which tables print; add one")
    distances.check(config.distances)
    if config.method.run.trained_on not in ("source", "target"):
        raise unknown("choice of method.run.trained_on", config.method.run.trained_on, ("source", "target"))
    if config.runtime.threads is not None and config.runtime.threads < 1:
        raise UsageError(f"runtime.threads={config.runtime.threads}: expected at least 1, or null for all cores")
    if config.runtime.per_gpu < 1:
        raise UsageError(f"runtime.per_gpu={config.runtime.per_gpu}: expected the number of workers that share a GPU")
    if not config.runtime.checkpoint >= 0:
        raise UsageError(f"runtime.checkpoint={config.runtime.checkpoint}: expected seconds, 0 or more")
    selected(config).check()
    validate(config.dataset, "dataset", external)
    method, deep = validate(config.method, "method", external), config.method.run.trainer is not None
    if issubclass(method, DeepMethod) != deep:
        is_one, kind = ("is no DeepMethod", "shallow") if deep else ("is a DeepMethod", "deep")
        raise UsageError(
            f"method {config.method.name}: {method.__name__} {is_one}; its config's defaults should be "
            f"[/kind/{kind}@_here_, _self_]"
        )
    backbone = validate(config.backbone, "backbone", external)
    if config.extractor.trainer is not None:
        build(config.extractor.trainer, "trainer", external)
        if not on_features(config):
            raise UsageError(
                f"extractor=finetuned is for what is given features, and {config.method.name} trains on images; "
                f"leave it out, or freeze the backbone: backbone={config.backbone.name} "
                f"{'' if 'frozen' in config.backbone else '+'}backbone.frozen=true"
            )
    if config.method.run.trainer is not None:
        build(config.method.run.trainer, "trainer", external)
    elif config.extractor.trainer is None and not getattr(backbone, "pretrained", False):
        raise UsageError(
            f"method {config.method.name} needs features, and backbone {config.backbone.name} has none before it is "
            f"trained; choose a pretrained backbone, backbone={config.dataset.features} or extractor=finetuned"
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
    except (ImportError, SyntaxError, AttributeError, ValueError) as error:
        way = "the folder of an own module has to be on PYTHONPATH"
        if path.startswith("tda."):
            own = ".".join(path.split(".")[-2:])
            way = f"name a module of one's own without tda., _target_: {own} say, where {way}"
        way = f"; {way}" if isinstance(error, ModuleNotFoundError) or not path.startswith("tda.") else ""
        raise UsageError(f"{where}._target_ = {path!r} cannot be imported: {error}{way}") from error
    except (Exception, SystemExit) as error:
        *_, (frame, line) = walk_tb(error.__traceback__)
        at = f"{Path(frame.f_code.co_filename).name}, line {line}"
        said = f"{type(error).__name__}: {one_line(error)}"
        raise UsageError(f"{where}._target_ = {path!r} cannot be imported: {said} ({at})") from error
    if not allow_external and not (isinstance(found, type) and found.__module__.startswith("tda.")):
        raise UsageError(f"{where}._target_ = {path!r} is not a class of tda")
    if not isinstance(found, type):
        raise UsageError(f"{where}._target_ = {path!r} is no class, but of type {type(found).__name__}")
    return found


def validate(node: Any, where: str, allow_external: bool = False) -> type:
    """Check a node's parameters against the signature of its class, and return the class.

    Raises
    ------
    UsageError
        For an unknown, missing, ill-typed or out-of-range parameter, and for a class that lacks methods.
    """
    if not isinstance(node, Mapping | DictConfig) or "_target_" not in node:
        raise UsageError(f"{where}={node}: expected the name of a config in conf/{where}, which names a class")
    found = locate(node, where, allow_external)
    if inspect.isabstract(found):
        lacking = ", ".join(sorted(vars(found)["__abstractmethods__"]))
        raise UsageError(f"{where}._target_ = {str(node['_target_'])!r} is not finished: it has to define {lacking}")
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
                raise UsageError(f"{where}.{name}={given[name]}: {expected(error, name, given[name])}") from None
    return found


def expected(error: ValidationError, name: str, given: object) -> str:
    """Say what a parameter should have been; what is a choice of a group of its name is typed there."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if first["type"] != "is_instance_of":
        return first["msg"][0].lower() + first["msg"][1:]
    if first["ctx"]["class"] == "Sequence":
        return f"expected a list, {[] if given is None else [given]} for one"
    group = f"; did you mean {name}={given}?" if given in config_names(name) else ""
    return f"expected a mapping with the _target_ of a class of tda, {first['ctx']['class']} for one{group}"


def build(node: Mapping[str, Any], where: str, allow_external: bool = False) -> Any:
    """Construct what a config node names, and what its parameters name in turn."""
    found = validate(node, where, allow_external)
    arguments = parameters(node, found)
    for name, value in arguments.items():
        if isinstance(value, dict) and "_target_" in value:
            arguments[name] = build(value, f"{where}.{name}", allow_external)
    return found(**arguments)
