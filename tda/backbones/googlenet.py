"""Inception version 1."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, PositiveInt
from torch import nn

from tda.backbones.base import Bottleneck
from tda.backbones.pretrained import ImageNetBackbone, Views, untrained


class GoogLeNet(ImageNetBackbone):
    """GoogLeNet with batch normalisation, without its auxiliary classifiers; features are the 1024 averages.

    torchvision's weights were trained on images in [-1, 1], which its own network makes of ImageNet-normalised ones
    (``transform_input``). Here the images are brought there at once, by another mean and deviation.

    Parameters
    ----------
    size, bottleneck, hidden, discriminator, weights, cache, unit_rows, precision, views
        See `tda.backbones.pretrained.ImageNetBackbone`.

    References
    ----------
    C. Szegedy et al. Going deeper with convolutions. CVPR 2015, table 1.
    """

    channel_means = (0.5, 0.5, 0.5)
    channel_deviations = (0.5, 0.5, 0.5)

    def __init__(
        self,
        *,
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
            whole = untrained("googlenet", aux_logits=False, init_weights=weights == "none")
            whole.fc = nn.Identity()
            return whole

        super().__init__(
            arch="googlenet",
            network=network,
            ignored=["fc.", "aux1.", "aux2."],
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
        self.width = 1024
