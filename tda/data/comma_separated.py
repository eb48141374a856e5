"""Features in lines of comma-separated numbers, the label last, and what may be wrong with such a file."""

import csv
from pathlib import Path

import numpy as np

from tda.data.base import cause
from tda.errors import warn_once

LABEL_NAMES = {"label", "labels", "class", "target", "y"}  # of a column that can only be the labels, in small letters
INDEX = "an index is no feature; leave it out where the file is written (to_csv(index=False), row.names=FALSE)"
COUNTED = 10  # cells from which a first line 0,1,2,... is no sample, even among whole numbers
NUMBER = "number the classes, and name them in dataset.classes"


def read_csv(path: Path, _: Path) -> dict[str, np.ndarray]:
    """Read comma-separated lines, the label last; the first may name the columns."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = ((n, cells) for n, cells in enumerate(csv.reader(file)) if cells and not cells[0].startswith("#"))
        blank, first = next(lines, (0, []))
        second = next(lines, (0, []))[1]
        header = is_header(first, second)
        if not first or (header and not second):
            raise ValueError("it holds no samples")
    if header:
        check_header(first, len(second))
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=blank + header, ndmin=2, encoding="utf-8-sig", quotechar='"')
    except ValueError as error:
        raise ValueError(fault(path, blank + header) or cause(error)) from error
    if table.shape[1] < 2:
        raise ValueError("expected features and a label in each line, separated by commas, given one cell")
    if len(table) > 2 and (np.diff(table[:, 0]) == 1).all():
        warn_once(f"{path}: the first column counts the lines, and is taken as a feature; {INDEX}")
    return {"features": table[:, :-1], "labels": table[:, -1]}


def is_header(first: list[str], second: list[str]) -> bool:
    """Return whether the first line names the columns.

    It does if it has no number, or none where the second has the label, or counts the columns from 0 or 1.

    Raises
    ------
    ValueError
        It counts, and may be a sample as well: it is short, and there are whole numbers in the second, too.

    Examples
    --------
    >>> is_header(["0", "kind"], ["3", "1"]), is_header(["0", "1"], ["3.5", "1.0"]), is_header(["NA", "1"], ["3", "1"])
    (True, True, False)
    """
    if not any(map(is_number, first)) or (not is_number(first[-1]) and is_number(second[-1] if second else "")):
        return True
    numbers = [str(number) for number in range(len(first) + 1)]
    if len(first) < 2 or [cell.strip() for cell in first] not in (numbers[:-1], numbers[1:]):
        return False
    if len(first) < COUNTED and any(cell.strip().lstrip("+-").isdecimal() for cell in second or first):
        raise ValueError(
            f"its first line, {','.join(first)}, may be a sample or the columns' numbers; put a line of names "
            "(f0,...,label) before a sample, and in place of numbers, or leave these out (to_csv(header=False))"
        )
    return True


def check_header(names: list[str], cells: int) -> None:
    """Raise `ValueError` where the names say that a column is an index, or that the labels are not in the last.

    `cells` is how many the next line has.
    """
    if not names[0].strip() or len(names) == cells - 1:
        raise ValueError(f"its first column has no name: {INDEX}")
    if len(names) != cells:
        raise ValueError(f"its first line names {len(names)} columns, and the next has {cells} cells; give as many")
    *others, last = (name.strip() for name in names)
    taken = LABEL_NAMES - ({"y"} if "x" in map(str.lower, others) else set())  # beside x, y is a coordinate
    label = next((name for name in others if name.lower() in taken), None)
    if label is not None and last.lower() not in LABEL_NAMES:
        raise ValueError(f"the last column is the label, and that is {last!r}; move {label!r} there, or rename it")


def fault(path: Path, skipped: int) -> str | None:
    """Say where the lines after the first `skipped` hold anything but a table of comma-separated numbers."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        width = 0
        lines = csv.reader((line.partition("#")[0] for line in file), quoting=csv.QUOTE_NONE)
        for cells in lines:
            if not cells or lines.line_num <= skipped:
                continue
            for column, cell in enumerate(cells, start=1):
                if not is_number(cell):
                    where = f"line {lines.line_num}, column {column}: {cell!r} is not a number"
                    return where + advice(cell, first=column == 1, last=column == len(cells))
            width = width or len(cells)
            if len(cells) != width:
                return f"line {lines.line_num}: expected {width} cells, as in the lines before, given {len(cells)}"
    return None


def advice(cell: str, *, first: bool, last: bool) -> str:
    """Return what to do about a cell that is not a number, in the first or last column of its line or between them."""
    if ";" in cell or "\t" in cell or " " in cell.strip():
        return "; separate the cells by commas"
    if first and not cell.strip():
        return f"; {INDEX}"
    if last and not cell.strip():
        return "; leave out the comma at the end of the line, or fill in the label"
    if last:
        return f"; the last column is the label, a whole number: {NUMBER}"
    return "; fill it in, or leave the sample out"


def is_number(cell: str) -> bool:
    """Return whether a cell of text is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
