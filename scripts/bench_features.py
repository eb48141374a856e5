"""What features of images cost: decoding and extraction beside the bare forward passes, and reading them again.

One domain of Office-31 is taken from its image files to cached features, as ``tda run`` does it, in a process of its
own; then the same network runs over the same images, decoded before and standing in memory as floats, in batches of the
same size. Both halves are in one run on the same threads, so that their ratio means something on a busy machine too.
Without --data the images are drawn and written as JPEG files first; without --weights the network has none.

    python scripts/bench_features.py --data DATA --weights FILE --domain W
    python scripts/bench_features.py --drawn 128
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose
from measuring import Compared, fresh, machine, peak
from PIL import Image
from safetensors.torch import save_file

from tda.backbones.features import BATCH, features
from tda.backbones.pretrained import untrained
from tda.config import build, composer, resolved

CPU = torch.device("cpu")


def draw(folder: Path, images: int) -> None:
    """Write that many JPEG files of 300 to 500 pixels, smooth as photographs are, as domain A (and one as domain W)."""
    rng = np.random.default_rng(0)
    for domain, number in (("A", images), ("W", 1)):
        (folder / domain / "thing").mkdir(parents=True)
        for i in range(number):
            coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
            width, height = map(int, rng.integers(300, 500, 2))
            coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / domain / "thing" / f"{i:04}.jpg")


def random_weights(name: str, path: Path) -> str:
    """Write random weights of a torchvision network to a file, and return its name."""
    torch.manual_seed(0)
    save_file(untrained(name).state_dict(), path)
    return str(path)


def prepared(options: argparse.Namespace, cache: str) -> tuple[Any, dict[str, Any]]:
    """Return the dataset and the backbone's configuration."""
    overrides = [f"backbone={options.backbone}", f"backbone.weights={options.weights}"]
    overrides += [f"runtime.cache={cache}", f"backbone.precision={options.precision}", "task=A-W"]
    if options.data:
        overrides += ["dataset=office31", f"runtime.data={options.data}"]
    else:
        overrides += ["dataset=image_folder", f"dataset.root={cache}/drawn", "dataset.name=drawn"]
    with composer():
        config = compose("config", overrides)
        return build(resolved(config.dataset), "dataset"), resolved(config.backbone)


def product(options: argparse.Namespace, cache: str) -> tuple[float, float, np.ndarray]:
    """Return the seconds from files, or from the cache, to features, and the peak memory in MiB."""
    torch.set_num_threads(options.threads)
    dataset, node = prepared(options, cache)
    start = time.perf_counter()
    x = features(dataset.domain(options.domain), node, lambda: build(node, "backbone"), CPU, Path(cache))
    seconds = time.perf_counter() - start
    return seconds, peak(), x


def bare(options: argparse.Namespace, cache: str) -> tuple[float, float, np.ndarray]:
    """Return the seconds of the forward passes alone, on standardised images that stand in memory."""
    torch.set_num_threads(options.threads)
    dataset, node = prepared(options, cache)
    backbone = build(node, "backbone").eval()
    images = torch.from_numpy(np.array(dataset.domain(options.domain).x[:, 16:240, 16:240])).permute(0, 3, 1, 2)
    mean, deviation = (statistic.view(1, -1, 1, 1) for statistic in (backbone.mean, backbone.deviation))
    batches = [batch.float().div(255).sub(mean).div(deviation) for batch in images.split(BATCH)]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
        backbone.extract(batches[0])
        start = time.perf_counter()
        made = [backbone.extract(batch) for batch in batches]
        seconds = time.perf_counter() - start
    return seconds, 0.0, torch.cat(made).float().numpy()


def run(options: argparse.Namespace) -> list[Compared]:
    """Measure what the options ask for, and print it."""
    print(machine())
    with tempfile.TemporaryDirectory() as cache:
        if not options.data:
            options.domain = "A"
            draw(Path(cache) / "drawn", options.drawn)
        options.weights = options.weights or random_weights(options.backbone, Path(cache) / "random.safetensors")
        cold, memory, x = fresh(product, options, cache)
        forward, _, plain = fresh(bare, options, cache)
        warm, _, again = fresh(product, options, cache)
    scaled = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    assert np.array_equal(x, again)
    kind = f"images of {options.domain}" if options.data else "drawn images"
    print(f"{len(x)} {kind}, {options.backbone} {options.precision}, {options.threads} threads")
    print(f"from files to features {cold:8.2f} s   peak memory {memory:.0f} MiB")
    print(f"bare forward passes    {forward:8.2f} s   ratio {cold / forward:.2f}")
    print(f"from the cache         {warm:8.2f} s")
    print(f"largest difference of the features: {np.abs(x - scaled).max():.1e}")
    return [Compared(f"{options.backbone} features of {len(x)} {kind}", cold, "bare forward passes", forward)]


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder that holds office31; default: drawn images")
    parser.add_argument("--drawn", type=int, default=128, help="how many, without --data")
    parser.add_argument("--weights", help="file of the backbone's weights; default: random")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--domain", default="W", choices=("A", "D", "W"), help="of office31")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser


if __name__ == "__main__":
    run(arguments().parse_args())
