"""No adaptation: the network trained on labelled source samples alone."""

from collections.abc import Iterator

import torch.nn.functional as F

from tda.methods.deep.base import Batch, DeepMethod, Objective


class SourceOnly(DeepMethod):
    r"""Minimise the cross-entropy of the source, :math:`\frac1b \sum_i -\log p_\theta(y_i \mid x_i)`.

    The lower end of every comparison; trained on target labels instead (``trained_on: target``) it is the upper
    end, the *train on target* row of the paper.

    References
    ----------
    Y. Ganin, V. Lempitsky. Unsupervised domain adaptation by backpropagation. ICML 2015, section 4, baselines.
    """

    def __init__(self) -> None:
        super().__init__(weight=0.0)

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the source's cross-entropy; the target is not even passed through the network."""
        yield Objective(F.cross_entropy(self.network(batch.xs).logits, batch.ys), (self,))
