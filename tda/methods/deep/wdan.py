"""WDAN: the source is weighted as if its classes were as frequent as the target's."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from tda.backbones.base import Output
from tda.divergences.batch import mmd2
from tda.methods.deep.base import Batch, DeepMethod, Objective


class WDAN(DeepMethod):
    r"""Weighted domain adaptation network: the MMD to a source whose class prior is the target's.

    .. math:: L = \frac1b \sum_i \ell(x_i^s, y_i)
              + \gamma \frac1b \sum_j \ell(x_j^t, \hat y_j)
              + \lambda \Bigl\| \frac{\sum_i \alpha_{y_i} \phi(x_i^s)}{\sum_i \alpha_{y_i}}
              - \frac1b \sum_j \phi(x_j^t) \Bigr\|^2, \qquad \alpha_c = w_t^c / w_s^c

    by classification EM: the target's posteriors (E), its pseudo-labels :math:`\hat y` and its class prior
    :math:`w_t` (C), then a step on L (M). The prior counts the last pseudo-label of each target sample, over all of
    them; a sample that no batch has met yet counts as an even share of all classes. The source's, :math:`w_s`, is that
    of batches in a random order, not of balanced ones (``trainer.balanced``).

    Parameters
    ----------
    weight : float
        :math:`\lambda`.
    pseudo : float
        :math:`\gamma`, of the target's cross-entropy on its pseudo-labels.
    kernels : int
        Number of Gaussian kernels of the MMD, on the features.

    References
    ----------
    H. Yan, Y. Ding, P. Li, Q. Wang, Y. Xu, W. Zuo. Mind the class weight bias: weighted maximum mean discrepancy for
    unsupervised domain adaptation. CVPR 2017, equations 5 to 13; all pairs of the batch are met here, where the paper
    takes the linear-time estimate.
    """

    def __init__(self, *, weight: NonNegativeFloat, pseudo: NonNegativeFloat, kernels: PositiveInt) -> None:
        super().__init__(weight=weight)
        self.pseudo = pseudo
        self.kernels = kernels

    def begin(self, xs: Tensor, ys: Tensor, xt: Tensor) -> None:
        """Count the source's classes; every target sample starts as an even share of all."""
        classes = self.network.classes
        self._prior_s = ys.bincount(minlength=classes) / len(ys)
        self._guesses = xt.new_full((len(xt), classes), 1 / classes, dtype=torch.float32)

    def finish(self, xs: Tensor, xt: Tensor) -> None:
        """Let go of what only training needs."""
        del self._prior_s, self._guesses

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the weighted MMD."""
        guessed = target.logits.detach().argmax(1)
        self._guesses[batch.it] = F.one_hot(guessed, self.network.classes).float()
        alpha = self._guesses.mean(0) / self._prior_s
        weights = alpha[batch.ys].clamp_min(1e-6)
        return mmd2(source.features, target.features, kernels=self.kernels, weights=weights)

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        """Yield the sum of both cross-entropies and the MMD."""
        source, target = self.pair(batch)
        terms = {
            "classification": F.cross_entropy(source.logits, batch.ys),
            "pseudo-label": F.cross_entropy(target.logits, target.logits.detach().argmax(1)),
            "alignment": self.alignment(source, target, batch),
        }
        both = terms["classification"] + self.pseudo * terms["pseudo-label"]
        yield Objective(both + self.weight * terms["alignment"], (self,), terms)
