"""Time and memory of TCA, CORAL and KMM beside the textbook's algorithms, written plainly.

Every pair gets the same samples (Office-31's amazon -> webcam in size: 2817 and 795 samples of 2048
features, drawn with a decaying spectrum) and the same number of threads, each in a process of its own, whose
peak memory is read from the operating system and given above that of the samples and the imports. The
agreement column compares the two results, so that no ratio is of different answers.

    python scripts/bench_shallow.py --threads 2          # textbook TCA takes minutes: --fast leaves it out
"""

import argparse
import importlib
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.linalg
from cvxopt import matrix, solvers
from threadpoolctl import threadpool_limits

from tda.divergences.kernels import gram, mean_similarity, median_gamma
from tda.methods.shallow.coral import CORAL
from tda.methods.shallow.kmm import KMM
from tda.methods.shallow.linear_svm import LinearSVM
from tda.methods.shallow.one_nn import OneNN
from tda.methods.shallow.tca import TCA


class Sample(NamedTuple):
    Xs: np.ndarray
    Xt: np.ndarray


class Measured(NamedTuple):
    seconds: float
    mebibytes: float
    result: np.ndarray


def draw(ns: int, nt: int, d: int) -> Sample:
    rng = np.random.default_rng(0)
    scale = np.arange(1, d + 1) ** -0.5
    reflect = scale / np.linalg.norm(scale)  # a Householder reflection mixes the features

    def domain(n: int, shift: float) -> np.ndarray:
        Z = rng.standard_normal((n, d)) * scale + shift * scale
        Z -= np.outer(Z @ reflect, 2 * reflect)
        return Z

    return Sample(domain(ns, 0.0), domain(nt, 0.2))


def tca(data: Sample) -> np.ndarray:
    model = TCA(classifier=OneNN())
    model.align(data.Xs, np.zeros(len(data.Xs)), data.Xt)
    return model.components_


def tca_textbook(data: Sample) -> np.ndarray:
    """Both matrices formed in full, and the non-symmetric generalised eigenproblem."""
    X = np.vstack(data).T
    ns, nt = len(data.Xs), len(data.Xt)
    n = ns + nt
    e = np.concatenate([np.full(ns, 1 / ns), np.full(nt, -1 / nt)])[:, None]
    H = np.eye(n) - np.ones((n, n)) / n
    a = np.linalg.multi_dot([X, e @ e.T, X.T]) + np.eye(len(X))
    b = np.linalg.multi_dot([X, H, X.T])
    values, vectors = scipy.linalg.eig(a, b)
    return vectors[:, np.argsort(values.real)[:30]].real


def coral(data: Sample) -> np.ndarray:
    return CORAL(classifier=OneNN(), standardise="no").align(data.Xs, np.zeros(len(data.Xs)), data.Xt)[0]


def coral_textbook(data: Sample) -> np.ndarray:
    """Powers of both covariances, by the Schur form that suits any square matrix."""
    Cs, Ct = (np.cov(X.T) + np.eye(X.shape[1]) for X in data)
    power = scipy.linalg.fractional_matrix_power
    return np.real(data.Xs @ (power(Cs, -0.5) @ power(Ct, 0.5)))


def kmm(data: Sample) -> np.ndarray:
    return KMM(classifier=LinearSVM()).weigh(data.Xs, np.zeros(len(data.Xs)), data.Xt)


def kmm_textbook(data: Sample) -> np.ndarray:
    """The constraints as a dense matrix of 2 ns + 2 rows."""
    ns = len(data.Xs)
    gamma, eps = median_gamma(data.Xs, data.Xt), (np.sqrt(ns) - 1) / np.sqrt(ns)
    K = gram("rbf", data.Xs, data.Xs, gamma)
    kappa = ns * mean_similarity("rbf", data.Xs, data.Xt, gamma)
    ones = np.ones((1, ns))
    G = np.r_[ones, -ones, np.eye(ns), -np.eye(ns)]
    h = np.r_[ns * (1 + eps), ns * (eps - 1), np.full(ns, 1000.0), np.zeros(ns)]
    solution = solvers.qp(matrix(K), matrix(-kappa), matrix(G), matrix(h), options={"show_progress": False})
    return np.ravel(solution["x"])


def subspace_sine(W: np.ndarray, other: np.ndarray, _: Sample) -> float:
    return float(np.sin(scipy.linalg.subspace_angles(W, other).max()))


def relative_difference(Z: np.ndarray, other: np.ndarray, _: Sample) -> float:
    return float(np.abs(Z - other).max() / np.abs(other).max())


def objective_difference(b: np.ndarray, other: np.ndarray, data: Sample) -> float:
    gamma = median_gamma(data.Xs, data.Xt)
    K = gram("rbf", data.Xs, data.Xs, gamma)
    kappa = len(b) * mean_similarity("rbf", data.Xs, data.Xt, gamma)
    ours, theirs = (0.5 * x @ K @ x - kappa @ x for x in (b, other))
    return float((ours - theirs) / abs(theirs))


class Pair(NamedTuple):
    ours: Callable[[Sample], np.ndarray]
    textbook: Callable[[Sample], np.ndarray]
    agreement: Callable[[np.ndarray, np.ndarray, Sample], float]
    meaning: str


PAIRS = {
    "TCA": Pair(tca, tca_textbook, subspace_sine, "sine of the largest angle between the components"),
    "CORAL": Pair(coral, coral_textbook, relative_difference, "largest difference / largest entry"),
    "KMM": Pair(kmm, kmm_textbook, objective_difference, "(our objective - theirs) / |theirs|"),
}


def load(samples: Path) -> Sample:
    return Sample(np.load(samples / "Xs.npy"), np.load(samples / "Xt.npy"))


def peak() -> float:
    """Return the peak resident memory of this process in MiB (Linux: getrusage also counts the parent's)."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def work(name: str, side: str, samples: Path, threads: int, repeats: int) -> Measured:
    """Run in a fresh process: the least time of `repeats`, and the peak memory above the samples."""
    function = getattr(PAIRS[name], side)
    with threadpool_limits(threads):
        function(draw(200, 60, 80))
        data = load(samples)
        before, times = peak(), []
        for _ in range(repeats):
            start = time.perf_counter()
            result = function(data)
            times.append(time.perf_counter() - start)
    return Measured(min(times), peak() - before, result)


def measure(*arguments: object) -> Measured:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="for every linear-algebra library")
    parser.add_argument("--shape", type=int, nargs=3, default=(2817, 795, 2048), metavar=("NS", "NT", "D"))
    parser.add_argument("--repeats", type=int, default=3, help="of ours; the textbook's is run once")
    parser.add_argument("--fast", action="store_true", help="leave the textbook's TCA out")
    parser.add_argument("--only", choices=PAIRS, nargs="+", default=list(PAIRS))
    options = parser.parse_args()
    shape = tuple(options.shape)

    versions = ", ".join(f"{name} {importlib.import_module(name).__version__}" for name in ("numpy", "scipy", "cvxopt"))
    print(f"{shape[0]} + {shape[1]} samples x {shape[2]} features, {options.threads} threads; {versions}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} at the start\n")
    print(f"{'':6}{'ours':>9}{'textbook':>11}{'ratio':>8}{'ours':>10}{'textbook':>11}  agreement")
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder)
        data = draw(*shape)
        np.save(samples / "Xs.npy", data.Xs)
        np.save(samples / "Xt.npy", data.Xt)
        for name in options.only:
            pair = PAIRS[name]
            ours = measure(name, "ours", samples, options.threads, options.repeats)
            line = f"{name:6}{ours.seconds:8.2f}s"
            if name == "TCA" and options.fast:
                print(f"{line}{'left out':>11}{'':8}{ours.mebibytes:6.0f} MiB", flush=True)
                continue
            theirs = measure(name, "textbook", samples, options.threads, 1)
            ratio = theirs.seconds / ours.seconds
            agreement = pair.agreement(ours.result, theirs.result, data)
            line += f"{theirs.seconds:10.2f}s{ratio:7.1f}x{ours.mebibytes:6.0f} MiB{theirs.mebibytes:7.0f} MiB"
            print(f"{line}  {agreement:.1e} ({pair.meaning})", flush=True)


if __name__ == "__main__":
    main()
