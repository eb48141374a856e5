"""What torchvision's ImageNet networks share: their input, their weights, the views that are averaged."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tda.backbones.base import Backbone, Bottleneck
from tda.backbones.weights import Weights, load, read
from tda.errors import UsageError

Views = Literal["centre", "whole", "flip", "ten_crop"]


class ImageNetBackbone(Backbone):
    """A torchvision network without its classifier, with the weights that a configuration names.

    Reads uint8 images (n, h, w, 3), 256 x 256 say: the centre `size` x `size` pixels, in [0, 1], less ImageNet's
    channel means, over its deviations. Images with a side below `size` are enlarged first.

    Parameters
    ----------
    arch : str
        torchvision's name of the network: ``resnet50``.
    network : callable returning a Module
        Builds the network, cut where its features are; called on the ``meta`` device where the weights are read, so
        that no random number is drawn for them.
    ignored : sequence of str
        Beginnings of the names of what was cut off.
    size, bottleneck, hidden, discriminator
        See `tda.backbones.base.Backbone`.
    weights : str
        ``imagenet``, a file (see `tda.backbones.weights.read`), or ``none`` for random weights.
    cache : str
        Folder that keeps downloads.
    unit_rows : bool
        Whether features that are not trained have 2-norm 1: those that a shallow method sees, and a deep one where the
        backbone is frozen.
    precision : {"fp32", "bf16"}
        ``bf16`` computes the features in bfloat16 by autocast, and returns them in float32. Those of ResNet-50 on 62
        photographs of Office-31 then differ by 1.4% of their 2-norm on average, 2.4% at most, in half the time.
    views : {"centre", "whole", "flip", "ten_crop"}
        In evaluation, features are of the centre crop alone; of the whole image scaled to `size`; the mean over the
        centre crop and its mirror image; the mean over the four corners' and the centre's crop and their mirror images.
        Training always sees the centre crop.

    Raises
    ------
    UsageError
        If the weights cannot be read, or are not this network's.
    """

    pretrained = True
    channel_means: Sequence[float] = (0.485, 0.456, 0.406)
    channel_deviations: Sequence[float] = (0.229, 0.224, 0.225)
    deviation: Tensor

    def __init__(
        self,
        *,
        arch: str,
        network: Callable[[], nn.Module],
        ignored: Sequence[str],
        size: int,
        bottleneck: Bottleneck,
        hidden: Sequence[int],
        discriminator: Sequence[int],
        weights: str,
        cache: str,
        unit_rows: bool,
        precision: Literal["fp32", "bf16"],
        views: Views,
    ) -> None:
        super().__init__(size=size, bottleneck=bottleneck, hidden=hidden, discriminator=discriminator)
        self.register_buffer("deviation", torch.tensor(self.channel_deviations))
        self.weights = weights
        self.unit_rows = unit_rows
        self.precision = precision
        self.views = views
        self.pretrained = weights != "none"
        if self.pretrained:
            found = read(weights, arch, cache)
            if (other := found.metadata.get("arch", arch)) != arch:
                raise UsageError(f"backbone.weights={weights} are {other}'s, not {arch}'s; take backbone={other}")
            with torch.device("meta"):
                self.network = network()
            load(self.network, found, ignored=ignored, what=f"{arch} and backbone.weights={weights}")
        else:
            found = Weights({}, {})
            self.network = network()
        self.metadata = found.metadata
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 images (n, h, w, 3) to features (n, width), the mean over the views in evaluation."""
        x = images.permute(0, 3, 1, 2)  # (n, 3, h, w), channels last
        if (short := min(x.shape[-2:])) < self.size:
            sides = [round(side * self.size / short) for side in x.shape[-2:]]
            x = F.interpolate(x.float(), sides, mode="bilinear", antialias=True)
        views = "centre" if self.training else self.views
        match views:
            case "whole":
                crops = [F.interpolate(x.float(), (self.size, self.size), mode="bilinear", antialias=True)]
            case "ten_crop" if x.shape[-2:] != (self.size, self.size):
                crops = list(corners(x, self.size))
            case _:
                crops = [centre(x, self.size)]
        mirrored = views in ("flip", "ten_crop")
        bf16 = self.precision == "bf16"
        with torch.autocast(x.device.type, dtype=torch.bfloat16) if bf16 else nullcontext():
            seen = [self.extract(view) for crop in crops for view in self._mirrored(crop, mirrored)]
        features = seen[0] if len(seen) == 1 else torch.stack(seen).float().mean(0)
        return features.float() if bf16 else features

    def extract(self, x: Tensor) -> Tensor:
        features: Tensor = self.network(x)
        return features.flatten(1)

    def _mirrored(self, crop: Tensor, too: bool) -> Iterator[Tensor]:
        """Yield a crop standardised, and its mirror image."""
        mean, deviation = (statistic.view(1, -1, 1, 1) for statistic in (self.mean, self.deviation))
        x = crop.to(mean.dtype, memory_format=torch.channels_last).div(255).sub_(mean).div_(deviation)
        yield x
        if too:
            yield x.flip(-1)


def untrained(arch: str, **settings: Any) -> nn.Module:
    """Return torchvision's network of this name, its weights random."""
    from tda.vision import torchvision  # seconds to import, not needed where features are in the cache

    network: nn.Module = torchvision.models.get_model(arch, weights=None, **settings)
    return network


def centre(x: Tensor, size: int) -> Tensor:
    """Return the centre (n, c, size, size) of images (n, c, h, w)."""
    top, left = ((side - size) // 2 for side in x.shape[-2:])
    return x[..., top : top + size, left : left + size]


def corners(x: Tensor, size: int) -> Iterator[Tensor]:
    """Yield the four corners and the centre, each (n, c, size, size), of images (n, c, h, w)."""
    for rows in (slice(size), slice(-size, None)):
        for columns in (slice(size), slice(-size, None)):
            yield x[..., rows, columns]
    yield centre(x, size)
