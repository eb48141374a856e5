"""DDAN: marginal and conditional distributions are weighed by how far apart they are."""

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from tda.backbones.base import Network, Output
from tda.divergences.batch import class_pairs, kernel_sum, uniform_pairs
from tda.methods.deep.base import Batch, DeepMethod
from tda.methods.shallow.bda import balance
from tda.ranges import Share


class DDAN(DeepMethod):
    r"""Dynamic distribution adaptation network.

    .. math:: L = L_C + \lambda \Bigl( (1 - \mu) \, d^2(S, T) + \mu \frac1C \sum_c d^2(S^c, T^c) \Bigr)

    with d the MMD of the features with Gaussian kernels, and target classes by the network's own labels. The factor
    :math:`\mu` is estimated from A-distances, as in MEDA, on the batches since its last estimate,

    .. math:: \hat\mu = \frac{\sum_c d_A(S^c, T^c)}{d_A(S, T) + \sum_c d_A(S^c, T^c)}

    and 1/2 before. The conditional term is the mean over the C classes that both halves of a batch hold, where the
    paper has their sum, which would grow with the number of classes that happen to be in the batch.

    Parameters
    ----------
    weight : float
        :math:`\lambda`.
    mu : float in [0, 1] or None
        None is the estimate.
    every : int
        Steps from one estimate to the next; few enough that a sample is hardly seen twice, since the A-distance holds
        half of the samples out. Of a domain smaller than their batches together some are, which lifts :math:`\hat\mu`.
    kernels : int
        Number of Gaussian kernels.

    References
    ----------
    J. Wang, Y. Chen, W. Feng, H. Yu, M. Huang, Q. Yang. Transfer learning with dynamic distribution adaptation. ACM
    TIST 11, 2020, section 4.4 (its Laplacian term is left aside).
    """

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        mu: Share | None,
        every: PositiveInt,
        kernels: PositiveInt,
    ) -> None:
        super().__init__(weight=weight)
        self.mu = mu
        self.every = every
        self.kernels = kernels

    def prepare(self, network: Network) -> None:
        """Start from equal weights of both distances."""
        super().prepare(network)
        self.mu_ = 0.5 if self.mu is None else self.mu
        self._seen: list[tuple[Tensor, ...]] = []

    def finish(self, xs: Tensor, xt: Tensor) -> None:
        """Let go of the batches seen."""
        self._seen.clear()

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the weighted sum of both squared MMDs."""
        guessed = target.logits.detach().argmax(1)
        if self.mu is None:
            self._see(source.features.detach(), target.features.detach(), batch.ys, guessed)
        classes = class_pairs(batch.ys, F.one_hot(guessed, self.network.classes).float())
        balanced = (1 - self.mu_) * uniform_pairs(source.features, target.features) + self.mu_ * classes
        found: Tensor = kernel_sum(balanced, torch.cat([source.features, target.features]), kernels=self.kernels)
        return found

    def _see(self, *batch: Tensor) -> None:
        """Keep a batch's features and classes; after `every` batches, estimate mu from them."""
        self._seen.append(batch)
        if len(self._seen) == self.every:
            Xs, Xt, ys, yt = (torch.cat(part).float().cpu().numpy() for part in zip(*self._seen, strict=True))
            if np.isfinite(Xs).all() and np.isfinite(Xt).all():
                self.mu_ = balance(np.concatenate([Xs, Xt]), ys.astype(int), yt.astype(int))
            self._seen.clear()
