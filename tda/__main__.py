"""The command line: ``tda run``, ``tda report``, ``tda data``, ``tda list``."""

import argparse
import os
import sys
from collections.abc import Sequence
from textwrap import dedent

from tda import __version__
from tda.commands import data, listing, report, run
from tda.errors import UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 fine, 1 something failed, 2 wrong usage."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if arguments[:1] == ["run"] and not {"-h", "--help"} & set(arguments):
            return run.run(arguments[1:])
        options = parser().parse_args(arguments)
        return int(options.call(options))
    except UsageError as error:
        print(f"tda: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\ntda: interrupted; finished cells are kept, and the same command goes on from there",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parser() -> argparse.ArgumentParser:
    """Return the parser of everything but the overrides of ``tda run``, which are Hydra's."""
    top = argparse.ArgumentParser(
        prog="tda",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A benchmark runner for unsupervised domain adaptation.",
        epilog=dedent("""\
            examples:
              tda run experiment=demo                     the embedded digits, six tasks, nine methods
              tda run method=tca,coral                    two methods on all six tasks of the digits
              tda report                                  the table of everything in results/
              tda list methods                            what there is"""),
    )
    top.add_argument("--version", action="version", version=f"tda {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in (run, report, data, listing):
        command.add(commands)
    return top


if __name__ == "__main__":
    sys.exit(main())
