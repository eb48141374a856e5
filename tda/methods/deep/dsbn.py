"""DSBN: each domain has its own batch normalisation; then the target trains on what it was taken for."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat
from torch import Tensor

from tda.backbones.base import Hidden, Network, Output, portions
from tda.divergences.batch import class_means
from tda.methods.deep.base import Batch, Objective
from tda.methods.deep.dann import DANN
from tda.methods.deep.normalisation import DomainNormalised, Separate, replace_normalisation
from tda.methods.deep.reversal import ramp
from tda.ranges import BelowOne, PositiveShare


class DSBN(DomainNormalised, DANN):
    r"""Domain-specific batch normalisation, in two stages.

    Every batch normalisation is split into the source's and the target's, weights and statistics; all other weights
    are shared. The first stage adapts as MSTN does, by DANN's domain loss and by moving class centroids,

    .. math:: L = L_{cls} + L_{da} + \lambda_p \frac1C \sum_c \frac1d \| \bar c_s^c - \bar c_t^c \|^2, \qquad
              \bar c \leftarrow \theta \bar c + (1 - \theta) c

    with c the centroids of a batch's classes, the target's by the network's own predictions (the mean over classes
    and features is that of the authors' code). The second trains on both domains, the target by :math:`\lambda_p`
    times the cross-entropy on the pseudo-labels

    .. math:: \hat y = \arg\max_c \, (1 - \lambda) F_1(x)_c + \lambda F_2(x)_c

    where :math:`F_1` are the probabilities at the end of the first stage, :math:`F_2` those of the network as it is
    (both through the target's branch), and :math:`\lambda` and :math:`\lambda_p` rise from 0 to 1 along the stage.
    The network goes on from the first stage's weights. In the authors' command :math:`\lambda_p` is 1 in the second
    stage, centroids and domain classifier are of the logits, centroids by guesses in evaluation mode, and logits are
    mixed. A network without batch normalisation gets one between bottleneck and head.

    Parameters
    ----------
    weight : float
        Of the first stage's domain and centroid losses.
    gamma, height, hidden
        See `tda.methods.deep.dann.DANN`; gamma is also that of :math:`\lambda`.
    decay : float
        :math:`\theta`.
    share : float
        Of all steps, spent in the first stage.

    References
    ----------
    W.-G. Chang, T. You, S. Seo, S. Kwak, B. Han. Domain-specific batch normalization for unsupervised domain
    adaptation. CVPR 2019, section 4. S. Xie, Z. Zheng, L. Chen, C. Chen. Learning semantic representations for
    unsupervised domain adaptation. ICML 2018, algorithm 1 (MSTN).
    """

    centroids: Tensor

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        gamma: NonNegativeFloat,
        height: NonNegativeFloat,
        hidden: Hidden | None,
        decay: BelowOne,
        share: PositiveShare,
    ) -> None:
        super().__init__(weight=weight, gamma=gamma, hidden=hidden, height=height)
        self.decay = decay
        self.share = share

    def prepare(self, network: Network) -> None:
        """Split the batch normalisations, and start all centroids at 0."""
        super().prepare(network)
        replace_normalisation(network, Separate)
        self.register_buffer("centroids", torch.zeros(2, network.classes, network.width))  # source's, target's

    def begin(self, xs: Tensor, ys: Tensor, xt: Tensor) -> None:
        """Keep the target samples, which the second stage starts by classifying."""
        self._xt = xt
        self._first: Tensor | None = None

    def finish(self, xs: Tensor, xt: Tensor) -> None:
        """Let go of what only training needs."""
        del self._xt, self._first

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the first stage's domain and centroid losses."""
        semantic = self._semantic(source, target, batch.ys)
        return super().alignment(source, target, batch) + ramp(batch.progress, self.gamma) * semantic

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the loss of the stage."""
        if batch.progress < self.share:
            yield from super().objectives(batch)
            return
        if self._first is None:
            with self.as_scored():
                self._first = torch.cat([self.classify(x).softmax(1) for x in portions(self._xt)])
        source, target = self.pair(batch)
        mixed = ramp((batch.progress - self.share) / (1 - self.share), self.gamma)
        second = target.logits.detach().float().softmax(1)
        pseudo = ((1 - mixed) * self._first[batch.it] + mixed * second).argmax(1)
        classification = F.cross_entropy(source.logits, batch.ys)
        on_target = F.cross_entropy(target.logits, pseudo)
        terms = {"classification": classification, "pseudo-label": on_target}
        yield Objective(classification + mixed * on_target, (self,), terms)

    def _semantic(self, source: Output, target: Output, ys: Tensor) -> Tensor:
        """Move the centroids of the classes met, and return their mean squared difference."""
        moved = []
        for old, output, labels in zip(
            self.centroids, (source, target), (ys, target.logits.detach().argmax(1)), strict=True
        ):
            means = class_means(output.features, labels, len(old))
            met = labels.bincount(minlength=len(old)).unsqueeze(1) > 0
            moved.append(torch.where(met, self.decay * old + (1 - self.decay) * means, old))
        self.centroids = torch.stack(moved).detach()
        return (moved[0] - moved[1]).square().mean()
