"""The accuracies of a set of records: a table per dataset, a row a method, a column a task, then their average."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from typing import Any

import pandas as pd

from tda.report.baselines import counterparts
from tda.report.labels import row_labels
from tda.resources import config_names
from tda.store import Record
from tda.written import listed_tasks

AVERAGE = "Avg"
NEVER_SEEDED = -1
SAME = 1e-9  # points; accuracies that are nearer are equal


@dataclass(frozen=True)
class Entry:
    """One place of the table, in per cent, and the number of seeds behind it."""

    mean: float | None = None
    std: float | None = None
    seeds: int = 0
    failed: bool = False
    best: bool = False
    second: bool = False
    negative: bool = False


@dataclass(frozen=True)
class Row:
    """One method under one configuration on one kind of features.

    Attributes
    ----------
    setting : str
        Of the records that the row is made of.
    method, label, backbone : str
        The method's name, what the table prints for it, and its features.
    selection : str
        What chose the iterates that were scored.
    oracle : bool
        Whether target labels were used, in training or in choosing the iterate.
    entries : dict of str to Entry
        By task, and under `AVERAGE`.
    distances : dict of str to float
        Mean over tasks and seeds of each distance that was measured.
    gap : float or None
        Gap closed, in per cent.
    baseline : str or None
        Setting of the row below which transfer is negative.
    """

    setting: str
    method: str
    label: str
    backbone: str
    selection: str
    oracle: bool
    entries: Mapping[str, Entry]
    distances: Mapping[str, float]
    gap: float | None
    baseline: str | None

    @property
    def average(self) -> float | None:
        """The mean accuracy over tasks, None where one is missing."""
        return self.entries[AVERAGE].mean


@dataclass(frozen=True)
class Table:
    """The accuracies of one dataset.

    Further columns hold the distances between the domains that were measured, each the mean over tasks and seeds.
    """

    dataset: str
    tasks: tuple[str, ...]
    rows: tuple[Row, ...]

    @cached_property
    def listed(self) -> tuple[str, ...]:
        """The tasks of the dataset's config, in its order; none where that leaves them to the user's files."""
        return listed(self.dataset)

    @cached_property
    def distances(self) -> tuple[str, ...]:
        """Names of the distances that any row has."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.distances))

    @cached_property
    def selections(self) -> tuple[str, ...]:
        """What chose the iterates, over all rows."""
        return tuple(sorted({row.selection for row in self.rows}))

    @cached_property
    def names(self) -> dict[str, str]:
        """What to call each row, by its setting, where the table is not there to tell the backbones apart."""
        count = Counter(row.label for row in self.rows)
        return {
            row.setting: row.label if count[row.label] == 1 else f"{row.label}, {row.backbone}" for row in self.rows
        }


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return the records as a data frame, one row a cell."""
    return pd.DataFrame([vars(record) for record in records])


def tables(records: Iterable[Record]) -> list[Table]:
    """Return one table per dataset.

    Parameters
    ----------
    records : iterable of Record
        Of any datasets, methods and seeds; several of one cell cannot occur, since a store holds one.
    """
    cells = frame(records)
    return [] if cells.empty else [table(str(name), part) for name, part in cells.groupby("dataset", sort=True)]


def table(dataset: str, cells: pd.DataFrame) -> Table:
    """Make the table of one dataset's cells."""
    tasks = in_order(cells["task"], listed(dataset))
    by_seed = accuracies(cells, tasks)
    grouped = by_seed.groupby("setting", sort=False)
    means, spreads, counts = grouped.mean(), grouped.std(ddof=1), grouped.count().to_dict("index")
    firsts = first_of_each(cells)
    top = means[firsts["protocol"].reindex(means.index) != "oracle"]
    best = top.max()
    second = top.where(top < best - SAME).max().to_dict()
    first, mean, std = best.to_dict(), means.to_dict("index"), spreads.to_dict("index")
    failed = {(cell.setting, cell.task) for cell in cells[cells["status"] == "failed"].itertuples()}
    labels = row_labels(firsts)
    lower, upper = counterparts(firsts)
    distances = mean_distances(cells)
    rows = []
    for one in firsts.itertuples():
        setting = str(one.Index)
        competes, below, above = one.protocol != "oracle", lower[setting], upper[setting]
        ours = mean[setting]
        entries = {
            column: Entry(
                mean=none_if_nan(ours[column]),
                std=none_if_nan(std[setting][column]),
                seeds=int(counts[setting][column]),
                failed=(setting, column) in failed,
                best=competes and ours[column] >= first[column] - SAME,
                second=competes and abs(ours[column] - second[column]) < SAME,
                negative=below is not None and ours[column] < mean[below][column] - SAME,
            )
            for column in (*tasks, AVERAGE)
        }
        gap = None
        if competes and below is not None and above is not None:
            room = mean[above][AVERAGE] - mean[below][AVERAGE]
            gap = none_if_nan(100 * (ours[AVERAGE] - mean[below][AVERAGE]) / room) if room > 0 else None
        rows.append(
            Row(
                setting=setting,
                method=one.method,
                label=labels[setting],
                backbone=one.backbone,
                selection=one.selection,
                oracle=not competes,
                entries=entries,
                distances=distances.get(setting, {}),
                gap=gap,
                baseline=below,
            )
        )
    ordered = sorted(rows, key=lambda row: (row.oracle, row.backbone, row.average or 0.0, row.label))
    return Table(dataset, tasks, tuple(ordered))


def listed(dataset: str) -> tuple[str, ...]:
    """Return the tasks of a dataset's config, in its order; none of a dataset of the user's."""
    return listed_tasks(dataset) if dataset in config_names("dataset") else ()


def in_order(tasks: Iterable[str], listed: Sequence[str]) -> tuple[str, ...]:
    """Return each task once: those that are listed in that order, then the others by name.

    Examples
    --------
    >>> in_order(["B-C", "A-B", "B-A", "A-B"], ["B-A", "A-B"])
    ('B-A', 'A-B', 'B-C')
    """
    there = set(tasks)
    return (*(task for task in listed if task in there), *sorted(there.difference(listed)))


def first_of_each(cells: pd.DataFrame) -> pd.DataFrame:
    """Return one record of each setting, that of the least seed, indexed by setting.

    Its data are told as a setting tells them: those that are drawn with the seed as seed 0's.
    """
    firsts = cells.sort_values("seed", kind="stable").drop_duplicates("setting").sort_index()
    configs = [as_of_seed_0(one.config, one.seed) for one in firsts.itertuples()]
    return firsts.assign(config=configs).set_index("setting")


def as_of_seed_0(config: dict[str, Any], seed: float | None) -> dict[str, Any]:
    """Return a configuration with the draw of its data that seed 0 has in place of this seed's own.

    Examples
    --------
    >>> as_of_seed_0({"dataset": {"draw": 3}}, 3), as_of_seed_0({"dataset": {"draw": 3}}, 1)
    ({'dataset': {'draw': 0}}, {'dataset': {'draw': 3}})
    """
    data = config.get("dataset") or {}
    return config | {"dataset": data | {"draw": 0}} if seed is not None and data.get("draw") == seed else config


def accuracies(cells: pd.DataFrame, tasks: tuple[str, ...]) -> pd.DataFrame:
    """Return the accuracies, (setting, seed) x tasks, and each seed's average where it has every task.

    A task of which any seed failed counts as failed altogether: what is left would be a choice of seeds.
    """
    cells = cells.assign(seed=cells["seed"].fillna(NEVER_SEEDED), accuracy=cells["accuracy"].astype(float))
    failed = (cells["status"] == "failed").groupby([cells["setting"], cells["task"]]).transform("any")
    cells.loc[failed, "accuracy"] = float("nan")
    by_seed = cells.pivot(index=["setting", "seed"], columns="task", values="accuracy").reindex(columns=list(tasks))
    by_seed[AVERAGE] = by_seed.mean(axis=1, skipna=False)
    return by_seed


def mean_distances(cells: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return the mean of each distance over tasks and seeds, by setting, for those that have any."""
    measured = cells[cells["distances"].map(bool)]
    if measured.empty:
        return {}
    values = pd.DataFrame(list(measured["distances"]), index=pd.Index(measured["setting"], name="setting"))
    means = values.groupby("setting", sort=False).mean().to_dict("index")
    return {
        str(setting): {str(name): value for name, value in row.items() if not isnan(value)}
        for setting, row in means.items()
    }


def none_if_nan(value: Any) -> float | None:
    """Return a float, or None for what is missing."""
    return None if value is None or isnan(value) else float(value)
