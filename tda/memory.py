"""What one process has just computed, for many methods ask for the same decomposition, and what it has just freed."""

import ctypes
import hashlib
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R", bound=tuple[np.ndarray, ...])

LIMIT = 13 * 2**24  # bytes of results that a process keeps; joblib restarts a worker that has grown by 300 MB
HEAP = {-4: 0, -1: 2**31 - 1, -2: 2**26}  # of mallopt: M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
kept: OrderedDict[bytes, tuple[np.ndarray, ...]] = OrderedDict()


def remembered(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function of arrays and plain values return the same result again for the same content.

    The latest results are kept, of all such functions together up to `LIMIT` bytes. Their arrays are read-only, since
    others may be given them.
    """

    @wraps(function)
    def recalled(*args: P.args, **kwargs: P.kwargs) -> R:
        named = (part for item in sorted(kwargs.items()) for part in item)
        key = fingerprint(function.__module__, function.__qualname__, *args, *named)
        result = kept.pop(key, None) or function(*args, **kwargs)
        for array in result:
            array.flags.writeable = False
        kept[key] = result
        while sum(array.nbytes for one in kept.values() for array in one) > LIMIT:
            kept.popitem(last=False)
        return result  # type: ignore[return-value]

    return recalled


def forget() -> None:
    """Forget all results: what is asked for next is computed anew."""
    kept.clear()


@contextmanager
def reused() -> Iterator[None]:
    """Let the arrays of a block take the memory of those freed in it, and return that to the system at the end.

    glibc otherwise asks the system for each large array's pages, which the system wipes first: a tenth of the time of
    a sweep of shallow methods. And some of what is freed it keeps, which joblib takes for a leak. With another C
    library nothing is done.
    """
    library = glibc()
    if library:
        for option, value in HEAP.items():
            library.mallopt(option, value)
    try:
        yield
    finally:
        if library:
            library.malloc_trim(0)


@cache
def glibc() -> ctypes.CDLL | None:
    """Return the C library of this process where it is glibc."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") else None


def fingerprint(*values: object) -> bytes:
    """Return a hash of arrays, by shape, type and content, and of plain values."""
    found = hashlib.sha256()
    for value in values:
        if isinstance(value, np.ndarray):
            found.update(f"{value.shape}{value.dtype}".encode())
            found.update(np.ascontiguousarray(value).data)
        else:
            found.update(f"{value!r}\0".encode())
    return found.digest()
