"""Augmentation of a batch of images, on the device that holds it."""

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat
from torch import Tensor


class Affine:
    """Turn, scale and shift each image of a batch by random amounts, each drawn uniformly; edges are repeated.

    Parameters
    ----------
    rotation : float
        At most this many degrees either way.
    scale : float
        Size changes by at most this share.
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
        x = images.permute(0, 3, 1, 2).float()
        grid = F.affine_grid(matrices, list(x.shape), align_corners=False)
        moved = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
        return moved.round_().to(torch.uint8).permute(0, 2, 3, 1)
