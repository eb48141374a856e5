"""UntrainedAdversary: DANN against a domain classifier that never learns, as the textbook prints it."""

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from tda.backbones.base import Network, Output
from tda.methods.deep.base import Batch, DeepMethod
from tda.methods.deep.reversal import ramp, reverse_gradient


class UntrainedAdversary(DeepMethod):
    r"""Gradient reversal through a two-layer domain classifier that is drawn anew for every batch.

    .. math:: D = -\frac1b \sum_i \log d(g(x_i^s)) - \frac1b \sum_j \log (1 - d(g(x_j^t)))

    The textbook's listing builds d inside its loss, so that no optimiser ever sees it: the features are pushed against
    random directions, another at every step, and not against what tells the domains apart. With ``trained=True`` d is
    built once and learns, which is DANN but for the sum of two means where its paper has one mean over the batch.

    Parameters
    ----------
    weight : float
        Of D, for features and domain classifier alike.
    hidden : int
        Width of d's hidden layer; 512 in the listing.
    trained : bool
        Build d once, and train it.
    gamma : float or None
        Steepness of the ramp of the reversal over the progress of training; None holds it at `height`, as printed.
    height : float
        Strength of the reversal, or where its ramp ends; 1 in the listing.

    References
    ----------
    J. Wang, Y. Chen. Introduction to transfer learning (in Chinese), 2021, section 10.6.2.
    Y. Ganin, V. Lempitsky. Unsupervised domain adaptation by backpropagation. ICML 2015, equations 1 and 14.
    """

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        hidden: PositiveInt,
        trained: bool,
        gamma: NonNegativeFloat | None,
        height: NonNegativeFloat = 1.0,
    ) -> None:
        super().__init__(weight=weight)
        self.hidden = hidden
        self.trained = trained
        self.gamma = gamma
        self.height = height

    def prepare(self, network: Network) -> None:
        """Build the domain classifier, if it is to be trained."""
        super().prepare(network)
        if self.trained:
            self.discriminator = self._drawn()

    def _drawn(self) -> nn.Sequential:
        return nn.Sequential(nn.Linear(self.network.width, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1))

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the domain classifier's loss, source 1 and target 0, its gradient reversed towards the features."""
        strength = self.height if self.gamma is None else ramp(batch.progress, self.gamma, self.height)
        features = reverse_gradient(torch.cat([source.features, target.features]), strength)
        discriminator = self.discriminator if self.trained else self._drawn().to(features.device)
        of_source, of_target = discriminator(features).float().split([len(source.features), len(target.features)])
        return F.binary_cross_entropy_with_logits(
            of_source, torch.ones_like(of_source)
        ) + F.binary_cross_entropy_with_logits(of_target, torch.zeros_like(of_target))
