"""Very deep plain networks."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, PositiveInt
from torch import nn

from tda.backbones.base import Bottleneck
from tda.backbones.pretrained import ImageNetBackbone, Views, untrained

ENDS = {  # of torchvision's classifier: linear, ReLU, dropout, linear, ReLU, dropout, linear
    ("pool5", True): 0,
    ("pool5", False): 0,
    ("fc6", True): 3,
    ("fc6", False): 1,
    ("fc7", True): 6,
    ("fc7", False): 4,
}


class VGG(ImageNetBackbone):
    """VGG-16 or 19 without batch normalisation; features are the 4096 of a fully connected layer.

    Parameters
    ----------
    depth : {16, 19}
        Number of layers with weights.
    layer : {"pool5", "fc6", "fc7"}
        Whose output the features are: of the last pooling (512 x 7 x 7), of the first or second fully connected layer.
    relu : bool
        Whether a fully connected layer's output is taken behind its ReLU (and, in training, its dropout) or before
        both. The output of pool5 always is behind.
    size, bottleneck, hidden, discriminator, weights, cache, unit_rows, precision, views
        See `tda.backbones.pretrained.ImageNetBackbone`.

    References
    ----------
    K. Simonyan, A. Zisserman. Very deep convolutional networks for large-scale image recognition. ICLR 2015,
    table 1, columns D and E.
    """

    def __init__(
        self,
        *,
        depth: Literal[16, 19],
        layer: Literal["pool5", "fc6", "fc7"],
        relu: bool,
        size: Annotated[int, Field(ge=32)],
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
            whole = untrained(f"vgg{depth}")
            whole.classifier = whole.classifier[: ENDS[layer, relu]]  # type: ignore[index]
            return whole

        super().__init__(
            arch=f"vgg{depth}",
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
        self.width = 512 * 7 * 7 if layer == "pool5" else 4096
