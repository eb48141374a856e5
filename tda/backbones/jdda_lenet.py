"""The wide LeNet on which JDDA reports MNIST and USPS, with Deep CORAL and others beside its own method.

References
----------
C. Chen, Z. Chen, B. Jiang, X. Jin. Joint domain alignment and discriminative feature learning for unsupervised deep
domain adaptation. AAAI 2019; layers and initial weights are those of the authors' code.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from tda.backbones.base import Backbone

FEATURES = 64


class JDDALeNet(Backbone):
    """Two 5x5 convolutions (64, 128 maps), 1024 units and 64 features, all with ReLU; images become grey.

    Weights are drawn as X. Glorot and Y. Bengio (AISTATS 2010) do, uniformly.

    Parameters
    ----------
    size, bottleneck, hidden, discriminator
        See `tda.backbones.base.Backbone`.
    dropout : float
        Of the 1024 units.
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
        self.layers = nn.Sequential(
            nn.Conv2d(1, 64, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(64, 128, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Flatten(), nn.Linear(128 * side * side, 1024), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(1024, FEATURES), nn.ReLU(),
        )  # fmt: skip
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.width = FEATURES

    def extract(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(2 * x.mean(1, keepdim=True))  # in about [-1, 1]
        return features
