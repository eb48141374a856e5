"""Features of a domain under a backbone."""

import numpy as np
import torch

from tda.backbones.base import Backbone, resident
from tda.task import Domain

BATCH = 512


def features(domain: Domain, backbone: Backbone) -> np.ndarray:
    """Return the features (n, width), float32, of every sample of `domain`; a domain of features is its own.

    Parameters
    ----------
    domain : Domain
        Features (n, d), or uint8 images (n, h, w[, 3]).
    backbone : Backbone
        In evaluation mode, with weights that mean something.
    """
    if domain.x.ndim == 2:
        return domain.x
    with torch.inference_mode():
        images = resident(domain.x, backbone.mean.device)
        return torch.cat([backbone(batch).cpu() for batch in images.split(BATCH)]).numpy()
