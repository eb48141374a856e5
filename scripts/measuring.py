"""What the benches share: a process of its own for each measurement, and the row of a table that it becomes."""

import os
import platform
import resource
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Compared(NamedTuple):
    """Two times that belong together, measured in one run on the same samples and threads.

    Attributes
    ----------
    what : str
        What was timed.
    ours : float
        In `unit`.
    beside : str
        What it is compared with.
    other : float
        In `unit`.
    unit : str
    """

    what: str
    ours: float
    beside: str
    other: float
    unit: str = "s"

    @property
    def ratio(self) -> str:
        """How much less or more time ours takes."""
        if self.ours <= self.other:
            return f"{self.other / self.ours:.1f}x faster"
        return f"{self.ours / self.other:.2f}x the time"


def table(rows: Sequence[Compared]) -> str:
    """Return the rows as text, aligned.

    Examples
    --------
    >>> print(table([Compared("TCA", 0.5, "the textbook's algorithm", 20), Compared("DAN", 2.1, "bare", 2.0, "ms")]))
    what     ours    other  ratio            beside
    TCA    0.50 s  20.00 s  40.0x faster     the textbook's algorithm
    DAN   2.10 ms  2.00 ms  1.05x the time   bare
    """
    width = max(len(what) for what in ("what", *(row.what for row in rows)))
    lines = [f"{'what':{width}}  {'ours':>9}  {'other':>9}  {'ratio':15}  beside"]
    for row in rows:
        ours, other = (f"{time:.2f} {row.unit}" for time in (row.ours, row.other))
        lines.append(f"{row.what:{width}}  {ours:>9}  {other:>9}  {row.ratio:15}  {row.beside}")
    return "\n".join(lines)


def fresh(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Return what a function returns in a process of its own, which shares no memory and no warm cache."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **options).result()


def peak() -> float:
    """Return the peak resident memory of this process in MiB (Linux: getrusage also counts the parent's)."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def machine() -> str:
    """Say what a run was measured on, and how busy it was."""
    return f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} at the start"
