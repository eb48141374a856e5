"""DANN: features that a domain classifier cannot tell apart."""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from tda.backbones.base import Hidden, Network, Output, normal
from tda.methods.deep.base import Batch, DeepMethod
from tda.methods.deep.bsp import spectral_penalty
from tda.methods.deep.reversal import ramp, reverse_gradient
from tda.ranges import BelowOne

Deviations = Annotated[Sequence[PositiveFloat], Field(min_length=2, max_length=2)]


class DANN(DeepMethod):
    r"""Domain-adversarial training by gradient reversal.

    The saddle point of

    .. math:: E(\theta_f, \theta_y, \theta_d) = L_y(\theta_f, \theta_y) - \lambda_p L_d(\theta_f, \theta_d)

    where features and label predictor minimise and the domain classifier maximises; :math:`L_d` is the binomial
    cross-entropy of source (0) against target (1), averaged over both halves of the batch, and

    .. math:: \lambda_p = h \left( \frac{2}{1 + \exp(-\gamma p)} - 1 \right).

    The gradient that reaches the features is reversed and multiplied by :math:`\lambda_p`; the domain classifier
    itself learns at full speed throughout.

    Parameters
    ----------
    weight : float
        Of the domain loss, for features and domain classifier alike.
    gamma : float
        Steepness of the ramp of :math:`\lambda_p` over the progress p in [0, 1).
    hidden : sequence or None
        Widths of the domain classifier's hidden layers, after them ``norm`` if they are batch-normalised; None takes
        the backbone's `discriminator`.
    height : float
        h, where the ramp ends; 1 in the paper.
    bsp : float
        :math:`\beta` of batch spectral penalisation (Chen et al., ICML 2019), which adds
        :math:`\beta (\sigma_{s,1}^2 + \sigma_{t,1}^2)` to the alignment; 0 is plain DANN.
    dropout : float
        Of the domain classifier's inputs and hidden units.
    initial_std : pair of float or None
        Standard deviations from which the weights of its hidden layers and of its last layer are drawn; None draws
        them as He et al. (ICCV 2015) do.

    References
    ----------
    Y. Ganin, V. Lempitsky. Unsupervised domain adaptation by backpropagation. ICML 2015, equations 1 and 14.
    Y. Ganin et al. Domain-adversarial training of neural networks. JMLR 17, 2016, section 5.2.
    X. Chen, S. Wang, M. Long, J. Wang. Transferability vs. discriminability: batch spectral penalization for
    adversarial domain adaptation. ICML 2019, equation 8.
    """

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        gamma: NonNegativeFloat,
        hidden: Hidden | None,
        height: NonNegativeFloat = 1.0,
        bsp: NonNegativeFloat = 0.0,
        dropout: BelowOne = 0.0,
        initial_std: Deviations | None = None,
    ) -> None:
        super().__init__(weight=weight)
        self.gamma = gamma
        self.hidden = hidden
        self.height = height
        self.bsp = bsp
        self.dropout = dropout
        self.initial_std = initial_std

    def prepare(self, network: Network) -> None:
        """Build the domain classifier on the network's features."""
        super().prepare(network)
        self.discriminator = network.backbone.domain_classifier(network.width, self.hidden, dropout=self.dropout)
        if self.initial_std is not None:
            inner_std, last_std = self.initial_std
            *inner, last = (layer for layer in self.discriminator if isinstance(layer, nn.Linear))
            for layer in inner:
                normal(layer, inner_std)
            normal(last, last_std)
        if self.dropout:
            self.discriminator.insert(0, nn.Dropout(self.dropout))

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the domain classifier's loss, its gradient reversed on the way to the features."""
        features = torch.cat([source.features, target.features])
        strength = ramp(batch.progress, self.gamma, self.height)
        said = self.discriminator(reverse_gradient(features, strength)).squeeze(1)  # (2b,)
        loss = domain_loss(said, len(source.features))
        if self.bsp:
            loss = loss + self.bsp * (spectral_penalty(source.features) + spectral_penalty(target.features))
        return loss


def domain_loss(said: Tensor, sources: int) -> Tensor:
    """Return the mean binomial cross-entropy of domain logits (..., n): the first `sources` are source (0), the rest 1.

    Examples
    --------
    >>> domain_loss(torch.zeros(5), 2)
    tensor(0.6931)
    """
    return F.binary_cross_entropy_with_logits(said.float(), _domains(said, sources))


def domain_losses(said: Tensor, sources: int) -> Tensor:
    """Return the `domain_loss` of each row of domain logits (C, n): (C,)."""
    return F.binary_cross_entropy_with_logits(said.float(), _domains(said, sources), reduction="none").mean(1)


def _domains(said: Tensor, sources: int) -> Tensor:
    return (torch.arange(said.shape[-1], device=said.device) >= sources).expand_as(said).float()
