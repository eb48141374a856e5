"""The accuracy table of a set of records, as text, CSV, Markdown and LaTeX."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tda.cache import atomic
from tda.errors import UsageError
from tda.store import Record

AVERAGE = "Avg"
GAP = "Gap closed"
LEGEND = (
    "Accuracy in per cent on the target, mean ± standard deviation over seeds; target labels are used for scoring "
    "only. *: best in the column. ↓: negative transfer, below the method's own baseline without adaptation. "
    "Oracle rows are trained on target labels (cross-fitted) and never compete for best. Gap closed: (method - "
    "source-only) / (target-trained - source-only) of the averages."
)


@dataclass(frozen=True)
class Entry:
    """One place of the table."""

    mean: float | None = None
    std: float | None = None
    failed: bool = False
    best: bool = False
    negative: bool = False


@dataclass(frozen=True)
class Row:
    """One method under one configuration on one kind of features."""

    label: str
    backbone: str
    seeds: int
    oracle: bool
    entries: Mapping[str, Entry]
    gap: float | None


@dataclass(frozen=True)
class Table:
    """The accuracies of one dataset: a row a method, a column a task, then their average."""

    dataset: str
    tasks: tuple[str, ...]
    rows: tuple[Row, ...]


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return the records as a data frame, one row a cell."""
    return pd.DataFrame([asdict(record) for record in records])


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
    tasks = tuple(dict.fromkeys(cells["task"]))
    means = summary(cells, tasks)
    labels = row_labels(cells)
    by_setting = {str(name): part for name, part in cells.groupby("setting", sort=False)}
    compared = [name for name, part in by_setting.items() if part["protocol"].iloc[0] != "oracle"]
    best = means.loc[compared].max() if compared else pd.Series(dtype=float)
    rows = []
    for name, part in by_setting.items():
        first = part.iloc[0]
        beside = [n for n in compared if by_setting[n].iloc[0]["backbone"] == first["backbone"]]
        lower = baseline(first["baseline"], [by_setting[n] for n in beside])
        upper = next(
            (n for n, p in by_setting.items() if p.iloc[0]["protocol"] == "oracle"
             and p.iloc[0]["backbone"] == first["backbone"]), None,
        )  # fmt: skip
        spread = deviations(part, tasks)
        entries = {
            column: Entry(
                mean=none_if_nan(means.at[name, column]),
                std=none_if_nan(spread.get(column)),
                failed=bool((part.loc[part["task"] == column, "status"] == "failed").any()),
                best=name in compared and bool(means.at[name, column] >= best[column] - 1e-9),
                negative=lower is not None and bool(means.at[name, column] < means.at[lower, column] - 1e-9),
            )
            for column in (*tasks, AVERAGE)
        }
        gap = None
        if lower is not None and upper is not None and name in compared:
            room = means.at[upper, AVERAGE] - means.at[lower, AVERAGE]
            gap = none_if_nan(100 * (means.at[name, AVERAGE] - means.at[lower, AVERAGE]) / room) if room > 0 else None
        seeds = part["seed"].nunique() or 1
        rows.append(Row(labels[name], first["backbone"], seeds, name not in compared, entries, gap))
    ordered = sorted(rows, key=lambda row: (row.oracle, row.backbone, row.entries[AVERAGE].mean or 0.0, row.label))
    return Table(dataset, tasks, tuple(ordered))


def summary(cells: pd.DataFrame, tasks: Iterable[str]) -> pd.DataFrame:
    """Return mean accuracies, settings x tasks, and their average where every task has been run well."""
    means = cells.pivot_table("accuracy", "setting", "task", aggfunc="mean", dropna=False)
    means = means.reindex(index=cells["setting"].unique(), columns=list(tasks)).astype(float)
    means[AVERAGE] = means.mean(axis=1, skipna=False)
    return means


def deviations(part: pd.DataFrame, tasks: tuple[str, ...]) -> Mapping[str, float]:
    """Return the standard deviation over seeds (n - 1) per task, and of the seeds' averages over complete sweeps."""
    by_seed = part.pivot_table("accuracy", "seed", "task", aggfunc="mean").reindex(columns=list(tasks))
    by_seed[AVERAGE] = by_seed.mean(axis=1, skipna=False)
    return {str(column): float(std) for column, std in by_seed.std(ddof=1).items()}


def baseline(method: str | None, beside: Iterable[pd.DataFrame]) -> str | None:
    """Return the setting, among those on the same features, of the method that transfer is measured against."""
    return next((str(part["setting"].iloc[0]) for part in beside if part["method"].iloc[0] == method), None)


def row_labels(cells: pd.DataFrame) -> dict[str, str]:
    """Return each setting's label, with the parameters that tell it from others of the same method and backbone."""
    firsts = cells.drop_duplicates("setting")
    labels = {}
    for _, alike in firsts.groupby(["method", "backbone"], sort=False):
        flat = {row["setting"]: dict(leaves(row["config"])) for _, row in alike.iterrows()}
        keys = list(dict.fromkeys(key for leaf in flat.values() for key in leaf))
        differing = [
            key for key in keys if key not in NOT_A_SETTING and len({leaf.get(key) for leaf in flat.values()}) > 1
        ]
        for _, row in alike.iterrows():
            told = ", ".join(f"{key.rpartition('.')[2]}={flat[row['setting']].get(key)}" for key in differing)
            labels[row["setting"]] = f"{row['label']} ({told})" if told else row["label"]
    return labels


def leaves(node: Any, path: str = "") -> Iterable[tuple[str, str]]:
    """Yield every leaf of a nested configuration with its dotted path."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path, json.dumps(node)


def none_if_nan(value: Any) -> float | None:
    """Return a float, or None for what is missing."""
    return None if value is None or pd.isna(value) else float(value)


def number(entry: Entry, plus_minus: str) -> str:
    """Return an entry's accuracy and deviation, or what stands in their place."""
    if entry.failed:
        return "failed"
    if entry.mean is None:
        return "-"
    return f"{entry.mean:.1f}" + ("" if entry.std is None else f"{plus_minus}{entry.std:.1f}")


def heading(table: Table) -> list[str]:
    """Return the column heads."""
    gaps = [GAP] if any(row.gap is not None for row in table.rows) else []
    return ["Method", "Backbone", *table.tasks, AVERAGE, *gaps]


def body(table: Table, show: Callable[[Entry], str], gap: Callable[[float], str]) -> list[list[str]]:
    """Return the rows, each place shown by `show`, the share of the gap that is closed by `gap`."""
    has_gap = GAP in heading(table)
    return [
        [
            f"{row.label} (oracle)" if row.oracle else row.label,
            row.backbone,
            *(show(row.entries[column]) for column in (*table.tasks, AVERAGE)),
            *([gap(row.gap) if row.gap is not None else ""] if has_gap else []),
        ]
        for row in table.rows
    ]


def text(table: Table) -> str:
    """Return the table for a terminal."""

    def show(entry: Entry) -> str:
        return f"{number(entry, '±')}{'*' if entry.best else ' '}{'↓' if entry.negative else ' '}"

    lines = [heading(table), *body(table, show, lambda gap: f"{gap:.0f} %")]
    lines[0] = [*lines[0][:2], *(f"{head}  " for head in lines[0][2:])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        " ".join(
            place.ljust(width) if i < 2 else place.rjust(width)
            for i, (place, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "-" * max(map(len, padded))
    return "\n".join([f"{table.dataset}: {seeds(table)}", rule, padded[0], rule, *padded[1:], rule])


def seeds(table: Table) -> str:
    """Say how many seeds stand behind the numbers."""
    counts = sorted({row.seeds for row in table.rows})
    return f"accuracy in per cent, {' or '.join(map(str, counts))} seed{'s' if counts != [1] else ''}"


def markdown(table: Table) -> str:
    """Return the table in GitHub's Markdown, the best in bold."""

    def show(entry: Entry) -> str:
        value = number(entry, " ± ")
        return (f"**{value}**" if entry.best else value) + (" ↓" if entry.negative else "")

    head, *rest = heading(table), *body(table, show, lambda gap: f"{gap:.0f} %")
    rule = [":--" if i < 2 else "--:" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *rest])


def latex(table: Table) -> str:
    """Return the table in LaTeX with booktabs, the best in bold."""

    def show(entry: Entry) -> str:
        value = number(entry, r" $\pm$ ")
        return (rf"\textbf{{{value}}}" if entry.best else value) + (r" $\downarrow$" if entry.negative else "")

    head, *rest = heading(table), *body(table, show, lambda gap: rf"{gap:.0f}\,\%")
    head[2:] = [column.replace("-", r"$\to$") for column in head[2:]]
    rest = [[escaped(line[0]), escaped(line[1]), *line[2:]] for line in rest]
    lines = [" & ".join(line) + r" \\" for line in [head, *rest]]
    columns = "ll" + "r" * (len(head) - 2)
    return "\n".join(
        [
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
    return "".join(f"\\{c}" if c in "_%&#$" else c for c in name)


def csv(table: Table) -> str:
    """Return the table as CSV: one line per method and column, for other programs."""
    lines = [
        {
            "dataset": table.dataset, "backbone": row.backbone, "method": row.label, "task": column,
            "accuracy": entry.mean, "std": entry.std, "seeds": row.seeds, "oracle": row.oracle,
            "failed": entry.failed, "best": entry.best, "negative_transfer": entry.negative,
        }
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
NOT_A_SETTING = {"task", "method.seed", "trainer.seed", "dataset.cache"}


def render(made: Iterable[Table], form: str) -> str:
    """Return tables in one of `FORMATS`, what marks mean below them where people read them.

    Raises
    ------
    UsageError
        If there is no table.
    """
    shown = [FORMATS[form](table) for table in made]
    if not shown:
        raise UsageError("no record matches; `tda run` makes records, and `--results` says where they are")
    if form == "csv":
        return "\n".join([shown[0], *(later.partition("\n")[2] for later in shown[1:])])
    legend = {"text": [LEGEND], "markdown": [LEGEND.replace("*: best", "Bold: best")], "latex": []}[form]
    return "\n\n".join([*shown, *legend])


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
        ".md": f"Made by `{command}`.\n\n{render(made, 'markdown')}",
        ".tex": f"% Made by: {command}\n{render(made, 'latex')}",
        ".records.csv": cells.to_csv(index=False, float_format="%.4f").rstrip("\n"),
    }
    for suffix, content in contents.items():
        with atomic(folder / f"{name}{suffix}") as path:
            path.write_text(content + "\n", encoding="utf-8")
    return [folder / f"{name}{suffix}" for suffix in contents]
