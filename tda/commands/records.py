"""What the commands that read a results folder share: its options, the records that they choose, where it all goes."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from tda import report
from tda.cache import atomic
from tda.commands import check_readable
from tda.errors import UsageError, unknown
from tda.store import Record, Stores

KEYS = ("dataset", "backbone", "method")


def add_options(command: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add the options of the results folder, or of several, of the records that count, and of the file to write."""
    command.add_argument(
        "--results", nargs="+" if several else 1, default=["results"], metavar="PATH",
        help="the results folder (default: results)"
        + ("; several are read as one, and what they disagree about is said" if several else ""),
    )  # fmt: skip
    for key in KEYS:
        command.add_argument(f"--{key}", nargs="+", metavar="NAME", help=f"only these {key}s")
    command.add_argument("--output", type=Path, metavar="FILE", help="write there instead of printing")


def opened(results: Sequence[str]) -> Stores:
    """Return the stores of results folders, read as one.

    Raises
    ------
    UsageError
        One has no records.
    """
    store = Stores(results)
    for part in store.parts:
        if not part.records.is_dir():
            raise UsageError(
                f"{str(part.records)!r} does not exist; `tda run` makes records, and --results PATH says where they are"
            )
        check_readable(part.records)
    return store


def chosen(records: Iterable[Record], options: argparse.Namespace) -> list[Record]:
    """Return the records that the options ask for.

    Raises
    ------
    UsageError
        They name a dataset, backbone or method that none of the records has, or no record is left.
    """
    records = list(records)
    among = "these records"
    for key in KEYS:
        wanted = getattr(options, key)
        there = {getattr(record, key) for record in records}
        for name in wanted or []:
            if there and name not in there:
                raise unknown(f"{key} in {among}", name, there)
        if wanted is not None:
            among += f" of {key} {', '.join(wanted)}"
        records = [record for record in records if wanted is None or getattr(record, key) in wanted]
    if not records:
        raise UsageError(report.NOTHING)
    return records


def filters(options: argparse.Namespace) -> list[str]:
    """Return the words of a command line that choose records as the options do."""
    asked = [(f"--{key}", getattr(options, key)) for key in KEYS]
    return [word for option, names in asked if names for word in (option, *names)]


def deliver(content: str, file: Path | None) -> int:
    """Print text, or write it to a file, whole or not at all, and return the exit code.

    Raises
    ------
    UsageError
        The file cannot be written.
    """
    if file is None:
        print(content)
        return 0
    try:
        with atomic(file) as path:
            path.write_text(content + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {str(file)!r}: {error.strerror}") from error
    return 0
