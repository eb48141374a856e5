"""Backbone -> bottleneck -> head, and what a network returns."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BeforeValidator
from torch import Tensor, nn

SHOWN = 512
PIXELS = SHOWN * 64 * 64
WHOLE = ("norm", "relu")
ENDINGS: Sequence[tuple[str, ...]] = ((), ("norm",), ("relu",), WHOLE)


def known_bottleneck(given: Any) -> Any:
    """Return what a configuration says of a bottleneck, or raise a ValueError that says what it may say."""
    width, *after = given if isinstance(given, Sequence) and given else (given, *WHOLE)
    if given is None or (type(width) is int and width > 0 and tuple(after) in ENDINGS):
        return given
    raise ValueError("expected null, a width of at least 1, or [width], with norm, relu or both after it")


Bottleneck = Annotated[int | Sequence[Any] | None, BeforeValidator(known_bottleneck)]
"""Width of a bottleneck, or a sequence of it and of what follows its linear layer; see `Backbone`."""


def known_widths(given: Any) -> Any:
    """Return what a configuration says of a domain classifier's hidden layers, or raise a ValueError."""
    if isinstance(given, Sequence) and not isinstance(given, str):
        widths = given[:-1] if len(given) > 1 and given[-1] == "norm" else given
        if all(type(width) is int and width > 0 for width in widths):
            return given
    raise ValueError("expected a list of widths of at least 1, with norm after them for batch normalisation")


Hidden = Annotated[Sequence[Any], BeforeValidator(known_widths)]
"""Widths of a domain classifier's hidden layers; ``[256, 256, norm]``: of batch-normalised ones."""


class Output(NamedTuple):
    """What a network says of a batch."""

    features: Tensor  # (n, width): after the bottleneck, where methods align
    logits: Tensor  # (n, classes)


class Backbone(nn.Module, ABC):
    """Images to features, and the sizes of what stands on top of it.

    Parameters
    ----------
    size : int
        Side in pixels of the square images that it reads.
    bottleneck : int, sequence or None
        Width of the layer between features and head, which is linear, batch-normalised and rectified; None for no such
        layer. A sequence says what follows its linear part: ``[256]`` nothing, ``[256, relu]``, ``[256, norm]``, or
        ``[256, norm, relu]``, which is 256.
    hidden : sequence of int
        Widths of the hidden layers of the label predictor.
    discriminator : sequence of int
        Widths of the hidden layers of a domain classifier on the features.
    """

    width: int
    """Number of features of an image."""
    pretrained: bool = False
    """Whether its features mean something before any training."""
    channel_means: Sequence[float] | None = None
    """Subtracted from images in [0, 1]; None: measured on the training images of both domains."""
    mean: Tensor

    def __init__(
        self, *, size: int, bottleneck: Bottleneck, hidden: Sequence[int], discriminator: Sequence[int]
    ) -> None:
        super().__init__()
        self.size = size
        self.bottleneck = bottleneck
        self.hidden = tuple(hidden)
        self.discriminator = tuple(discriminator)
        self.register_buffer("mean", torch.tensor(self.channel_means or (0.0, 0.0, 0.0)))

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 images (n, h, w, 3) to features (n, width)."""
        return self.extract(standardise(images, self.mean, self.size))

    @abstractmethod
    def extract(self, x: Tensor) -> Tensor:
        """Map standardised images (n, 3, size, size) to features (n, width)."""

    def predictor(self, width: int, classes: int, hidden: Sequence[int] | None = None) -> nn.Sequential:
        """Build a label predictor on `width` features; `hidden` are its hidden layers' widths, None for its own."""
        return perceptron(width, *(self.hidden if hidden is None else hidden), classes)

    def domain_classifier(self, width: int, hidden: Hidden | None = None, *, dropout: float = 0.0) -> nn.Sequential:
        """Build what tells two domains apart by `width` numbers, in one logit; `hidden` None takes `discriminator`."""
        layers = self.discriminator if hidden is None else hidden
        widths = [layer for layer in layers if layer != "norm"]
        return perceptron(width, *widths, 1, dropout=dropout, normalised="norm" in layers)


class Network(nn.Module):
    """Backbone, bottleneck and head; what a deep method trains.

    Parameters
    ----------
    backbone : Backbone
        Gives the features; its attributes give the sizes of the rest.
    classes : int
        Number of classes.
    """

    def __init__(self, backbone: Backbone, *, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classes = classes
        self.width, self.bottleneck = bottleneck(backbone.width, backbone.bottleneck)
        self.head = backbone.predictor(self.width, classes)

    def encode(self, x: Tensor) -> Tensor:
        """Map uint8 images (n, h, w, 3), or features (n, d) of a frozen backbone, to features (n, width)."""
        features: Tensor = self.bottleneck(self.backbone(x))
        return features

    def forward(self, x: Tensor) -> Output:
        """Encode and classify."""
        features = self.encode(x)
        return Output(features, self.head(features))

    def parameter_groups(self, lr: float) -> Iterator[dict[str, Any]]:
        """Yield the optimiser's groups: a pretrained backbone learns ten times slower than what is new."""
        yield {"params": list(self.backbone.parameters()), "lr": lr / 10 if self.backbone.pretrained else lr}
        yield {"params": [*self.bottleneck.parameters(), *self.head.parameters()], "lr": lr}


def bottleneck(wide: int, given: Bottleneck) -> tuple[int, nn.Module]:
    """Return the width of a bottleneck above `wide` features, and its layers; see `Backbone`."""
    if given is None:
        return wide, nn.Identity()
    width, *after = (given, *WHOLE) if isinstance(given, int) else given
    layers = {"norm": nn.BatchNorm1d(width), "relu": nn.ReLU()}
    return width, nn.Sequential(nn.Linear(wide, width), *(layers[name] for name in after))


def perceptron(*widths: int, dropout: float = 0.0, normalised: bool = False) -> nn.Sequential:
    """Stack linear layers of these widths with ReLU between them, initialised by `he_normal`.

    A share `dropout` of the hidden units is dropped in training; `normalised` ones pass batch normalisation first.

    Examples
    --------
    >>> perceptron(4, 3, 2)
    Sequential(
      (0): Linear(in_features=4, out_features=3, bias=True)
      (1): ReLU()
      (2): Linear(in_features=3, out_features=2, bias=True)
    )
    """
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths[:-1]):
        layers += [nn.Linear(wide, narrow), *[nn.BatchNorm1d(narrow)] * normalised, nn.ReLU()]
        layers += [nn.Dropout(dropout)] * (dropout > 0)
    return he_normal(nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1])))


def he_normal(network: nn.Sequential) -> nn.Sequential:
    """Draw the weights of linear and convolutional layers from N(0, 2 / fan_in), which keeps ReLU networks' variance.

    References
    ----------
    K. He et al. Delving deep into rectifiers. ICCV 2015, equation 10.
    """
    for layer in network:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return network


def normal(layer: nn.Linear, deviation: float, bias: float = 0.0) -> nn.Linear:
    """Draw a layer's weights from N(0, deviation^2), and set its biases."""
    nn.init.normal_(layer.weight, std=deviation)
    nn.init.constant_(layer.bias, bias)
    return layer


def standardise(images: Tensor, mean: Tensor, size: int) -> Tensor:
    """Turn images (n, h, w, 3) of 0 to 255 into floats (n, 3, size, size) in [0, 1] less `mean` (3,), channels last."""
    x = images.permute(0, 3, 1, 2).to(torch.float32, copy=True).div_(255).sub_(mean.view(1, -1, 1, 1))
    return x if x.shape[-2:] == (size, size) else F.interpolate(x, (size, size), mode="bilinear", antialias=True)


def portions(x: Tensor) -> tuple[Tensor, ...]:
    """Split samples into parts to be shown to a network without gradients: `SHOWN`, or as many as have `PIXELS`.

    Examples
    --------
    >>> [len(part) for part in portions(torch.zeros(1000, 256))]
    [512, 488]
    >>> [len(part) for part in portions(torch.zeros(70, 256, 256, 3))]
    [32, 32, 6]
    """
    parts: tuple[Tensor, ...] = x.split(portion(x))
    return parts


def portion(x: Tensor) -> int:
    """Return how many samples are shown to a network at once: what takes less memory than a step does."""
    return SHOWN if x.ndim == 2 else min(SHOWN, max(1, PIXELS // (x.shape[1] * x.shape[2])))


def resident(x: np.ndarray, device: torch.device) -> Tensor:
    """Put a whole domain on the device: images (n, h, w[, 3]) as uint8 (n, h, w, 3), features (n, d) as float32."""
    if x.ndim == 2:
        return torch.tensor(x, dtype=torch.float32, device=device)
    images = torch.tensor(x, device=device)
    return images if images.ndim == 4 else images.unsqueeze(-1).expand(-1, -1, -1, 3)
