"""What source-only has on frozen features by what the bottleneck is made of, and by whose samples it normalises.

Those are the source's half of a batch, as everywhere in tda, or both halves, as in the step of a method whose alignment
is left out. Printed is the accuracy on the target, in per cent, of each task and on average.

    python scripts/bottleneck.py backbone.weights=FILE
    python scripts/bottleneck.py backbone.weights=FILE task=A-W,D-A seed=1
"""

import sys
from collections.abc import Iterator

import numpy as np
import torch.nn.functional as F

from tda.config import Sweep
from tda.learner import Learner
from tda.methods.deep.base import Batch, Objective
from tda.methods.deep.source_only import SourceOnly
from tda.preparation import prepared
from tda.run import limited


class BothHalves(SourceOnly):
    """Cross-entropy on the source, with the target in the same batch normalisation."""

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        source, _ = self.pair(batch)
        yield Objective(F.cross_entropy(source.logits, batch.ys), (self,))


VARIANTS: list[tuple[str, str, type[SourceOnly]]] = [
    ("256", "source's half", SourceOnly),
    ("256", "both halves", BothHalves),
    ("[256,norm]", "source's half", SourceOnly),
    ("[256,norm]", "both halves", BothHalves),
    ("[256,relu]", "", SourceOnly),
    ("[256]", "", SourceOnly),
    ("null", "", SourceOnly),
]


def main(overrides: list[str]) -> None:
    """Train each variant on each task, and print what it has."""
    common = ["experiment=office31_frozen", "method=source_only", "seed=0", *overrides]
    tasks = [cell.config.task for cell in Sweep(common).cells]
    print(f"{'':28}" + "".join(f"{task:>7}" for task in (*tasks, "Avg")))
    for bottleneck, seen, method in VARIANTS:
        row = []
        for cell in Sweep([*common, f"backbone.bottleneck={bottleneck}"]).cells:
            learner, task = prepared(cell.config, "cpu")
            assert isinstance(learner, Learner)
            learner.method = method
            with limited(cell.config.runtime.threads):
                learner.fit(task.source.x, task.source.y, task.target.x)
                row.append(100 * float(np.mean(learner.predict(task.test.x) == task.test.y)))
        print(f"{bottleneck:14}{seen:14}" + "".join(f"{one:7.1f}" for one in (*row, np.mean(row))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
