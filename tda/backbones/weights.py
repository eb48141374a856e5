"""Weights of a network: from torchvision's download or from a file, read without running any code in it."""

import hashlib
import pickle
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from tda.cache import built
from tda.errors import UsageError

SHOWN = 3  # names of parameters in an error


class Weights(NamedTuple):
    """Tensors by parameter name, and what their file says of them."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]


def read(weights: str, arch: str, cache: str) -> Weights:
    """Read the weights that a configuration names.

    Parameters
    ----------
    weights : str
        ``imagenet``: torchvision's ``IMAGENET1K_V1``, the recipe of the domain adaptation papers, downloaded once
        and checked against the hash in its name. Anything else is a file: ``.safetensors``, or what ``torch.save``
        wrote of a state dict.
    arch : str
        torchvision's name of the network: ``resnet50``.
    cache : str
        Folder whose ``weights`` subfolder keeps downloads.

    Raises
    ------
    UsageError
        If there is no such file, or it cannot be downloaded, or it is not a file of weights alone.
    """
    path = downloaded(arch, Path(cache)) if weights == "imagenet" else located(weights)
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return Weights({name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {})  # noqa: SIM118
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as problem:
        raise UsageError(f"{path} is no whole safetensors file ({problem}); download or convert it again") from problem
    except pickle.UnpicklingError as problem:
        raise UsageError(
            f"{path} holds more than tensors, or is no file of torch.save; nothing in it was run. "
            f"Save network.state_dict() alone, or convert it to .safetensors"
        ) from problem
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError) as problem:
        reason = str(problem).strip().split("\n")[0] or type(problem).__name__
        raise UsageError(f"{path} cannot be read as weights ({reason}); download or save it again") from problem
    if not isinstance(tensors, Mapping) or not all(isinstance(name, str) and dense(t) for name, t in tensors.items()):
        raise UsageError(f"{path} is no state dict (tensors by name); save network.state_dict() itself")
    return Weights(tensors, {})


def dense(tensor: object) -> bool:
    """Return whether something is a tensor that holds every one of its numbers."""
    return isinstance(tensor, Tensor) and tensor.layout is torch.strided


def load(network: nn.Module, weights: Weights, *, ignored: Sequence[str], what: str) -> None:
    """Put weights in the place of a network's parameters and buffers, in float32.

    Parameters
    ----------
    network : Module
        May be on the ``meta`` device: nothing of its own values is used.
    weights : Weights
        For all of `network`; batch normalisation's counters may be missing.
    ignored : sequence of str
        Beginnings of names that the file may have beyond the network's, those of the classifier.
    what : str
        The network and the file, for the error.

    Raises
    ------
    UsageError
        If a name is missing or unexpected, a shape differs, or a weight is no finite floating-point number.
    """
    expected = network.state_dict()
    given = {name: tensor for name, tensor in weights.tensors.items() if name in expected}
    counters = {name: torch.zeros((), dtype=torch.int64) for name in expected if name.endswith("num_batches_tracked")}
    found = {name: t.float() if t.is_floating_point() else t for name, t in (counters | given).items()}
    others = (name for name in weights.tensors if name not in expected and not name.startswith(tuple(ignored)))
    shapes = (
        f"{name} {tuple(tensor.shape)} where {tuple(expected[name].shape)} was expected"
        for name, tensor in given.items()
        if tensor.shape != expected[name].shape
    )
    numbers = {name for name, tensor in found.items() if expected[name].is_floating_point()}
    kinds = {
        "missing": expected.keys() - found.keys(),
        "unexpected": others,
        "of another shape": shapes,
        "no floating-point numbers": (name for name in numbers if not found[name].is_floating_point()),
        "infinite or not a number": (name for name in numbers if not found[name].isfinite().all()),
    }
    problems = [f"{kind}: {listed}" for kind, names in kinds.items() if (listed := some(names))]
    if problems:
        raise UsageError(f"{what} do not fit each other; {'; '.join(problems)}")
    network.load_state_dict(found, assign=True)


def some(names: Iterable[str]) -> str:
    """Return the first few of `names`, sorted, and how many more there are.

    Examples
    --------
    >>> some("dacbe")
    'a, b, c and 2 more'
    """
    ordered = sorted(names)
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return ", ".join(ordered[:SHOWN]) + more


def fingerprint(weights: str) -> str:
    """Return what tells these weights from any others of the same network: the sha256 of a file's content.

    ``imagenet`` is its own: torchvision never changes a published file.

    Raises
    ------
    UsageError
        If there is no such file, or the weights are random.
    """
    if weights == "none":
        raise UsageError("backbone.weights=none: random weights give no features to keep; name a file or take imagenet")
    if weights == "imagenet":
        return weights
    path = located(weights)
    found = path.stat()
    return sha256(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def sha256(path: Path, size: int, modified: int) -> str:
    """Return the hash of a file that has not changed since it had this size and time of change."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def located(weights: str) -> Path:
    """Return the file that a configuration names, ``~`` expanded."""
    path = Path(weights).expanduser().absolute()
    if not path.is_file():
        raise UsageError(f"backbone.weights={weights}: there is no file {path}; name one, or take imagenet")
    return path


def downloaded(arch: str, cache: Path) -> Path:
    """Return torchvision's file of ImageNet weights of this network, downloaded once."""
    from tda.vision import torchvision  # seconds to import, needed for the address alone

    url = torchvision.models.get_model_weights(arch).IMAGENET1K_V1.url
    name = url.rpartition("/")[2]
    start = Path(name).stem.rpartition("-")[2]  # resnet50-0676ba61.pth: the start of the file's sha256
    try:
        return built(
            cache / "weights" / name,
            lambda path: torch.hub.download_url_to_file(url, str(path), hash_prefix=start),
        )
    except (OSError, RuntimeError) as problem:
        raise UsageError(
            f"cannot download the weights of {arch} from {url} ({problem}); "
            f"give a file that you have: backbone.weights=PATH"
        ) from problem
