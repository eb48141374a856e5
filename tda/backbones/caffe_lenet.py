"""The LeNet of Caffe's MNIST example, on which ADDA, CDAN and others report MNIST and USPS.

References
----------
Y. LeCun, L. Bottou, Y. Bengio, P. Haffner. Gradient-based learning applied to document recognition. Proceedings of the
IEEE 86, 1998; with the widths of Y. Jia et al., Caffe, ACM MM 2014. Dropout stands where the authors of CDAN
(M. Long et al., NeurIPS 2018) have it in their code; weights are drawn as He et al. (ICCV 2015) do.
"""

from torch import nn

from tda.backbones.base import he_normal
from tda.backbones.grey import GreyLeNet

FEATURES = 500


class CaffeLeNet(GreyLeNet):
    """Two 5x5 convolutions (20, 50 maps), each with 2x2 max-pooling and ReLU, and 500 features; images become grey.

    Parameters
    ----------
    size, bottleneck, hidden, discriminator
        See `tda.backbones.base.Backbone`; CDAN's domain classifier is 500-500.
    dropout : float
        Of the maps of the second convolution, each whole, and of the features.
    """

    def layered(self, side: int) -> tuple[nn.Sequential, int]:
        layers = he_normal(nn.Sequential(
            nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(20, 50, 5), nn.Dropout2d(self.dropout), nn.MaxPool2d(2), nn.ReLU(),
            nn.Flatten(), nn.Linear(50 * side * side, FEATURES), nn.ReLU(), nn.Dropout(self.dropout),
        ))  # fmt: skip
        return layers, FEATURES
