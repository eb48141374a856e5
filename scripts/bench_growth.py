"""How time and memory of the aligners grow: n source and n/2 target samples of 2048 features.

Each measurement is a process of its own. The samples are drawn in single precision (1.2 GB at n = 100,000) and are
part of the memory that is reported. The table and the figure are written to results/benches.

    python scripts/bench_growth.py --threads 2
"""

import argparse
import csv
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from hydra import compose
from measuring import fresh, peak
from threadpoolctl import threadpool_limits

from tda.config import build, composer, resolved

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
FEATURES, CLASSES = 2048, 31
LINEAR = ("pca", "tca", "jda", "coral", "sa", "gfk")
FOLDER = Path(__file__).parent.parent / "results" / "benches"


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw n samples of 31 classes in features of a decaying spectrum, in single precision and by blocks."""
    rng = np.random.default_rng(seed)
    scale = (np.arange(1, FEATURES + 1) ** -0.5).astype(np.float32)
    centres = np.random.default_rng(99).standard_normal((CLASSES, FEATURES), dtype=np.float32)
    y = np.arange(n) % CLASSES
    X = np.empty((n, FEATURES), dtype=np.float32)
    for start in range(0, n, 4096):
        rows = slice(start, start + 4096)
        X[rows] = (rng.standard_normal(X[rows].shape, dtype=np.float32) + 0.5 * centres[y[rows]]) * scale
    return X, y


def work(method: str, n: int, threads: int) -> tuple[float, float]:
    """Return the seconds of fitting, and the peak memory in GiB with all that is in it."""
    (Xs, ys), (Xt, _) = draw(n, 0), draw(n // 2, 1)
    with composer():
        estimator = build(resolved(compose("config", [f"method={method}", "task=O-P"]).method), "method")
    with threadpool_limits(threads):
        start = time.perf_counter()
        estimator.align(Xs, ys, Xt)
        seconds = time.perf_counter() - start
    return seconds, peak() / 2**10


def plot(rows: list[tuple[str, int, float, float]], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for method in dict.fromkeys(row[0] for row in rows):
        own = [row for row in rows if row[0] == method]
        left.plot([row[1] for row in own], [row[2] for row in own], marker="o", label=method)
        right.plot([row[1] for row in own], [row[3] for row in own], marker="o", label=method)
    for axis, what in ((left, "seconds"), (right, "peak memory in GiB, samples included")):
        axis.set(xscale="log", yscale="log", xlabel="source samples (and half as many of the target)", ylabel=what)
        axis.grid(alpha=0.3)
    left.plot(SIZES, [SIZES[0] ** -1 * n for n in SIZES], ":", color="grey", label="linear")
    left.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--methods", nargs="+", default=LINEAR)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    options = parser.parse_args()
    rows = []
    print(f"{'method':8}{'source':>9}{'target':>9}{'seconds':>10}{'GiB':>7}")
    for method in options.methods:
        for n in options.sizes:
            seconds, memory = fresh(work, method, n, options.threads)
            rows.append((method, n, seconds, memory))
            print(f"{method:8}{n:9}{n // 2:9}{seconds:10.2f}{memory:7.2f}", flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "growth.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("method", "source_samples", "seconds", "peak_gib"))
        table.writerows((m, n, f"{s:.2f}", f"{g:.2f}") for m, n, s, g in rows)
    plot(rows, FOLDER / "growth.png")


if __name__ == "__main__":
    main()
