"""DAN: several layers whose distributions agree in the space of many kernels."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveInt
from scipy.optimize import nnls
from torch import Tensor

from tda.backbones.base import Network, Output
from tda.divergences.batch import contrast, gaussians, kernel_sum, quadruples, squared_distances, uniform, uniform_pairs
from tda.methods.deep.base import Batch, DeepMethod, Objective

FORGOTTEN = 0.01


class DAN(DeepMethod):
    r"""Deep adaptation network: the multi-kernel MMD of each task-specific layer.

    .. math:: \min_\theta \frac1b \sum_i J(\theta(x_i), y_i) + \lambda \sum_l d_k^2(D_s^l, D_t^l), \qquad
              k = \sum_u \beta_u \exp\bigl(-\|x - x'\|^2 / 2^u w\bigr)

    with w the mean squared distance in the batch. The kernels' weights :math:`\beta` are all 1, as in the authors'
    code, or learned to make the test of the two samples strong: :math:`\min_\beta \beta' Q \beta` subject to
    :math:`d'\beta = 1, \beta \ge 0`, where d and Q are mean and covariance of the linear-time estimates of each
    kernel; then scaled to sum to their number. These two are averaged over the last hundred steps or so (a batch
    has too few pairs for a covariance), with equal :math:`\beta` until some kernel tells the domains apart.

    Parameters
    ----------
    weight : float
        :math:`\lambda`.
    kernels : int
        Number of Gaussian kernels; 5 have widths w/4 to 4w.
    layers : sequence of {"features", "logits"}
        Where the distributions are to agree.
    estimate : {"quadratic", "linear"}
        ``quadratic`` meets all pairs of the batch (biased, never negative); ``linear`` is the unbiased estimate from
        consecutive pairs, the paper's choice for its cost.
    learned_weights : bool
        Learn :math:`\beta`.

    References
    ----------
    M. Long, Y. Cao, J. Wang, M. I. Jordan. Learning transferable features with deep adaptation networks. ICML 2015,
    equations 2, 4, 5 and 8. A. Gretton et al. Optimal kernel choice for large-scale two-sample tests. NIPS 2012.
    """

    moments: Tensor

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        kernels: PositiveInt,
        layers: Annotated[Sequence[Literal["features", "logits"]], Field(min_length=1)],
        estimate: Literal["quadratic", "linear"],
        learned_weights: bool,
    ) -> None:
        super().__init__(weight=weight)
        self.kernels = kernels
        self.layers = tuple(layers)
        self.estimate = estimate
        self.learned_weights = learned_weights
        self.plain = estimate == "quadratic" and not learned_weights

    def prepare(self, network: Network) -> None:
        """Start the averages of each layer's d (first row) and second moments of the estimates (other rows)."""
        super().prepare(network)
        self.steps = 0
        self.register_buffer("moments", torch.zeros(len(self.layers), 1 + self.kernels, self.kernels))

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the loss; where all pairs count alike, the two halves are not taken apart."""
        if self.plain:
            both = self.network(batch.x)
            classification = F.cross_entropy(both.logits[: len(batch.ys)], batch.ys)
            yield self.objective(classification, self._quadratic(batch, *(getattr(both, name) for name in self.layers)))
        else:
            yield from super().objectives(batch)

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the sum over layers of the squared multi-kernel MMD."""
        pairs = [(getattr(source, layer), getattr(target, layer)) for layer in self.layers]
        if self.plain:
            return self._quadratic(batch, *map(torch.cat, pairs))
        self.steps += 1
        return torch.stack([self._discrepancy(s, t, at) for at, (s, t) in enumerate(pairs)]).sum()

    def _quadratic(self, batch: Batch, *layers: Tensor) -> Tensor:
        return kernel_sum(uniform_pairs(batch.ys, batch.it), *layers, kernels=self.kernels)

    def _discrepancy(self, source: Tensor, target: Tensor, layer: int) -> Tensor:
        sampled = quadruples(source, target, self.kernels)  # (kernels, pairs)
        beta = self._learned(sampled.detach(), layer) if self.learned_weights else torch.ones_like(sampled[:, 0])
        if self.estimate == "linear":
            return (beta * sampled.mean(1)).sum()
        K = torch.stack(gaussians(squared_distances(torch.cat([source, target])), self.kernels))
        return contrast((beta.view(-1, 1, 1) * K).sum(0), uniform(source, target))

    def _learned(self, sampled: Tensor, layer: int) -> Tensor:
        """Average the statistics of a layer's kernels with those of this batch, and return the best weights."""
        seen = torch.cat([sampled.mean(1)[None], (sampled[:, None] * sampled).mean(2)])
        self.moments[layer].lerp_(seen, max(1 / self.steps, FORGOTTEN))
        d, *second = self.moments[layer].cpu().double().numpy()
        return sampled.new_tensor(kernel_weights(d, second - np.outer(d, d)))


def kernel_weights(d: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """Return the weights, summing to m, that minimise b'Qb subject to d'b = 1, b >= 0; ones where no d is positive.

    With Q = L'L the solution is that of the non-negative least squares ||L b - L^-T d||, up to its scale, so that no
    solver of quadratic programmes is needed.

    Parameters
    ----------
    d : ndarray of shape (m,)
        The kernels' squared MMDs; where one is no number, the weights are ones, too.
    Q : ndarray of shape (m, m)
        The covariance of their estimates; a millionth of the trace of their second moments, Q + dd', is added to its
        diagonal, far above the rounding of the float32 sums that Q is the difference of.
    """
    m = len(d)
    if not d.max() > 0:
        return np.ones(m)
    L = np.linalg.cholesky(Q + 1e-6 * (np.trace(Q) + d @ d) * np.eye(m)).T
    beta, _ = nnls(L, np.linalg.solve(L.T, d))
    weights: np.ndarray = m * beta / beta.sum()
    return weights
