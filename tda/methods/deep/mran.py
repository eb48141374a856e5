"""MRAN: several representations of a sample, each of which agrees class by class."""

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from tda.backbones.base import Network, Output
from tda.divergences.batch import local_mmd2
from tda.methods.deep.base import Batch, DeepMethod
from tda.methods.deep.reversal import ramp


class MRAN(DeepMethod):
    r"""Multi-representation adaptation network.

    .. math:: L = L_{class} + \lambda \lambda_p \sum_{r} \frac1C \sum_c \Bigl\| \frac{1}{n_s^c} \sum_{y_i = c}
              \phi(g_r(x_i^s)) - \frac{1}{n_t^c} \sum_{\hat y_j = c} \phi(g_r(x_j^t)) \Bigr\|^2

    over the representations :math:`g_r`, with the network's own labels :math:`\hat y` for the target and C the
    classes that both halves of the batch hold. The representations stand side by side in the place of the
    bottleneck, and the head reads all of them. The paper's are the branches of an inception module on the maps of the
    last convolution; features without maps have none, so here branch r is a stack of r layers (linear, batch
    normalisation, ReLU), each as wide as the bottleneck.

    Parameters
    ----------
    weight : float
        :math:`\lambda`.
    gamma : float
        Steepness of :math:`\lambda_p = 2 / (1 + \exp(-\gamma p)) - 1` over the progress p.
    branches : int
        Number of representations.
    kernels : int
        Number of Gaussian kernels.

    References
    ----------
    Y. Zhu, F. Zhuang, J. Wang, J. Chen, Z. Shi, W. Wu, Q. He. Multi-representation adaptation network for
    cross-domain image classification. Neural Networks 119, 2019, equations 4 to 8.
    """

    def __init__(
        self,
        *,
        weight: NonNegativeFloat,
        gamma: NonNegativeFloat,
        branches: PositiveInt,
        kernels: PositiveInt,
    ) -> None:
        super().__init__(weight=weight)
        self.gamma = gamma
        self.branches = branches
        self.kernels = kernels

    def prepare(self, network: Network) -> None:
        """Put the branches in the place of the bottleneck, and a head that reads all of them."""
        super().prepare(network)
        network.bottleneck = Branches(network.backbone.width, network.width, self.branches)
        network.width *= self.branches
        network.head = network.backbone.predictor(network.width, network.classes)

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        """Return the sum over representations of the conditional MMD, times its ramp."""
        guessed = F.one_hot(target.logits.detach().argmax(1), self.network.classes).float()
        representations = zip(*(o.features.chunk(self.branches, 1) for o in (source, target)), strict=True)
        found = [local_mmd2(s, t, batch.ys, guessed, kernels=self.kernels) for s, t in representations]
        return ramp(batch.progress, self.gamma) * torch.stack(found).sum()


class Branches(nn.Module):
    """Stacks of 1, 2, ... layers side by side."""

    def __init__(self, width: int, out: int, branches: int) -> None:
        super().__init__()

        def layer(wide: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(wide, out), nn.BatchNorm1d(out), nn.ReLU())

        self.branches = nn.ModuleList(
            nn.Sequential(layer(width), *(layer(out) for _ in range(more))) for more in range(branches)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, width) to (n, branches * out)."""
        return torch.cat([branch(x) for branch in self.branches], 1)
