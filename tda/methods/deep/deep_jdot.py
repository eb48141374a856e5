"""DeepJDOT: an optimal plan moves source samples, with their labels, onto target samples."""

import numpy as np
import ot
import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from tda.backbones.base import Output
from tda.divergences.batch import in_float32
from tda.methods.deep.base import Batch, DeepMethod


class DeepJDOT(DeepMethod):
    r"""Deep joint distribution optimal transport.

    .. math:: \min_{g, f} \frac1b \sum_i L_s\bigl(y_i, f(g(x_i^s))\bigr)
              + \min_\Gamma \sum_{ij} \Gamma_{ij} \Bigl( \alpha \| g(x_i^s) - g(x_j^t) \|^2
              + \lambda_t L_t\bigl(y_i, f(g(x_j^t))\bigr) \Bigr)

    over plans between the uniform distributions of the batch: exact transport for the network as it is, then a step
    of the network for that plan. :math:`L_t` is the cross-entropy of the source's label against the target's
    prediction.

    Parameters
    ----------
    weight : float
        Of the transport cost.
    alpha : float
        :math:`\alpha`; 0.001 in the paper, where features are summed over hundreds of dimensions.
    label_weight : float
        :math:`\lambda_t`; 0.0001 in the paper.

    References
    ----------
    B. B. Damodaran, B. Kellenberger, R. Flamary, D. Tuia, N. Courty. DeepJDOT: deep joint distribution optimal
    transport for unsupervised domain adaptation. ECCV 2018, equations 5 to 7, algorithm 1.
    """

    def __init__(self, *, weight: NonNegativeFloat, alpha: NonNegativeFloat, label_weight: NonNegativeFloat) -> None:
        super().__init__(weight=weight)
        self.alpha = alpha
        self.label_weight = label_weight

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the cost of the best plan, a constant in the gradient."""
        far = cross_distances(source.features, target.features)
        wrong = -target.logits.float().log_softmax(1).T[batch.ys]  # (ns, nt)
        cost = self.alpha * far + self.label_weight * wrong
        found = cost.detach().cpu().double().numpy()
        if not np.isfinite(found).all():
            return cost.sum()
        plan = ot.emd([], [], found / max(found.max(), 1e-30))
        return (cost * torch.as_tensor(plan, dtype=cost.dtype, device=cost.device)).sum()


@in_float32
def cross_distances(X: Tensor, Y: Tensor) -> Tensor:
    """Return ||x_i - y_j||^2 of rows (n, d) and (m, d): (n, m)."""
    return (X.square().sum(1)[:, None] + Y.square().sum(1) - 2 * X @ Y.T).clamp_min(0)
