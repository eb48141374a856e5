"""The one error that is the user's to mend, the nearest name to what was typed, and what a process warns of once."""

import logging
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache

log = logging.getLogger(__name__)


class UsageError(ValueError):
    """A mistake in the command or the configuration: one line, exit code 2, never a method's failure."""


def unknown(kind: str, given: object, choices: Iterable[str]) -> UsageError:
    """Say that `given` is no known `kind`, with the nearest match and every choice.

    Examples
    --------
    >>> print(unknown("task of digits", "OP", ["O-P", "O-S"]))
    'OP' is not a task of digits; did you mean 'O-P'? Choose from: O-P, O-S
    """
    names = sorted(map(str, choices))
    folded = {name.casefold(): name for name in names}
    near = get_close_matches(str(given).casefold(), folded, n=1, cutoff=0.6)
    hint = f"; did you mean {folded[near[0]]!r}?" if near else "."
    article = "an" if kind[0] in "aeiou" else "a"
    return UsageError(f"{str(given)!r} is not {article} {kind}{hint} Choose from: {', '.join(names)}")


@cache
def warn_once(told: str) -> None:
    """Log a warning, the same one once in a process."""
    log.warning(told)


class Terminated(BaseException):
    """The process was told to stop, by SIGTERM: as KeyboardInterrupt, no failure of a method."""
