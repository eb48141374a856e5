"""``tda compare``: our accuracies beside the reported ones, and the known errors of published tables."""

import argparse
import sys
from textwrap import dedent

from tda import compare, errata, reported
from tda.commands import Commands
from tda.commands.records import add_options, chosen, deliver, opened


def add(commands: Commands) -> None:
    """Add this command's parser."""
    command = commands.add_parser(
        "compare",
        help="set results beside the numbers that the textbook and the papers report",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Print our accuracies beside the reported ones: the difference, whether it is within the spread, "
        "and what differs in features, protocol and seeds.",
        epilog=dedent("""\
            examples:
              tda compare
              tda compare --dataset office31 --method tca coral
              tda compare --format markdown --output compared.md
              tda compare --audit                         the known errors of the published tables"""),
    )
    add_options(command)
    command.add_argument("--format", choices=compare.FORMATS, default="text")
    command.add_argument(
        "--audit", action="store_true", help="print the errors of the published tables, as Markdown, and nothing else"
    )
    command.set_defaults(call=show_comparison)


def show_comparison(options: argparse.Namespace) -> int:
    """Print or write the comparison of a results folder with the reported numbers, or the errors of these."""
    made = errata.page(reported.load()) if options.audit else compared(options)
    return deliver(made, options.output)


def compared(options: argparse.Namespace) -> str:
    """Return the comparison of the records that the options choose."""
    records = chosen(opened(options.results).all(), options)
    made = compare.compare(records)
    alone = {(record.dataset, record.method) for record in records} - {(one.dataset, one.method) for one in made}
    if alone:
        named = ", ".join(f"{method} on {dataset}" for dataset, method in sorted(alone))
        print(f"tda: no published accuracy for {named}", file=sys.stderr)
    return compare.render(made, options.format)
