"""What source-only has on frozen features with and without the bottleneck's ReLU, and by whose samples it normalises.

Those are the source's half of a batch, as everywhere in tda, or both halves, as in the step of a method whose alignment
is left out. Printed is the accuracy on the target, in per cent, of each task and on average.

    python scripts/bottleneck.py backbone.weights=FILE
    python scripts/bottleneck.py backbone.weights=FILE task=A-W,D-A seed=1
"""

import sys
from collections.abc import Iterator

import numpy as np
import torch.nn.functional as F
from torch import nn

from tda.backbones.base import Network
from tda.config import Sweep
from tda.methods.deep.base import Batch, Objective
from tda.methods.deep.source_only import SourceOnly
from tda.run import limited, prepared
from tda.trainer import Learner


class BothHalves(SourceOnly):
    """Cross-entropy on the source, with the target in the same batch normalisation."""

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        source, _ = self.pair(batch)
        yield Objective(F.cross_entropy(source.logits, batch.ys), (self,))


class NoReLU(SourceOnly):
    """Cross-entropy on the source, above a bottleneck that ends with its batch normalisation."""

    def prepare(self, network: Network) -> None:
        assert isinstance(network.bottleneck, nn.Sequential)
        network.bottleneck = network.bottleneck[:2]
        super().prepare(network)


class NoReLUBothHalves(NoReLU, BothHalves):
    """Both."""


VARIANTS: dict[str, type[SourceOnly]] = {
    "ReLU, source's half": SourceOnly,
    "ReLU, both halves": BothHalves,
    "no ReLU, source's half": NoReLU,
    "no ReLU, both halves": NoReLUBothHalves,
}


def main(overrides: list[str]) -> None:
    """Train each variant on each task, and print what it has."""
    cells = Sweep(["experiment=office31_frozen", "method=source_only", "seed=0", *overrides]).cells
    print(f"{'':24}" + "".join(f"{cell.config.task:>7}" for cell in cells) + f"{'Avg':>7}")
    for name, method in VARIANTS.items():
        row = []
        for cell in cells:
            learner, task = prepared(cell.config, "cpu")
            assert isinstance(learner, Learner)
            learner.method = method
            with limited(cell.config.runtime.threads):
                learner.fit(task.source.x, task.source.y, task.target.x)
                row.append(100 * float(np.mean(learner.predict(task.test.x) == task.test.y)))
        print(f"{name:24}" + "".join(f"{accuracy:7.1f}" for accuracy in (*row, np.mean(row))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
