"""A table as text, CSV, Markdown and LaTeX."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain
from pathlib import Path

import pandas as pd

from tda.cache import atomic
from tda.errors import UsageError
from tda.report.table import AVERAGE, Entry, Table, frame, tables
from tda.store import Record, Store

GAP = "Gap closed"
LEGEND = (
    "Accuracy in per cent on the target, mean ± standard deviation over seeds; target labels are used for scoring "
    "only. *: best in the column. +: second best. ↓: negative transfer, below the method's baseline without "
    "adaptation, where the table has it. "
    "Oracle rows use target labels (trained on them, cross-fitted, or chosen by them) and never compete for best. Gap "
    "closed: (method - source-only) / (target-trained - source-only) of the averages."
)
DISTANCES = "how far apart the method leaves the two domains, mean over tasks and seeds; less is nearer."
NOTHING = "no record matches; `tda run` makes records, and `--results` says where they are"
MADE_BY = "Made by `{}`."


def number(entry: Entry, plus_minus: str) -> str:
    """Return an entry's accuracy and deviation, or what stands in their place."""
    if entry.failed:
        return "failed"
    if entry.mean is None:
        return "-"
    return f"{entry.mean:.1f}" + ("" if entry.std is None else f"{plus_minus}{entry.std:.1f}")


def significant(value: float) -> str:
    """Return a number with three significant digits, zeros at its end among them.

    Examples
    --------
    >>> significant(0.16999), significant(2), significant(123.4)
    ('0.170', '2.00', '123')
    """
    return f"{value:#.3g}".rstrip(".")


def heading(table: Table) -> list[str]:
    """Return the column heads."""
    gaps = [GAP] if any(row.gap is not None for row in table.rows) else []
    return ["Method", "Backbone", *table.tasks, AVERAGE, *table.distances, *gaps]


def body(table: Table, show: Callable[[Entry], str], gap: Callable[[float], str]) -> list[list[str]]:
    """Return the rows, each place shown by `show`, the share of the gap that is closed by `gap`."""
    has_gap = GAP in heading(table)
    return [
        [
            f"{row.label} (oracle)" if row.oracle else row.label,
            row.backbone,
            *(show(row.entries[column]) for column in (*table.tasks, AVERAGE)),
            *(significant(row.distances[name]) if name in row.distances else "" for name in table.distances),
            *([gap(row.gap) if row.gap is not None else ""] if has_gap else []),
        ]
        for row in table.rows
    ]


def text(table: Table) -> str:
    """Return the table for a terminal."""

    def show(entry: Entry) -> str:
        mark = "*" if entry.best else "+" if entry.second else " "
        return f"{number(entry, '±')}{mark}{'↓' if entry.negative else ' '}"

    lines = [heading(table), *body(table, show, lambda gap: f"{gap:.0f} %")]
    lines[0] = [*lines[0][:2], *(f"{head}  " for head in lines[0][2:])]
    return ruled(f"{table.dataset}: {title(table)}", lines, 2)


def ruled(caption: str, lines: list[list[str]], names: int) -> str:
    """Return lines of places, the head first, as `aligned` columns between rules, below a caption."""
    head, *rest = aligned(lines, names)
    rule = "-" * max(map(len, [head, *rest]))
    return "\n".join([caption, rule, head, rule, *rest, rule])


def aligned(lines: list[list[str]], names: int) -> list[str]:
    """Return lines of places as columns: the first `names` of them flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        " ".join(
            place.ljust(width) if i < names else place.rjust(width)
            for i, (place, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def title(table: Table) -> str:
    """Say what the numbers are: their unit, the share of the tasks, how many seeds, and what chose the iterates."""
    part = f" on {len(table.tasks)} of {len(table.listed)} tasks" if set(table.tasks) < set(table.listed) else ""
    counts = sorted({entry.seeds for row in table.rows for entry in row.entries.values() if entry.seeds}) or [1]
    seeds = f"{' or '.join(map(str, counts))} seed{'s' if counts != [1] else ''}"
    return f"accuracy in per cent{part}, {seeds}, selection: {', '.join(table.selections)}"


def markdown(table: Table) -> str:
    """Return the table in GitHub's Markdown, the best in bold, the second best in italics."""

    def show(entry: Entry) -> str:
        value = number(entry, " ± ")
        marked = f"**{value}**" if entry.best else f"*{value}*" if entry.second else value
        return marked + (" ↓" if entry.negative else "")

    lines = [heading(table), *body(table, show, lambda gap: f"{gap:.0f} %")]
    return piped(f"{table.dataset}: {title(table)}", lines, 2)


def piped(caption: str, lines: list[list[str]], names: int) -> str:
    """Return lines of places, the head first, as a table in GitHub's Markdown, aligned as by `aligned`."""
    head, *rest = [[place.replace("|", r"\|") for place in line] for line in lines]
    rule = [":--" if i < names else "--:" for i in range(len(head))]
    return "\n".join([f"{caption}\n", *(f"| {' | '.join(line)} |" for line in (head, rule, *rest))])


def latex(table: Table) -> str:
    """Return the table in LaTeX with booktabs, the best in bold, the second best underlined."""

    def show(entry: Entry) -> str:
        value = number(entry, r" $\pm$ ")
        marked = rf"\textbf{{{value}}}" if entry.best else rf"\underline{{{value}}}" if entry.second else value
        return marked + (r" $\downarrow$" if entry.negative else "")

    head, *rest = heading(table), *body(table, show, lambda gap: rf"{gap:.0f}\,\%")
    head[2:] = [escaped(column).replace("-", r"$\to$") for column in head[2:]]
    rest = [[escaped(line[0]), escaped(line[1]), *line[2:]] for line in rest]
    lines = [" & ".join(line) + r" \\" for line in [head, *rest]]
    columns = "ll" + "r" * (len(head) - 2)
    return "\n".join(
        [
            f"% {table.dataset}: {title(table)}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def escaped(name: str) -> str:
    """Return a name with what LaTeX would read as its own escaped."""
    return "".join({"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}.get(
        c, f"\\{c}" if c in "_%&#${}" else c
    ) for c in name)  # fmt: skip


def csv(*tables: Table) -> str:
    """Return tables as CSV: one line per dataset, method and column, for other programs."""
    lines = [
        {
            "dataset": table.dataset, "backbone": row.backbone, "method": row.label, "task": column,
            "accuracy": entry.mean, "std": entry.std, "seeds": entry.seeds, "selection": row.selection,
            "oracle": row.oracle, "failed": entry.failed, "best": entry.best, "second": entry.second,
            "negative_transfer": entry.negative, "gap_closed": row.gap if column == AVERAGE else None,
            **({name: row.distances.get(name) for name in table.distances} if column == AVERAGE else {}),
        }
        for table in tables
        for row in table.rows
        for column, entry in row.entries.items()
    ]  # fmt: skip
    return str(pd.DataFrame(lines).to_csv(index=False, float_format="%.4f")).rstrip("\n")


FORMATS: Mapping[str, Callable[[Table], str]] = {
    "text": text,
    "csv": csv,
    "markdown": markdown,
    "latex": latex,
}


def render(made: Iterable[Table], form: str) -> str:
    """Return tables in one of `FORMATS`, what marks mean below them where people read them.

    Raises
    ------
    UsageError
        If there is no table.
    """
    made = list(made)
    if not made:
        raise UsageError(NOTHING)
    if form == "csv":
        return csv(*made)
    shown = [FORMATS[form](table) for table in made]
    said = " ".join([LEGEND, *distance_legend(*made)])
    in_markdown = said.replace("*: best", "Bold: best").replace("+: second", "Italics: second")
    legend = {"text": [said], "markdown": [in_markdown], "latex": []}[form]
    return "\n\n".join([*shown, *legend])


def distance_legend(*made: Table) -> list[str]:
    """Return what the columns of distances are, if there are any."""
    names = dict.fromkeys(name for table in made for name in table.distances)
    return [f"{', '.join(names)}: {DISTANCES}"] if names else []


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, ``1 cell`` or ``1,200 cells``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def write(records: Iterable[Record], folder: Path, name: str, command: str) -> list[Path]:
    """Write the table of a sweep in every form, with the records that made it and the command beside it.

    Returns
    -------
    list of Path
        ``NAME.csv``, ``NAME.md``, ``NAME.tex`` and ``NAME.records.csv`` in `folder`.
    """
    records = list(records)
    made = tables(records)
    cells = frame(records)
    cells = cells[["dataset", "task", "backbone", "method", "setting", "seed", "protocol", "status", "accuracy", "key"]]
    contents = {
        ".csv": render(made, "csv"),
        ".md": f"{MADE_BY.format(command)}\n\n{render(made, 'markdown')}",
        ".tex": f"% Made by: {command}\n{render(made, 'latex')}",
        ".records.csv": cells.to_csv(index=False, float_format="%.4f").rstrip("\n"),
    }
    for suffix, content in contents.items():
        with atomic(folder / f"{name}{suffix}") as path:
            path.write_text(content + "\n", encoding="utf-8")
    return [folder / f"{name}{suffix}" for suffix in contents]


def commands(store: Store, keys: Collection[str]) -> dict[str, set[str]]:
    """Return the commands whose tables in a store hold any of these records, each with the keys of those it holds.

    What `write` did not write there is passed over.
    """
    found: dict[str, set[str]] = {}
    for path in chain(*(sorted((part.results / "tables").glob("*.records.csv")) for part in store.parts)):
        try:
            held = set(pd.read_csv(path, usecols=["key"], dtype=str)["key"]) & set(keys)
            first = path.with_name(path.name.replace(".records.csv", ".md")).read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
        if held and (command := re.match(re.escape(MADE_BY).replace(r"\{\}", "(.*)"), first)):
            found.setdefault(command[1], set()).update(held)
    return found
