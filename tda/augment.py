"""Augmentation of a batch of images, on the device that holds it."""

from collections.abc import Sequence
from math import log
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from tda.ranges import PositiveShare

PIXEL = 1e-3  # parts that miss a number of pixels by less have it


class Affine:
    """Turn, scale and shift each image of a batch by random amounts, each drawn uniformly; edges are repeated.

    Parameters
    ----------
    rotation : float
        At most this many degrees either way.
    scale : float
        Size is divided by 1 and at most this share more or less.
    shift : float
        At most this share of the image's side, either way, down and across.
    """

    def __init__(self, *, rotation: NonNegativeFloat, scale: NonNegativeFloat, shift: NonNegativeFloat) -> None:
        self.rotation = rotation
        self.scale = scale
        self.shift = shift

    def __call__(self, images: Tensor) -> Tensor:
        """Return the images, uint8 (n, h, w, 3), each under a transformation of its own."""
        n = len(images)
        spread = torch.rand(4, n, device=images.device) * 2 - 1  # (4, n) in [-1, 1)
        angle = torch.deg2rad(self.rotation * spread[0])
        size = 1 + self.scale * spread[1]
        across, down = 2 * self.shift * spread[2:]
        matrices = torch.stack(
            [size * angle.cos(), -size * angle.sin(), across, size * angle.sin(), size * angle.cos(), down], dim=1
        ).view(n, 2, 3)
        return resampled(images, matrices, images.shape[1:3])


class CropFlip:
    """Cut a random part out of each image of a batch, scale it to `size` x `size` pixels, and mirror half of them.

    The part's share of the image's area is uniform in [`smallest`, `largest`], its ratio of width to height
    log-uniform in [1 / `ratio`, `ratio`], its place uniform; a part longer than the image is cut to it, and one of just
    `size` pixels is cut along them: ``smallest = largest = (224/256)^2, ratio = 1`` is the random crop of 224 of 256.

    Parameters
    ----------
    size : int
        Side of the result in pixels.
    smallest, largest : float
        Of the share of the area.
    ratio : float
        Greatest ratio of the sides.
    flip : bool
        Mirror an image with probability 1/2.

    References
    ----------
    C. Szegedy et al. Going deeper with convolutions. CVPR 2015, section 6.
    """

    def __init__(
        self,
        *,
        size: PositiveInt,
        smallest: PositiveShare,
        largest: PositiveShare,
        ratio: Annotated[float, Field(ge=1)],
        flip: bool,
    ) -> None:
        self.size = size
        self.smallest = smallest
        self.largest = largest
        self.ratio = ratio
        self.flip = flip

    def __call__(self, images: Tensor) -> Tensor:
        """Return parts (n, size, size, 3), uint8, of uint8 images (n, h, w, 3)."""
        area, stretch, across, down, mirror = torch.rand(5, len(images), device=images.device)
        share = self.smallest + (self.largest - self.smallest) * area
        aspect = torch.exp(log(self.ratio) * (2 * stretch - 1))
        width, height = (share * aspect).sqrt().clamp(max=1), (share / aspect).sqrt().clamp(max=1)
        left = centred(width, across, images.shape[2], self.size)
        top = centred(height, down, images.shape[1], self.size)
        sign = torch.where((mirror < 0.5) & self.flip, -1.0, 1.0)
        zero = torch.zeros_like(width)
        matrices = torch.stack([sign * width, zero, left, zero, height, top], dim=1).view(-1, 2, 3)
        return resampled(images, matrices, (self.size, self.size))


def centred(part: Tensor, place: Tensor, side: int, size: int) -> Tensor:
    """Return the centres (n,), in [-1, 1], of parts of a side at random places.

    Parameters
    ----------
    part : Tensor
        Shares of the side, (n,).
    place : Tensor
        Uniform in [0, 1), (n,): how much of the rest lies before each part.
    side, size : int
        Pixels of the side, and those that a part is scaled to; a part of just that many begins at a whole pixel.
    """
    first = (place * (side - size + 1)).floor()
    along_pixels = (2 * first + size) / side - 1
    return torch.where((part * side - size).abs() < PIXEL, along_pixels, (1 - part) * (2 * place - 1))


def resampled(images: Tensor, matrices: Tensor, sides: Sequence[int]) -> Tensor:
    """Return uint8 images (n, h, w, 3) under maps (n, 2, 3) from its places in [-1, 1] to theirs."""
    x = images.permute(0, 3, 1, 2).float()
    with torch.autocast(x.device.type, enabled=False):  # places in bfloat16 would be off by most of a pixel
        grid = F.affine_grid(matrices, [len(images), 3, *sides], align_corners=False)
        moved = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return moved.round_().to(torch.uint8).permute(0, 2, 3, 1)
