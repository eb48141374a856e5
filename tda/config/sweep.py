"""From the command line to the cells of a sweep, each composed, checked and addressed before the first is run."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import cache, lru_cache
from itertools import product
from typing import Any, NamedTuple
from uuid import uuid4

from hydra import compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from tda.cache import digest
from tda.config.cell import Cell, changed, check, chosen, identity, on_task, selected
from tda.config.mistakes import NEVER_SWEPT, check_choice, check_list, usage_errors
from tda.config.objects import build, resolved
from tda.config.overrides import composer, expanded, is_value, parsed, set_values, without
from tda.data.base import Dataset
from tda.errors import UsageError
from tda.resources import folder
from tda.store import Record

TASK_MATTERS = re.compile(r"\$\{[^{}]*\btask\b")
TAKEN = re.compile(r"\$\{(trainer|classifier)\}")
NOT_OF_A_JOB = ("help", "hydra_help", "hydra_logging", "sweeper", "launcher")


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
        if isinstance(seed, int) and not 0 <= seed < 2**32:
            raise UsageError(f"seed={seed}: expected 0 or more, and less than 2**32")
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


def of_a_choice(override: Override, swept: Collection[str]) -> bool:
    """Return whether an override sets a value of what cells choose, of the method say: then it is no common one.

    A dataset is chosen by the whole sweep, unless it is `swept`.
    """
    key = override.get_key_element()
    group = key.partition(".")[0]
    chosen = (folder("conf") / group).is_dir() and (group != "dataset" or group in swept)
    return chosen and is_value(str(override.input_line))
