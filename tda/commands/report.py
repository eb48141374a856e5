"""``tda report``: the tables of what is in a results folder."""

import argparse
from pathlib import Path
from textwrap import dedent

from tda import report
from tda.cache import atomic
from tda.commands import Commands
from tda.errors import UsageError, unknown
from tda.store import Store


def add(commands: Commands) -> None:
    """Add this command's parser."""
    command = commands.add_parser(
        "report",
        help="make the table again from what is in the results folder",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Print or write the accuracy table of the records in a results folder.",
        epilog=dedent("""\
            examples:
              tda report
              tda report --dataset digits --method tca coral
              tda report --format latex --output table.tex"""),
    )
    command.add_argument("--results", default="results", metavar="PATH", help="the results folder (default: results)")
    command.add_argument("--format", choices=report.FORMATS, default="text")
    command.add_argument("--output", type=Path, metavar="FILE", help="write there instead of printing")
    for key in ("dataset", "backbone", "method"):
        command.add_argument(f"--{key}", nargs="+", metavar="NAME", help=f"only these {key}s")
    command.set_defaults(call=make_report)


def make_report(options: argparse.Namespace) -> int:
    """Print or write the table of a results folder."""
    store = Store(options.results)
    if not store.records.is_dir():
        raise UsageError(f"{str(store.records)!r} does not exist; say where the records are with --results PATH")
    records = list(store.all())
    for key in ("dataset", "backbone", "method"):
        wanted = getattr(options, key)
        there = {getattr(record, key) for record in records}
        for name in wanted or []:
            if name not in there:
                raise unknown(f"{key} in these records", name, there)
        records = [record for record in records if wanted is None or getattr(record, key) in wanted]
    made = report.render(report.tables(records), options.format)
    if options.output is None:
        print(made)
        return 0
    try:
        with atomic(options.output) as path:
            path.write_text(made + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {str(options.output)!r}: {error.strerror}") from error
    return 0
