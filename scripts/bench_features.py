"""What features of real images cost: decoding and extraction beside the bare forward passes, and reading them again.

One domain of Office-31 is taken from its image files to cached features, as ``tda run`` does it, in a process of its
own; then the same network runs over the same images, decoded before and standing in memory as floats, in batches of the
same size. Both halves are in one run on the same threads, so that their ratio means something on a busy machine too.

    python scripts/bench_features.py --data DATA --weights FILE --domain W
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose

from tda.backbones.features import BATCH, features
from tda.config import build, composer, resolved

CPU = torch.device("cpu")


def prepared(options: argparse.Namespace, cache: str) -> tuple[Any, dict[str, Any]]:
    """Return the dataset and the backbone's configuration."""
    overrides = ["dataset=office31", f"backbone={options.backbone}", f"backbone.weights={options.weights}"]
    overrides += [f"runtime.data={options.data}", f"runtime.cache={cache}", f"backbone.precision={options.precision}"]
    with composer():
        config = compose("config", [*overrides, "task=A-W"])
        return build(resolved(config.dataset), "dataset"), resolved(config.backbone)


def product(options: argparse.Namespace, cache: str) -> tuple[float, float, np.ndarray]:
    """Return the seconds from files, or from the cache, to features, and the peak memory in MiB."""
    torch.set_num_threads(options.threads)
    dataset, node = prepared(options, cache)
    start = time.perf_counter()
    x = features(dataset.domain(options.domain), node, lambda: build(node, "backbone"), CPU, Path(cache))
    seconds = time.perf_counter() - start
    return seconds, int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**10, x


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


def measure(function: Any, *arguments: Any) -> tuple[float, float, np.ndarray]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder that holds office31")
    parser.add_argument("--weights", required=True, help="file of the backbone's weights")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--domain", default="W", choices=("A", "D", "W"))
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        cold, peak, x = measure(product, options, cache)
        forward, _, plain = measure(bare, options, cache)
        warm, _, again = measure(product, options, cache)
    scaled = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    assert np.array_equal(x, again)
    print(f"{len(x)} images of {options.domain}, {options.backbone} {options.precision}, {options.threads} threads")
    print(f"from files to features {cold:8.2f} s   peak memory {peak:.0f} MiB")
    print(f"bare forward passes    {forward:8.2f} s   ratio {cold / forward:.2f}")
    print(f"from the cache         {warm:8.2f} s")
    print(f"largest difference of the features: {np.abs(x - scaled).max():.1e}")


if __name__ == "__main__":
    main()
