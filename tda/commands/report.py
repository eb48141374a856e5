"""``tda report``: tables, statistics, figures and a page of what is in a results folder."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

from tda import report
from tda.commands import Commands
from tda.commands.records import add_options, chosen, deliver, filters, opened
from tda.errors import UsageError
from tda.store import Record, Store, mixed


def add(commands: Commands) -> None:
    """Add this command's parser."""
    command = commands.add_parser(
        "report",
        help="tables, statistics, figures and a page of what is in the results folder",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Print or write what the records in a results folder come to.",
        epilog=dedent("""\
            examples:
              tda report
              tda report --dataset digits --method tca coral
              tda report --format latex --output table.tex
              tda report --results A B C                  shards of a sweep, run on three machines
              tda report --statistics                     do the methods differ? ranks, tests, intervals
              tda report --html report.html               one page with everything, readable offline
              tda report --figures figures                every figure as SVG and PNG"""),
    )
    add_options(command, several=True)
    kinds = command.add_mutually_exclusive_group()
    kinds.add_argument("--format", choices=report.FORMATS, default="text", help="of the table (default: text)")
    kinds.add_argument("--statistics", action="store_true", help="Friedman, Nemenyi, Wilcoxon, bootstrap intervals")
    kinds.add_argument("--html", type=Path, metavar="FILE", help="write a self-contained page")
    kinds.add_argument("--figures", type=Path, metavar="FOLDER", help="write every figure as SVG and PNG")
    command.set_defaults(call=make_report)


def make_report(options: argparse.Namespace) -> int:
    """Print or write what the options ask for, of one results folder or several."""
    store = opened(options.results)
    if options.output is not None and (options.html or options.figures):
        raise UsageError("--html and --figures name their own file or folder; leave out --output")
    merged, conflicts = store.merged()
    records = chosen(merged, options)
    for conflict in conflicts:
        print(f"conflict, the first stands: {conflict}", file=sys.stderr)
    for warning in mixed(records):
        print(warning, file=sys.stderr)
    return max(present(records, store, options), int(bool(conflicts)))


def present(records: Sequence[Record], store: Store, options: argparse.Namespace) -> int:
    """Print or write what the options ask for of these records."""
    if options.html is not None:
        from tda.report import html

        return deliver(html.page(records, store, typed(options)), options.html)
    tables = report.tables(records)
    if options.figures is not None:
        return draw(tables, records, store, options.figures)
    if options.statistics:
        from tda.report import statistics

        text = "\n\n".join(statistics.text(statistics.statistics(table)) for table in tables)
    else:
        text = report.render(tables, options.format)
    return deliver(text, options.output)


def typed(options: argparse.Namespace) -> str:
    """Return the command line that these options were read from."""
    return shlex.join(["tda", "report", "--results", *options.results, "--html", str(options.html), *filters(options)])


def draw(tables: Sequence[report.Table], records: Sequence[Record], store: Store, folder: Path) -> int:
    """Write every figure to a folder."""
    from tda.report import drawing, figures, statistics

    try:
        for table in tables:
            own = [record for record in records if record.dataset == table.dataset]
            shown = figures.figures(table, statistics.statistics(table), own, store)
            paths = drawing.write(shown, folder)
            print(f"written: {len(paths)} figures of {table.dataset} in {folder}", file=sys.stderr)
    except OSError as error:
        raise UsageError(f"cannot write to {str(folder)!r}: {error.strerror}") from error
    return 0
