"""Our accuracies beside the reported ones."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from tda import reported
from tda.compare.differences import caution, reclassified, reprepared, reset, unlikeness
from tda.compare.measured import Cell, Measured, Side, measured
from tda.reported import AVERAGE, Table
from tda.store import Record
from tda.written import listed_tasks


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
