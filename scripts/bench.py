"""The whole picture of what tda costs, in one run, with one table at the end.

Shallow methods beside the textbook's algorithms and beside the public libraries that are installed; a training step of
the deep methods beside the bare step, on features and on images; extraction of features beside bare forward passes;
the runner's overhead in a sweep. Each part is a bench of its own, which has more methods and larger sizes. Samples and
images are Office-31's where --data and --weights say where those are (its features are extracted once, in minutes),
otherwise they are drawn.

    python scripts/bench.py
    python scripts/bench.py --data DATA --weights resnet50.safetensors
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import bench_deep
import bench_features
import bench_shallow
import bench_sweep
from measuring import Compared, table


class Part(NamedTuple):
    """One bench, and what it is told on its command line."""

    name: str
    arguments: Callable[[], argparse.ArgumentParser]
    run: Callable[[argparse.Namespace], list[Compared]]
    given: Sequence[str]


class Sizes(NamedTuple):
    """How much the parts measure."""

    shallow: tuple[int, int, int] = (2817, 795, 2048)  # source samples, target samples, features
    eigen: int = 1024  # features of the textbook's non-symmetric eigenproblems, whose time grows with their cube
    steps: int = 100  # on features
    on_features: Sequence[str] = (
        "source_only", "dan", "dann", "cdan_e", "jan", "mcc", "mdd", "bnm", "dsan", "shot",
    )  # fmt: skip
    on_images: Sequence[str] = ("source_only", "dan", "mcc")
    batch: int = 16  # images
    drawn: int = 96  # image files
    cells: int = 1000
    run: int = 400  # of the cells


def parts(threads: int, data: str | None, weights: str | None, sizes: Sizes) -> list[Part]:
    """Return all that is measured, in order."""
    both = ["--threads", str(threads)]
    real = [] if data is None or weights is None else ["--data", data, "--weights", weights]
    shallow = ["--shape", *map(str, sizes.shallow), "--eigen", str(sizes.eigen), "--repeats", "2"]
    shallow += ["--libraries", *bench_shallow.LIBRARIES]
    deep = ["--methods", *sizes.on_features, "--steps", str(sizes.steps)]
    images = ["--images", "--methods", *sizes.on_images, "--steps", "1", "--turns", "2", "--batch", str(sizes.batch)]
    features = ["--drawn", str(sizes.drawn), "--domain", "D"]
    sweep = ["--cells", str(sizes.cells), "--run", str(sizes.run)]
    return [
        Part("Shallow methods", bench_shallow.arguments, bench_shallow.run, [*shallow, *both, *real]),
        Part("A step of the deep methods on features", bench_deep.arguments, bench_deep.run, [*deep, *both]),
        Part("A step of the deep methods on images", bench_deep.arguments, bench_deep.run, [*images, *both]),
        Part("Features of images", bench_features.arguments, bench_features.run, [*features, *both, *real]),
        Part("What the runner adds to a cell", bench_sweep.arguments, bench_sweep.run, sweep),
    ]


def measure(parts: Sequence[Part]) -> list[Compared]:
    """Run the parts one after the other, print what they print, and return all rows."""
    rows = []
    for part in parts:
        print(f"\n== {part.name}\n", flush=True)
        start = time.perf_counter()
        rows += part.run(part.arguments().parse_args([*part.given]))
        print(f"\n({time.perf_counter() - start:.0f} s)", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--data", help="folder that holds office31")
    parser.add_argument("--weights", help="file of ResNet-50's weights")
    options = parser.parse_args()
    if (options.data is None) != (options.weights is None):
        parser.error("expected --data and --weights together, or neither: then samples and images are drawn")
    if options.data is None:
        print("no --data and --weights: samples and images are drawn, and the network has random weights")
    rows = measure(parts(options.threads, options.data, options.weights, Sizes()))
    print(f"\n== Summary\n\n{table(rows)}")


if __name__ == "__main__":
    main()
