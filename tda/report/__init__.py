"""What is shown of a set of records: tables, statistics, figures and a page; never imports torch or Hydra."""

from tda.report.formats import FORMATS, NOTHING, commands, csv, heading, latex, markdown, render, text, write
from tda.report.table import Entry, Row, Table, tables

__all__ = [
    "FORMATS",
    "NOTHING",
    "Entry",
    "Row",
    "Table",
    "commands",
    "csv",
    "heading",
    "latex",
    "markdown",
    "render",
    "tables",
    "text",
    "write",
]
