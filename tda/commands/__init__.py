"""What can be typed after ``tda``: one file a command, with its options, its examples and what it does with them.

Each has ``add``, which adds its parser to those of the command line.
"""

import argparse
import os
from pathlib import Path
from typing import NoReturn, TypeAlias

from tda.errors import UsageError
from tda.resources import folder

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class Parser(argparse.ArgumentParser):
    """One whose errors are the command line's: one line that names the help, instead of the usage first."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def check_readable(folder: Path) -> None:
    """Raise `UsageError` for a folder that is there and may not be read, or is none: it would look empty."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"expected a folder, and {str(folder)!r} is a file; name the folder")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UsageError(f"cannot read the folder {str(folder)!r}: permission denied")


def searchpath(config_dir: str | Path) -> str:
    """Return the override that adds a folder of one's own configurations to tda's."""
    own, known = Path(config_dir).resolve(), folder("conf").resolve()
    if not own.is_dir():
        raise UsageError(f"--config-dir {config_dir}: no such folder")
    for path in known.rglob("*.yaml") if own != known else ():
        if (own / path.relative_to(known)).exists():
            raise UsageError(f"{own / path.relative_to(known)} has the name of tda's own, which Hydra takes; rename it")
    return f"hydra.searchpath=[{quoted(f'file://{own}')}]"


def quoted(value: str) -> str:
    r"""Return a value in quotes, which Hydra reads back as it was.

    Examples
    --------
    >>> print(quoted("a, b's"))
    'a, b\'s'
    """
    return "'" + value.replace("'", r"\'") + "'"


def add_overrides(command: argparse.ArgumentParser) -> None:
    """Let a command take what `tda run` takes, none of it or more."""
    command.add_argument("overrides", nargs="*", default=[], metavar="KEY=VALUE", help="as for `tda run`")
