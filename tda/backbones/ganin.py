"""The two networks of Ganin & Lempitsky's digit experiments.

References
----------
Y. Ganin, V. Lempitsky. Unsupervised domain adaptation by backpropagation. ICML 2015, figure 4 (a) and (b); the
same figure as in arXiv 1409.7495. Their features are the output of the convolutions, where the domain classifier
branches off; the fully connected layers are the label predictor. Pooling stands before ReLU here, which gives the same
result on a quarter of the numbers. The paper does not say how weights are drawn; these are He et al.'s (ICCV 2015).
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from tda.backbones.base import Backbone, Bottleneck, he_normal
from tda.ranges import BelowOne


class LeNet(Backbone):
    """Two 5x5 convolutions (32, 48 maps), each followed by ReLU and 2x2 max-pooling.

    Parameters
    ----------
    size, bottleneck, hidden, discriminator
        See `tda.backbones.base.Backbone`; the paper's label predictor is 100-100, its domain classifier 100.
    """

    def __init__(
        self,
        *,
        size: Annotated[int, Field(ge=16)],
        bottleneck: Bottleneck,
        hidden: Sequence[PositiveInt],
        discriminator: Sequence[PositiveInt],
    ) -> None:
        super().__init__(size=size, bottleneck=bottleneck, hidden=hidden, discriminator=discriminator)
        self.convolutions = he_normal(nn.Sequential(
            nn.Conv2d(3, 32, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(32, 48, 5), nn.MaxPool2d(2), nn.ReLU(),
        ))  # fmt: skip
        side = ((size - 4) // 2 - 4) // 2
        self.width = 48 * side * side

    def extract(self, x: Tensor) -> Tensor:
        features: Tensor = self.convolutions(x)
        return features.flatten(1)


class SVHNNet(Backbone):
    """Three 5x5 convolutions (64, 64, 128 maps) with ReLU, the first two followed by 3x3 max-pooling of stride 2.

    Parameters
    ----------
    size, bottleneck, hidden, discriminator
        See `tda.backbones.base.Backbone`; the paper's label predictor is 3072-2048, its domain classifier 1024-1024.
    dropout : float
        Probability of dropping a feature before the label predictor and the domain classifier; the paper says that
        it uses dropout with this network, not where or how much. Its l2-norm restriction of the weights is not
        applied, since neither the norm nor the layers are given.
    """

    def __init__(
        self,
        *,
        size: Annotated[int, Field(ge=16)],
        bottleneck: Bottleneck,
        hidden: Sequence[PositiveInt],
        discriminator: Sequence[PositiveInt],
        dropout: BelowOne,
    ) -> None:
        super().__init__(size=size, bottleneck=bottleneck, hidden=hidden, discriminator=discriminator)
        self.convolutions = he_normal(nn.Sequential(
            nn.Conv2d(3, 64, 5, padding=2), nn.MaxPool2d(3, stride=2), nn.ReLU(),
            nn.Conv2d(64, 64, 5, padding=2), nn.MaxPool2d(3, stride=2), nn.ReLU(),
            nn.Conv2d(64, 128, 5, padding=2), nn.ReLU(),
        ))  # fmt: skip
        self.dropout = nn.Dropout(dropout)
        side = ((size - 1) // 2 - 1) // 2
        self.width = 128 * side * side

    def extract(self, x: Tensor) -> Tensor:
        features: Tensor = self.dropout(self.convolutions(x))
        return features.flatten(1)
