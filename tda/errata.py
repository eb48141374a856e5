"""What is wrong, or contradicts itself, in the published tables: a page made from the reported numbers."""

from collections.abc import Iterator

import pandas as pd

from tda import reported
from tda.reported import AVERAGE
from tda.written import listed_tasks

DISAGREE = 0.15


def page(rows: pd.DataFrame) -> str:
    """Return the errors of published tables and the values that disagree, as Markdown.

    Parameters
    ----------
    rows : DataFrame
        Of `tda.reported.load`.
    """
    misprints, conflicts = list(misprinted(rows)), list(conflicting(rows))
    return "\n\n".join(
        [
            "# Errors of published tables",
            "Made from the CSV files of this folder by `tda compare --audit --output results/reported/errors.md`. The "
            "numbers are kept as printed; `tda compare` gives no difference from one that is listed under misprints.",
            f"## {len(misprints)} misprints",
            "An average is listed where it differs from the mean of its tasks by more than both were rounded for print "
            "(0.1 points where one decimal is printed).",
            *(f"* {line}" for line in misprints),
            f"## {len(conflicts)} numbers of which there are several",
            f"One method with the same features on all tasks, averages that differ by more than {DISAGREE} points; "
            "a dagger marks the best epoch on the target. Protocols, settings and code differ; none is wrong for that.",
            "\n".join(["| dataset | method | features | averages |", "|---|---|---|---|", *conflicts]),
        ]
    )


def misprinted(rows: pd.DataFrame) -> Iterator[str]:
    """Yield a line for each misprint: where it stands, what is printed, and what is known of it."""
    for table in reported.tables(rows):
        for task, cell in table.cells.items():
            if cell.erratum:
                where = f"{table.dataset}, {table.label}, {table.features or 'features not said'}, {task}"
                off = ""
                if task == AVERAGE and table.tasks:
                    mean = sum(table.cells[one].accuracy for one in table.tasks) / len(table.tasks)
                    off = f" (off by {cell.accuracy - mean:+.2f})"
                yield f"**{where}**: {cell.erratum}{off}. {table.source}."


def conflicting(rows: pd.DataFrame) -> Iterator[str]:
    """Yield a table row for each method whose published averages differ by more than `DISAGREE` points."""
    printed: dict[tuple[str, str, str], list[tuple[float, str]]] = {}
    for table in reported.tables(rows[(rows["differs"] == "") & (rows["features"] != "")]):
        every = not table.tasks or set(table.tasks) == set(listed_tasks(table.dataset))
        if every:
            average = table.average or next(iter(table.cells.values()))
            dagger = "†" if table.protocol == "oracle" else ""
            said = f"{average.accuracy:.1f}{dagger} ({table.source})"
            printed.setdefault((table.dataset, table.method, table.features), []).append((average.accuracy, said))
    for (dataset, method, features), averages in sorted(printed.items()):
        averages.sort()
        if averages[-1][0] - averages[0][0] > DISAGREE:
            yield f"| {dataset} | {method} | {features} | {'; '.join(said for _, said in averages)} |"
