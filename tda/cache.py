"""Files that are either whole or absent: atomic writes, one builder for a shared cache, and the hashes in names."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from safetensors import SafetensorError

from tda.errors import UsageError

LEAST_ROOM = 2**16  # bytes that must be free before anything is worth computing


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` once the block has ended well.

    A reader sees the old file or the new one, never half of one; a process that is killed leaves at most a
    hidden temporary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_room(folder: Path) -> None:
    """Raise `OSError` unless files can be written in a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(LEAST_ROOM))


def built(path: Path, build: Callable[[Path], object]) -> Path:
    """Return `path`, built by ``build(temporary_path)`` if it is not there; of two processes one builds, one waits.

    What a process left that was killed while it built is removed.

    Parameters
    ----------
    path : Path
        The cache file wanted.
    build : callable
        Writes the whole content to the path that it is given.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if not path.exists():
                for abandoned in path.parent.glob(f".{path.name}.*.tmp"):
                    abandoned.unlink()
                with atomic(path) as temporary:
                    build(temporary)
    return path


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Read a cache file in the block.

    Raises
    ------
    UsageError
        If it is not whole, or cannot be read.
    """
    try:
        yield
    except (OSError, EOFError, ValueError, SafetensorError) as problem:
        raise UsageError(f"{path} cannot be read ({problem}); delete it, and it is made again") from problem


def digest(value: Any) -> str:
    """Return a hash of a plain value, the same in every process and on every machine; 1.0 counts as 1."""
    return hashlib.sha256(json.dumps(without_point(value), sort_keys=True).encode()).hexdigest()[:16]


def without_point(value: Any) -> Any:
    """Return a plain value with every float that is a whole number as an int, and every key as JSON has it, a word."""
    if isinstance(value, dict):
        return {str(key): without_point(part) for key, part in value.items()}
    if isinstance(value, list):
        return [without_point(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
