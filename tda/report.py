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
    "only. *: best in the column. ↓: negative transfer, below the method's baseline without adaptation, where the "
    "table has it. "
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
    distances: Mapping[str, float]
    gap: float | None


@dataclass(frozen=True)
class Table:
    """The accuracies of one dataset: a row a method, a column a task, then their average.

    Further columns hold the distances between the domains that were measured, each the mean over tasks and seeds.
    """

    dataset: str
    tasks: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def distances(self) -> tuple[str, ...]:
        """Names of the distances that any row has."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.distances))


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
    labels = row_labels(cells)
    parts = {str(name): part for name, part in cells.groupby("setting", sort=False)}
    means, spreads = {}, {}
    for name, part in parts.items():
        by_seed = accuracies(part, tasks)
        means[name], spreads[name] = by_seed.mean(), by_seed.std(ddof=1)
    compared = [name for name, part in parts.items() if part["protocol"].iloc[0] != "oracle"]
    best = pd.DataFrame({name: means[name] for name in compared}, index=[*tasks, AVERAGE]).max(axis=1)
    rows = []
    for name, part in parts.items():
        first = part.iloc[0]
        lower = counterpart(first, [parts[n] for n in compared], method=first["baseline"])
        upper = counterpart(first, [part for n, part in parts.items() if n not in compared])
        entries = {
            column: Entry(
                mean=none_if_nan(means[name][column]),
                std=none_if_nan(spreads[name][column]),
                failed=bool((part.loc[part["task"] == column, "status"] == "failed").any()),
                best=name in compared and bool(means[name][column] >= best[column] - 1e-9),
                negative=lower is not None and bool(means[name][column] < means[lower][column] - 1e-9),
            )
            for column in (*tasks, AVERAGE)
        }
        gap = None
        if lower is not None and upper is not None and name in compared:
            room = means[upper][AVERAGE] - means[lower][AVERAGE]
            gap = none_if_nan(100 * (means[name][AVERAGE] - means[lower][AVERAGE]) / room) if room > 0 else None
        seeds = part["seed"].nunique() or 1
        distances = pd.DataFrame(list(part["distances"])).mean().to_dict()
        rows.append(Row(labels[name], first["backbone"], seeds, name not in compared, entries, distances, gap))
    ordered = sorted(rows, key=lambda row: (row.oracle, row.backbone, row.entries[AVERAGE].mean or 0.0, row.label))
    return Table(dataset, tasks, tuple(ordered))


def accuracies(part: pd.DataFrame, tasks: tuple[str, ...]) -> pd.DataFrame:
    """Return one setting's accuracies, seeds x tasks, and each seed's average where it has every task.

    A task of which any seed failed counts as failed altogether: what is left would be a choice of seeds.
    """
    part = part.assign(seed=part["seed"].fillna(-1), accuracy=part["accuracy"].astype(float))
    failed = set(part.loc[part["status"] == "failed", "task"])
    by_seed = part.pivot(index="seed", columns="task", values="accuracy").reindex(columns=list(tasks))
    by_seed[[task for task in tasks if task in failed]] = float("nan")
    by_seed[AVERAGE] = by_seed.mean(axis=1, skipna=False)
    return by_seed


def counterpart(row: pd.Series, candidates: Iterable[pd.DataFrame], method: str | None = "") -> str | None:
    """Return the one setting among `candidates` with the same backbone and training as `row`; None if not just one.

    `method`, where it is not empty, is what the candidate must be.
    """
    found = [
        str(part["setting"].iloc[0])
        for part in candidates
        if part["backbone"].iloc[0] == row["backbone"]
        and training(part.iloc[0]) == training(row)
        and method in ("", part["method"].iloc[0])
    ]
    return found[0] if len(found) == 1 else None


def training(row: pd.Series) -> dict[str, Any]:
    """Return how a record's network was trained, its seed aside; empty for a shallow method."""
    return {key: value for key, value in (row["config"].get("trainer") or {}).items() if key != "seed"}


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
    return ["Method", "Backbone", *table.tasks, AVERAGE, *table.distances, *gaps]


def body(table: Table, show: Callable[[Entry], str], gap: Callable[[float], str]) -> list[list[str]]:
    """Return the rows, each place shown by `show`, the share of the gap that is closed by `gap`."""
    has_gap = GAP in heading(table)
    return [
        [
            f"{row.label} (oracle)" if row.oracle else row.label,
            row.backbone,
            *(show(row.entries[column]) for column in (*table.tasks, AVERAGE)),
            *(f"{row.distances[name]:.3g}" if name in row.distances else "" for name in table.distances),
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
    rest = [[place.replace("|", "\\|") for place in line] for line in rest]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *rest])


def latex(table: Table) -> str:
    """Return the table in LaTeX with booktabs, the best in bold."""

    def show(entry: Entry) -> str:
        value = number(entry, r" $\pm$ ")
        return (rf"\textbf{{{value}}}" if entry.best else value) + (r" $\downarrow$" if entry.negative else "")

    head, *rest = heading(table), *body(table, show, lambda gap: rf"{gap:.0f}\,\%")
    head[2:] = [escaped(column).replace("-", r"$\to$") for column in head[2:]]
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
    return "".join({"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}.get(
        c, f"\\{c}" if c in "_%&#${}" else c
    ) for c in name)  # fmt: skip


def csv(table: Table) -> str:
    """Return the table as CSV: one line per method and column, for other programs."""
    lines = [
        {
            "dataset": table.dataset, "backbone": row.backbone, "method": row.label, "task": column,
            "accuracy": entry.mean, "std": entry.std, "seeds": row.seeds, "oracle": row.oracle,
            "failed": entry.failed, "best": entry.best, "negative_transfer": entry.negative,
            "gap_closed": row.gap if column == AVERAGE else None,
            **({name: row.distances.get(name) for name in table.distances} if column == AVERAGE else {}),
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
