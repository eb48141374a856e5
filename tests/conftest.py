import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_limits

from tda.config import composer
from tda.resources import folder


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Small tensors are slower, and timings wilder, on several threads."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Build the embedded data set once, away from the user's own cache."""
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TDA_CACHE", str(path))
        yield path


@pytest.fixture(autouse=True, scope="session")
def heeded_interrupts() -> Iterator[None]:
    """Heed SIGINT, which a shell has its background jobs ignore, and they their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def composed() -> Iterator[None]:
    """Make hydra.compose read tda's configuration."""
    with composer():
        yield


def names(group: str) -> list[str]:
    """Return every choice of a config group, found on disk."""
    return sorted(path.stem for path in (folder("conf") / group).glob("*.yaml"))
