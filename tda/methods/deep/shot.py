"""SHOT: a source classifier is kept, and the target's features learn to suit it, without any source sample."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor
from torch.nn.utils.parametrizations import weight_norm

from tda.backbones.base import Network, portions
from tda.divergences.batch import in_float32
from tda.methods.deep.base import Batch, DeepMethod, Objective
from tda.methods.deep.entropy_minimisation import entropies
from tda.ranges import BelowOne, PositiveBelowOne


class SHOT(DeepMethod):
    r"""Source hypothesis transfer, in two phases.

    1. All of the network learns the source by cross-entropy with smoothed labels,
       :math:`q_c = (1 - \alpha) [c = y] + \alpha / C`. The classifier's weights are normalised: each row of the last
       layer is a direction and a length.
    2. The head h is fixed, in evaluation mode, and the source is not used any more. What lies below it, g, minimises

    .. math:: \frac1b \sum_j H(p_j) - H\Bigl(\frac1b \sum_j p_j\Bigr) + \beta \frac1b \sum_j -\log p_j(\hat y_j),
              \quad p_j = \mathrm{softmax}(h(g(x_j^t))).

    The pseudo-labels :math:`\hat y` are those of the nearest class centroid by cosine, over all target samples:
    centroids weighted by p first, then those of the labels so found. They are renewed `rounds` times, at equal
    intervals.

    Both domains go through the network apart. Phases share the trainer's one annealing of the learning rate, where
    the authors begin it anew. Their bottleneck ends with its batch normalisation: ``backbone.bottleneck=[256,norm]``.

    Parameters
    ----------
    weight : float
        :math:`\beta`, of the pseudo-labels; 0 is SHOT-IM.
    smoothing : float
        :math:`\alpha`.
    share : float
        Part of all steps that the first phase takes.
    rounds : int
        How often pseudo-labels are made.

    Raises
    ------
    ValueError
        Where nothing below the head can be trained: given features and no bottleneck.

    References
    ----------
    J. Liang, D. Hu, J. Feng. Do we really need to access the source data? Source hypothesis transfer for
    unsupervised domain adaptation. ICML 2020, equations 2 to 7.
    """

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        smoothing: BelowOne,
        share: PositiveBelowOne,
        rounds: PositiveInt,
    ) -> None:
        super().__init__(weight=weight)
        self.smoothing = smoothing
        self.share = share
        self.rounds = rounds

    def prepare(self, network: Network) -> None:
        """Normalise the weights of the classifier."""
        super().prepare(network)
        self.below = network.backbone, network.bottleneck
        self.require_encoder()
        weight_norm(network.head[-1])

    def begin(self, xs: Tensor, ys: Tensor, xt: Tensor) -> None:
        """Keep the target samples, for their pseudo-labels."""
        self.unlabelled = xt
        self.made = 0

    def finish(self, xs: Tensor, xt: Tensor) -> None:
        """Let go of the target samples."""
        del self.unlabelled

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the source's smoothed cross-entropy first, the target's losses alone later."""
        if batch.progress < self.share:
            said = self.network(batch.xs).logits
            yield Objective(F.cross_entropy(said, batch.ys, label_smoothing=self.smoothing), (self.network,))
            return
        if (batch.progress - self.share) / (1 - self.share) * self.rounds >= self.made:
            self.labels = self._pseudo_labels()
            self.made += 1
        self.network.head.eval()
        logits = self.network(batch.xt).logits
        terms = {
            "information": -information(logits),
            "pseudo-label": F.cross_entropy(logits, self.labels[batch.it]),
        }
        yield Objective(terms["information"] + self.weight * terms["pseudo-label"], self.below, terms)

    def _pseudo_labels(self) -> Tensor:
        with self.as_scored():
            outputs = [self.network(chunk) for chunk in portions(self.unlabelled)]
        return centroid_labels(torch.cat([o.features for o in outputs]), torch.cat([o.logits for o in outputs]))


def information(logits: Tensor) -> Tensor:
    """Return the mutual information, in nats, of samples and predicted classes: logits (n, classes)."""
    mean = logits.float().softmax(1).mean(0)
    return -torch.xlogy(mean, mean.clamp_min(torch.finfo(mean.dtype).tiny)).sum() - entropies(logits).mean()


@in_float32
def centroid_labels(features: Tensor, logits: Tensor) -> Tensor:
    """Return, for each sample, the class (n,) whose centroid is nearest by cosine; a class predicted nowhere is out.

    Features (n, d) get one more coordinate, the constant 1, before they are scaled to unit length.
    """
    points = F.normalize(F.pad(features, (0, 1), value=1.0))
    shares = logits.softmax(1)
    labels = shares.argmax(1)
    for _ in range(2):
        absent = labels.bincount(minlength=shares.shape[1]) == 0
        centroids = F.normalize(shares.T @ points)  # (classes, d + 1)
        labels = (points @ centroids.T).masked_fill(absent, -torch.inf).argmax(1)
        shares = F.one_hot(labels, len(absent)).float()
    return labels
