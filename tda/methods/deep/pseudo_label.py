"""Pseudo-labels: the class that the network holds most probable is learned as if it were the truth."""

import torch.nn.functional as F
from pydantic import NonNegativeFloat
from torch import Tensor

from tda.backbones.base import Output
from tda.methods.deep.base import Batch, DeepMethod
from tda.ranges import Share


class PseudoLabel(DeepMethod):
    r"""Self-training on the network's own predictions, renewed at every step.

    .. math:: \min_\theta \frac1b \sum_i -\log p_\theta(y_i \mid x_i^s)
              + \lambda\, \alpha(p) \frac1b \sum_j m_j \bigl(-\log p_\theta(\hat y_j \mid x_j^t)\bigr), \quad
              \hat y_j = \arg\max_c p_\theta(c \mid x_j^t),

    with :math:`m_j = 1` where the class's probability reaches the threshold, else 0, and a ramp over the progress p
    of training: :math:`\alpha = 0` before `start`, 1 after `full`, linear in between.

    Parameters
    ----------
    weight : float
        :math:`\lambda`, the paper's :math:`\alpha_f`.
    threshold : float
        Of the probability; the paper takes all samples, 0.
    start, full : float
        Ends of the ramp; 100 and 600 of the paper's epochs.

    References
    ----------
    D.-H. Lee. Pseudo-label: the simple and efficient semi-supervised learning method for deep neural networks. ICML
    workshop on challenges in representation learning, 2013, equations 15 and 16.
    """

    def __init__(self, *, weight: NonNegativeFloat, threshold: Share, start: Share, full: Share) -> None:
        super().__init__(weight=weight)
        self.threshold = threshold
        self.start = start
        self.full = full

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the target's cross-entropy with its own predictions, as far as the ramp goes."""
        found = self_training(target.logits, target.logits, self.threshold)
        return linear_ramp(batch.progress, self.start, self.full) * found


def self_training(logits: Tensor, teacher: Tensor, threshold: float) -> Tensor:
    """Return the mean of the cross-entropy of logits (n, classes) with the classes that `teacher` (n, classes) says.

    Samples of which its softmax is not sure, below `threshold`, count as 0. No gradient reaches `teacher`.
    """
    confidence, classes = teacher.detach().float().softmax(1).max(1)
    return (F.cross_entropy(logits, classes, reduction="none") * (confidence >= threshold)).mean()


def linear_ramp(progress: float, start: float, full: float) -> float:
    """Return 0 before `start`, 1 from `full` on, and what is linear in between.

    Examples
    --------
    >>> [linear_ramp(p, 0.25, 0.75) for p in (0.0, 0.5, 1.0)]
    [0.0, 0.5, 1.0]
    """
    return min(max((progress - start) / max(full - start, 1e-12), 0.0), 1.0)
