"""``tda selection``: how well validators without target labels choose, from what is in a results folder."""

import argparse
import shlex
from textwrap import dedent

from tda import regret
from tda.commands import Commands
from tda.commands.records import add_options, chosen, deliver, filters, opened
from tda.report import commands


def add(parsers: Commands) -> None:
    """Add this command's parser."""
    command = parsers.add_parser(
        "selection",
        help="how well validators without target labels choose iterates, settings and methods",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=dedent("""\
            For each validator: the accuracy of what it takes, its regret against the oracle, and the rank correlation
            of its scores with the accuracy. Reads the records of runs with selection=scores, or with any but last."""),
        epilog=dedent("""\
            examples:
              tda run method=dann,mcc selection=scores       record what every validator says on the way
              tda selection                                  which iterate of each run do they take?
              tda run method=dann method.weight=0.1,1,10 selection=scores
              tda selection --over settings                  which setting of each method, for a task and for all
              tda selection --over methods                   which method
              tda selection --format csv --output choices.csv"""),
    )
    add_options(command)
    command.add_argument(
        "--over", choices=regret.POOLS, default="iterates", help="what is chosen from (default: iterates)"
    )
    command.add_argument("--format", choices=regret.FORMATS, default="text")
    command.set_defaults(call=make_report)


def make_report(options: argparse.Namespace) -> int:
    """Print or write how well validators choose."""
    store = opened(options.results)
    records = chosen(store.all(), options)
    made = regret.render(records, options.over, options.format)
    if options.format == "markdown":
        ran = commands(store, {record.key for record in records if record.scores})
        judged = shlex.join(["tda", "selection", "--over", options.over, *filters(options)])
        said = [f"Made by `{command}` and `{judged}`." for command in ran]
        made = "\n\n".join([*said, made])
    return deliver(made, options.output)
