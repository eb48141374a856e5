"""The accuracies that the textbook and the papers report, each with its provenance."""

import csv
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import yaml

from tda.errors import UsageError, unknown
from tda.resources import folder as packaged_folder
from tda.written import listed_tasks, names

COLUMNS = (
    "dataset",
    "task",
    "method",
    "label",
    "features",
    "accuracy",
    "std",
    "protocol",
    "runs",
    "origin",
    "source",
    "differs",
    "erratum",
    "note",
)
FILLED = ("dataset", "task", "method", "label", "source")
TABLE = ["dataset", "method", "features", "protocol", "source"]
PROTOCOLS = ("last", "oracle", "unknown")
ORIGINS = ("seed", "external")
REGIMES = ("", " end to end", " fine-tuned")
AVERAGE = "avg"
ELSEWHERE = "elsewhere.yaml"

_FEATURES = re.compile(rf"(\w+)({'|'.join(REGIMES)})", re.ASCII)


class Reported(NamedTuple):
    """One published accuracy, and the file and line that hold it; the fields are those of `load`."""

    place: str
    dataset: str
    task: str
    method: str
    label: str
    features: str
    accuracy: Decimal
    std: float | None
    protocol: str
    runs: int | None
    origin: str
    source: str
    differs: str
    erratum: str
    note: str

    @property
    def table(self) -> tuple[str, ...]:
        """What the cells of one published table row have in common."""
        return (self.dataset, self.method, self.features, self.protocol, self.source)

    @property
    def rounding(self) -> Decimal:
        """Half a unit of the last printed digit."""
        return half_unit(self.accuracy)


class Printed(NamedTuple):
    """One cell of a published table: per cent, points, half a unit of the last digit, and what is wrong in print."""

    accuracy: float
    std: float | None
    rounding: float
    erratum: str


class Table(NamedTuple):
    """One row of a published table: what its cells have in common, and the cells by task."""

    dataset: str
    method: str
    features: str
    protocol: str
    source: str
    label: str
    runs: int | None
    differs: str
    note: str
    cells: dict[str, Printed]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that it gives, without their average."""
        return tuple(task for task in self.cells if task != AVERAGE)

    @property
    def average(self) -> Printed | None:
        """The average that it gives, or else the mean of its tasks; None if it gives one task."""
        cells = [self.cells[task] for task in self.tasks]
        if AVERAGE in self.cells or len(cells) < 2:
            return self.cells.get(AVERAGE)
        mean = sum(cell.accuracy for cell in cells) / len(cells)
        return Printed(mean, None, cells[0].rounding, "".join(cell.erratum for cell in cells))


class Elsewhere(NamedTuple):
    """What published tables name and this project has no config for, with a description each."""

    methods: dict[str, str]
    networks: dict[str, str]


def load(folder: Path | None = None) -> pd.DataFrame:
    """Read and check every ``*.csv`` of a folder of reported accuracies.

    Parameters
    ----------
    folder : Path, optional
        Folder to read; by default the numbers that come with the project (``results/reported``). Methods and
        networks without a config are named in its ``elsewhere.yaml``.

    Returns
    -------
    DataFrame
        A row for each accuracy, indexed by ``place`` (``textbook.csv, line 2``), with the columns of
        `COLUMNS` and ``rounding``, half a unit of the last printed digit. ``accuracy`` (per cent), ``std`` and
        ``rounding`` (points) are float, ``runs`` is Int64 with NA where the number of runs averaged is unknown, and
        the others are text, empty where the publication does not say.

    Raises
    ------
    UsageError
        A file or a row breaks a rule of ``results/reported/README.md``; the message names file and line.
    FileNotFoundError
        No folder is given and the one of the project is missing.

    Notes
    -----
    An average is compared with the mean of the tasks that the same publication gives for the same dataset, method,
    features and protocol, if it gives several. Both were rounded for print, so that they may differ by half a unit of
    the average's last digit and half a unit of the tasks'. More than that is a misprint, which the row's ``erratum``
    must describe.

    Examples
    --------
    >>> book = load().query("origin == 'seed'")
    >>> book[book["method"] == "ddc"][["task", "accuracy", "protocol"]].to_dict("records")
    [{'task': 'A-W', 'accuracy': 78.8, 'protocol': 'oracle'}]
    """
    folder = packaged_folder("reported") if folder is None else folder
    others = elsewhere(folder)
    rows = [row for path in sorted(folder.glob("*.csv")) for row in _read(path)]
    if not rows:
        raise UsageError(
            f"{folder} holds no reported accuracy; expected CSV files with the columns {','.join(COLUMNS)}"
        )
    for row in rows:
        _check_names(row, others)
    _check_unique(rows)
    _check_averages(rows)
    types = {"accuracy": "float64", "std": "float64", "rounding": "float64", "runs": "Int64"}
    made = pd.DataFrame(rows).assign(rounding=[row.rounding for row in rows])
    return made.astype(types).set_index("place")


@cache
def elsewhere(folder: Path | None = None) -> Elsewhere:
    """Return what the tables name and this project has no config for: the ``elsewhere.yaml`` of a folder, if any.

    Raises
    ------
    UsageError
        The file is no such list, or a name in it has a config.
    """
    path = (packaged_folder("reported") if folder is None else folder) / ELSEWHERE
    if not path.is_file():
        return Elsewhere({}, {})
    try:
        made = Elsewhere(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except (TypeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name}: expected the two maps methods and networks, each name: description") from error
    for named, group in ((made.methods, "method"), (made.networks, "backbone")):
        for name in named:
            if name in names(group):
                raise UsageError(
                    f"{path.name}: {name} has a config, conf/{group}/{name}.yaml; take it out of this list"
                )
    return made


def tables(rows: pd.DataFrame) -> Iterator[Table]:
    """Yield each row of the published tables that `load` has read.

    Tasks of one row are rounded alike: 28.5 between 31.43 and 89.17 stands for 28.50.
    """
    tasks = rows["task"] != AVERAGE
    common = [rows[column] for column in TABLE]
    finest = rows["rounding"].where(tasks).groupby(common).transform("min").where(tasks, rows["rounding"])
    stds = rows["std"].astype(object).where(rows["std"].notna(), None)
    printed = pd.Series(
        [Printed(*cell) for cell in zip(rows["accuracy"], stds, finest, rows["erratum"], strict=True)], index=rows.index
    )
    for (dataset, method, features, protocol, source), cells in rows.assign(printed=printed).groupby(TABLE, sort=False):
        first = cells.iloc[0]
        runs = None if pd.isna(first["runs"]) else int(first["runs"])
        note = next((text for text in cells["note"] if text), "")
        yield Table(
            dataset=dataset,
            method=method,
            features=features,
            protocol=protocol,
            source=source,
            label=first["label"],
            runs=runs,
            differs=first["differs"],
            note=note,
            cells=dict(zip(cells["task"], cells["printed"], strict=True)),
        )


def half_unit(number: Decimal) -> Decimal:
    """Return half a unit of the last digit of a number as it is written.

    Examples
    --------
    >>> half_unit(Decimal("76.10"))
    Decimal('0.005')
    """
    return Decimal(5).scaleb(int(number.as_tuple().exponent) - 1)


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
    named = dict(zip(COLUMNS, cells, strict=True))
    for column in FILLED:
        if not named[column]:
            raise UsageError(f"{place}: {column} is empty; it must say something, as must {', '.join(FILLED)}")
    for column, choices in (("protocol", PROTOCOLS), ("origin", ORIGINS)):
        if named[column] not in choices:
            raise UsageError(f"{place}: {column} is {named[column]!r}; choose from: {', '.join(choices)}")
    accuracy, std, runs = (named.pop(column) for column in ("accuracy", "std", "runs"))
    return Reported(place, accuracy=_accuracy(place, accuracy), std=_std(place, std), runs=_runs(place, runs), **named)


def _accuracy(place: str, text: str) -> Decimal:
    accuracy = _number(text)
    if accuracy is None or not 0 <= accuracy <= 100:
        raise UsageError(f"{place}: accuracy is {text!r}; expected per cent, from 0 to 100")
    return accuracy


def _std(place: str, text: str) -> float | None:
    if not text:
        return None
    std = _number(text)
    if std is None or not 0 <= std <= 50:
        raise UsageError(f"{place}: std is {text!r}; expected points, from 0 to 50, or nothing where it is unknown")
    return float(std)


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _runs(place: str, text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[1-9][0-9]*", text):
        raise UsageError(f"{place}: runs is {text!r}; expected a whole number from 1, or nothing where it is unknown")
    return int(text)


def _check_names(row: Reported, others: Elsewhere) -> None:
    try:
        tasks = listed_tasks(row.dataset)
        if row.task not in (AVERAGE, *tasks):
            raise unknown(f"task of {row.dataset}", row.task, (AVERAGE, *tasks))
        if row.method not in (methods := names("method") | others.methods.keys()):
            raise unknown(f"method, here or in {ELSEWHERE}", row.method, methods)
        if row.features:
            _check_features(row.features, others)
    except UsageError as error:
        raise UsageError(f"{row.place}: {error}") from error


def _check_features(features: str, others: Elsewhere) -> None:
    parts = _FEATURES.fullmatch(features)
    if parts is None:
        raise UsageError(f"features are {features!r}; expected a network, or NETWORK end to end, or NETWORK fine-tuned")
    if parts[1] not in (networks := names("backbone") | others.networks.keys()):
        raise unknown(f"backbone, here or in {ELSEWHERE}", parts[1], networks)


def _check_unique(rows: Iterable[Reported]) -> None:
    first: dict[tuple[str, ...], str] = {}
    for row in rows:
        earlier = first.setdefault((row.task, *row.table), row.place)
        if earlier != row.place:
            raise UsageError(
                f"{row.place}: {row.method} on {row.dataset} {row.task} repeats {earlier} "
                "(same features, protocol and source); keep one of them"
            )


def _check_averages(rows: Iterable[Reported]) -> None:
    tables: dict[tuple[str, ...], dict[str, Reported]] = {}
    for row in rows:
        tables.setdefault(row.table, {})[row.task] = row
    for tasks in tables.values():
        average = tasks.pop(AVERAGE, None)
        if average is None or len(tasks) < 2:
            continue
        mean = sum((row.accuracy for row in tasks.values()), Decimal(0)) / len(tasks)
        rounding = average.rounding + min(row.rounding for row in tasks.values())
        said = f"{average.place}: the average of {average.method} on {average.dataset} is {average.accuracy}"
        if abs(mean - average.accuracy) <= rounding:
            if average.erratum:
                raise UsageError(f"{said}, as its {len(tasks)} tasks say; take the erratum away")
        elif not any(row.erratum for row in chain([average], tasks.values())):
            raise UsageError(
                f"{said} but its {len(tasks)} tasks have the mean {mean:.2f}; "
                "correct the row that is mistyped, or describe the misprint in the average's erratum"
            )
