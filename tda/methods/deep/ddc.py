"""DDC: one layer whose means agree."""

from pydantic import NonNegativeFloat
from torch import Tensor

from tda.backbones.base import Output
from tda.divergences.batch import mean_distance2
from tda.methods.deep.base import Batch, DeepMethod


class DDC(DeepMethod):
    r"""Deep domain confusion: the squared MMD with a linear kernel at one adaptation layer, before the classifier.

    .. math:: L = L_C + \lambda \Bigl\| \frac1b \sum_i \phi(x_i^s) - \frac1b \sum_j \phi(x_j^t) \Bigr\|^2

    The adaptation layer is the network's bottleneck, on the path to the classifier (the textbook's listing measures
    the distance on a side branch that its classifier never reads). Later authors put a Gaussian kernel in its place,
    which is DAN with one kernel and one layer.

    Parameters
    ----------
    weight : float
        :math:`\lambda`; 0.25 in the paper.

    References
    ----------
    E. Tzeng, J. Hoffman, N. Zhang, K. Saenko, T. Darrell. Deep domain confusion: maximizing for domain invariance.
    arXiv 1412.3474, 2014, equations 1 and 2.
    """

    def __init__(self, *, weight: NonNegativeFloat) -> None:
        super().__init__(weight=weight)

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the squared distance of the two means of the features."""
        return mean_distance2(source.features, target.features)
