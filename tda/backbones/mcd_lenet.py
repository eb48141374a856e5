"""The batch-normalised LeNet on which MCD reports MNIST and USPS.

References
----------
K. Saito, K. Watanabe, Y. Ushiku, T. Harada. Maximum classifier discrepancy for unsupervised domain adaptation. CVPR
2018; the layers are those of the authors' code, weights are drawn as He et al. (ICCV 2015) do.
"""

from collections.abc import Sequence

from torch import nn

from tda.backbones.base import he_normal, perceptron
from tda.backbones.grey import GreyLeNet


class MCDLeNet(GreyLeNet):
    """Two 5x5 convolutions (32, 48 maps), each with batch normalisation, ReLU and 2x2 max-pooling; images become grey.

    Parameters
    ----------
    size, bottleneck, hidden, discriminator
        See `tda.backbones.base.Backbone`; the authors' label predictor is 100-100.
    dropout : float
        Of what each layer of the label predictor reads.
    """

    def layered(self, side: int) -> tuple[nn.Sequential, int]:
        layers = he_normal(nn.Sequential(
            nn.Conv2d(1, 32, 5), nn.BatchNorm2d(32), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(32, 48, 5), nn.BatchNorm2d(48), nn.MaxPool2d(2), nn.ReLU(),
        ))  # fmt: skip
        return layers, 48 * side * side

    def predictor(self, width: int, classes: int, hidden: Sequence[int] | None = None) -> nn.Sequential:
        """Build a batch-normalised label predictor that drops a share of each layer's input."""
        widths = self.hidden if hidden is None else hidden
        layers = perceptron(width, *widths, classes, dropout=self.dropout, normalised=True)
        return nn.Sequential(nn.Dropout(self.dropout), *layers)
