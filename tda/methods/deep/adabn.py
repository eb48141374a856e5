"""AdaBN: the source's network with the target's batch statistics."""

import torch
from torch import Tensor

from tda.backbones.base import Network, portion
from tda.errors import UsageError
from tda.methods.deep.normalisation import Normalisation, replace_normalisation
from tda.methods.deep.source_only import SourceOnly


class AdaBN(SourceOnly):
    r"""Adaptive batch normalisation: nothing is trained on the target; only means and variances are taken from it.

    After training on the source alone, every batch normalisation computes

    .. math:: y = \gamma \frac{x - \mu_t}{\sqrt{\sigma_t^2 + \epsilon}} + \beta

    with the mean :math:`\mu_t` and variance :math:`\sigma_t^2` of its inputs over all target samples: the mean over
    batches in a random order, of about 512 features or 32 images of 256 x 256, all other layers as in prediction. A
    network without batch normalisation gets one between bottleneck and head.

    Raises
    ------
    UsageError
        If the target has one sample only.

    References
    ----------
    Y. Li, N. Wang, J. Shi, J. Liu, X. Hou. Revisiting batch normalization for practical domain adaptation. ICLR
    workshops 2017, algorithm 1.
    """

    def prepare(self, network: Network) -> None:
        """See that there is a batch normalisation."""
        super().prepare(network)
        replace_normalisation(network, lambda layer: layer)

    def finish(self, xs: Tensor, xt: Tensor) -> None:
        """Replace the running statistics of all batch normalisations by the target's."""
        if len(xt) == 1:
            raise UsageError("AdaBN: one target sample has no variance; expected two or more")
        self.network.eval()
        for layer in self.network.modules():
            if isinstance(layer, Normalisation):
                layer.reset_running_stats()
                layer.momentum = None  # the mean over all batches
                layer.train()
        with torch.no_grad():
            for rows in torch.randperm(len(xt)).tensor_split(-(-len(xt) // portion(xt))):
                self.network(xt[rows.to(xt.device)])
