"""AutoDIAL: batch normalisation that learns how much of the other domain's statistics it takes."""

from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn

from tda.backbones.base import Network, Output
from tda.methods.deep.base import Batch, DomainName
from tda.methods.deep.entropy_minimisation import entropies
from tda.methods.deep.normalisation import (
    DomainNormalisation,
    DomainNormalised,
    Normalisation,
    replace_normalisation,
)


class AutoDIAL(DomainNormalised):
    r"""Automatic domain alignment layers, and confidence on the target.

    .. math:: \min_\theta \frac1b \sum_i -\log p_\theta(y_i \mid x_i^s)
              + \lambda \frac1b \sum_j H\bigl(p_\theta(\cdot \mid x_j^t)\bigr)

    where each batch normalisation takes mean and variance from mixtures of the domains,
    :math:`\alpha q_s + (1 - \alpha) q_t` for source samples and :math:`\alpha q_t + (1 - \alpha) q_s` for the
    target's, with one :math:`\alpha \in [1/2, 1]` a layer, which is learned: at 1/2 the domains are normalised alike,
    at 1 each by itself. A network without batch normalisation gets one between bottleneck and head.

    Parameters
    ----------
    weight : float
        :math:`\lambda`.
    initial : float
        :math:`\alpha` before training.

    References
    ----------
    F. M. Carlucci, L. Porzi, B. Caputo, E. Ricci, S. Rota Bulo. AutoDIAL: automatic domain alignment layers. ICCV
    2017, equations 1 to 4.
    """

    def __init__(self, *, weight: NonNegativeFloat, initial: Annotated[float, Field(ge=0.5, le=1)]) -> None:
        super().__init__(weight=weight)
        self.initial = initial

    def prepare(self, network: Network) -> None:
        """Replace the batch normalisations."""
        super().prepare(network)
        replace_normalisation(network, lambda layer: Mixed(layer, self.initial))

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the mean entropy of the target's predictions."""
        return entropies(target.logits).mean()


class Mixed(DomainNormalisation):
    """Normalises each domain by a mixture of both; the weights are shared."""

    means: Tensor
    variances: Tensor

    def __init__(self, replaced: Normalisation, initial: float) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = replaced.weight, replaced.bias, replaced.eps
        self.momentum = 0.1 if replaced.momentum is None else replaced.momentum
        self.alpha = nn.Parameter(torch.tensor(initial))
        for name, start in (("means", "running_mean"), ("variances", "running_var")):
            self.register_buffer(name, torch.stack([replaced.get_buffer(start)] * 2))  # source's, target's

    def normalise(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise each half by its mixture of this batch's statistics, and move the running ones towards them."""
        with torch.no_grad():
            self.alpha.clamp_(0.5, 1)
        others = [axis for axis in range(source.ndim) if axis != 1]
        moments = [torch.var_mean(x.float(), others, correction=0) for x in (source, target)]
        variances, means = (torch.stack(moment) for moment in zip(*moments, strict=True))
        self.means.lerp_(means.detach(), self.momentum)
        self.variances.lerp_(variances.detach(), self.momentum)
        return self._by_mixture(source, self.alpha, means, variances), self._by_mixture(
            target, 1 - self.alpha, means, variances
        )

    def normalise_one(self, x: Tensor, domain: DomainName) -> Tensor:
        """Normalise by the domain's mixture of the running statistics."""
        alpha = self.alpha.clamp(0.5, 1)
        return self._by_mixture(x, alpha if domain == "source" else 1 - alpha, self.means, self.variances)

    def _by_mixture(self, x: Tensor, share: Tensor, means: Tensor, variances: Tensor) -> Tensor:
        """Normalise by the mixture of `share` of the source and 1 - `share` of the target."""
        shares = torch.stack([share, 1 - share]).unsqueeze(1)
        mean = (shares * means).sum(0)
        variance = (shares * variances).sum(0) + share * (1 - share) * (means[0] - means[1]).square()
        scale = self.weight * (variance + self.eps).rsqrt()
        shape = (1, -1, *[1] * (x.ndim - 2))
        return (x - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)
