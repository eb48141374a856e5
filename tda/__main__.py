"""The command line: the commands of `tda.commands`, and what a process ends with."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from textwrap import dedent
from typing import NoReturn

from tda import __version__
from tda.errors import Terminated, UsageError

STOPS: dict[signal.Signals, tuple[str, type[BaseException]]] = {
    signal.SIGINT: ("interrupted", KeyboardInterrupt),
    signal.SIGTERM: ("told to stop", Terminated),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 fine, 1 something failed, 2 wrong usage, 128 + n signal n."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    told = None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a sign gets a ? in its place

    def stop(number: int, _: object) -> NoReturn:
        """End what is being done, so that nothing is left half done."""
        nonlocal told
        told = signal.Signals(number)
        raise STOPS[told][1]

    try:
        for number in STOPS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, stop)
        return command(arguments)
    except KeyboardInterrupt:
        return stopped(signal.SIGINT, arguments)
    except Terminated:
        return stopped(signal.SIGTERM, arguments)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if told is not None:  # OmegaConf, where the signal found it, may have raised something else in its place
            return stopped(told, arguments)
        if not isinstance(error, UsageError):
            raise
        print(f"tda: {error}", file=sys.stderr)
        return 2


def command(arguments: list[str]) -> int:
    """Run one of tda's commands, whose imports take seconds, and return its exit code."""
    from tda.commands import run

    if arguments[:1] == ["run"] and not {"-h", "--help"} & set(arguments):
        return run.run(arguments[1:])
    options = parsed(arguments)
    return int(options.call(options))


def stopped(number: signal.Signals, arguments: Sequence[str]) -> int:
    """Say how to go on, where there is a store, and return the exit code of a process that a signal has stopped."""
    how, _ = STOPS[number]
    kept = arguments[:1] == ["run"] or (arguments[:1] == ["check"] and "--results" in arguments)
    going_on = "; finished cells are kept, and the same command goes on from there" if kept else ""
    print(f"\ntda: {how}{going_on}", file=sys.stderr)
    return 128 + number


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command and its options, between which any of the command's overrides may stand."""
    top = parser()
    options, rest = top.parse_known_args(arguments)
    unknown = [word for word in rest if word.startswith("-") or "overrides" not in options]
    if unknown:
        command = " ".join(["tda", options.command, *([options.action] if "action" in options else [])])
        raise UsageError(f"unrecognized arguments: {' '.join(unknown)}; see {command} --help")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def parser() -> argparse.ArgumentParser:
    """Return the parser of everything but the overrides of ``tda run``, which are Hydra's."""
    from tda.commands import Parser, check, compare, data, listing, report, run, selection

    top = Parser(
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
    commands = top.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for command in (run, report, compare, selection, check, data, listing):
        command.add(commands)
    return top


if __name__ == "__main__":
    sys.exit(main())
