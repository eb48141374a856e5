"""FixMatch: what the network is sure of on a sample as it is, it is to say of a strongly perturbed one too."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat

from tda.methods.deep.base import Batch, DeepMethod, Objective
from tda.methods.deep.perturbation import Perturbation
from tda.methods.deep.pseudo_label import self_training
from tda.ranges import BelowOne


class FixMatch(DeepMethod):
    r"""Pseudo-labels across two views of a target sample.

    .. math:: \min_\theta \frac1b \sum_i -\log p_\theta(y_i \mid x_i^s)
              + \lambda \frac1b \sum_j [\max_c q_{jc} \ge \tau] \bigl(-\log p_\theta(\hat y_j \mid A(x_j^t))\bigr),
              \quad q_j = p_\theta(\cdot \mid x_j^t), \quad \hat y_j = \arg\max_c q_{jc},

    where the weak view :math:`x_j^t` is the sample as the trainer augments it, A is the strong perturbation and no
    gradient flows through q. The source and both views go through the network as one batch. The paper has seven
    unlabelled samples for each labelled one, and predicts by a running mean of the weights; here it is the last ones.

    Parameters
    ----------
    weight : float
        :math:`\lambda`.
    threshold : float
        :math:`\tau`.
    perturbation : Perturbation
        A; the paper's RandAugment and CTAugment are larger sets of changes.

    References
    ----------
    K. Sohn et al. FixMatch: simplifying semi-supervised learning with consistency and confidence. NeurIPS 2020,
    equations 3 and 4.
    """

    def __init__(self, *, weight: NonNegativeFloat, threshold: BelowOne, perturbation: Perturbation) -> None:
        super().__init__(weight=weight)
        self.threshold = threshold
        self.perturbation = perturbation

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the source's cross-entropy and the consistency of the two views."""
        views = torch.cat([batch.x, self.perturbation(batch.xt)])
        sizes = [len(batch.xs), len(batch.xt), len(batch.xt)]
        source, weak, strong = self.network(views).logits.split(sizes)
        terms = {
            "classification": F.cross_entropy(source, batch.ys),
            "consistency": self_training(strong, weak, self.threshold),
        }
        yield Objective(terms["classification"] + self.weight * terms["consistency"], (self,), terms)
