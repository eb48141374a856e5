"""The batch-normalised LeNet on which MCD reports MNIST and USPS.

References
----------
K. Saito, K. Watanabe, Y. Ushiku, T. Harada. Maximum classifier discrepancy for unsupervised domain adaptation. CVPR
2018; the layers are those of the authors' code, weights are drawn as He et al. (ICCV 2015) do.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from tda.backbones.base import Backbone, he_normal, perceptron


class MCDLeNet(Backbone):
    """Two 5x5 convolutions (32, 48 maps), each with batch normalisation, ReLU and 2x2 max-pooling; images become grey.

    Parameters
    ----------
    size, bottleneck, hidden, discriminator
        See `tda.backbones.base.Backbone`; the authors' label predictor is 100-100.
    dropout : float
        Of what each layer of the label predictor reads.
    """

    def __init__(
        self,
        *,
        size: Annotated[int, Field(ge=16)],
        bottleneck: PositiveInt | None,
        hidden: Sequence[PositiveInt],
        discriminator: Sequence[PositiveInt],
        dropout: Annotated[float, Field(ge=0, lt=1)],
    ) -> None:
        super().__init__(size=size, bottleneck=bottleneck, hidden=hidden, discriminator=discriminator)
        self.convolutions = he_normal(nn.Sequential(
            nn.Conv2d(1, 32, 5), nn.BatchNorm2d(32), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(32, 48, 5), nn.BatchNorm2d(48), nn.MaxPool2d(2), nn.ReLU(),
        ))  # fmt: skip
        self.dropout = dropout
        side = ((size - 4) // 2 - 4) // 2
        self.width = 48 * side * side

    def extract(self, x: Tensor) -> Tensor:
        features: Tensor = self.convolutions(2 * x.mean(1, keepdim=True))  # in about [-1, 1]
        return features.flatten(1)

    def predictor(self, width: int, classes: int, hidden: Sequence[int] | None = None) -> nn.Sequential:
        """Build a batch-normalised label predictor that drops a share of each layer's input."""
        widths = self.hidden if hidden is None else hidden
        layers = perceptron(width, *widths, classes, dropout=self.dropout, normalised=True)
        return nn.Sequential(nn.Dropout(self.dropout), *layers)
