"""Our accuracies beside the reported ones, and what differs between the two."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tda import reported
from tda.report.table import AVERAGE as MEAN
from tda.report.table import accuracies, first_of_each, frame, held_back, row_labels
from tda.reported import AVERAGE, Printed, Table
from tda.store import Record
from tda.task import GIVEN
from tda.written import (
    Training,
    configured,
    configured_backbone,
    configured_method,
    configured_trainings,
    listed_tasks,
    usual_classifier,
)

SPREADS = 2.0
FIXED = ("given", "pixels")
PREPARED = ("rows", "columns", "sample")
RESHAPED = ("resplit", "size", "resize")
UNTOLD = ("label", "run", "cache", "weights", "frozen", "watch_every")  # told elsewhere, or no part of what is made


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
class Comparison:
    """One of our settings beside one row of a published table.

    Attributes
    ----------
    dataset, method : str
        Names of their configs.
    ours, theirs : Side
    source, note : str
        Of the reported row.
    averaged : str
        What its average is over, where that is not all tasks or not printed.
    whole : (float, float or None), or None
        Our average over all tasks of the dataset and its standard deviation, where we have them all.
    unlike : tuple of str
        What makes the two incomparable; empty where nothing is known to.
    caveats : tuple of str
        What differs or is unknown besides.
    cells : tuple of Cell
        The tasks that both have, then their average.
    """

    dataset: str
    method: str
    ours: Side
    theirs: Side
    source: str
    note: str
    averaged: str
    whole: tuple[float, float | None] | None
    unlike: tuple[str, ...]
    caveats: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def setting(self) -> tuple[str, str, str, str]:
        """Which of our settings it is about: dataset, method, label and features."""
        return (self.dataset, self.method, self.ours.label, self.ours.features)


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


def compare(records: Iterable[Record], rows: pd.DataFrame | None = None) -> list[Comparison]:
    """Set every setting of some records beside every reported row of its dataset and method.

    Parameters
    ----------
    records : iterable of Record
    rows : DataFrame, optional
        Of `tda.reported.load`; by default the reported numbers that come with the project.

    Returns
    -------
    list of Comparison
        By dataset, method and setting; those without `Comparison.unlike` first, of them the oracles last.
    """
    tables: dict[tuple[str, str], list[Table]] = {}
    for table in reported.tables(reported.load() if rows is None else rows):
        tables.setdefault((table.dataset, table.method), []).append(table)
    made = []
    for protocols in measured(records):
        usual = next(iter(protocols.values()))
        for table in tables.get((usual.dataset, usual.method), []):
            one = beside(protocols.get(table.protocol, usual), table)
            if one is not None:
                made.append(one)
    return sorted(made, key=lambda one: (*one.setting, bool(one.unlike), one.ours.protocol == "oracle"))


def measured(records: Iterable[Record]) -> Iterator[dict[str, Measured]]:
    """Yield our accuracies by setting: as scored, and, where there are curves, at their best on the target."""
    everything = frame(records)
    if everything.empty:
        return
    for dataset, cells in everything.groupby("dataset", sort=True):
        tasks = tuple(dict.fromkeys(cells["task"]))
        firsts = first_of_each(cells)
        labels = row_labels(firsts)
        ours = accuracies(cells, tasks).drop(columns=MEAN)
        best = accuracies(cells.assign(accuracy=cells["oracle_best"]), tasks).drop(columns=MEAN)
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


def beside(ours: Measured, table: Table) -> Comparison | None:
    """Compare one of our settings with a row of a published table; None if they share no task.

    The average is over the tasks that the row gives, or over all of the dataset where it gives the average alone.
    """
    theirs = Side(table.label, table.features, table.protocol, table.runs, table.protocol == "oracle")
    unlike = (*unlikeness(ours.side, theirs, table.differs), *reprepared(ours), *reclassified(ours))
    listed = listed_tasks(ours.dataset)
    given = [task for task in listed if task in table.cells]
    averaged = given or listed
    cells = [ours.cell([task], task, table.cells[task], not unlike) for task in given if task in ours.accuracies]
    if table.average is not None and ours.averages(averaged).size:
        cells.append(ours.cell(averaged, AVERAGE, table.average, not unlike))
    if not cells:
        return None
    over = [f"over {len(averaged)} of {len(listed)} tasks"] if 1 < len(averaged) < len(listed) else []
    over += ["made from its tasks"] if len(given) > 1 and AVERAGE not in table.cells else []
    errata = [f"misprint: {cell.erratum}" for cell in table.cells.values() if cell.erratum]
    return Comparison(
        dataset=ours.dataset,
        method=ours.method,
        ours=ours.side,
        theirs=theirs,
        source=table.source,
        note=table.note,
        averaged=", ".join(over),
        whole=ours.average(listed) if ours.averages(listed).size else None,
        unlike=unlike,
        caveats=(*caution(ours.side, theirs), *reset(ours), *errata),
        cells=tuple(cells),
    )


def unlikeness(ours: Side, theirs: Side, differs: str) -> Iterator[str]:
    """Yield what makes the difference of two accuracies meaningless."""
    if not theirs.features:
        yield "features not said by the publication"
    elif ours.features != theirs.features:
        yield f"features {described(theirs.features)}, ours {described(ours.features)}"
    if (ours.oracle or theirs.oracle) and ours.protocol != theirs.protocol:
        yield f"protocol {spelled(theirs.protocol)}, ours {spelled(ours.protocol)}"
    if differs:
        yield differs


def reprepared(ours: Measured) -> Iterator[str]:
    """Yield what our samples were prepared with other than the dataset's config, which is that of the tables, says."""
    usual = configured(ours.dataset)
    for key, mine, told in differing(ours.config.get("dataset"), {key: usual.get(key) for key in PREPARED}):
        yield f"our data have dataset.{key}={mine}, its config {told}"


def reclassified(ours: Measured) -> Iterator[str]:
    """Yield the classifier that follows our alignment, where it is not 1-NN as the method's config leaves it to be."""
    left_open = configured_method(ours.dataset, ours.method).get("classifier") == "${classifier}"
    classifier = (ours.config.get("method") or {}).get("classifier")
    if left_open and classifier and classifier != usual_classifier():
        yield f"our classifier is {in_words(classifier)}"


def reset(ours: Measured) -> Iterator[str]:
    """Yield what of our data, network, training and method is not as its config has it.

    A record does not name its trainer's config: it is taken to be the one that training differs least from.
    """
    data, config = configured(ours.dataset), ours.config
    backbone, trainer, method = (config.get(part) or {} for part in ("backbone", "trainer", "method"))
    network = {} if backbone.get("_target_") == GIVEN else configured_backbone(backbone.get("name", ""))
    name, written = "", Training({}, configured_method(ours.dataset, ours.method))
    if trainer:
        trainings = configured_trainings(ours.dataset, ours.method)
        name, written = min(trainings.items(), key=lambda one: distance(Training(trainer, method), one[1]))
    for part, mine, usual, named in (
        ("dataset", config.get("dataset"), {key: data.get(key) for key in RESHAPED}, ""),
        ("backbone", backbone, network, ""),
        ("trainer", trainer, written.trainer, f" ({name})"),
        ("method", method, written.method, ""),
    ):
        for key, here, there in differing(mine, usual):
            yield f"our {part}.{key}={here}, its config{named} {there}"
    if held := held_back(config):
        yield f"our training kept {held:g} of each source class back for validators"
    for key in said(written.method) if method else ():
        if key not in method:
            yield f"our method has no {key}: it is of an earlier version"


def distance(ours: Training, usual: Training) -> int:
    """Return the number of settings that training has otherwise than configs say."""
    return sum(len(list(differing(*pair))) for pair in zip(ours, usual, strict=True))


def differing(ours: Mapping[str, Any] | None, usual: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield each setting that ours has otherwise than a written config says, with both values in words.

    Examples
    --------
    >>> list(differing({"steps": 9, "seed": 1, "rows": None}, {"steps": 5, "seed": "${seed}", "rows": "none"}))
    [('steps', 9, 5)]
    """
    for key, value in said(usual).items():
        if ours and key in ours and in_words(ours[key]) != in_words(value):
            yield key, in_words(ours[key]), in_words(value)


def said(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a written config says itself, and that are told."""
    return {key: value for key, value in config.items() if key not in UNTOLD and "${" not in str(value)}


def in_words(value: Any) -> Any:
    """Return a setting as it is told: of a part of its own the class and what it is given."""
    if isinstance(value, Mapping) and "_target_" in value:
        told = ", ".join(f"{key}={given}" for key, given in value.items() if key != "_target_")
        return f"{value['_target_'].rpartition('.')[2]} ({told})"
    return "none" if value is None else value


def described(features: str) -> str:
    """Return features in words: that a network is fixed, and what is known of one without a config.

    Examples
    --------
    >>> described("resnet50"), described("resnet50 end to end")
    ('resnet50 fixed', 'resnet50 end to end')
    """
    network, _, regime = features.partition(" ")
    meaning = reported.elsewhere().networks.get(network)
    if meaning:
        return f"{features} ({meaning})"
    return features if regime or network in FIXED else f"{network} fixed"


def caution(ours: Side, theirs: Side) -> Iterator[str]:
    """Yield what differs, or is not known, without making the difference meaningless."""
    if theirs.protocol != ours.protocol and not (ours.oracle or theirs.oracle):
        yield f"protocol {spelled(theirs.protocol)}, ours {spelled(ours.protocol)}"
    if ours.runs and theirs.runs != ours.runs:
        said = "an unstated number of runs" if theirs.runs is None else plural(theirs.runs, "run")
        yield f"{said}, ours {plural(ours.runs, 'seed')}"


def spelled(protocol: str) -> str:
    """Return what chose the iterate in words."""
    words = {"last": "last iterate", "oracle": "best on the target", "unknown": "not said"}
    return words.get(protocol, f"chosen by {protocol}")


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, ``1 cell`` or ``1,200 cells``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
