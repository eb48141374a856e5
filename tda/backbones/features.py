"""Features of a domain under a backbone, extracted once and kept."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.preprocessing import normalize
from tqdm import tqdm

from tda.backbones.base import Backbone, resident
from tda.backbones.weights import fingerprint
from tda.cache import built, digest, reading
from tda.errors import UsageError
from tda.task import Domain

BATCH = 32
ON_TOP = frozenset(("name", "bottleneck", "hidden", "discriminator", "unit_rows", "frozen", "augment", "cache"))


def features(
    domain: Domain, node: Mapping[str, Any], backbone: Callable[[], Backbone], device: torch.device, cache: Path
) -> np.ndarray:
    """Return the features (n, width), float32, of every sample of a domain; a domain of features is its own.

    Those of a backbone with weights are kept in `cache`, one safetensors file for each domain, backbone, weights, layer
    and view: the backbone is built only where they are not there yet.

    Parameters
    ----------
    domain : Domain
        Features (n, d), or uint8 images (n, h, w[, 3]).
    node : mapping
        The backbone's configuration; with ``unit_rows`` true, features are scaled to 2-norm 1.
    backbone : callable returning a Backbone
        Builds it, with weights that mean something.
    device : torch.device
        Where to extract.
    cache : Path
        Folder whose ``features`` subfolder keeps them.
    """
    if domain.x.ndim == 2:
        return domain.x

    def extract() -> np.ndarray:
        return extracted(domain, pretrained(backbone()), device)

    if node.get("weights", "none") == "none" or not domain.fingerprint:
        x = extract()
    else:
        depends = {key: value for key, value in node.items() if key not in ON_TOP}
        depends |= {"weights": fingerprint(node["weights"]), "domain": domain.fingerprint}
        path = built(
            cache / "features" / f"{node['name']}-{domain.name}-{digest(depends)}.safetensors",
            lambda path: save_file({"features": extract()}, path, {k: str(v) for k, v in depends.items()}),
        )
        with reading(path), safe_open(path, framework="numpy") as file:
            x = file.get_tensor("features")
    return normalize(x, copy=False) if node.get("unit_rows") else x


def pretrained(backbone: Backbone) -> Backbone:
    """Return a backbone whose weights mean something.

    Raises
    ------
    UsageError
        They are random.
    """
    if not backbone.pretrained:
        raise UsageError(
            "features of random weights mean nothing; choose a pretrained backbone, backbone.weights=FILE, or "
            "extractor=finetuned"
        )
    return backbone


def extracted(domain: Domain, backbone: Backbone, device: torch.device) -> np.ndarray:
    """Run a backbone over every image of a domain, a batch at a time: (n, width), float32."""
    backbone = backbone.to(device).eval()
    x = np.empty((len(domain.x), backbone.width), dtype=np.float32)
    with (
        torch.inference_mode(),
        tqdm(total=len(x), desc=f"features of {domain.name}", disable=None, leave=False) as bar,
    ):
        for start in range(0, len(x), BATCH):
            rows = slice(start, start + BATCH)
            x[rows] = backbone(resident(domain.x[rows], device)).cpu().numpy()
            bar.update(BATCH)
    return x
