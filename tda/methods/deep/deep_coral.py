"""Deep CORAL: outputs whose covariances agree."""

from typing import Literal

from pydantic import NonNegativeFloat
from torch import Tensor

from tda.backbones.base import Output
from tda.divergences.batch import coral
from tda.methods.deep.base import Batch, DeepMethod


class DeepCORAL(DeepMethod):
    r"""Correlation alignment inside a network.

    .. math:: L = L_{class} + \lambda \frac{1}{4 d^2} \| C_S - C_T \|_F^2

    with :math:`C` the covariances of a layer of width d in the two halves of the batch.

    Parameters
    ----------
    weight : float
        :math:`\lambda`; chosen in the paper so that both losses are about equal at the end of training.
    layer : {"features", "logits"}
        The paper's is the last, the logits. (The textbook's listing takes the bottleneck, and some public code the
        root of the norm.)

    References
    ----------
    B. Sun, K. Saenko. Deep CORAL: correlation alignment for deep domain adaptation. ECCV workshops 2016,
    equations 1 and 6.
    """

    def __init__(self, *, weight: NonNegativeFloat, layer: Literal["features", "logits"]) -> None:
        super().__init__(weight=weight)
        self.layer = layer

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the distance of the two covariances."""
        return coral(getattr(source, self.layer), getattr(target, self.layer))
