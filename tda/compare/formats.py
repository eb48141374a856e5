"""Comparisons as text, Markdown and CSV."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import fill

import pandas as pd

from tda.compare.comparison import Comparison
from tda.compare.differences import described, spelled
from tda.compare.measured import Cell
from tda.errors import UsageError
from tda.report.formats import plural
from tda.reported import AVERAGE
from tda.written import listed_tasks

MARKS = {"within": "≈", "above": "↑", "below": "↓", "": ""}
LEGEND = (
    "Ours - reported, in points. ≈ within the spread: two standard deviations of the difference (over our seeds, and "
    "over theirs where they give it), never below one scored image and half a unit of the last printed digit; ↑ above, "
    "↓ below. No mark: no spread is known (one seed). A reported row that differs in features, protocol or data, or is "
    "misprinted, gets no difference."
)


@dataclass(frozen=True)
class Block:
    """What is shown of one of our settings: a table, where its numbered rows come from, and what is not comparable."""

    title: str
    head: list[str]
    lines: list[list[str]]
    sources: list[str]
    incomparable: list[str]


def blocks(comparisons: Iterable[Comparison]) -> list[Block]:
    """Lay comparisons out, a block for each of our settings."""
    return [block(list(alike)) for _, alike in groupby(comparisons, key=lambda one: one.setting)]


def block(alike: Sequence[Comparison]) -> Block:
    """Lay out the comparisons of one setting: ours, then each reported row and the difference."""
    dataset, _, label, seen = alike[0].setting
    runs = alike[0].ours.runs
    title = f"{dataset}: {label}, features {described(seen)}, {plural(runs, 'seed') if runs else 'deterministic'}"
    compared = [one for one in alike if not one.unlike]
    tasks = [*listed_tasks(dataset), AVERAGE]
    shown = [task for task in tasks if any(cell.task == task for one in compared for cell in one.cells)]
    lines: list[list[str]] = []
    sources: list[str] = []
    for protocol, rows in groupby(compared, key=lambda one: one.ours.protocol):
        known = list(rows)
        digits = max(cell.digits for one in known for cell in one.cells)
        mine = {cell.task: spread_out(cell.ours, cell.std, digits) for one in known for cell in one.cells}
        mine[AVERAGE] = spread_out(*known[0].whole, digits) if known[0].whole else ""
        lines.append([f"ours, {spelled(protocol)}", *(mine.get(task, "") for task in shown)])
        for one in known:
            number = f"[{len(sources) + 1}]"
            cells = {cell.task: cell for cell in one.cells}
            theirs = {task: spread_out(cell.reported, cell.reported_std, cell.digits) for task, cell in cells.items()}
            lines.append([f"{number} {one.theirs.label}", *(theirs.get(task, "") for task in shown)])
            differences = {task: marked(cell) for task, cell in cells.items()}
            lines.append(["    ours - reported", *(differences.get(task, "") for task in shown)])
            said = [one.source, *one.caveats, *averaged(one), *([one.note] if one.note else [])]
            sources.append(f"{number} " + "; ".join(said))
    incomparable = [
        f"{one.theirs.label} {spread_out(last.reported, last.reported_std, last.digits)} "
        f"({' '.join(filter(None, [last.task, one.averaged]))}): " + "; ".join((*one.unlike, one.source))
        for one in alike
        if one.unlike
        for last in one.cells[-1:]
    ]
    return Block(title, ["", *shown], lines, sources, incomparable)


def averaged(one: Comparison) -> Iterator[str]:
    """Yield what a reported average is over, where that is to be told, and ours over the same where it is partial."""
    last = one.cells[-1]
    if one.averaged:
        apart = last.task == AVERAGE and (last.ours, last.std) != one.whole
        yield f"average {one.averaged}" + (f", ours {spread_out(last.ours, last.std, last.digits)}" if apart else "")


def spread_out(mean: float, std: float | None, digits: int) -> str:
    """Return an accuracy with its standard deviation, where it has one."""
    return f"{mean:.{digits}f}" + ("" if std is None else f"±{std:.{digits}f}")


def marked(cell: Cell) -> str:
    """Return a difference with the mark of its verdict, or why there is none."""
    if cell.misprinted:
        return "misprint"
    if cell.difference is None:
        return ""
    return f"{signed(cell.difference, cell.digits)} {MARKS[cell.verdict]}".rstrip()


def signed(difference: float, digits: int) -> str:
    """Return a difference with its sign, that of nothing a plus.

    Examples
    --------
    >>> signed(-0.04, 1), signed(-0.06, 1)
    ('+0.0', '-0.1')
    """
    return f"{round(difference, digits) + 0:+.{digits}f}"


def text(comparisons: Sequence[Comparison]) -> str:
    """Return comparisons for a terminal."""
    shown = []
    for one in blocks(comparisons):
        parts = [one.title, "-" * len(one.title)]
        if one.lines:
            table = [one.head, *one.lines]
            widths = [max(map(len, column)) for column in zip(*table, strict=True)]
            for line in table:
                first, *rest = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
                parts.append("  ".join([first, *rest]).rstrip())
        parts += [fill(source, 116, initial_indent="  ", subsequent_indent="      ") for source in one.sources]
        if one.incomparable:
            parts.append("not comparable:")
            parts += [fill(line, 116, initial_indent="  ", subsequent_indent="      ") for line in one.incomparable]
        shown.append("\n".join(parts))
    return "\n\n".join([*shown, fill(LEGEND, 116)])


def markdown(comparisons: Sequence[Comparison]) -> str:
    """Return comparisons as Markdown."""
    shown = []
    for one in blocks(comparisons):
        parts = [f"## {one.title}"]
        if one.lines:
            rule = ["---", *("--:" for _ in one.head[1:])]
            table = (f"| {' | '.join(cell.strip().replace('|', chr(92) + '|') for cell in line)} |"
                     for line in (one.head, rule, *one.lines))  # fmt: skip
            parts += ["\n".join(table), "\n".join(f"* {source}" for source in one.sources)]
        if one.incomparable:
            parts.append("Not comparable:\n\n" + "\n".join(f"* {line}" for line in one.incomparable))
        shown.append("\n\n".join(parts))
    return "\n\n".join([*shown, LEGEND])


def csv(comparisons: Sequence[Comparison]) -> str:
    """Return comparisons as CSV: a line for each task of each reported row, for other programs."""
    lines = [
        {
            "dataset": one.dataset, "method": one.method, "label": one.ours.label, "task": cell.task,
            "accuracy": cell.ours, "std": cell.std, "features": one.ours.features, "protocol": one.ours.protocol,
            "seeds": one.ours.runs, "reported": cell.reported, "reported_std": cell.reported_std,
            "reported_features": one.theirs.features, "reported_protocol": one.theirs.protocol,
            "reported_runs": one.theirs.runs, "difference": cell.difference, "spread": cell.spread,
            "verdict": cell.verdict, "unlike": "; ".join(one.unlike), "caveats": "; ".join(one.caveats),
            "averaged": one.averaged if cell.task == AVERAGE else "",
            "source": one.source, "note": one.note,
        }
        for one in comparisons
        for cell in one.cells
    ]  # fmt: skip
    table = pd.DataFrame(lines).astype({"reported_runs": "Int64"})
    return str(table.to_csv(index=False, float_format="%.4f")).rstrip("\n")


FORMATS: Mapping[str, Callable[[Sequence[Comparison]], str]] = {"text": text, "markdown": markdown, "csv": csv}


def render(comparisons: Sequence[Comparison], form: str) -> str:
    """Return comparisons in one of `FORMATS`.

    Raises
    ------
    UsageError
        If there is none.
    """
    if not comparisons:
        raise UsageError("none of these records has a reported accuracy beside it; results/reported has what there is")
    return FORMATS[form](comparisons)
