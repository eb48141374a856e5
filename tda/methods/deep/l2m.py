"""L2M: the distance of the domains is itself learned, by what it does for the target (experimental)."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.func import functional_call

from tda.backbones.base import Network, Output, perceptron
from tda.divergences.batch import contrast, mixture, squared_distances, uniform
from tda.methods.deep.base import Batch, DeepMethod, Objective


class L2M(DeepMethod):
    r"""Learning to match distributions. Experimental: a sketch of the paper's framework, not a reproduction.

    A meta-network with weights :math:`\vartheta` gives the matching loss, from the features f, the class
    probabilities p and a distance made by hand, the MMD:

    .. math:: L_m(\phi; \vartheta) = \frac1k \Bigl\lVert \frac1b \sum_i g_\vartheta(f_i^s, p_i^s)
              - \frac1b \sum_j g_\vartheta(f_j^t, p_j^t) \Bigr\rVert_2^2
              + \mathrm{softplus}(a_\vartheta)\, \mathrm{MMD}^2(f^s, f^t),

    where g ends in a tanh, so that learning cannot make the loss large, and k is its width.

    Each step trains the meta-network first, by looking one step of the network ahead, then the network:

    .. math:: \vartheta \leftarrow \text{step on } L_v(\phi - \eta \nabla_\phi [L_y + \lambda L_m]), \qquad
              \phi \leftarrow \text{step on } L_y(\phi) + \lambda L_m(\phi; \vartheta),

    where :math:`L_v` is the cross-entropy of the target half of the batch with its pseudo-labels, each weighted by its
    confidence. The look ahead moves the bottleneck and the head only.

    Where this deviates: the paper draws the meta-data as the m surest samples of each class of the whole target, has
    an adversarial distance among the inputs, and a meta-network over the matching features of a batch that need not
    vanish where the domains agree.

    Parameters
    ----------
    weight : float
        :math:`\lambda`.
    ahead : float
        :math:`\eta`, the rate of the step ahead.
    hidden, width : int
        Of the meta-network g.

    References
    ----------
    C. Yu et al. Learning to match distributions for domain adaptation. arXiv 2007.10791, 2020, sections 3.2 and 3.3.
    """

    def __init__(
        self, *, weight: NonNegativeFloat, ahead: PositiveFloat, hidden: PositiveInt, width: PositiveInt
    ) -> None:
        super().__init__(weight=weight)
        self.ahead = ahead
        self.hidden = hidden
        self.width = width

    def prepare(self, network: Network) -> None:
        """Build the meta-network."""
        super().prepare(network)
        self.meta = MetaNetwork(network.width + network.classes, self.hidden, self.width)

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the meta-network's loss, one step of the network ahead, then the network's."""
        top = Top(self.network)
        given = self.network.backbone(batch.x)
        foreseen = self._look_ahead(top, given.detach(), batch)
        yield Objective(foreseen, (self.meta,), {"foreseen": foreseen})
        source, target = halves(top(given), len(batch.xs))
        terms = {"classification": F.cross_entropy(source.logits, batch.ys), "matching": self.meta(source, target)}
        yield Objective(terms["classification"] + self.weight * terms["matching"], (self.network,), terms)

    def _look_ahead(self, top: "Top", given: Tensor, batch: Batch) -> Tensor:
        weights, statistics = dict(top.named_parameters()), {name: b.clone() for name, b in top.named_buffers()}
        source, target = halves(functional_call(top, weights | statistics, given), len(batch.xs))
        loss = F.cross_entropy(source.logits, batch.ys) + self.weight * self.meta(source, target)
        slopes = torch.autograd.grad(loss, [*weights.values()], create_graph=True)
        moved = {name: w - self.ahead * slope for (name, w), slope in zip(weights.items(), slopes, strict=True)}
        _, later = halves(functional_call(top, moved | statistics, given), len(batch.xs))
        confidence, classes = target.logits.detach().float().softmax(1).max(1)
        return (confidence * F.cross_entropy(later.logits, classes, reduction="none")).sum() / confidence.sum()


class Top(nn.Module):
    """Bottleneck and head of a network, on its backbone's features."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.bottleneck = network.bottleneck
        self.head = network.head

    def forward(self, given: Tensor) -> Output:
        """Return the network's output for its backbone's features (n, d)."""
        features = self.bottleneck(given)
        return Output(features, self.head(features))


class MetaNetwork(nn.Module):
    """A distance of two batches of outputs, never negative and 0 for equal ones, with something to learn in it."""

    def __init__(self, inputs: int, hidden: int, width: int) -> None:
        super().__init__()
        self.embedding = perceptron(inputs, hidden, width)
        self.share = nn.Parameter(torch.zeros(()))

    def forward(self, source: Output, target: Output) -> Tensor:
        """Return L_m."""
        seen = (torch.cat([o.features, o.logits.softmax(1)], 1) for o in (source, target))
        means = [self.embedding(x).float().tanh().mean(0) for x in seen]
        D = squared_distances(torch.cat([source.features, target.features]))
        gap = contrast(mixture(D, 5), uniform(source.features, target.features))  # mmd2, twice differentiable
        return F.mse_loss(*means) + F.softplus(self.share) * gap


def halves(both: Output, first: int) -> tuple[Output, Output]:
    """Return the outputs on the `first` samples of a batch, and on the others."""
    return Output(both.features[:first], both.logits[:first]), Output(both.features[first:], both.logits[first:])
