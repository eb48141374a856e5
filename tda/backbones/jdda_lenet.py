"""The wide LeNet on which JDDA reports MNIST and USPS, with Deep CORAL and others beside its own method.

References
----------
C. Chen, Z. Chen, B. Jiang, X. Jin. Joint domain alignment and discriminative feature learning for unsupervised deep
domain adaptation. AAAI 2019; layers and their initial weights are those of the authors' code, but for the label
predictor's weights, which are drawn as everywhere here.
"""

from torch import nn

from tda.backbones.grey import GreyLeNet

FEATURES = 64


class JDDALeNet(GreyLeNet):
    """Two 5x5 convolutions (64, 128 maps), 1024 units and 64 features, all with ReLU; images become grey.

    Weights are drawn as X. Glorot and Y. Bengio (AISTATS 2010) do, uniformly.

    Parameters
    ----------
    size, bottleneck, hidden, discriminator
        See `tda.backbones.base.Backbone`.
    dropout : float
        Of the 1024 units.
    """

    def layered(self, side: int) -> tuple[nn.Sequential, int]:
        layers = nn.Sequential(
            nn.Conv2d(1, 64, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(64, 128, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Flatten(), nn.Linear(128 * side * side, 1024), nn.ReLU(), nn.Dropout(self.dropout),
            nn.Linear(1024, FEATURES), nn.ReLU(),
        )  # fmt: skip
        for layer in layers:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        return layers, FEATURES
