"""DSAN: the same classes of the two domains agree."""

from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from tda.backbones.base import Output
from tda.divergences.batch import local_mmd2
from tda.methods.deep.base import Batch, DeepMethod
from tda.methods.deep.reversal import ramp


class DSAN(DeepMethod):
    r"""Deep subdomain adaptation network: the local MMD, between the samples of each class.

    .. math:: L = L_{class} + \lambda \lambda_p \frac1C \sum_c \Bigl\| \sum_i w_i^{sc} \phi(x_i^s)
              - \sum_j w_j^{tc} \phi(x_j^t) \Bigr\|^2, \qquad w_j^{tc} = \frac{p_c(x_j^t)}{\sum_{j'} p_c(x_{j'}^t)}

    where a source sample counts for its own class and a target sample for each class by the network's probability,
    through which no gradient flows. C counts the classes that both halves of the batch hold, as in the authors' code.

    Parameters
    ----------
    weight : float
        :math:`\lambda`; 0.5 in the authors' code.
    gamma : float
        Steepness of :math:`\lambda_p = 2 / (1 + \exp(-\gamma p)) - 1` over the progress p.
    kernels : int
        Number of Gaussian kernels; 5 have widths w/4 to 4w, w the mean squared distance in the batch.

    References
    ----------
    Y. Zhu, F. Zhuang, J. Wang, G. Ke, J. Chen, J. Bian, H. Xiong, Q. He. Deep subdomain adaptation network for image
    classification. IEEE TNNLS 32, 2021, equations 5 to 8.
    """

    def __init__(self, *, weight: NonNegativeFloat, gamma: NonNegativeFloat, kernels: PositiveInt) -> None:
        super().__init__(weight=weight)
        self.gamma = gamma
        self.kernels = kernels

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the local MMD times its ramp."""
        pt = target.logits.detach().float().softmax(1)
        found = local_mmd2(source.features, target.features, batch.ys, pt, kernels=self.kernels)
        return ramp(batch.progress, self.gamma) * found
