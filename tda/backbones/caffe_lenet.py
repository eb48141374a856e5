"""The LeNet of Caffe's MNIST example, on which ADDA, CDAN and others report MNIST and USPS.

References
----------
Y. LeCun, L. Bottou, Y. Bengio, P. Haffner. Gradient-based learning applied to document recognition. Proceedings of the
IEEE 86, 1998; with the widths of Y. Jia et al., Caffe, ACM MM 2014. Dropout stands where the authors of CDAN
(M. Long et al., NeurIPS 2018) have it in their code; weights are drawn as He et al. (ICCV 2015) do.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from tda.backbones.base import Backbone, he_normal

FEATURES = 500


class CaffeLeNet(Backbone):
    """Two 5x5 convolutions (20, 50 maps), each with 2x2 max-pooling and ReLU, and 500 features; images become grey.

    Parameters
    ----------
    size, bottleneck, hidden, discriminator
        See `tda.backbones.base.Backbone`; CDAN's domain classifier is 500-500.
    dropout : float
        Of the maps of the second convolution, each whole, and of the features.
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
        side = ((size - 4) // 2 - 4) // 2
        self.layers = he_normal(nn.Sequential(
            nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(20, 50, 5), nn.Dropout2d(dropout), nn.MaxPool2d(2), nn.ReLU(),
            nn.Flatten(), nn.Linear(50 * side * side, FEATURES), nn.ReLU(), nn.Dropout(dropout),
        ))  # fmt: skip
        self.width = FEATURES

    def extract(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(2 * x.mean(1, keepdim=True))  # in about [-1, 1]
        return features
