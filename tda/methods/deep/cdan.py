"""CDAN: domain-adversarial training on features and predictions together."""

from math import sqrt

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from tda.backbones.base import Hidden, Network, Output
from tda.methods.deep.base import Batch, DeepMethod
from tda.methods.deep.bsp import spectral_penalty
from tda.methods.deep.reversal import ramp, reverse_gradient
from tda.ranges import BelowOne


class CDAN(DeepMethod):
    r"""Conditional domain-adversarial training by gradient reversal.

    The domain classifier D sees features f and class probabilities g through a multilinear map,

    .. math:: T_\otimes(f, g) = f \otimes g \quad\text{or}\quad
       T_\odot(f, g) = \tfrac{1}{\sqrt d} (R_f f) \odot (R_g g)

    the second with fixed random matrices of unit variance, whose inner products approximate the first's. With entropy
    conditioning (CDAN+E), easy samples count more,

    .. math:: L_d = -\frac{\sum_i w(x^s_i) \log D(T(x^s_i))}{2 \sum_i w(x^s_i)}
                    -\frac{\sum_j w(x^t_j) \log (1 - D(T(x^t_j)))}{2 \sum_j w(x^t_j)},
       \quad w(x) = 1 + e^{-H(g(x))}

    and w = 1 without it. Features minimise :math:`L_y - \lambda_p L_d`, D minimises :math:`L_d`. As in the authors'
    code, g is a constant in T, the weights' gradient is reversed as the features' is, and the sums that the weights
    are divided by are constants.

    Parameters
    ----------
    weight : float
        Of the domain loss, for features and domain classifier alike.
    gamma, height : float
        Of the ramp :math:`\lambda_p = h (2 / (1 + e^{-\gamma p}) - 1)`.
    hidden : sequence or None
        Widths of the domain classifier's hidden layers, after them ``norm`` if they are batch-normalised; None takes
        the backbone's `discriminator`.
    entropy : bool
        Whether samples are weighted by the certainty of their prediction (CDAN+E).
    random_dim : int or None
        d of the randomised map; None takes the exact one, whose width is that of f times the number of classes. The
        paper randomises where that is above 4096; the authors' experiments on Office-31 do not.
    bsp : float
        Of batch spectral penalisation, as in `tda.methods.deep.dann.DANN`; 0 for none.
    dropout : float
        Of the domain classifier's hidden units; 0.5 in the authors' code, the paper does not say.

    References
    ----------
    M. Long, Z. Cao, J. Wang, M. I. Jordan. Conditional adversarial domain adaptation. NeurIPS 2018, equations 3 to 8.
    X. Chen, S. Wang, M. Long, J. Wang. Transferability vs. discriminability: batch spectral penalization for
    adversarial domain adaptation. ICML 2019, equation 8.
    """

    random_features: Tensor
    random_classes: Tensor

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        gamma: NonNegativeFloat,
        height: NonNegativeFloat,
        hidden: Hidden | None,
        entropy: bool,
        random_dim: PositiveInt | None,
        bsp: NonNegativeFloat,
        dropout: BelowOne = 0.0,
    ) -> None:
        super().__init__(weight=weight)
        self.gamma = gamma
        self.height = height
        self.hidden = hidden
        self.entropy = entropy
        self.random_dim = random_dim
        self.bsp = bsp
        self.dropout = dropout

    def prepare(self, network: Network) -> None:
        """Build the domain classifier on the multilinear map, and draw the map's random matrices where it has any."""
        super().prepare(network)
        if self.random_dim:
            self.register_buffer("random_features", torch.randn(network.width, self.random_dim))
            self.register_buffer("random_classes", torch.randn(network.classes, self.random_dim))
        width = self.random_dim or network.width * network.classes
        self.discriminator = network.backbone.domain_classifier(width, self.hidden, dropout=self.dropout)

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the domain classifier's loss, its gradient reversed on the way to features and weights."""
        strength = ramp(batch.progress, self.gamma, self.height)
        features = reverse_gradient(torch.cat([source.features, target.features]), strength)
        logits = torch.cat([source.logits, target.logits]).float()
        said = self.discriminator(self.joint(features, logits.softmax(1).detach())).squeeze(1).float()  # (2b,)
        certainty = reverse_gradient(certainties(logits), strength) if self.entropy else torch.ones_like(said)
        on_source, on_target = said.split([len(source.logits), len(target.logits)])
        of_source, of_target = certainty.split([len(source.logits), len(target.logits)])
        loss = (weighted_mean(F.softplus(on_source), of_source) + weighted_mean(F.softplus(-on_target), of_target)) / 2
        if self.bsp:
            loss = loss + self.bsp * (spectral_penalty(source.features) + spectral_penalty(target.features))
        return loss

    def joint(self, features: Tensor, probabilities: Tensor) -> Tensor:
        """Return the multilinear map of features (n, d) and class probabilities (n, C)."""
        if self.random_dim is None:
            return (probabilities.unsqueeze(2) * features.unsqueeze(1)).flatten(1)  # (n, C d)
        joint = (features @ self.random_features) * (probabilities @ self.random_classes)
        return joint / sqrt(self.random_dim)


def certainties(logits: Tensor) -> Tensor:
    """Return 1 + exp(-H) (n,) of the entropies H of the predictions (n, C), from 1 + 1/C to 2."""
    entropies = -(logits.softmax(1) * logits.log_softmax(1)).sum(1)
    return 1 + torch.exp(-entropies)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of `values` (n,) under `weights` (n,), whose sum passes no gradient."""
    return (values * weights).sum() / weights.sum().detach()
