"""Domain mixup: a domain classifier that also judges what lies between the domains."""

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.distributions import Beta

from tda.backbones.base import Hidden, Network, Output
from tda.methods.deep.base import Batch, DeepMethod
from tda.methods.deep.normalisation import untracked
from tda.methods.deep.reversal import ramp, reverse_gradient


class DomainMixup(DeepMethod):
    r"""Adversarial training with domain mixup of samples and of features: DM-ADA without its images.

    A target share :math:`m \sim \mathrm{Beta}(\alpha, \alpha)`, drawn for each pair of a batch, mixes samples and
    features,

    .. math:: x_m = (1 - m) x_s + m x_t, \quad f_m = (1 - m) f(x_s) + m f(x_t),

    and the domain classifier, which features oppose by gradient reversal, learns the soft label m on both:

    .. math::
       L_d = \tfrac14 \bigl[ \ell(D(f(x_s)), 0) + \ell(D(f(x_t)), 1) + \ell(D(f(x_m)), m) + \ell(D(f_m), m) \bigr]

    with :math:`\ell` the binomial cross-entropy. The paper's decoder, which makes images of the features for a
    discriminator of images, is left out: there is nothing to decode where a backbone is frozen, and it is not what
    mixup adds. In the authors' code that discriminator learns m, one m a batch, away from 1/2. The mixed samples pass
    through the network as a batch of their own, which leaves no trace in the statistics of batch normalisations: they
    vary less than samples do, and samples are what is predicted.

    Parameters
    ----------
    weight : float
        Of the domain loss, for features and domain classifier alike.
    alpha : float
        Of the Beta distribution; 2 in the paper.
    gamma, height : float
        Of the ramp :math:`\lambda_p = h (2 / (1 + e^{-\gamma p}) - 1)` that the features' gradient is multiplied by.
    hidden : sequence or None
        Widths of the domain classifier's hidden layers, after them ``norm`` if they are batch-normalised; None takes
        the backbone's `discriminator`.

    References
    ----------
    M. Xu, J. Zhang, B. Ni, T. Li, C. Wang, Q. Tian, W. Zhang. Adversarial domain adaptation with domain mixup. AAAI
    2020, sections 3.2 and 3.3.
    """

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        alpha: PositiveFloat,
        gamma: NonNegativeFloat,
        height: NonNegativeFloat,
        hidden: Hidden | None,
    ) -> None:
        super().__init__(weight=weight)
        self.alpha = alpha
        self.gamma = gamma
        self.height = height
        self.hidden = hidden

    def prepare(self, network: Network) -> None:
        """Build the domain classifier on the network's features."""
        super().prepare(network)
        self.discriminator = network.backbone.domain_classifier(network.width, self.hidden)

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the domain classifier's loss on both domains and between them, reversed on the way to the features."""
        share = Beta(self.alpha, self.alpha).sample((len(batch.xs),)).to(source.features.device)
        with untracked(self.network):
            between = self.network.encode(mixed(batch.xs.float(), batch.xt.float(), share))
        features = torch.cat(
            [source.features, target.features, between, mixed(source.features, target.features, share)]
        )
        truth = torch.cat([torch.zeros_like(share), torch.ones_like(share), share, share])
        strength = ramp(batch.progress, self.gamma, self.height)
        said = self.discriminator(reverse_gradient(features, strength)).squeeze(1).float()  # (4b,)
        return F.binary_cross_entropy_with_logits(said, truth)


def mixed(source: Tensor, target: Tensor, share: Tensor) -> Tensor:
    """Return the mixtures (b, ...) of pairs of samples with the target's share (b,) of each.

    Examples
    --------
    >>> mixed(torch.zeros(2, 1), torch.ones(2, 1), torch.tensor([0.25, 1.0])).squeeze(1)
    tensor([0.2500, 1.0000])
    """
    return torch.lerp(source, target, share.view(-1, *[1] * (source.ndim - 1)).to(source.dtype))
