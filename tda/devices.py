"""Which device a process computes on: a GPU of its own where there are several, whatever launcher started it."""

import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import joblib
import torch
from filelock import FileLock, Timeout

from tda.errors import UsageError

HELD: list[FileLock] = []  # until this process ends


def torch_device(name: str, share: int = 1) -> str:
    """Return the torch device that ``runtime.device`` means; ``auto`` is a GPU where there is one.

    Parameters
    ----------
    name : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``. Of several GPUs, ``auto`` and ``cuda`` take a free one.
    share : int
        Processes that may share one GPU.

    Raises
    ------
    UsageError
        If this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, numbered, index = name.partition(":")
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if kind not in there or not (index if numbered else "0").isdecimal() or int(index or 0) >= there[kind]:
        found = ", ".join(f"{kind}:{i}" for kind, count in there.items() for i in range(count))
        raise UsageError(f"runtime.device={name} is not a device of this machine; it has {found} (or take auto)")
    return f"cuda:{own_gpu(share)}" if name == "cuda" and there["cuda"] > 1 else name


@cache
def own_gpu(share: int) -> int:
    """Return the index of the GPU that this process has to itself, or with ``share - 1`` others, until it ends."""
    gpus = [str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())]
    return claimed(gpus, share, Path(tempfile.gettempdir()) / f"tda-devices-{os.getuid()}")


def claimed(names: Sequence[str], share: int, folder: Path) -> int:
    """Claim one of several things, of which each may be held by `share` processes at a time, until this one ends.

    The first claims are spread over all; where none is free, processes are dealt out by their id. A lock on a file
    is let go by the operating system however its process ends.

    Parameters
    ----------
    names : sequence of str
        What they are called by every process of the machine.
    share : int
        Claims that each has room for.
    folder : Path
        Of the locks, the same for every process.

    Returns
    -------
    int
        The index of what is claimed.
    """
    folder.mkdir(exist_ok=True)
    for place in range(share):
        for index, name in enumerate(names):
            lock = FileLock(folder / f"{name}-{place}.lock", blocking=False)
            try:
                lock.acquire()
            except Timeout:
                continue
            HELD.append(lock)
            return index
    return os.getpid() % len(names)


@cache
def require_compiler(device: str) -> None:
    """Raise `UsageError` if `torch.compile` does not work for a device here: it needs a compiler that it can call."""
    try:
        torch.compile(lambda x: -x)(torch.zeros(1, device=device))
    except Exception as problem:
        what = str(problem).strip().partition("\n")[0]
        raise UsageError(
            f"runtime.compile=true: torch.compile does not work here for {device} ({type(problem).__name__}: {what}); "
            "install a C++ compiler (Triton for a GPU), or leave it out"
        ) from problem


def available_cores() -> int:
    """Return the number of cores that this process may use, by its affinity and by a container's quota."""
    return int(joblib.cpu_count())
