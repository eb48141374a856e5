"""BNM: target predictions that are certain and diverse at once."""

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from tda.backbones.base import Output
from tda.divergences.batch import in_float32
from tda.methods.deep.base import Batch, DeepMethod


class BNM(DeepMethod):
    r"""Batch nuclear-norm maximisation.

    .. math:: \min_\theta \frac1b \sum_i -\log p_\theta(y_i \mid x_i^s) - \frac{\lambda}{b} \lVert P \rVert_\star

    where P (b, classes) holds the class probabilities of the target half of the batch. A large nuclear norm means
    a large Frobenius norm, which is certainty, and a high rank, which is diversity: rare classes are not given up,
    as they are when the entropy alone is minimised. The authors' code divides the norm by the lesser of b and the
    number of classes, and so weighs it more where there are fewer classes than samples.

    Parameters
    ----------
    weight : float
        :math:`\lambda`.

    References
    ----------
    S. Cui et al. Towards discriminability and diversity: batch nuclear-norm maximization under label insufficient
    situations. CVPR 2020, equations 9 to 11.
    """

    def __init__(self, *, weight: NonNegativeFloat) -> None:
        super().__init__(weight=weight)

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return minus the mean nuclear norm of the target's predictions."""
        return -batch_nuclear_norm(target.logits)


@in_float32
def batch_nuclear_norm(logits: Tensor) -> Tensor:
    """Return the nuclear norm of the class probabilities of logits (n, classes), divided by n.

    Examples
    --------
    >>> round(batch_nuclear_norm(20 * torch.eye(4)).item(), 4)  # four certain and different predictions
    1.0
    >>> round(batch_nuclear_norm(torch.tensor([[20.0, 0.0]] * 4)).item(), 4)  # four times the same
    0.5
    """
    if not torch.isfinite(logits).all():
        return logits.sum()  # which is no finite number either, as a decomposition would not be found
    norm: Tensor = torch.linalg.matrix_norm(logits.softmax(1), "nuc")
    return norm / len(logits)
