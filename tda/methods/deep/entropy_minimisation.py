"""Entropy minimisation: the classifier is to be sure of the unlabelled samples."""

from pydantic import NonNegativeFloat
from torch import Tensor

from tda.backbones.base import Output
from tda.methods.deep.base import Batch, DeepMethod


class EntropyMinimisation(DeepMethod):
    r"""Minimum entropy regularisation: decision boundaries that keep away from the target samples.

    .. math:: \min_\theta \frac1b \sum_i -\log p_\theta(y_i \mid x_i^s)
              + \lambda \frac1b \sum_j H\bigl(p_\theta(\cdot \mid x_j^t)\bigr), \quad H(p) = -\sum_c p_c \log p_c.

    Parameters
    ----------
    weight : float
        :math:`\lambda`.

    References
    ----------
    Y. Grandvalet, Y. Bengio. Semi-supervised learning by entropy minimization. NIPS 2004, equation 6.
    """

    def __init__(self, *, weight: NonNegativeFloat) -> None:
        super().__init__(weight=weight)

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the mean entropy of the target's predictions."""
        return entropies(target.logits).mean()


def entropies(logits: Tensor) -> Tensor:
    """Return the entropy (n,), in nats, of the class probabilities that logits (n, classes) stand for.

    Examples
    --------
    >>> import torch
    >>> entropies(torch.zeros(1, 4)) / torch.log(torch.tensor(4.0))
    tensor([1.])
    """
    logs = logits.float().log_softmax(1)
    return -(logs.exp() * logs).sum(1)
