"""AFN: features of both domains with the same, large norms."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from tda.methods.deep.base import Batch, DeepMethod, Objective
from tda.methods.deep.entropy_minimisation import entropies


class AFN(DeepMethod):
    r"""Adaptive feature norm: features with small norms carry little that transfers, so norms are to grow.

    .. math:: \min_\theta L_y + \lambda \bigl(N(F_s) + N(F_t)\bigr) + \gamma \frac1b \sum_j H(p_j^t)

    with the features F of each half of the batch and, for HAFN and for SAFN,

    .. math:: N(F) = \Bigl(\frac1b \sum_i \lVert f_i \rVert_2 - R\Bigr)^2, \qquad
              N(F) = \frac1b \sum_i \bigl(\lVert f_i \rVert_2 - (\lVert f_i \rVert_2^{\text{old}} + \Delta r)\bigr)^2,

    where *old* is the norm before the step, a constant.

    Parameters
    ----------
    weight : float
        :math:`\lambda`.
    radius : float or None
        R of HAFN; None for SAFN.
    step : float
        :math:`\Delta r` of SAFN.
    entropy : float
        :math:`\gamma`, of the target's mean entropy; the paper's *+ENT*.

    References
    ----------
    R. Xu, G. Li, J. Yang, L. Lin. Larger norm more transferable: an adaptive feature norm approach for unsupervised
    domain adaptation. ICCV 2019, equations 4 to 8.
    """

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        radius: PositiveFloat | None,
        step: NonNegativeFloat,
        entropy: NonNegativeFloat,
    ) -> None:
        super().__init__(weight=weight)
        self.radius = radius
        self.step = step
        self.entropy = entropy

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the cross-entropy, the norms' distance from where they should be, and the target's entropy."""
        source, target = self.pair(batch)
        terms = {
            "classification": F.cross_entropy(source.logits, batch.ys),
            "norm": self.weight * (self.distance(source.features) + self.distance(target.features)),
            "entropy": self.entropy * entropies(target.logits).mean(),
        }
        yield Objective(terms["classification"] + terms["norm"] + terms["entropy"], (self,), terms)

    def distance(self, features: Tensor) -> Tensor:
        """Return N(F) of features (n, d)."""
        norms: Tensor = torch.linalg.vector_norm(features.float(), dim=1)
        off = norms.mean() - self.radius if self.radius is not None else norms - norms.detach() - self.step
        return off.square().mean()
