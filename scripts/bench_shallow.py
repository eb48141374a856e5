"""Time and memory of the shallow methods beside the textbook's algorithms written plainly, and beside skada.

Every pair gets the same samples (Office-31's amazon -> webcam: 2817 and 795 samples of 2048 features; the real
ResNet-50 features where --data and --weights say where they are, otherwise drawn with a decaying spectrum) and the same
number of threads, each in a process of its own, whose peak memory is read from the operating system and given above
that of the samples and the imports. The agreement column compares the two results, so that no ratio is of different
answers. Of the textbook's JDA one iteration in ten is run, and its time multiplied.

    python scripts/bench_shallow.py --threads 2          # textbook TCA and JDA take minutes: --fast leaves them out
    python scripts/bench_shallow.py --skada              # beside skada, prediction included (pip install skada==0.6)
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
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.spatial
from cvxopt import matrix, solvers
from threadpoolctl import threadpool_limits

from tda.divergences.kernels import gram, mean_similarity, median_gamma
from tda.divergences.proxy import a_distance
from tda.methods.shallow.artl import laplacian
from tda.methods.shallow.base import ShallowMethod
from tda.methods.shallow.coral import CORAL
from tda.methods.shallow.gfk import GFK
from tda.methods.shallow.jda import JDA
from tda.methods.shallow.kmm import KMM
from tda.methods.shallow.linear_svm import LinearSVM
from tda.methods.shallow.meda import MEDA
from tda.methods.shallow.one_nn import OneNN
from tda.methods.shallow.ot_da import ExactOT
from tda.methods.shallow.sa import SA
from tda.methods.shallow.tca import TCA

CLASSES = 31


class Sample(NamedTuple):
    Xs: np.ndarray
    Xt: np.ndarray
    ys: np.ndarray
    yt: np.ndarray  # read only to score


class Measured(NamedTuple):
    seconds: float
    mebibytes: float
    result: np.ndarray


def draw(ns: int, nt: int, d: int) -> Sample:
    """Draw 31 classes in features of a decaying spectrum, the target moved along it."""
    rng = np.random.default_rng(0)
    scale = np.arange(1, d + 1) ** -0.5
    reflect = scale / np.linalg.norm(scale)  # a Householder reflection mixes the features
    centres = 0.5 * rng.standard_normal((CLASSES, d)) * scale

    def domain(n: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
        y = np.arange(n) % CLASSES
        Z = rng.standard_normal((n, d)) * scale + centres[y] + shift * scale
        Z -= np.outer(Z @ reflect, 2 * reflect)
        return Z, y

    (Xs, ys), (Xt, yt) = domain(ns, 0.0), domain(nt, 0.2)
    return Sample(Xs, Xt, ys, yt)


def real(data: str, weights: str) -> Sample:
    """Return amazon and webcam as ResNet-50 features of 2-norm 1, from the cache or extracted now."""
    from tda.config import Sweep
    from tda.run import prepared

    overrides = ["dataset=office31", "backbone=resnet50", f"backbone.weights={weights}", f"runtime.data={data}"]
    _, task = prepared(Sweep([*overrides, "task=A-W"]).cells[0].config, "cpu")
    source, target = task.source, task.target
    return Sample(source.x.astype(float), target.x.astype(float), source.y, target.y)


def tca(data: Sample) -> np.ndarray:
    model = TCA(classifier=OneNN())
    model.align(data.Xs, np.zeros(len(data.Xs)), data.Xt)
    return model.components_


def tca_textbook(data: Sample) -> np.ndarray:
    """Both matrices formed in full, and the non-symmetric generalised eigenproblem."""
    X = np.vstack([data.Xs, data.Xt]).T
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
    Cs, Ct = (np.cov(X.T) + np.eye(X.shape[1]) for X in (data.Xs, data.Xt))
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


def jda(data: Sample) -> np.ndarray:
    model = JDA(classifier=OneNN())
    model.align(data.Xs, data.ys, data.Xt)
    return model.components_


def jda_one(data: Sample) -> np.ndarray:
    """Two iterations of ours: the components after the first set of guesses, as `jda_textbook` makes them."""
    model = JDA(classifier=OneNN(), iterations=2)
    model.align(data.Xs, data.ys, data.Xt)
    return model.components_


def jda_textbook(data: Sample) -> np.ndarray:
    """One iteration from 1-NN guesses of the TCA space: n x n matrices class by class, the non-symmetric problem."""
    unit = [X / np.linalg.norm(X, axis=1, keepdims=True) for X in (data.Xs, data.Xt)]
    first = JDA(classifier=OneNN(), iterations=1)
    Zs, Zt = first.align(data.Xs, data.ys, data.Xt)
    guesses = OneNN().fit(Zs, data.ys, Zt).predict(Zt)
    ns, nt = len(data.Xs), len(data.Xt)
    n = ns + nt
    X = np.vstack(unit).T
    e = np.concatenate([np.full(ns, 1 / ns), np.full(nt, -1 / nt)])[:, None]
    classes = np.unique(data.ys)
    M = e @ e.T * len(classes)
    for c in classes:
        e = np.zeros((n, 1))
        e[:ns][data.ys == c] = 1 / np.sum(data.ys == c)
        if np.any(guesses == c):
            e[ns:][guesses == c] = -1 / np.sum(guesses == c)
        M = M + e @ e.T
    M = M / np.linalg.norm(M, "fro")
    H = np.eye(n) - np.ones((n, n)) / n
    a = np.linalg.multi_dot([X, M, X.T]) + np.eye(len(X))
    b = np.linalg.multi_dot([X, H, X.T])
    values, vectors = scipy.linalg.eig(a, b)
    return vectors[:, np.argsort(values.real)[:30]].real


def gfk(data: Sample) -> np.ndarray:
    Zs, Zt = GFK(classifier=OneNN(), dim=20).align(data.Xs, data.ys, data.Xt)
    return Zt @ Zs.T


def gfk_textbook(data: Sample) -> np.ndarray:
    """The d x d kernel from complete bases, by the paper's closed form, and its square root."""
    d, dim = data.Xs.shape[1], 20
    bases = [np.linalg.svd(X - X.mean(axis=0), full_matrices=True)[2].T for X in (data.Xs, data.Xt)]
    Ps, Rs, Pt = bases[0][:, :dim], bases[0][:, dim:], bases[1][:, :dim]
    U1, cosines, Vt = np.linalg.svd(Ps.T @ Pt)
    theta = np.arccos(np.clip(cosines, -1, 1))
    sines = np.maximum(np.sin(theta), 1e-12)
    U2 = -(Rs.T @ Pt @ Vt.T) / sines
    l1 = 0.5 * (1 + np.sin(2 * theta) / (2 * theta))
    l2 = 0.5 * (np.cos(2 * theta) - 1) / (2 * theta)
    l3 = 0.5 * (1 - np.sin(2 * theta) / (2 * theta))
    left = np.hstack([Ps @ U1, Rs @ U2])
    middle = np.block([[np.diag(l1), np.diag(l2)], [np.diag(l2), np.diag(l3)]])
    G = left @ middle @ left.T
    root = np.real(scipy.linalg.sqrtm(G + 1e-12 * np.eye(d)))
    return (data.Xt @ root) @ (data.Xs @ root).T


def meda(data: Sample) -> np.ndarray:
    return MEDA(classifier=OneNN()).fit(data.Xs, data.ys, data.Xt).predict(data.Xt)


def meda_textbook(data: Sample) -> np.ndarray:
    """n x n matrices class by class, a dense Laplacian, and a general n x n system in every iteration."""
    ns, nt = len(data.Xs), len(data.Xt)
    n, classes = ns + nt, np.unique(data.ys)
    factor = GFK(classifier=OneNN(), dim=20)
    Z = np.vstack(factor.align(data.Xs, data.ys, data.Xt))
    Z /= np.linalg.norm(Z, axis=1, keepdims=True)
    K = np.exp(-0.5 * scipy.spatial.distance.cdist(Z, Z, "sqeuclidean"))
    L = laplacian(Z, 10).toarray()
    A = np.diag(np.r_[np.ones(ns), np.zeros(nt)])
    Y = np.zeros((n, len(classes)))
    Y[np.arange(ns), np.searchsorted(classes, data.ys)] = 1
    guesses = OneNN().fit(Z[:ns], data.ys, Z[ns:]).predict(Z[ns:])
    for _ in range(10):
        apart = [a_distance(Z[:ns][data.ys == c], Z[ns:][guesses == c]) for c in classes]
        whole = a_distance(Z[:ns], Z[ns:])
        mu = 1 - whole / (whole + sum(apart))
        e = np.concatenate([np.full(ns, 1 / ns), np.full(nt, -1 / nt)])[:, None]
        M = (1 - mu) * e @ e.T * len(classes)
        for c in classes:
            e = np.zeros((n, 1))
            e[:ns][data.ys == c] = 1 / np.sum(data.ys == c)
            if np.any(guesses == c):
                e[ns:][guesses == c] = -1 / np.sum(guesses == c)
            M = M + mu * e @ e.T
        M = M / np.linalg.norm(M, "fro")
        alpha = np.linalg.inv((A + 10.0 * M + L) @ K + 0.1 * np.eye(n)) @ A @ Y
        guesses = classes[np.argmax(K[ns:] @ alpha, axis=1)]
    return guesses


def disagreement(y: np.ndarray, other: np.ndarray, _: Sample) -> float:
    return float(np.mean(y != other))


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
    times: int = 1  # that the textbook's time is multiplied by
    compared: Callable[[Sample], np.ndarray] | None = None  # ours, where the textbook's is only a part


PAIRS = {
    "TCA": Pair(tca, tca_textbook, subspace_sine, "sine of the largest angle between the components"),
    "CORAL": Pair(coral, coral_textbook, relative_difference, "largest difference / largest entry"),
    "JDA": Pair(jda, jda_textbook, subspace_sine, "the same, after the first guesses", 10, jda_one),
    "GFK": Pair(gfk, gfk_textbook, relative_difference, "largest difference of the kernels / largest entry"),
    "MEDA": Pair(meda, meda_textbook, disagreement, "share of target samples that are classified otherwise"),
    "KMM": Pair(kmm, kmm_textbook, objective_difference, "(our objective - theirs) / |theirs|"),
}


def adapters(data: Sample) -> dict[str, tuple[ShallowMethod, Any]]:
    """Return, for each method that both have, ours and skada's, with the parameters of ours as far as it has them.

    skada's KMM is given our bandwidth: with its own all weights but a few vanish, and its accuracy is chance.
    """
    import skada
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    nearest = KNeighborsClassifier(1)
    weighted = SVC(kernel="linear").set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    pipeline = skada.make_da_pipeline
    return {
        "CORAL": (CORAL(classifier=OneNN(), standardise="no"), pipeline(skada.CORALAdapter(), nearest)),
        "TCA": (
            TCA(classifier=OneNN(), kernel="rbf", lam=0.1),
            pipeline(skada.TransferComponentAnalysisAdapter(n_components=30), nearest),
        ),
        "KMM": (
            KMM(classifier=LinearSVM()),
            pipeline(skada.KMMReweightAdapter(gamma=median_gamma(data.Xs, data.Xt)), weighted),
        ),
        "SA": (SA(classifier=OneNN(), dim=30), pipeline(skada.SubspaceAlignmentAdapter(n_components=30), nearest)),
        "OT": (ExactOT(classifier=OneNN()), pipeline(skada.OTMappingAdapter(), nearest)),
    }


def adapted(name: str, side: str, data: Sample) -> np.ndarray:
    """Fit and predict with ours or skada's."""
    ours, theirs = adapters(data)[name]
    if side == "ours":
        return ours.fit(data.Xs, data.ys, data.Xt).predict(data.Xt)
    domain = np.repeat([1, -2], [len(data.Xs), len(data.Xt)])
    y = np.concatenate([data.ys, np.full(len(data.Xt), -1)])
    theirs.fit(np.concatenate([data.Xs, data.Xt]), y, sample_domain=domain)
    return theirs.predict(data.Xt, sample_domain=np.full(len(data.Xt), -2))


def load(samples: Path) -> Sample:
    return Sample(*(np.load(samples / f"{name}.npy") for name in Sample._fields))


def peak() -> float:
    """Return the peak resident memory of this process in MiB (Linux: getrusage also counts the parent's)."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def work(name: str, side: str, samples: Path, threads: int, repeats: int) -> Measured:
    """Run in a fresh process: the least time of `repeats`, and the peak memory above the samples."""
    function = partial(adapted, name[:-1], side) if name.endswith("*") else getattr(PAIRS[name], side)
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function(draw(310, 124, 80))
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


def beside_textbook(names: Sequence[str], data: Sample, samples: Path, options: argparse.Namespace) -> None:
    print(f"{'':6}{'ours':>9}{'textbook':>11}{'ratio':>8}{'ours':>10}{'textbook':>11}  agreement")
    for name in names:
        pair = PAIRS[name]
        ours = measure(name, "ours", samples, options.threads, options.repeats)
        line = f"{name:6}{ours.seconds:8.2f}s"
        if name in ("TCA", "JDA") and options.fast:
            print(f"{line}{'left out':>11}{'':8}{ours.mebibytes:6.0f} MiB", flush=True)
            continue
        theirs = measure(name, "textbook", samples, options.threads, 1)
        compared = measure(name, "compared", samples, options.threads, 1) if pair.compared else ours
        seconds = theirs.seconds * pair.times
        agreement = pair.agreement(compared.result, theirs.result, data)
        line += f"{seconds:10.2f}s{seconds / ours.seconds:7.1f}x{ours.mebibytes:6.0f} MiB{theirs.mebibytes:7.0f} MiB"
        print(f"{line}  {agreement:.1e} ({pair.meaning})", flush=True)


def beside_skada(data: Sample, samples: Path, options: argparse.Namespace) -> None:
    print(f"\n{'':6}{'ours':>9}{'skada':>11}{'ratio':>8}{'ours':>10}{'skada':>11}  accuracy on the target")
    for name in adapters(data):
        ours, theirs = (
            measure(f"{name}*", side, samples, options.threads, options.repeats) for side in ("ours", "skada")
        )
        right = [100 * np.mean(side.result == data.yt) for side in (ours, theirs)]
        line = f"{name:6}{ours.seconds:8.2f}s{theirs.seconds:10.2f}s{theirs.seconds / ours.seconds:7.1f}x"
        line += f"{ours.mebibytes:6.0f} MiB{theirs.mebibytes:7.0f} MiB"
        print(f"{line}  {right[0]:.1f} and {right[1]:.1f} per cent", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="for every linear-algebra library")
    parser.add_argument("--shape", type=int, nargs=3, default=(2817, 795, 2048), metavar=("NS", "NT", "D"))
    parser.add_argument("--data", help="folder that holds office31; the samples are then its features")
    parser.add_argument("--weights", help="file of ResNet-50's weights")
    parser.add_argument("--repeats", type=int, default=3, help="of ours; the textbook's is run once")
    parser.add_argument("--fast", action="store_true", help="leave the textbook's TCA and JDA out")
    parser.add_argument(
        "--only", choices=PAIRS, nargs="*", default=list(PAIRS), help="of the textbook's; none for none"
    )
    parser.add_argument("--skada", action="store_true", help="run beside skada too")
    options = parser.parse_args()
    data = real(options.data, options.weights) if options.data else draw(*options.shape)

    versions = ", ".join(f"{name} {importlib.import_module(name).__version__}" for name in ("numpy", "scipy", "cvxopt"))
    kind = "ResNet-50 features of Office-31" if options.data else "drawn features"
    print(f"{len(data.Xs)} + {len(data.Xt)} samples x {data.Xs.shape[1]} {kind}, {options.threads} threads; {versions}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} at the start\n")
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder)
        for name, array in data._asdict().items():
            np.save(samples / f"{name}.npy", array)
        beside_textbook(options.only, data, samples, options)
        if options.skada:
            beside_skada(data, samples, options)


if __name__ == "__main__":
    main()
