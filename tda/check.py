"""Expected accuracies of an experiment, and whether what was measured now has fallen below them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import dropwhile
from math import sqrt
from pathlib import Path
from typing import Literal

import pandas as pd

from tda.cache import atomic
from tda.errors import UsageError
from tda.report.labels import row_labels
from tda.report.table import AVERAGE, accuracies, first_of_each, frame
from tda.store import Record

PLACE = ["dataset", "backbone", "method", "label", "task"]
COLUMNS = [*PLACE, "accuracy", "std", "seeds", "one_sample"]
SEEDS = 10
STANDARD_ERRORS = 3
SAMPLES = 3
MEASURED_BY = "# Measured by: "

State = Literal["as expected", "fell", "rose", "not measured", "not expected"]


@dataclass(frozen=True)
class Verdict:
    r"""What became of one place of an experiment's table.

    With s the standard deviation over the N seeds of the baseline and n seeds now, an accuracy has fallen or risen if
    it differs by more than

    .. math:: \max\left(3\, s \sqrt{1/n + 1/N},\ \text{three scored samples}\right).

    Three samples are what rounding on another processor may turn; of an average over T tasks, :math:`3/\sqrt{T}`.

    Attributes
    ----------
    place : tuple of str
        Dataset, backbone, method, the row's label, task or `AVERAGE`.
    expected, measured : float or None
        Per cent.
    tolerance : float or None
        Points.
    """

    place: tuple[str, ...]
    state: State
    expected: float | None = None
    measured: float | None = None
    tolerance: float | None = None

    def __str__(self) -> str:
        dataset, backbone, _, label, task = self.place
        line = f"{self.state:<12}  {dataset} {backbone}  {label}  {task}"
        if self.expected is not None:
            line += f"  expected {self.expected:.2f}"
        if self.measured is not None:
            line += f"  now {self.measured:.2f}"
        if self.expected is not None and self.measured is not None and self.tolerance is not None:
            difference = self.measured - self.expected
            line += f"  ({difference:+.2f}, {abs(difference) / self.tolerance:.1f} times the tolerance)"
        return line


def measured(records: Iterable[Record]) -> pd.DataFrame:
    """Return a line of `COLUMNS` for each place of the records' tables: mean, deviation and number of seeds, and what
    one scored sample is worth in points.

    A cell that failed, or an average of which a task is missing, has no line.
    """
    cells = frame(records)
    lines = []
    for dataset, part in () if cells.empty else cells.groupby("dataset", sort=True):
        tasks = tuple(dict.fromkeys(part["task"]))
        firsts = first_of_each(part)
        labels = row_labels(firsts)
        samples = 100 / part.groupby("task")["scored"].first()
        samples[AVERAGE] = samples.mean() / sqrt(len(samples))
        for setting, by_seed in accuracies(part, tasks).groupby("setting", sort=False):
            first = firsts.loc[str(setting)]
            for task in by_seed:
                values = by_seed[task].dropna()
                if len(values):
                    place = (dataset, first["backbone"], first["method"], labels[str(setting)], task)
                    std = values.std(ddof=1) if len(values) > 1 else 0.0
                    lines.append((*place, values.mean(), std, len(values), samples[task]))
    return pd.DataFrame(lines, columns=COLUMNS)


def verdicts(
    expected: pd.DataFrame,
    now: pd.DataFrame,
    wanted: Collection[tuple[str, str, str]],
    lost: Collection[tuple[str, str, str]] = (),
) -> list[Verdict]:
    """Compare what was measured with what is expected, at every place that either has.

    Parameters
    ----------
    expected, now : DataFrame
        As `measured` returns them.
    wanted : collection of (str, str, str)
        Dataset, method and task of every cell that was to be run; what is expected elsewhere is left out, averages
        over other tasks too.
    lost : collection of (str, str, str)
        Cells that are expected and no longer run: they are missing. Averages over them are left out.
    """
    tasks = {dataset: set(part["task"]) - {AVERAGE} for dataset, part in expected.groupby("dataset")}
    asked_of: dict[tuple[str, str], set[str]] = {}
    for dataset, method, task in wanted:
        asked_of.setdefault((dataset, method), set()).add(task)
    whole = {method for method, found in asked_of.items() if tasks.get(method[0]) == found}
    asked = {*wanted, *lost} | {(*method, AVERAGE) for method in whole}
    before = {row[: len(PLACE)]: row[len(PLACE) :] for row in expected.itertuples(index=False, name=None)}
    after = {row[: len(PLACE)]: row[len(PLACE) :] for row in now.itertuples(index=False, name=None)}
    found = []
    for place in dict.fromkeys([*before, *after]):
        if (place[0], place[2], place[4]) not in asked:
            continue
        if place not in before:
            found.append(Verdict(place, "not expected", measured=after[place][0]))
        elif place not in after:
            found.append(Verdict(place, "not measured", expected=before[place][0]))
        else:
            (mean, std, seeds, one_sample), (here, _, runs, _) = before[place], after[place]
            tolerance = max(STANDARD_ERRORS * std * sqrt(1 / runs + 1 / seeds), SAMPLES * one_sample)
            state: State = "as expected"
            if abs(here - mean) > tolerance + 1e-9:
                state = "fell" if here < mean else "rose"
            found.append(Verdict(place, state, mean, here, tolerance))
    return found


def cells(baseline: pd.DataFrame) -> set[tuple[str, str, str]]:
    """Return dataset, method and task of the places of a baseline, averages left out."""
    places = baseline.loc[baseline["task"] != AVERAGE, ["dataset", "method", "task"]]
    return set(places.itertuples(index=False, name=None))


def exit_code(found: Sequence[Verdict]) -> int:
    """Return 1 if an accuracy fell, else 2 if some could not be judged, else 0."""
    states = {verdict.state for verdict in found}
    if "fell" in states:
        return 1
    return 2 if not found or states & {"not measured", "not expected"} else 0


def read(path: Path) -> pd.DataFrame:
    """Read an experiment's baseline.

    Raises
    ------
    UsageError
        If there is none, or it is not one.
    """
    if not path.is_file():
        raise UsageError(
            f"{str(path)!r} does not exist; the same command with --update makes it, --baselines finds others"
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        written = StringIO("".join(dropwhile(lambda line: line.startswith("#"), lines)))
        baseline = pd.read_csv(written, dtype=dict.fromkeys(PLACE, str), keep_default_na=False)
        baseline = baseline[COLUMNS].astype({"accuracy": float, "std": float, "seeds": int, "one_sample": float})
    except (KeyError, ValueError, UnicodeDecodeError) as error:
        raise UsageError(f"{str(path)!r} is not a baseline, whose columns are {', '.join(COLUMNS)}: {error}") from error
    return baseline


def commands(path: Path) -> list[str]:
    """Return the commands that measured a baseline: all of it, then parts of it anew."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix(MEASURED_BY) for line in lines if line.startswith(MEASURED_BY)]


def write(path: Path, baseline: pd.DataFrame, *commands: str) -> None:
    """Write a baseline, with the commands that measured it in its first lines."""
    with atomic(path) as temporary:
        measured_by = "".join(f"{MEASURED_BY}{command}\n" for command in dict.fromkeys(commands))
        temporary.write_text(measured_by + baseline.to_csv(index=False, float_format="%.4f"), encoding="utf-8")


def merged(baseline: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    """Return a baseline with the lines of `part` for all of its methods, in the order of methods that it had."""
    both = pd.concat([baseline.assign(anew=False), part.assign(anew=True)], ignore_index=True)
    methods = both.groupby(["dataset", "method"], sort=False)
    kept = both.assign(order=methods.ngroup())[both["anew"] | ~methods["anew"].transform("any")]
    return kept.sort_values("order", kind="stable", ignore_index=True)[COLUMNS]


def too_few_seeds(records: Iterable[Record]) -> list[str]:
    """Return the labels of the rows that depend on a seed and were measured with fewer than `SEEDS` on some task."""
    good = [record for record in records if record.status == "ok"]
    if not good:
        return []
    cells = frame(good)
    seeds = cells[cells["seed"].notna()].groupby(["setting", "task"])["seed"].nunique().groupby("setting").min()
    few = cells[cells["setting"].isin(seeds[seeds < SEEDS].index)]
    return sorted(set(few["label"]))
