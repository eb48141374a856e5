"""Our accuracies of a setting, and one of them beside a reported one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tda.report.labels import row_labels
from tda.report.table import AVERAGE, accuracies, first_of_each, frame
from tda.reported import Printed
from tda.store import Record
from tda.task import GIVEN

SPREADS = 2.0
FIXED = ("given", "pixels")


@dataclass(frozen=True)
class Side:
    """What an accuracy rests on.

    Attributes
    ----------
    label : str
        Of the method.
    features : str
        Network, and whether it was trained: ``resnet50``, ``resnet50 end to end``, ``resnet50 fine-tuned``; empty
        where a publication does not say.
    protocol : str
        What chose the iterate: ``last``, ``oracle`` (the best on the target), a validator's name, or ``unknown``.
    runs : int or None
        Runs that are averaged; None where unknown, 0 where a run cannot differ from another.
    oracle : bool
        Whether the target's labels had a part in that choice.
    """

    label: str
    features: str
    protocol: str
    runs: int | None
    oracle: bool


@dataclass(frozen=True)
class Cell:
    """One task, or the average over those that the publication averages, in per cent and points.

    `spread` is None where it is unknown, `difference` where the two are not comparable; then `verdict` is empty.
    """

    task: str
    ours: float
    std: float | None
    reported: float
    reported_std: float | None
    difference: float | None = None
    spread: float | None = None
    misprinted: bool = False
    digits: int = 1

    @property
    def verdict(self) -> str:
        """``within`` the spread, ``above`` or ``below`` it, or empty."""
        if self.difference is None or self.spread is None:
            return ""
        if abs(self.difference) <= self.spread:
            return "within"
        return "above" if self.difference > 0 else "below"


@dataclass(frozen=True)
class Measured:
    """Our accuracies of one setting under one protocol.

    Attributes
    ----------
    dataset, method : str
        Names of their configs.
    config : dict
        The configuration of one of its records.
    side : Side
    accuracies : dict of str to ndarray
        Per cent by task, a place for each seed; NaN where a seed lacks the task.
    scored : dict of str to int
        Number of scored samples of each task.
    """

    dataset: str
    method: str
    config: Mapping[str, Any]
    side: Side
    accuracies: Mapping[str, np.ndarray]
    scored: Mapping[str, int]

    def averages(self, tasks: Sequence[str]) -> np.ndarray:
        """Return the mean over some tasks for each seed that has them all."""
        nothing = np.full(1, np.nan)
        by_task = np.array(np.broadcast_arrays(*(self.accuracies.get(task, nothing) for task in tasks)))
        return np.asarray(by_task[:, ~np.isnan(by_task).any(axis=0)].mean(axis=0))

    def average(self, tasks: Sequence[str]) -> tuple[float, float | None]:
        """Return the mean of the averages over seeds, and their standard deviation where there are several."""
        by_seed = self.averages(tasks)
        return float(by_seed.mean()), float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None

    def cell(self, tasks: Sequence[str], name: str, printed: Printed, comparable: bool) -> Cell:
        """Compare the mean over `tasks` with a reported accuracy.

        The spread of a difference of two runs is ``SPREADS sqrt(s^2 + t^2)``, s and t the standard deviations of
        ours and theirs, but at least ``max_i 100 / (n_i T)``, one sample of the smallest of the T tasks, and what
        rounding for print may have added.
        """
        mean, std = self.average(tasks)
        spread = None
        if std is not None or self.side.runs == 0:
            deviation = SPREADS * np.hypot(std or 0.0, printed.std or 0.0)
            sample = max(100 / self.scored[task] for task in tasks) / len(tasks)
            spread = max(float(deviation), sample) + printed.rounding
        misprinted = bool(printed.erratum)
        counts = comparable and not misprinted
        return Cell(
            task=name,
            ours=mean,
            std=std,
            reported=printed.accuracy,
            reported_std=printed.std,
            difference=mean - printed.accuracy if counts else None,
            spread=spread if counts else None,
            misprinted=misprinted,
            digits=1 if printed.rounding > 0.01 else 2,  # 0.05 or 0.005
        )


def measured(records: Iterable[Record]) -> Iterator[dict[str, Measured]]:
    """Yield our accuracies by setting: as scored, and, where there are curves, at their best on the target."""
    everything = frame(records)
    if everything.empty:
        return
    for dataset, cells in everything.groupby("dataset", sort=True):
        tasks = tuple(dict.fromkeys(cells["task"]))
        firsts = first_of_each(cells)
        labels = row_labels(firsts)
        ours = accuracies(cells, tasks).drop(columns=AVERAGE)
        best = accuracies(cells.assign(accuracy=cells["oracle_best"]), tasks).drop(columns=AVERAGE)
        for setting, part in cells.groupby("setting", sort=False):
            name, first = str(setting), firsts.loc[setting]
            runs = 0 if part["seed"].isna().all() else int(part["seed"].nunique())
            scored = dict(zip(part["task"], part["scored"], strict=True))
            protocols: dict[str, Measured] = {}
            for protocol, by_seed in ((first["selection"], ours.loc[name]), ("oracle", best.loc[name])):
                known = {task: column.to_numpy() for task, column in by_seed.items() if column.notna().any()}
                if known:
                    reads = protocol != "last" and "oracle" in (protocol, first["protocol"])
                    side = Side(labels[name], features(first), protocol, runs, reads)
                    one = Measured(str(dataset), first["method"], first["config"], side, known, scored)
                    protocols.setdefault(protocol, one)
            if protocols:
                yield protocols


def features(row: pd.Series) -> str:
    """Return what a record's method saw, in the words of the column ``features`` of the reported numbers."""
    backbone = row["config"].get("backbone") or {}
    fixed = backbone.get("frozen") or backbone.get("_target_") == GIVEN
    trained = row["config"].get("trainer") is not None and not fixed
    network = str(row["backbone"])
    if network in FIXED:
        return network
    if row["config"].get("extractor") == "finetuned":
        return f"{network} fine-tuned"
    if trained:
        return f"{network} end to end" + (" from scratch" if backbone.get("weights") == "none" else "")
    return network + (" untrained" if backbone.get("weights") == "none" else "")
