"""WDGRL: features of small Wasserstein distance, told by a critic with a gradient penalty."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from tda.backbones.base import Network
from tda.methods.deep.base import Batch, DeepMethod, Objective


class WDGRL(DeepMethod):
    r"""Wasserstein distance guided representation learning.

    .. math:: \min_{f, y} \Bigl\{ L_y + \mu \max_w [ L_{wd} - \gamma L_{grad} ] \Bigr\}, \quad
       L_{wd} = \mathbb E_s D_w(f(x)) - \mathbb E_t D_w(f(x)), \quad
       L_{grad} = \mathbb E_{\hat h} (\lVert \nabla D_w(\hat h) \rVert_2 - 1)^2

    where the :math:`\hat h` are the features of both domains and points drawn between pairs of them. Each batch trains
    the critic D on its features for k steps, the features staying as they are, and then, without the penalty, features
    and label predictor for one.

    Parameters
    ----------
    weight : float
        :math:`\mu`.
    penalty : float
        :math:`\gamma`; 10 in the paper.
    critic_steps : int
        k; 5 in the paper.
    hidden : sequence of int or None
        Widths of the critic's hidden layers; None takes the backbone's `discriminator`.

    References
    ----------
    J. Shen, Y. Qu, W. Zhang, Y. Yu. Wasserstein distance guided representation learning for domain adaptation.
    AAAI 2018, equations 2 to 6 and algorithm 1.
    """

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        penalty: NonNegativeFloat,
        critic_steps: PositiveInt,
        hidden: Sequence[PositiveInt] | None,
    ) -> None:
        super().__init__(weight=weight)
        self.penalty = penalty
        self.critic_steps = critic_steps
        self.hidden = hidden

    def prepare(self, network: Network) -> None:
        """Build the critic on the network's features."""
        super().prepare(network)
        self.critic = network.backbone.domain_classifier(network.width, self.hidden)

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the critic's loss k times, then the network's, all on one forward pass of the network."""
        source, target = self.pair(batch)
        for _ in range(self.critic_steps):
            fixed = source.features.detach(), target.features.detach()
            distance = self._distance(*fixed)
            slope = gradient_penalty(self.critic, *fixed)
            terms = {"distance": distance, "penalty": slope}
            yield Objective(self.penalty * slope - distance, (self.critic,), terms)
        classification = F.cross_entropy(source.logits, batch.ys)
        distance = self._distance(source.features, target.features)
        terms = {"classification": classification, "distance": distance}
        yield Objective(classification + self.weight * distance, (self.network,), terms)

    def _distance(self, source: Tensor, target: Tensor) -> Tensor:
        distance: Tensor = self.critic(source).float().mean() - self.critic(target).float().mean()
        return distance


def gradient_penalty(critic: nn.Module, source: Tensor, target: Tensor) -> Tensor:
    """Return the mean of (|gradient| - 1)^2 of a critic at features (b, d) of both domains and between them."""
    share = torch.rand(len(source), 1, device=source.device)
    points = torch.cat([source, target, share * source + (1 - share) * target]).requires_grad_()
    (gradients,) = torch.autograd.grad(critic(points).float().sum(), points, create_graph=True)
    penalty: Tensor = (gradients.float().norm(dim=1) - 1).square().mean()
    return penalty
