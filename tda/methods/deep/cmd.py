"""CMD: features whose central moments agree."""

from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from tda.backbones.base import Output
from tda.divergences.batch import cmd
from tda.methods.deep.base import Batch, DeepMethod


class CMD(DeepMethod):
    r"""Central moment discrepancy: the mean and the central moments of every feature, one by one.

    .. math:: L = L_C + \lambda \Bigl( \|E[z_s] - E[z_t]\| + \sum_{k=2}^K \|c_k(z_s) - c_k(z_t)\| \Bigr), \qquad
              c_k(z) = E[(z - E[z])^k]

    The distance is defined for features in an interval, of length 1 here: z is the hyperbolic tangent of the
    network's features, which end in a ReLU and so lie in [0, 1) after it. Without one they lie in (-1, 1), for whose
    length the paper would divide the k-th term by :math:`2^k`; it is not divided.

    Parameters
    ----------
    weight : float
        :math:`\lambda`; 1 in the paper.
    order : int
        K, the highest moment; 5 in the paper.

    References
    ----------
    W. Zellinger, T. Grubinger, E. Lughofer, T. Natschlaeger, S. Saminger-Platz. Central moment discrepancy (CMD) for
    domain-invariant representation learning. ICLR 2017, equations 8 and 11.
    """

    def __init__(self, *, weight: NonNegativeFloat, order: PositiveInt) -> None:
        super().__init__(weight=weight)
        self.order = order

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the central moment discrepancy of the squashed features."""
        return cmd(source.features.tanh(), target.features.tanh(), order=self.order)
