"""DaNN: a shallow network whose hidden layer is regularised by the MMD."""

from pydantic import NonNegativeFloat
from torch import Tensor

from tda.backbones.base import Output
from tda.divergences.batch import mmd2
from tda.methods.deep.base import Batch, DeepMethod


class DaNN(DeepMethod):
    r"""Domain adaptive neural network (not DANN): the first network with an MMD in its loss.

    .. math:: J = J_{NN} + \gamma \, \mathrm{MMD}^2(q_s, q_t)

    on the hidden layer q, with one Gaussian kernel :math:`\exp(-\|q - q'\|^2 / w)`, w the median squared distance in
    the batch. The hidden layer is the network's bottleneck, seen after its batch normalisation and ReLU, where the
    paper's q is linear; on features of a frozen backbone it is the only one, as in the paper. The paper's pretraining
    by a denoising autoencoder is left aside, as in its plain variant.

    Parameters
    ----------
    weight : float
        :math:`\gamma`.

    References
    ----------
    M. Ghifary, W. B. Kleijn, M. Zhang. Domain adaptive neural networks for object recognition. PRICAI 2014,
    equations 4 to 6.
    """

    def __init__(self, *, weight: NonNegativeFloat) -> None:
        super().__init__(weight=weight)

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the squared MMD of the hidden layer."""
        return mmd2(source.features, target.features, kernels=1, typical="median")
