"""Two streams: source and target have weights of their own, which stay related."""

from collections.abc import Iterator
from copy import deepcopy

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from tda.backbones.base import Network, Output
from tda.divergences.batch import mmd2
from tda.methods.deep.base import Batch, DeepMethod, DomainName, Objective


class TwoStream(DeepMethod):
    r"""Beyond sharing weights: the last layers exist twice, and each pair is related by a linear map.

    .. math:: L = L_s + \lambda_u \mathrm{MMD}^2 + \lambda_w \sum_{j \in \Omega}
              \Bigl( \exp\bigl( \| a_j \theta_j^s + b_j - \theta_j^t \|^2 \bigr) - 1 \Bigr)

    over the layers that are not shared, :math:`\theta_j` the weights and biases of one. These are those of bottleneck
    and head, as the paper found best on Office (the last two); the backbone is shared. Without target labels the
    target's head learns by the last term alone.

    Two things differ from the paper, whose plain form diverges with large layers: the numbers :math:`a_j, b_j` are
    not learned by gradient steps but take their best values, those of the regression of :math:`\theta_j^t` on
    :math:`\theta_j^s`, at each step; and the exponential is continued by its tangent where its argument exceeds 1.

    Both domains go through the backbone together; above it, where they part, batch normalisation sees them apart.

    Parameters
    ----------
    weight : float
        :math:`\lambda_u`.
    relation : float
        :math:`\lambda_w`.
    kernels : int
        Number of Gaussian kernels of the MMD, on the features.

    References
    ----------
    A. Rozantsev, M. Salzmann, P. Fua. Beyond sharing weights for deep domain adaptation. IEEE TPAMI 41, 2019 (online
    2018), equations 1 to 7.
    """

    def __init__(self, *, weight: NonNegativeFloat, relation: NonNegativeFloat, kernels: PositiveInt) -> None:
        super().__init__(weight=weight)
        self.relation = relation
        self.kernels = kernels

    def prepare(self, network: Network) -> None:
        """Copy bottleneck and head for the target."""
        super().prepare(network)
        self.target = nn.ModuleList([deepcopy(network.bottleneck), deepcopy(network.head)])

    def classify(self, x: Tensor) -> Tensor:
        """Return the target stream's logits."""
        return stream(self.network.backbone(x), *self.target).logits

    def embed(self, x: Tensor, domain: DomainName) -> Tensor:
        """Return the features of the domain's own stream."""
        layers = (self.network.bottleneck, self.network.head) if domain == "source" else self.target
        return stream(self.network.backbone(x), *layers).features

    def pair(self, batch: Batch) -> tuple[Output, Output]:
        """Send both domains through the backbone, then each through its own stream."""
        xs, xt = self.network.backbone(batch.x).split([len(batch.ys), len(batch.it)])
        return stream(xs, self.network.bottleneck, self.network.head), stream(xt, *self.target)

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the squared MMD of the two streams' features."""
        return mmd2(source.features, target.features, kernels=self.kernels)

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the sum of the three losses."""
        source, target = self.pair(batch)
        classification = F.cross_entropy(source.logits, batch.ys)
        alignment = self.alignment(source, target, batch)
        related = self.relatedness()
        terms = {"classification": classification, "alignment": alignment, "relation": related}
        yield Objective(classification + self.weight * alignment + self.relation * related, (self,), terms)

    def relatedness(self) -> Tensor:
        """Return the sum over the layers that are not shared of exp(||a s + b - t||^2) - 1, at the best a and b."""
        ours, theirs = (layers(*modules) for modules in ((self.network.bottleneck, self.network.head), self.target))
        gaps = torch.stack([residual(s, t) for s, t in zip(ours, theirs, strict=True)])
        near = gaps.clamp_max(1.0)
        return (near.expm1() + near.exp().detach() * (gaps - near)).sum()


def stream(x: Tensor, bottleneck: nn.Module, head: nn.Module) -> Output:
    """Return what these layers say of the backbone's features (n, width)."""
    features = bottleneck(x)
    return Output(features, head(features))


def layers(*modules: nn.Module) -> Iterator[Tensor]:
    """Yield the weights and biases of each layer of some modules, as one vector."""
    for module in modules:
        for layer in module.modules():
            if own := [*layer.parameters(recurse=False)]:
                yield torch.cat([parameter.flatten() for parameter in own])


def residual(s: Tensor, t: Tensor) -> Tensor:
    """Return the least ||a s + b - t||^2 over numbers a and b.

    Examples
    --------
    >>> residual(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([5.0, 3.0, 1.0]))
    tensor(0.)
    """
    with torch.no_grad():
        centred = s - s.mean()
        a = (centred * t).sum() / centred.square().sum().clamp_min(1e-12)
        b = t.mean() - a * s.mean()
    return (a * s + b - t).square().sum()
