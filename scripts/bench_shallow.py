"""Time and memory of the shallow methods beside the textbook's algorithms written plainly, and beside public libraries.

Every pair gets the same samples (Office-31's amazon -> webcam: 2817 and 795 samples of 2048 features; the real
ResNet-50 features where --data and --weights say where they are, otherwise drawn with a decaying spectrum) and the same
number of threads, each in a process of its own, whose peak memory is read from the operating system and given above
that of the samples and the imports. The agreement column compares the two results, so that no ratio is of different
answers. Of the textbook's JDA one iteration in ten is run, and its time multiplied.

    python scripts/bench_shallow.py --threads 2                       # the textbook's TCA and JDA take minutes
    python scripts/bench_shallow.py --eigen 1024                      # those two on the first 1024 features
    python scripts/bench_shallow.py --only --libraries skada POT      # prediction included (pip install 'tda[bench]')
"""

import argparse
import importlib
import importlib.util
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.spatial
from cvxopt import matrix, solvers
from measuring import Compared, fresh, machine, peak, table
from threadpoolctl import threadpool_limits

from tda.divergences.kernels import gram, mean_similarity, median_gamma
from tda.divergences.proxy import a_distance
from tda.memory import forget, reused
from tda.methods.shallow.artl import laplacian
from tda.methods.shallow.base import ShallowMethod
from tda.methods.shallow.coral import CORAL
from tda.methods.shallow.gfk import GFK
from tda.methods.shallow.jda import JDA
from tda.methods.shallow.kmm import KMM
from tda.methods.shallow.linear_svm import LinearSVM
from tda.methods.shallow.meda import MEDA
from tda.methods.shallow.one_nn import OneNN
from tda.methods.shallow.ot_da import ExactOT, GroupLassoOT, SinkhornOT
from tda.methods.shallow.sa import SA
from tda.methods.shallow.tca import TCA

CLASSES = 31
HEADING = "\n          d     ours {0:>10}   ratio      ours {0:>10}  {1}"


class Sample(NamedTuple):
    Xs: np.ndarray
    Xt: np.ndarray
    ys: np.ndarray
    yt: np.ndarray  # read only to score

    def first(self, features: int) -> "Sample":
        """Return the same samples with their first features alone."""
        return self._replace(Xs=self.Xs[:, :features].copy(), Xt=self.Xt[:, :features].copy())


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
    from tda.preparation import prepared

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
    return CORAL(classifier=OneNN()).align(data.Xs, np.zeros(len(data.Xs)), data.Xt)[0]


def coral_textbook(data: Sample) -> np.ndarray:
    """Scores of variance 1, and powers of both covariances, by the Schur form that suits any square matrix."""
    Xs, Xt = ((X - X.mean(axis=0)) / X.std(axis=0) for X in (data.Xs, data.Xt))
    Cs, Ct = (np.cov(X.T) + np.eye(X.shape[1]) for X in (Xs, Xt))
    power = scipy.linalg.fractional_matrix_power
    return np.real(Xs @ (power(Cs, -0.5) @ power(Ct, 0.5)))


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
    eigen: bool = False  # the textbook's is a non-symmetric eigenproblem of the size of the features


PAIRS = {
    "TCA": Pair(tca, tca_textbook, subspace_sine, "sine of the largest angle between the components", eigen=True),
    "CORAL": Pair(coral, coral_textbook, relative_difference, "largest difference / largest entry"),
    "JDA": Pair(jda, jda_textbook, subspace_sine, "the same, after the first guesses", 10, jda_one, True),
    "GFK": Pair(gfk, gfk_textbook, relative_difference, "largest difference of the kernels / largest entry"),
    "MEDA": Pair(meda, meda_textbook, disagreement, "share of target samples that are classified otherwise"),
    "KMM": Pair(kmm, kmm_textbook, objective_difference, "(our objective - theirs) / |theirs|"),
}


class Rivals(NamedTuple):
    """Ours and a library's, with the parameters of ours as far as it has them; each predicts the target's classes."""

    ours: ShallowMethod
    theirs: Callable[[Sample], np.ndarray]


def in_skada() -> dict[str, Rivals]:
    """Return what skada has too.

    Its KMM is given our bandwidth: with its own all weights but a few vanish, and its accuracy is chance.
    """
    import skada
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    def adapted(adapter: Any, classifier: Any, data: Sample) -> np.ndarray:
        pipeline = skada.make_da_pipeline(adapter, classifier)
        domain = np.repeat([1, -2], [len(data.Xs), len(data.Xt)])
        y = np.concatenate([data.ys, np.full(len(data.Xt), -1)])
        pipeline.fit(np.concatenate([data.Xs, data.Xt]), y, sample_domain=domain)
        predicted: np.ndarray = pipeline.predict(data.Xt, sample_domain=np.full(len(data.Xt), -2))
        return predicted

    def reweighted(data: Sample) -> np.ndarray:
        weighted = SVC(kernel="linear").set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        return adapted(skada.KMMReweightAdapter(gamma=median_gamma(data.Xs, data.Xt)), weighted, data)

    nearest = KNeighborsClassifier(1)
    return {
        "CORAL": Rivals(CORAL(classifier=OneNN(), standardise="no"), partial(adapted, skada.CORALAdapter(), nearest)),
        "TCA": Rivals(
            TCA(classifier=OneNN(), kernel="rbf", lam=0.1),
            partial(adapted, skada.TransferComponentAnalysisAdapter(n_components=30), nearest),
        ),
        "KMM": Rivals(KMM(classifier=LinearSVM()), reweighted),
        "SA": Rivals(
            SA(classifier=OneNN(), dim=30), partial(adapted, skada.SubspaceAlignmentAdapter(n_components=30), nearest)
        ),
        "OT": Rivals(ExactOT(classifier=OneNN()), partial(adapted, skada.OTMappingAdapter(), nearest)),
    }


def in_pot() -> dict[str, Rivals]:
    """Return what POT's own module on domain adaptation has too, and 1-NN after it.

    Ours calls POT's solvers; what is compared is what lies around them, and in OT-GL the line search, which POT does
    on another objective.
    """
    import ot

    def moved(transport: Any, data: Sample) -> np.ndarray:
        Zs = transport.fit(Xs=data.Xs, ys=data.ys, Xt=data.Xt).transform(Xs=data.Xs)
        return OneNN().fit(Zs, data.ys, data.Xt).predict(data.Xt)

    return {
        "OT": Rivals(ExactOT(classifier=OneNN()), partial(moved, ot.da.EMDTransport())),
        "OT-IT": Rivals(
            SinkhornOT(classifier=OneNN(), unit_cost=False, reg=0.1), partial(moved, ot.da.SinkhornTransport(reg_e=0.1))
        ),
        "OT-GL": Rivals(
            GroupLassoOT(classifier=OneNN(), unit_cost=False, reg=0.1, eta=1.0),
            partial(moved, ot.da.SinkhornL1l2Transport(reg_e=0.1, reg_cl=1.0)),
        ),
    }


def in_adapt() -> dict[str, Rivals]:
    """Return what adapt has too."""
    from adapt import feature_based, instance_based
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    def adapted(make: Callable[..., Any], classifier: Any, data: Sample, **parameters: Any) -> np.ndarray:
        if parameters.get("kernel") == "rbf":
            parameters["gamma"] = median_gamma(data.Xs, data.Xt)
        model = make(classifier, Xt=data.Xt, verbose=0, **parameters).fit(data.Xs, data.ys)
        return np.ravel(model.predict(data.Xt))

    nearest = KNeighborsClassifier(1)
    return {
        "CORAL": Rivals(
            CORAL(classifier=OneNN(), standardise="no"), partial(adapted, feature_based.CORAL, nearest, lambda_=1.0)
        ),
        "TCA": Rivals(
            TCA(classifier=OneNN(), kernel="rbf", lam=0.1),
            partial(adapted, feature_based.TCA, nearest, n_components=30, mu=0.1, kernel="rbf"),
        ),
        "KMM": Rivals(
            KMM(classifier=LinearSVM()),
            partial(adapted, instance_based.KMM, SVC(kernel="linear"), kernel="rbf", B=1000),
        ),
        "SA": Rivals(SA(classifier=OneNN(), dim=30), partial(adapted, feature_based.SA, nearest, n_components=30)),
    }


class Library(NamedTuple):
    """A public library: the module that it is imported as, and what it has that we have too."""

    module: str
    methods: Callable[[], dict[str, Rivals]]


LIBRARIES = {"skada": Library("skada", in_skada), "POT": Library("ot", in_pot), "adapt": Library("adapt", in_adapt)}


def beside(library: str, name: str, side: str, data: Sample) -> np.ndarray:
    """Fit and predict with ours or the library's."""
    rivals = LIBRARIES[library].methods()[name]
    if side == "theirs":
        return rivals.theirs(data)
    return rivals.ours.fit(data.Xs, data.ys, data.Xt).predict(data.Xt)


def load(samples: Path) -> Sample:
    return Sample(*(np.load(samples / f"{name}.npy") for name in Sample._fields))


def work(function: Callable[[Sample], np.ndarray], samples: Path, threads: int, repeats: int, most: int) -> Measured:
    """Time a function of the samples' first `most` features: the least of `repeats`, and the memory above them."""
    with threadpool_limits(threads), reused(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function(draw(310, 124, 80))
        data = load(samples).first(most)
        before, times = peak(), []
        for _ in range(repeats):
            forget()
            start = time.perf_counter()
            result = function(data)
            times.append(time.perf_counter() - start)
    return Measured(min(times), peak() - before, result)


def beside_textbook(name: str, data: Sample, samples: Path, options: argparse.Namespace) -> Compared:
    """Measure one pair, print a line, and return what the summary says of it."""
    pair = PAIRS[name]
    most = min(options.eigen, data.Xs.shape[1]) if pair.eigen else data.Xs.shape[1]
    ours = fresh(work, pair.ours, samples, options.threads, options.repeats, most)
    theirs = fresh(work, pair.textbook, samples, options.threads, 1, most)
    compared = fresh(work, pair.compared, samples, options.threads, 1, most) if pair.compared else ours
    seconds = theirs.seconds * pair.times
    agreement = pair.agreement(compared.result, theirs.result, data.first(most))
    line = f"{name:6}{most:5}{ours.seconds:8.2f}s{seconds:10.2f}s{seconds / ours.seconds:7.1f}x"
    line += f"{ours.mebibytes:6.0f} MiB{theirs.mebibytes:7.0f} MiB"
    print(f"{line}  {agreement:.1e} ({pair.meaning})", flush=True)
    return Compared(f"{name}, {most} features", ours.seconds, "the textbook's algorithm", seconds)


def beside_library(library: str, name: str, data: Sample, samples: Path, options: argparse.Namespace) -> Compared:
    """Measure one method in ours and in a library, print a line, and return what the summary says of it."""
    d = data.Xs.shape[1]
    ours, theirs = (
        fresh(work, partial(beside, library, name, side), samples, options.threads, options.repeats, d)
        for side in ("ours", "theirs")
    )
    right = [100 * np.mean(side.result == data.yt) for side in (ours, theirs)]
    line = f"{name:6}{d:5}{ours.seconds:8.2f}s{theirs.seconds:10.2f}s{theirs.seconds / ours.seconds:7.1f}x"
    line += f"{ours.mebibytes:6.0f} MiB{theirs.mebibytes:7.0f} MiB"
    print(f"{line}  {right[0]:.1f} and {right[1]:.1f} per cent", flush=True)
    return Compared(f"{name}, {d} features", ours.seconds, library, theirs.seconds)


def run(options: argparse.Namespace) -> list[Compared]:
    """Measure what the options ask for, and print it."""
    data = real(options.data, options.weights) if options.data else draw(*options.shape)
    versions = ", ".join(f"{name} {importlib.import_module(name).__version__}" for name in ("numpy", "scipy", "cvxopt"))
    kind = "ResNet-50 features of Office-31" if options.data else "drawn features"
    print(f"{len(data.Xs)} + {len(data.Xt)} samples x {data.Xs.shape[1]} {kind}, {options.threads} threads; {versions}")
    print(machine())
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder)
        for name, array in data._asdict().items():
            np.save(samples / f"{name}.npy", array)
        for name in options.only:
            if name == options.only[0]:
                print(HEADING.format("textbook", "agreement"))
            rows.append(beside_textbook(name, data, samples, options))
        for library in options.libraries:
            if importlib.util.find_spec(LIBRARIES[library].module) is None:
                print(f"\n{library}: not installed (pip install {library})")
                continue
            print(HEADING.format(library, "accuracy on the target"))
            offered = list(LIBRARIES[library].methods())
            names = offered if options.among is None else [name for name in offered if name in options.among]
            if not names:
                print(f"none of {', '.join(options.among)}; it has {', '.join(offered)}")
            rows.extend(beside_library(library, name, data, samples, options) for name in names)
    return rows


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="for every linear-algebra library")
    parser.add_argument("--shape", type=int, nargs=3, default=(2817, 795, 2048), metavar=("NS", "NT", "D"))
    parser.add_argument("--data", help="folder that holds office31; the samples are then its features")
    parser.add_argument("--weights", help="file of ResNet-50's weights")
    parser.add_argument("--repeats", type=int, default=3, help="the least counts; the textbook's is run once")
    parser.add_argument("--eigen", type=int, default=2048, metavar="D", help="most features for TCA and JDA")
    parser.add_argument(
        "--only", choices=PAIRS, nargs="*", default=list(PAIRS), help="of the textbook's; none for none"
    )
    parser.add_argument("--libraries", choices=LIBRARIES, nargs="*", default=[], help="public ones to run beside")
    parser.add_argument("--among", nargs="+", metavar="METHOD", help="these alone of what a library has; default: all")
    return parser


def main() -> None:
    print("\n" + table(run(arguments().parse_args())))


if __name__ == "__main__":
    main()
