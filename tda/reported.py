"""The accuracies that the textbook and the papers report, each with its provenance."""

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from tda.errors import UsageError
from tda.resources import folder as packaged_folder

COLUMNS = (
    "dataset",
    "task",
    "method",
    "label",
    "features",
    "accuracy",
    "protocol",
    "runs",
    "origin",
    "source",
    "note",
)
FILLED = ("dataset", "task", "method", "label", "source")
PROTOCOLS = ("last", "oracle", "unknown")
ORIGINS = ("seed", "external")
AVERAGE = "avg"

_PAIR = re.compile(r"\w+-\w+", re.ASCII)


class Reported(NamedTuple):
    """One published accuracy, and the file and line that hold it; the fields are those of `load`."""

    place: str
    dataset: str
    task: str
    method: str
    label: str
    features: str
    accuracy: float
    protocol: str
    runs: int | None
    origin: str
    source: str
    note: str

    @property
    def table(self) -> tuple[str, ...]:
        """What the cells of one published table row have in common."""
        return (self.dataset, self.method, self.features, self.protocol, self.source)


def load(folder: Path | None = None, *, tolerance: float = 0.06) -> pd.DataFrame:
    """Read and check every ``*.csv`` of a folder of reported accuracies.

    Parameters
    ----------
    folder : Path, optional
        Folder to read; by default the numbers that come with the project (``results/reported``).
    tolerance : float
        How far, in points, a reported average may lie from the mean of its tasks: numbers printed with one
        decimal round by up to 0.05.

    Returns
    -------
    DataFrame
        A row for each accuracy, indexed by ``place`` (``textbook.csv, line 2``), with the columns of
        `COLUMNS`. ``accuracy`` (per cent) is float, ``runs`` is Int64 with NA where the number of runs
        averaged is unknown, and the others are text, empty where the publication does not say.

    Raises
    ------
    UsageError
        A file or a row breaks a rule of ``results/reported/README.md``; the message names file and line.
    FileNotFoundError
        No folder is given and the one of the project is missing.

    Notes
    -----
    An average is compared with the mean of its tasks where the same publication gives, for the same dataset,
    method, features and protocol, a task for every ordered pair of the domains that its tasks name.

    Examples
    --------
    >>> book = load().query("origin == 'seed'")
    >>> book[book["method"] == "ddc"][["task", "accuracy", "protocol"]].to_dict("records")
    [{'task': 'A-W', 'accuracy': 78.8, 'protocol': 'oracle'}]
    """
    folder = packaged_folder("reported") if folder is None else folder
    rows = [row for path in sorted(folder.glob("*.csv")) for row in _read(path)]
    if not rows:
        raise UsageError(
            f"{folder} holds no reported accuracy; expected CSV files with the columns {','.join(COLUMNS)}"
        )
    _check_unique(rows)
    _check_averages(rows, tolerance)
    return pd.DataFrame(rows).astype({"accuracy": "float64", "runs": "Int64"}).set_index("place")


def _read(path: Path) -> Iterator[Reported]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        try:
            _check_header(path, next(lines, []))
            for cells in lines:
                if cells:
                    yield _row(f"{path.name}, line {lines.line_num}", [cell.strip() for cell in cells])
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{path.name}, after line {lines.line_num}: not UTF-8 text; save the file as UTF-8"
            ) from error


def _check_header(path: Path, header: list[str]) -> None:
    if tuple(header) != COLUMNS:
        missing = ", ".join(column for column in COLUMNS if column not in header) or "none"
        other = ", ".join(repr(column) for column in header if column not in COLUMNS) or "none"
        raise UsageError(
            f"{path.name}, line 1: the columns must be {','.join(COLUMNS)} in this order; "
            f"missing: {missing}; not known: {other}"
        )


def _row(place: str, cells: list[str]) -> Reported:
    if len(cells) != len(COLUMNS):
        raise UsageError(
            f"{place}: {len(cells)} cells where {len(COLUMNS)} are expected; quote a text that holds a comma"
        )
    dataset, task, method, label, features, accuracy, protocol, runs, origin, source, note = cells
    for column, cell in zip(COLUMNS, cells, strict=True):
        if column in FILLED and not cell:
            raise UsageError(f"{place}: {column} is empty; only features, runs and note may be")
    if task != AVERAGE and not _PAIR.fullmatch(task):
        raise UsageError(f"{place}: task is {task!r}; expected source-target as in A-W, or {AVERAGE}")
    for column, cell, choices in (("protocol", protocol, PROTOCOLS), ("origin", origin, ORIGINS)):
        if cell not in choices:
            raise UsageError(f"{place}: {column} is {cell!r}; choose from: {', '.join(choices)}")
    return Reported(
        place,
        dataset,
        task,
        method,
        label,
        features,
        _accuracy(place, accuracy),
        protocol,
        _runs(place, runs),
        origin,
        source,
        note,
    )


def _accuracy(place: str, text: str) -> float:
    try:
        accuracy = float(text)
    except ValueError:
        accuracy = float("nan")
    if not 0 <= accuracy <= 100:
        raise UsageError(f"{place}: accuracy is {text!r}; expected per cent, from 0 to 100")
    return accuracy


def _runs(place: str, text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[1-9][0-9]*", text):
        raise UsageError(f"{place}: runs is {text!r}; expected a whole number from 1, or nothing where it is unknown")
    return int(text)


def _check_unique(rows: Iterable[Reported]) -> None:
    first: dict[tuple[str, ...], str] = {}
    for row in rows:
        earlier = first.setdefault((row.task, *row.table), row.place)
        if earlier != row.place:
            raise UsageError(
                f"{row.place}: {row.method} on {row.dataset} {row.task} repeats {earlier} "
                "(same features, protocol and source); keep one of them"
            )


def _check_averages(rows: Iterable[Reported], tolerance: float) -> None:
    tables: dict[tuple[str, ...], dict[str, Reported]] = {}
    for row in rows:
        tables.setdefault(row.table, {})[row.task] = row
    for tasks in tables.values():
        average = tasks.pop(AVERAGE, None)
        domains = {domain for task in tasks for domain in task.split("-")}
        every_pair = {f"{source}-{target}" for source in domains for target in domains if source != target}
        if average is None or not tasks or set(tasks) != every_pair:
            continue
        mean = sum(row.accuracy for row in tasks.values()) / len(tasks)
        if abs(mean - average.accuracy) > tolerance + 1e-9:
            raise UsageError(
                f"{average.place}: the average of {average.method} on {average.dataset} is "
                f"{average.accuracy:g} but its {len(tasks)} tasks have the mean {mean:.2f}; "
                "correct the row that is mistyped, "
                "or leave out an average that is wrong in print and say so in a note"
            )
