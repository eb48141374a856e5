"""AlexNet, whose layers are the DeCAF features."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, PositiveInt
from torch import nn

from tda.backbones.base import Bottleneck
from tda.backbones.pretrained import ImageNetBackbone, Views, untrained

ENDS = {  # of torchvision's classifier: dropout, linear, ReLU, dropout, linear, ReLU, linear
    ("pool5", True): 0,
    ("pool5", False): 0,
    ("fc6", True): 3,
    ("fc6", False): 2,
    ("fc7", True): 6,
    ("fc7", False): 5,
}


class AlexNet(ImageNetBackbone):
    """torchvision's AlexNet; features are the output of one of its layers.

    The published AlexNet and DeCAF numbers come from Caffe's network, which has more maps in its first layers (96
    and 384 where this one has 64 and 192, in Krizhevsky's later variant), groups and local response normalisation;
    these features are of the same kind, not the same, and the numbers are not to be expected of them.

    Parameters
    ----------
    layer : {"pool5", "fc6", "fc7"}
        Whose output the features are: of the last pooling (256 x 6 x 6), of the first or second fully connected layer
        (4096). They are what Donahue et al. call DeCAF5, DeCAF6 and DeCAF7.
    relu : bool
        Whether a fully connected layer's output is taken behind its ReLU, as the activation that the next layer
        sees, or before. Donahue et al. describe DeCAF7 as what enters the last layer, which is behind. The output of
        pool5 always is.
    size, bottleneck, hidden, discriminator, weights, cache, unit_rows, precision, views
        See `tda.backbones.pretrained.ImageNetBackbone`.

    References
    ----------
    A. Krizhevsky, I. Sutskever, G. Hinton. ImageNet classification with deep convolutional neural networks. NIPS 2012.
    A. Krizhevsky. One weird trick for parallelizing convolutional neural networks. arXiv 1404.5997, 2014.
    J. Donahue et al. DeCAF: a deep convolutional activation feature for generic visual recognition. ICML 2014.
    """

    def __init__(
        self,
        *,
        layer: Literal["pool5", "fc6", "fc7"],
        relu: bool,
        size: Annotated[int, Field(ge=63)],
        bottleneck: Bottleneck,
        hidden: Sequence[PositiveInt],
        discriminator: Sequence[PositiveInt],
        weights: str,
        cache: str,
        unit_rows: bool,
        precision: Literal["fp32", "bf16"],
        views: Views,
    ) -> None:
        def network() -> nn.Module:
            whole = untrained("alexnet")
            whole.classifier = whole.classifier[: ENDS[layer, relu]]  # type: ignore[index]
            return whole

        super().__init__(
            arch="alexnet",
            network=network,
            ignored=["classifier."],
            size=size,
            bottleneck=bottleneck,
            hidden=hidden,
            discriminator=discriminator,
            weights=weights,
            cache=cache,
            unit_rows=unit_rows,
            precision=precision,
            views=views,
        )
        self.width = 256 * 6 * 6 if layer == "pool5" else 4096
