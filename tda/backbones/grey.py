"""What the LeNets have in common that read grey digits: two 5x5 convolutions, each followed by 2x2 pooling."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from tda.backbones.base import Backbone, Bottleneck
from tda.ranges import BelowOne


class GreyLeNet(Backbone):
    """Layers that read one channel in about [-1, 1]; images become grey.

    Parameters
    ----------
    size, bottleneck, hidden, discriminator
        See `tda.backbones.base.Backbone`.
    dropout : float
        The share that is dropped in training; each network says of what.
    """

    def __init__(
        self,
        *,
        size: Annotated[int, Field(ge=16)],
        bottleneck: Bottleneck,
        hidden: Sequence[PositiveInt],
        discriminator: Sequence[PositiveInt],
        dropout: BelowOne,
    ) -> None:
        super().__init__(size=size, bottleneck=bottleneck, hidden=hidden, discriminator=discriminator)
        self.dropout = dropout
        self.layers, self.width = self.layered(((size - 4) // 2 - 4) // 2)

    @abstractmethod
    def layered(self, side: int) -> tuple[nn.Sequential, int]:
        """Build the layers, with maps of `side` pixels after the second pooling; return them and their width."""

    def extract(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(2 * x.mean(1, keepdim=True))
        return features.flatten(1)
