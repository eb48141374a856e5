"""The image itself as features."""

from collections.abc import Sequence

from pydantic import PositiveInt
from torch import Tensor

from tda.backbones.base import Backbone, Bottleneck


class Pixels(Backbone):
    """The identity: features are the pixels in [0, 1], row by row, channels last.

    Parameters
    ----------
    size, bottleneck, hidden, discriminator
        See `tda.backbones.base.Backbone`.
    """

    pretrained = True
    channel_means = (0.0, 0.0, 0.0)

    def __init__(
        self,
        *,
        size: PositiveInt,
        bottleneck: Bottleneck,
        hidden: Sequence[PositiveInt],
        discriminator: Sequence[PositiveInt],
    ) -> None:
        super().__init__(size=size, bottleneck=bottleneck, hidden=hidden, discriminator=discriminator)
        self.width = 3 * size * size

    def extract(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)
