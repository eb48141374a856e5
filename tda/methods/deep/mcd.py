"""MCD: two classifiers that disagree where the target lies far from the source."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from tda.backbones.base import Network
from tda.methods.deep.base import Batch, DeepMethod, Objective


class MCD(DeepMethod):
    r"""Maximum classifier discrepancy.

    With the generator G (backbone and bottleneck) and two classifiers :math:`F_1, F_2`, whose cross-entropies on the
    source are summed in :math:`L_y`, each batch is used for

    .. math::
       \text{A:}\ \min_{G, F_1, F_2} L_y, \quad
       \text{B:}\ \min_{F_1, F_2} L_y - \mu\, d, \quad
       \text{C, k times:}\ \min_G \mu\, d, \quad
       d = \mathbb E_t \frac{1}{C} \sum_c |p_1(c \mid x) - p_2(c \mid x)|.

    What is scored is the mean of both classifiers' logits. As in the authors' code the domains pass through the network
    one at a time, and only those that a step's loss is of.

    Parameters
    ----------
    weight : float
        :math:`\mu`; 1 in the paper.
    generator_steps : int
        k, the steps of the generator on a batch.
    hidden : sequence of int or None
        Widths of both classifiers' hidden layers; None takes the backbone's `hidden`. Linear classifiers have little
        to disagree on.

    References
    ----------
    K. Saito, K. Watanabe, Y. Ushiku, T. Harada. Maximum classifier discrepancy for unsupervised domain adaptation.
    CVPR 2018, equations 3 to 9.
    """

    def __init__(
        self, *, weight: NonNegativeFloat, generator_steps: PositiveInt, hidden: Sequence[PositiveInt] | None
    ) -> None:
        super().__init__(weight=weight)
        self.generator_steps = generator_steps
        self.hidden = hidden

    def prepare(self, network: Network) -> None:
        """Put two classifiers, each with weights of its own, on the network's features."""
        super().prepare(network)
        self.require_encoder()
        network.head, self.second = (
            network.backbone.predictor(network.width, network.classes, self.hidden) for _ in range(2)
        )

    def classify(self, x: Tensor) -> Tensor:
        """Return the mean of both classifiers' logits."""
        features, logits = self.network(x)
        return (logits + self.second(features)) / 2  # type: ignore[no-any-return]

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the paper's steps A, B and C."""
        classification = self._classification(self.network.encode(batch.xs), batch.ys)
        yield Objective(classification, (self,), {"classification": classification})
        with torch.no_grad():
            source, target = self.network.encode(batch.xs), self.network.encode(batch.xt)
        classification, apart = self._classification(source, batch.ys), self._discrepancy(target)
        terms = {"classification": classification, "discrepancy": apart}
        yield Objective(classification - self.weight * apart, (self.network.head, self.second), terms)
        for _ in range(self.generator_steps):
            apart = self._discrepancy(self.network.encode(batch.xt))
            generator = (self.network.backbone, self.network.bottleneck)
            yield Objective(self.weight * apart, generator, {"discrepancy": apart})

    def _classification(self, features: Tensor, ys: Tensor) -> Tensor:
        return F.cross_entropy(self.network.head(features), ys) + F.cross_entropy(self.second(features), ys)

    def _discrepancy(self, features: Tensor) -> Tensor:
        return discrepancy(self.network.head(features), self.second(features))


def discrepancy(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean absolute difference of the probabilities that two classifiers' logits (n, C) give.

    Examples
    --------
    >>> sure = torch.tensor([[100.0, 0.0]])
    >>> discrepancy(sure, sure), discrepancy(sure, -sure)
    (tensor(0.), tensor(1.))
    """
    return (one.float().softmax(1) - other.float().softmax(1)).abs().mean()
