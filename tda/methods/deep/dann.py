"""DANN: features that a domain classifier cannot tell apart."""

from collections.abc import Sequence
from math import exp

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from tda.backbones.base import Network, Output, perceptron
from tda.methods.deep.base import Batch, DeepMethod
from tda.methods.deep.reversal import reverse_gradient


class DANN(DeepMethod):
    r"""Domain-adversarial training by gradient reversal.

    The saddle point of

    .. math:: E(\theta_f, \theta_y, \theta_d) = L_y(\theta_f, \theta_y) - \lambda_p L_d(\theta_f, \theta_d)

    where features and label predictor minimise and the domain classifier maximises; :math:`L_d` is the binomial
    cross-entropy of source (0) against target (1), averaged over both halves of the batch, and

    .. math:: \lambda_p = \frac{2}{1 + \exp(-\gamma p)} - 1.

    The gradient that reaches the features is reversed and multiplied by :math:`\lambda_p`; the domain classifier
    itself learns at full speed throughout.

    Parameters
    ----------
    weight : float
        Of the domain loss, for features and domain classifier alike.
    gamma : float
        Steepness of the ramp of :math:`\lambda_p` over the progress p in [0, 1).
    hidden : sequence of int or None
        Widths of the domain classifier's hidden layers; None takes the backbone's `discriminator`.

    References
    ----------
    Y. Ganin, V. Lempitsky. Unsupervised domain adaptation by backpropagation. ICML 2015, equations 1 and 14.
    Y. Ganin et al. Domain-adversarial training of neural networks. JMLR 17, 2016, section 5.2.
    """

    def __init__(
        self, *, weight: NonNegativeFloat, gamma: NonNegativeFloat, hidden: Sequence[PositiveInt] | None
    ) -> None:
        super().__init__(weight=weight)
        self.gamma = gamma
        self.hidden = hidden

    def prepare(self, network: Network) -> None:
        """Build the domain classifier on the network's features."""
        super().prepare(network)
        hidden = network.backbone.discriminator if self.hidden is None else self.hidden
        self.discriminator = perceptron(network.width, *hidden, 1)

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the domain classifier's loss, its gradient reversed on the way to the features."""
        ramp = 2 / (1 + exp(-self.gamma * batch.progress)) - 1
        features = torch.cat([source.features, target.features])
        said = self.discriminator(reverse_gradient(features, ramp)).squeeze(1)  # (2b,)
        truth = torch.cat([said.new_zeros(len(source.features)), said.new_ones(len(target.features))])
        return F.binary_cross_entropy_with_logits(said, truth)
