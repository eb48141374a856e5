"""Features that were computed before: nothing is left for a backbone to do."""

from collections.abc import Sequence
from typing import Self

from pydantic import PositiveInt
from torch import Tensor

from tda.backbones.base import Backbone, Bottleneck


class Given(Backbone):
    """The identity on features; says what a deep method puts on top of them.

    Parameters
    ----------
    bottleneck, hidden, discriminator
        See `tda.backbones.base.Backbone`.
    """

    pretrained = True

    def __init__(
        self, *, bottleneck: Bottleneck, hidden: Sequence[PositiveInt], discriminator: Sequence[PositiveInt]
    ) -> None:
        super().__init__(size=0, bottleneck=bottleneck, hidden=hidden, discriminator=discriminator)

    @classmethod
    def instead_of(cls, backbone: Backbone, width: int) -> Self:
        """Return the stand-in for a backbone whose `width` features were extracted before."""
        given = cls(bottleneck=backbone.bottleneck, hidden=backbone.hidden, discriminator=backbone.discriminator)
        given.width = width
        return given

    def forward(self, images: Tensor) -> Tensor:
        """Return the features (n, d) as they are."""
        return images

    def extract(self, x: Tensor) -> Tensor:
        return x
