"""SWD: two classifiers whose outputs on the target are a transport apart."""

from collections.abc import Sequence

from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from tda.divergences.batch import sliced_wasserstein2
from tda.methods.deep.mcd import MCD


class SWD(MCD):
    r"""Sliced Wasserstein discrepancy: MCD's three steps with a geometric distance of the classifiers.

    .. math:: d = \frac1M \sum_m \frac1b \sum_i \bigl( R_m' p_1 |_{(i)} - R_m' p_2 |_{(i)} \bigr)^2

    where :math:`p_1, p_2` are the class probabilities that both give the target half of the batch, :math:`R_m` random
    directions on the sphere, drawn anew each time, and :math:`(i)` the i-th in order of size.

    Parameters
    ----------
    weight, generator_steps, hidden
        See `tda.methods.deep.mcd.MCD`.
    projections : int
        M; 128 in the paper.

    References
    ----------
    C.-Y. Lee, T. Batra, M. H. Baig, D. Ulbricht. Sliced Wasserstein discrepancy for unsupervised domain adaptation.
    CVPR 2019, equations 5 to 8, algorithm 1.
    """

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        generator_steps: PositiveInt,
        hidden: Sequence[PositiveInt] | None,
        projections: PositiveInt,
    ) -> None:
        super().__init__(weight=weight, generator_steps=generator_steps, hidden=hidden)
        self.projections = projections

    def _discrepancy(self, features: Tensor) -> Tensor:
        one, other = (head(features).float().softmax(1) for head in (self.network.head, self.second))
        return sliced_wasserstein2(one, other, projections=self.projections)
