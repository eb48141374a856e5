"""Residual networks."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt
from torch import nn

from tda.backbones.base import Bottleneck
from tda.backbones.pretrained import ImageNetBackbone, Views, untrained
from tda.errors import UsageError


class ResNet(ImageNetBackbone):
    """ResNet-18, 34, 50, 101 or 152; features are the average over the last maps: 512, or 2048 from 50 layers on.

    Parameters
    ----------
    depth : {18, 34, 50, 101, 152}
        Number of layers.
    stride_in_1x1 : bool or None
        Where the first bottleneck of stages 2 to 4 halves the maps: in its 1x1 convolution, as in the paper and the
        weights of its authors, or in its 3x3 convolution, as torchvision (version 1.5, half a point better on
        ImageNet). Weights of one are silently wrong in the other, since their shapes agree. None: as the metadata
        of the weights' file say, else False. Blocks of 18 and 34 layers have no 1x1 convolution.
    size, bottleneck, hidden, discriminator, weights, cache, unit_rows, precision, views
        See `tda.backbones.pretrained.ImageNetBackbone`.

    Raises
    ------
    UsageError
        If `stride_in_1x1` contradicts the weights' metadata, or the network has no such convolution.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun. Deep residual learning for image recognition. CVPR 2016, table 1.
    """

    def __init__(
        self,
        *,
        depth: Literal[18, 34, 50, 101, 152],
        stride_in_1x1: bool | None,
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
            whole = untrained(f"resnet{depth}")
            whole.fc = nn.Identity()
            return whole

        super().__init__(
            arch=f"resnet{depth}",
            network=network,
            ignored=["fc."],
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
        self.width = 2048 if depth >= 50 else 512
        said = self.metadata.get("stride_in_1x1", "").lower()
        if said not in ("", "true", "false"):
            raise UsageError(f"{weights} says stride_in_1x1={said}; expected true or false in its metadata")
        self.stride_in_1x1 = said == "true" if stride_in_1x1 is None else stride_in_1x1
        if said and self.stride_in_1x1 != (said == "true"):
            raise UsageError(
                f"backbone.stride_in_1x1={str(stride_in_1x1).lower()}, but {weights} says {said}; leave it null"
            )
        if self.stride_in_1x1:
            if depth < 50:
                raise UsageError(f"backbone.stride_in_1x1=true: ResNet-{depth} has no 1x1 convolution; leave it null")
            for stage in ("layer2", "layer3", "layer4"):
                first: Any = self.network.get_submodule(f"{stage}.0")
                first.conv1.stride, first.conv2.stride = (2, 2), (1, 1)
