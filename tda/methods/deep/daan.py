"""DAAN: a domain classifier for all classes and one for each, weighted by how far apart they find the domains."""

from collections.abc import Sequence
from math import log

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from tda.backbones.base import Network, Output, perceptron
from tda.methods.deep.base import Batch, DeepMethod
from tda.methods.deep.dann import domain_loss, domain_losses
from tda.methods.deep.mada import ClassDiscriminators
from tda.methods.deep.reversal import ramp, reverse_gradient
from tda.ranges import BelowOne


class DAAN(DeepMethod):
    r"""Dynamic adversarial adaptation network.

    The saddle point of

    .. math:: L_y - \lambda_p \bigl( (1 - \omega) L_g + \omega L_l \bigr), \quad
       L_l = \sum_c L_l^c = \sum_c \frac1n \sum_{x \in S \cup T} L_d(D_c(\hat y_c(x) f(x)), d(x))

    where :math:`L_g` is DANN's domain loss and :math:`L_l` is MADA's. The dynamic factor :math:`\omega` follows from
    the distances that the domain classifiers find,

    .. math:: \omega = \frac{d_g}{d_g + \frac1C \sum_c d_l^c}, \quad d = 2 (1 - 2 \epsilon).

    The paper writes the loss L where the distance has the error :math:`\epsilon`. At chance, where
    :math:`\epsilon = 1/2`, the cross-entropy is :math:`\log 2`, and a ratio of the resulting negative distances means
    nothing. So :math:`\epsilon = L / (2 \log 2)` here, at most 1/2: the distance is 0 at chance and 2 for a classifier
    that makes no error. As in the paper, the loss of a class's classifier is over all samples, and of those that are
    not of its class it sees nothing: its distance is at most twice the share of its class, and :math:`\omega` nears 1
    where many classes share samples whose domains can be told apart. The paper updates :math:`\omega` each epoch; here
    L is a running mean over steps. While both distances are 0, :math:`\omega` is 1/2.

    Parameters
    ----------
    weight : float
        Of the domain losses, for features and domain classifiers alike.
    gamma, height : float
        Of the ramp :math:`\lambda_p = h (2 / (1 + e^{-\gamma p}) - 1)`.
    hidden : sequence of int or None
        Widths of each domain classifier's hidden layers; None takes the backbone's `discriminator`.
    memory : float
        Share of the running means that a step keeps.

    References
    ----------
    C. Yu, J. Wang, Y. Chen, M. Huang. Transfer learning with dynamic adversarial adaptation network. ICDM 2019,
    equations 4 to 9.
    """

    global_loss: Tensor
    local_losses: Tensor

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        gamma: NonNegativeFloat,
        height: NonNegativeFloat,
        hidden: Sequence[PositiveInt] | None,
        memory: BelowOne,
    ) -> None:
        super().__init__(weight=weight)
        self.gamma = gamma
        self.height = height
        self.hidden = hidden
        self.memory = memory

    def prepare(self, network: Network) -> None:
        """Build the domain classifiers on the network's features."""
        super().prepare(network)
        hidden = network.backbone.discriminator if self.hidden is None else self.hidden
        self.everywhere = perceptron(network.width, *hidden, 1)
        self.classwise = ClassDiscriminators(network.classes, network.width, *hidden)
        self.register_buffer("global_loss", torch.tensor(log(2)))
        self.register_buffer("local_losses", torch.full((network.classes,), log(2)))

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the weighted domain losses, the gradient reversed on the way to the features."""
        strength = ramp(batch.progress, self.gamma, self.height)
        features = reverse_gradient(torch.cat([source.features, target.features]), strength)
        said = self.classwise(features, torch.cat([source.logits, target.logits]))  # (C, 2b)
        overall = domain_loss(self.everywhere(features).squeeze(1), len(source.features))
        local = domain_losses(said, len(source.features))
        self.global_loss.lerp_(overall.detach(), 1 - self.memory)
        self.local_losses.lerp_(local.detach(), 1 - self.memory)
        omega = dynamic_factor(self.global_loss, self.local_losses)
        return (1 - omega) * overall + omega * local.sum()


def dynamic_factor(overall: Tensor, local: Tensor) -> Tensor:
    """Return omega for the global domain loss and the local ones (C,); 1/2 where none is below chance.

    Examples
    --------
    >>> dynamic_factor(torch.tensor(0.0), torch.tensor(log(2)))
    tensor(1.)
    >>> dynamic_factor(torch.tensor(9.0), torch.tensor(9.0))
    tensor(0.5000)
    """
    globally, locally = ((2 - 2 * loss / log(2)).clamp(min=0).mean() for loss in (overall, local))
    total = globally + locally
    return torch.where(total > 0, globally / total.clamp(min=1e-12), 0.5)
