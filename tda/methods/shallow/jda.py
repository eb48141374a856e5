"""JDA: joint distribution adaptation."""

from copy import deepcopy
from typing import Literal, NamedTuple

import numpy as np
from pydantic import PositiveFloat, PositiveInt
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import svd_flip

from tda.divergences.kernels import bandwidth, gram
from tda.divergences.subspace import leading
from tda.memory import remembered
from tda.methods.shallow.base import Aligner, ShallowMethod


class JDA(Aligner):
    """Components in which the domains' means, and those of each class, nearly coincide ::

        max_W  tr( (W'(K M K + lam I) W)^-1 W'K H K W ),   Z = K W
        M = C M_0 + sum_c M_c,   M_c = e_c e_c'

    where e_c is 1/ns_c for a source sample of class c, -1/nt_c for a target sample that is taken for one, and 0
    elsewhere; e_0 takes each domain whole. The target's classes are the predictions of the previous
    iteration's classifier, and the first iteration has M_0 only: it is TCA.

    M = E E' has rank C + 1. In the singular vectors of K, found once, K'H K is a diagonal less a term of rank one,
    and the inverse square root of K'M K + lam I an identity less a term of rank C + 1: each iteration is the search
    of a few leading eigenvectors of a matrix that is quick to multiply with. The linear kernel X X' becomes a
    problem of the order of the smaller of X'X and X X'.

    Parameters
    ----------
    classifier : ShallowMethod
        Guesses the target's classes in each iteration, and predicts in the end.
    kernel : {"primal", "linear", "rbf"}
        ``primal`` puts the features X' (d, n) for K, and regularises d-vectors; ``linear`` is K = X X',
        regularises n-vectors, and is another problem.
    dim : int
        Number of components; the paper's k.
    lam : float
        The paper's lambda.
    gamma : float, optional
        Of exp(-gamma ||x - y||^2); None is 1 / (2 median ||x - y||^2) over both domains together.
    iterations : int
        The paper's T.
    unit_mmd : bool
        Divide M by its Frobenius norm, as the authors' code and their published accuracies do. (The factor C
        of M_0 is that code's too; the paper's M is M_0 + sum_c M_c.)
    unit_rows : bool
        Scale each sample to 2-norm 1 before, and each embedded sample after, as the authors do.

    Attributes
    ----------
    components_ : ndarray of shape (d, dim), or (n, dim) with the RBF kernel
        What a sample's features, or its similarities to the fitted samples, are multiplied by.
    gamma_ : float or None
        The bandwidth in use.

    Raises
    ------
    ValueError
        The data vary in fewer than `dim` directions.

    References
    ----------
    M. Long, J. Wang, G. Ding, J. Sun and P. S. Yu, "Transfer feature learning with joint distribution
    adaptation", ICCV 2013, Algorithm 1.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        kernel: Literal["primal", "linear", "rbf"] = "primal",
        dim: PositiveInt = 30,
        lam: PositiveFloat = 1.0,
        gamma: PositiveFloat | None = None,
        iterations: PositiveInt = 10,
        unit_mmd: bool = True,
        unit_rows: bool = True,
    ) -> None:
        super().__init__(classifier=classifier)
        self.kernel = kernel
        self.dim = dim
        self.lam = lam
        self.gamma = gamma
        self.iterations = iterations
        self.unit_mmd = unit_mmd
        self.unit_rows = unit_rows

    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ns = len(Xs)
        X = self._rows(np.concatenate([Xs, Xt]).astype(np.float64, copy=False))
        self.gamma_ = bandwidth(self.kernel, self.gamma, X[:ns], X[ns:])
        self.anchors_ = X if self.kernel == "rbf" else None
        K = self._features(X)
        classes = np.unique(ys, return_inverse=True)[1]
        change, F, energy = self._axes(K, classes)
        W = self._components(F, energy, classes)
        self.components_ = change @ W
        Z = self._embedded(F @ W)
        return Z[:ns], Z[ns:]

    def transform(self, X: np.ndarray) -> np.ndarray:
        return self._embedded(self._features(self._rows(X.astype(np.float64, copy=False))) @ self.components_)

    def _components(self, F: np.ndarray, energy: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Return W (r, dim) for samples F (n, r), F'F = diag(energy), the first ns of them of `classes` (ns,)."""
        return self._refined(F, energy, classes, self._closing(F, energy, self._discrepancy(F, classes, None)))

    def _refined(self, F: np.ndarray, energy: np.ndarray, classes: np.ndarray, W: np.ndarray) -> np.ndarray:
        """Return W (r, dim) after the iterations that follow the first, whose W is given.

        An E that comes a second time running would give the same W, and so on: there they end.
        """
        ns, last = len(classes), np.zeros(0)
        for _ in range(self.iterations - 1):
            Z = self._embedded(F @ W)
            guesses = deepcopy(self.classifier).fit(Z[:ns], classes, Z[ns:]).predict(Z[ns:])
            E = self._discrepancy(Z, classes, guesses)
            if np.array_equal(E, last):
                break
            last, W = E, self._closing(F, energy, E)
        return W

    def _closing(self, F: np.ndarray, energy: np.ndarray, E: np.ndarray) -> np.ndarray:
        """Return the W (r, dim) for M = E E', or that over its norm."""
        if self.unit_mmd:
            E = E / np.sqrt(np.linalg.norm(E.T @ E))
        mean = np.sqrt(len(F)) * F.mean(axis=0)
        gaps = (csr_array(E).T @ F).T  # (r, columns of E): a sample is in few of them
        return self._columns(joint_components(energy, mean, gaps, self.lam, self.dim))

    def _axes(self, K: np.ndarray, classes: np.ndarray) -> "Axes":
        """Return the axes in which the problem of K (n, m) is solved."""
        return shared_axes(K, self.kernel == "linear")

    def _columns(self, W: np.ndarray) -> np.ndarray:
        """Return W (r, dim) with columns of the wanted length: they are of 2-norm 1."""
        return W

    def _discrepancy(self, Z: np.ndarray, classes: np.ndarray, guesses: np.ndarray | None) -> np.ndarray:
        """Return E (n, r) of M = E E', samples Z (n, k) as embedded so far, the first ns of `classes` (ns,)."""
        e = marginal(len(classes), len(Z) - len(classes))[:, None] * np.sqrt(classes.max() + 1)
        return e if guesses is None else np.hstack([e, conditional(classes, guesses)])

    def _rows(self, X: np.ndarray) -> np.ndarray:
        unit: np.ndarray = normalize(X) if self.unit_rows else X
        return unit

    def _features(self, X: np.ndarray) -> np.ndarray:
        """Return X (n, d) itself, or its kernel matrix with the fitted samples (n, ns + nt)."""
        return X if self.anchors_ is None else gram("rbf", X, self.anchors_, self.gamma_)

    def _embedded(self, Z: np.ndarray) -> np.ndarray:
        return self._rows(Z)


def marginal(ns: int, nt: int) -> np.ndarray:
    """Return e (ns + nt,) of the squared distance of the domains' means, F'e e'F: 1/ns, then -1/nt."""
    return np.repeat([1 / ns, -1 / nt], [ns, nt])


def conditional(classes: np.ndarray, guesses: np.ndarray) -> np.ndarray:
    """Return the columns e_c (ns + nt, C): 1/ns_c for the source's class c, -1/nt_c for the target's guessed one.

    A class of which no target sample is guessed keeps its source part, as in the authors' code.
    """
    ns, nt, count = len(classes), len(guesses), int(classes.max()) + 1
    E = np.zeros((ns + nt, count))
    E[np.arange(ns), classes] = 1 / np.bincount(classes, minlength=count)[classes]
    E[ns + np.arange(nt), guesses] = -1 / np.bincount(guesses, minlength=count)[guesses]
    return E


class Axes(NamedTuple):
    """A change of axes R (m, r), F = K R (n, r) and the diagonal of F'F (r,)."""

    change: np.ndarray
    F: np.ndarray
    energy: np.ndarray


def axes(K: np.ndarray, linear: bool) -> Axes:
    """Return the axes R in which F = K R has all that the problem of K (n, m) has, in columns that are orthogonal.

    With K = U s V' of rank r, F = U s and the norm of w is kept. `linear` is for the kernel matrix K K' in the
    place of K: then F = U s^2. From the smaller of K'K and K K'; 2-norm 0 and rounding errors are left out.
    """
    n, m = K.shape
    squared, vectors = np.linalg.eigh(K.T @ K if m <= n else K @ K.T)
    real = squared > squared[-1] * max(n, m) * np.finfo(float).eps
    squared, vectors = squared[real], vectors[:, real]
    scale = np.sqrt(squared)
    if m <= n:
        R = vectors * scale if linear else vectors
        return Axes(R, K @ R, squared**2 if linear else squared)
    if linear:
        return Axes(K.T @ vectors, vectors * squared, squared**2)
    return Axes(K.T @ (vectors / scale), vectors * scale, squared)


shared_axes = remembered(axes)  # JDA and its relatives start from the same ones


def joint_components(energy: np.ndarray, mean: np.ndarray, V: np.ndarray, lam: float, dim: int) -> np.ndarray:
    """Return the `dim` leading w (m,) of S w = rho (V V' + lam I) w, each of 2-norm 1, for V (m, r).

    S is diag(energy) - mean mean'. With V = Q s P', the matrix (V V' + lam I)^(-1/2) is (I - Q D Q') / sqrt(lam)
    with D = s^2 / (t + sqrt(lam t)), t = s^2 + lam. So w = (I - Q D Q') u for the leading eigenvectors u of
    (I - Q D Q') S (I - Q D Q'), a diagonal and few terms of rank one.

    Raises
    ------
    ValueError
        Fewer than `dim` eigenvalues are not 0.
    """
    Q, s, _ = np.linalg.svd(V, full_matrices=False)
    total = s**2 + lam
    QD = Q * (s**2 / (total + np.sqrt(lam * total)))

    def shrunk(x: np.ndarray) -> np.ndarray:
        y: np.ndarray = x - QD @ (Q.T @ x)
        return y

    def scattered(x: np.ndarray) -> np.ndarray:
        y = shrunk(x.reshape(len(x), -1))
        return shrunk(energy[:, None] * y - np.outer(mean, mean @ y))

    order = (len(energy), len(energy))
    _, u = leading(LinearOperator(order, matvec=scattered, matmat=scattered, dtype=np.float64), dim)
    w = shrunk(u)
    flipped: np.ndarray = svd_flip(w / np.linalg.norm(w, axis=0), None)[0]
    return flipped
