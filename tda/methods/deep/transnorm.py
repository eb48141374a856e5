"""TransNorm: batch normalisation that favours the channels on which the domains agree."""

import torch
from torch import Tensor

from tda.backbones.base import Network
from tda.methods.deep.base import DomainName
from tda.methods.deep.cdan import CDAN
from tda.methods.deep.normalisation import DomainNormalised, Normalisation, Separate, replace_normalisation

STATISTICS = ("running_mean", "running_var")


class TransNorm(DomainNormalised, CDAN):
    r"""Transferable normalisation in a conditional adversarial network (CDAN+TransNorm).

    In the place of each batch normalisation, every domain is normalised by its own statistics, the weights
    :math:`\gamma, \beta` are shared, and each of the c channels is weighed by how near the domains are on it:

    .. math:: y = (1 + \alpha_j) (\gamma_j \hat x_j + \beta_j), \quad
              \alpha_j = \frac{c / (1 + d_j)}{\sum_k 1 / (1 + d_k)}, \quad
              d_j = \left| \frac{\mu_{s,j}}{\sigma_{s,j}} - \frac{\mu_{t,j}}{\sigma_{t,j}} \right|

    with no gradient through :math:`\alpha`. A network without batch normalisation gets one between bottleneck and
    head.

    Parameters
    ----------
    weight, gamma, height, hidden, entropy, random_dim, bsp, dropout
        See `tda.methods.deep.cdan.CDAN`; the authors' commands for CDAN+TransNorm have `entropy`.

    References
    ----------
    X. Wang, Y. Jin, M. Long, J. Wang, M. I. Jordan. Transferable normalization: towards improving transferability of
    deep neural networks. NeurIPS 2019, equations 2 to 6.
    """

    def prepare(self, network: Network) -> None:
        """Replace the batch normalisations."""
        super().prepare(network)
        replace_normalisation(network, Transferable)


class Transferable(Separate):
    """Statistics of each domain, shared weights, and a weight for each channel."""

    def __init__(self, replaced: Normalisation) -> None:
        super().__init__(replaced)
        self.target.weight, self.target.bias = self.source.weight, self.source.bias

    def normalise(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise each half, and weigh the channels by the distance of this batch."""
        others = [axis for axis in range(source.ndim) if axis != 1]
        moments = [torch.var_mean(x.detach().float(), others) for x in (source, target)]
        weights = self._weights([mean for _, mean in moments], [variance for variance, _ in moments], source.ndim)
        halves = super().normalise(source, target)
        return halves[0] * weights, halves[1] * weights

    def normalise_one(self, x: Tensor, domain: DomainName) -> Tensor:
        """Normalise by the domain's statistics, and weigh the channels by the distance of the running ones."""
        means, variances = ([b.get_buffer(name) for b in (self.source, self.target)] for name in STATISTICS)
        weights = self._weights(means, variances, x.ndim)
        return super().normalise_one(x, domain) * weights

    def _weights(self, means: list[Tensor], variances: list[Tensor], ndim: int) -> Tensor:
        """Return 1 + alpha, in a shape that broadcasts along the channels of an input with `ndim` axes."""
        source, target = (m / (v + self.source.eps).sqrt() for m, v in zip(means, variances, strict=True))
        near = 1 / (1 + (source - target).abs())
        return (1 + len(near) * near / near.sum()).view(1, -1, *[1] * (ndim - 2))
