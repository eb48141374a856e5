"""Where the time of a sweep goes: the share of each part of the program, from the imports to the records.

The sweep is run in this process, with an empty results folder. Each part's functions are wrapped by clocks that stop
while another part's function runs inside, so that the shares add up to the whole. A step's forward passes count once
for the backbone and once for what follows it; what a method does with their outputs is its loss.

    python scripts/profile_sweep.py experiment=office31_frozen method=dan seed=0 backbone.weights=FILE
    python scripts/profile_sweep.py dataset=mnist_usps method=dan trainer.steps=300
"""

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from functools import wraps
from io import StringIO
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch.optim import SGD

import tda.run
import tda.trainer
from tda.augment import Affine, CropFlip
from tda.backbones.base import Backbone, Network
from tda.config import Sweep
from tda.launch import launch
from tda.learner import Learner
from tda.methods.deep.base import DeepMethod
from tda.store import Store
from tda.trainer import Trainer

IMPORTS = "import tda.launch, tda.commands.run"
REST = "Hydra's jobs, and all that is not below"


class Clocks:
    """Seconds and calls of each part, and a stack of the parts that are running, of which the innermost is counted."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self.running = [REST]
        self.since = time.perf_counter()

    def switch(self) -> None:
        now = time.perf_counter()
        self.seconds[self.running[-1]] += now - self.since
        self.since = now

    @contextmanager
    def counting(self, part: str) -> Iterator[None]:
        self.switch()
        self.running.append(part)
        self.calls[part] += 1
        try:
            yield
        finally:
            self.switch()
            self.running.pop()

    def wrapped(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            with self.counting(part):
                return function(*arguments, **options)

        return timed

    def generator(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function that returns a generator: every turn of it is counted."""

        @wraps(function)
        def timed(*arguments: Any, **options: Any) -> Generator[Any, None, None]:
            drawn = function(*arguments, **options)
            while True:
                with self.counting(part):
                    try:
                        value = next(drawn)
                    except StopIteration:
                        return
                yield value

        return timed


PARTS: list[tuple[str, Any, str]] = [
    ("planning: composition and checks", Sweep, "__init__"),
    ("data and features read, estimator built", tda.run, "prepared"),
    ("before and after training: network built, first and last looks", Learner, "fit"),
    ("the loop: annealing, checking the loss", Trainer, "train"),
    ("gathering a batch", tda.trainer, "gathered"),
    ("augmentation", Affine, "__call__"),
    ("augmentation", CropFlip, "__call__"),
    ("forward: backbone", Backbone, "forward"),
    ("forward: bottleneck and head", Network, "forward"),
    ("backward", torch.Tensor, "backward"),
    ("optimiser: zero_grad", SGD, "zero_grad"),
    ("optimiser: step", SGD, "step"),
    ("predicting and scoring", Learner, "_mapped"),
    ("predicting and scoring", tda.run, "accuracy_score"),
    ("predicting and scoring", tda.run, "recall_score"),
    ("predicting and scoring", tda.run, "confused"),
    ("the record: identity and setting", tda.run, "identity"),
    ("the record: identity and setting", tda.run, "setting"),
    ("the record: read and written", Store, "get"),
    ("the record: read and written", Store, "put"),
    ("the record: read and written", Store, "check_writable"),
    ("the record: versions and commit", tda.run, "versions"),
    ("the record: versions and commit", tda.run, "commit"),
]
GENERATORS: list[tuple[str, Any, str]] = [
    ("sampling", tda.trainer, "indices"),
    ("sampling", tda.trainer, "balanced"),
    ("the loss of a method", DeepMethod, "objectives"),
]


def profiled(overrides: list[str]) -> tuple[Clocks, float]:
    """Run a sweep with clocks on; return them, and the seconds of the whole."""
    with TemporaryDirectory() as results, ExitStack() as stack:
        clocks = Clocks()
        for part, owner, name in PARTS:
            stack.enter_context(patch.object(owner, name, clocks.wrapped(part, getattr(owner, name))))
        for part, owner, name in GENERATORS:
            stack.enter_context(patch.object(owner, name, clocks.generator(part, getattr(owner, name))))
        start = time.perf_counter()
        plan = Sweep([*overrides, f"results={results}"])
        with redirect_stderr(StringIO()):
            launch(plan, plan.cells)
        clocks.switch()
        failed = [record.error for record in Store(results).all() if record.status != "ok"]
        assert not failed, failed
    return clocks, time.perf_counter() - start


def main() -> None:
    if len(sys.argv) == 1 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    imported = time.perf_counter() - start
    clocks, whole = profiled(sys.argv[1:])
    print(
        f"{' '.join(sys.argv[1:])}\n{torch.get_num_threads()} threads, {whole:.1f} s and {imported:.1f} s of imports\n"
    )
    print(f"{'part':64}{'s':>9}{'share':>8}{'calls':>9}")
    for part, seconds in sorted(clocks.seconds.items(), key=lambda one: -one[1]):
        print(f"{part:64}{seconds:9.2f}{100 * seconds / whole:7.1f}%{clocks.calls[part]:9}")


if __name__ == "__main__":
    main()
