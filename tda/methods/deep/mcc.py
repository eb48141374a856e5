"""MCC: the classes of the target are not to be taken for one another."""

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from tda.backbones.base import Output
from tda.divergences.batch import in_float32
from tda.methods.deep.base import Batch, DeepMethod
from tda.methods.deep.entropy_minimisation import entropies


class MCC(DeepMethod):
    r"""Minimum class confusion: no alignment, only fewer pairs of classes that are predicted together.

    .. math:: \hat Y_{ij} = \mathrm{softmax}(Z_i / T)_j, \quad
              w_i = \frac{b\,(1 + e^{-H(\hat Y_i)})}{\sum_k (1 + e^{-H(\hat Y_k)})}, \quad
              C = \hat Y^\top \mathrm{diag}(w)\, \hat Y, \quad
              \tilde C_{jk} = \frac{C_{jk}}{\sum_l C_{jl}}, \\
              L = \frac1{|\mathcal C|} \sum_j \sum_{k \ne j} \tilde C_{jk}

    over the target half of the batch. The weights w are constants, as in the authors' code.

    Parameters
    ----------
    weight : float
        Of the confusion; the paper's trade-off :math:`\mu` is 1.
    temperature : float
        T.

    References
    ----------
    Y. Jin et al. Minimum class confusion for versatile domain adaptation. ECCV 2020, equations 2 to 9.
    """

    def __init__(self, *, weight: NonNegativeFloat, temperature: PositiveFloat) -> None:
        super().__init__(weight=weight)
        self.temperature = temperature

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the confusion of the target's predictions."""
        return class_confusion(target.logits, self.temperature)


@in_float32
def class_confusion(logits: Tensor, temperature: float) -> Tensor:
    """Return the class confusion, in [0, 1), of logits (n, classes).

    Examples
    --------
    >>> class_confusion(torch.tensor([[9.0, -9.0], [-9.0, 9.0]]), 1.0) < 1e-6
    tensor(True)
    """
    tempered = logits / temperature
    probabilities = tempered.softmax(1)
    trust = 1 + torch.exp(-entropies(tempered.detach()))
    trust = trust * len(trust) / trust.sum()
    confusion = (probabilities * trust.unsqueeze(1)).T @ probabilities  # (classes, classes)
    return 1 - (confusion.diagonal() / confusion.sum(1).clamp_min(1e-12)).mean()
