"""What is there for a method that matches moments: measured on the features of a network that saw the source alone.

Two questions. Of a distance between two batches, how much is between the domains, and how much is between any two
batches? And if the target's features are given the source's means, variances or covariances afterwards, how many more
does the same classifier get right? (Target labels are read for that count alone.)

    python scripts/moments.py backbone.weights=FILE
    python scripts/moments.py backbone.weights=FILE task=A-W,D-A seed=1
"""

import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tda.config import Sweep
from tda.divergences.batch import cmd, coral, mean_distance2
from tda.learner import Learner
from tda.methods.shallow.coral import recoloured
from tda.preparation import prepared
from tda.run import limited
from tda.task import Task

BATCH = 36
PAIRS = 300
RIDGE = 0.01  # of the covariances
DISTANCES: dict[str, tuple[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "DDC: means of the features": ("features", mean_distance2),
    "CMD: five moments of the features": ("features", lambda a, b: cmd(a.tanh(), b.tanh(), order=5)),
    "CORAL: covariances of the features": ("features", coral),
    "CORAL: covariances of the logits": ("logits", coral),
}


def trained(overrides: Sequence[str]) -> Iterator[tuple[Learner, Task]]:
    """Yield source-only's network, trained on each task, and the task."""
    first = ["experiment=office31_frozen_zoo", "method=source_only", "seed=0", "task=A-W,D-A"]
    for cell in Sweep([*first, *overrides]).cells:
        config = cell.config
        learner, task = prepared(config, "cpu")
        assert isinstance(learner, Learner)
        with limited(config.runtime.threads):
            yield learner.fit(task.source.x, task.source.y, task.target.x), task


def between(one: Tensor, other: Tensor, distance: Callable[[Tensor, Tensor], Tensor], draw: torch.Generator) -> float:
    """Return the mean distance of `PAIRS` pairs of batches, one of each."""
    drawn = ([X[torch.randperm(len(X), generator=draw)[:BATCH]] for X in (one, other)] for _ in range(PAIRS))
    return float(np.mean([distance(*pair) for pair in drawn]))


def matched(Zs: np.ndarray, Zt: np.ndarray) -> dict[str, np.ndarray]:
    """Return the target's features (nt, k) as they are, and with moments of the source's (ns, k) in place of theirs."""
    mean, centred = Zs.mean(axis=0), Zt - Zt.mean(axis=0)
    return {
        "as they are": Zt,
        "means": centred + mean,
        "means, variances": centred * (Zs.std(axis=0) / np.maximum(Zt.std(axis=0), 1e-3)) + mean,
        "means, covariances": recoloured(centred, Zs - mean, RIDGE) + mean,
    }


def main(overrides: Sequence[str]) -> None:
    for learner, task in trained(overrides):
        head = learner.method_.network.eval().head
        with torch.no_grad():
            Zs, Zt = learner.features(task.source.x, "source"), learner.features(task.target.x, "target")
            layers = {"features": (torch.tensor(Zs), torch.tensor(Zt))}
            layers["logits"] = tuple(head(Z) for Z in layers["features"])
            print(f"\n{task.name}: distance of two batches of {BATCH}")
            for name, (layer, distance) in DISTANCES.items():
                source, target = layers[layer]
                apart, alike = (
                    between(source, Z, distance, torch.Generator().manual_seed(0)) for Z in (target, source)
                )
                print(f"  {name:36s} source and target {apart:8.4f}   source and source {alike:8.4f}")
            print(f"{task.name}: accuracy on the target, its features with the source's")
            for name, Z in matched(Zs.astype(np.float64), Zt.astype(np.float64)).items():
                guesses = learner.classes_[head(torch.tensor(Z, dtype=torch.float32)).argmax(1).numpy()]
                print(f"  {name:36s} {100 * np.mean(guesses == task.target.y):.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
