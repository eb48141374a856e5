"""DTN: features agree in their means, and outputs class by class."""

from pydantic import NonNegativeFloat
from torch import Tensor

from tda.backbones.base import Output
from tda.divergences.batch import class_means, mean_distance2
from tda.methods.deep.base import Batch, DeepMethod


class DTN(DeepMethod):
    r"""Deep transfer network (there are two others of this name): marginal and conditional linear MMD.

    .. math:: J = L + \lambda \Bigl\| \frac1b \sum_i h(x_i^s) - \frac1b \sum_j h(x_j^t) \Bigr\|^2
              + \mu \sum_c \Bigl\| \frac{1}{n_s^c} \sum_{y_i = c} q(x_i^s)
              - \frac{1}{n_t^c} \sum_{\hat y_j = c} q(x_j^t) \Bigr\|^2

    with h the features, q the class probabilities and :math:`\hat y` the network's own labels of the batch. Classes
    that one half of the batch lacks are left aside.

    Parameters
    ----------
    weight : float
        :math:`\lambda`.
    conditional : float
        :math:`\mu / \lambda`.

    References
    ----------
    X. Zhang, F. X. Yu, S.-F. Chang, S. Wang. Deep transfer network: unsupervised domain adaptation. arXiv 1503.00591,
    2015, equations 3 to 7.
    """

    def __init__(self, *, weight: NonNegativeFloat, conditional: NonNegativeFloat) -> None:
        super().__init__(weight=weight)
        self.conditional = conditional

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the marginal and the conditional distance."""
        marginal = mean_distance2(source.features, target.features)
        qs, qt = source.logits.float().softmax(1), target.logits.float().softmax(1)
        return marginal + self.conditional * class_distance2(qs, qt, batch.ys, qt.argmax(1), self.network.classes)


def class_distance2(source: Tensor, target: Tensor, ys: Tensor, yt: Tensor, classes: int) -> Tensor:
    """Return the sum over classes of the squared distance of the class means of (ns, d) and (nt, d) rows.

    Examples
    --------
    >>> import torch
    >>> a, b = torch.tensor([[0.0], [2.0], [7.0]]), torch.tensor([[3.0]])
    >>> class_distance2(a, b, torch.tensor([0, 0, 1]), torch.tensor([0]), classes=3)
    tensor(4.)
    """
    gaps = class_means(source, ys, classes) - class_means(target, yt, classes)
    met = (ys.bincount(minlength=classes) > 0) & (yt.bincount(minlength=classes) > 0)
    return (gaps.square().sum(1) * met).sum()
