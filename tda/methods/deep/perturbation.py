"""Another view of the same samples, which should be of the same class."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tda.augment import Affine
from tda.ranges import BelowOne


class Perturbation:
    """Perturb a batch: features by dropout, images by moving, lighting and covering them, each in its own way.

    Features of a frozen backbone have no picture to change; dropping some of them, and scaling the others by
    1 / (1 - drop), is what stands for it. Images come as the trainer augmented them and are changed further.

    Parameters
    ----------
    drop : float
        Share of the features set to 0.
    move : Affine or None
        Of images.
    light : float
        Contrast is multiplied, and brightness raised or lowered, by at most this share.
    cover : float
        Sides of a grey rectangle over part of an image, as a share of the image's; it may go over the edge.
    """

    def __init__(self, *, drop: BelowOne, move: Affine | None, light: BelowOne, cover: BelowOne) -> None:
        self.drop = drop
        self.move = move
        self.light = light
        self.cover = cover

    def __call__(self, x: Tensor) -> Tensor:
        """Return features (n, d), or uint8 images (n, h, w, 3), perturbed."""
        if x.ndim == 2:
            return F.dropout(x, self.drop)
        n, height, width, _ = x.shape
        moved = x if self.move is None else self.move(x)
        contrast, brightness = self.light * (2 * torch.rand(2, n, 1, 1, 1, device=x.device) - 1)
        lit: Tensor = (moved * (1 + contrast) + 255 * brightness).clamp(0, 255)
        top, left = torch.rand(2, n, 1, device=x.device)
        rows, columns = (torch.arange(side, device=x.device) / side for side in (height, width))
        down, across = (rows - top).abs() < self.cover / 2, (columns - left).abs() < self.cover / 2  # (n, h), (n, w)
        covered = (down.unsqueeze(2) & across.unsqueeze(1)).unsqueeze(3)
        return lit.masked_fill(covered, 127).round().to(torch.uint8)
