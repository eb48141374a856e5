"""TCA: transfer component analysis."""

from typing import Literal

import numpy as np
from pydantic import PositiveFloat, PositiveInt
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import svd_flip

from tda.divergences.kernels import bandwidth, gram
from tda.divergences.subspace import leading
from tda.methods.shallow.base import Aligner, ShallowMethod


class TCA(Aligner):
    """Few components in which the means of the domains nearly coincide and the variance is kept ::

        max_W  tr( (W'(K L K + lam I) W)^-1 W'K H K W ),   Z = K W

    with K the kernel matrix of both domains together (n, n), H = I - 11'/n, and L = e e' where e_i = 1/ns
    for a source sample and -1/nt for a target sample: W'K L K W is the squared distance of the two means.

    L has rank one, so that with v = K e the matrix K L K + lam I = lam I + v v' has its inverse square
    root in closed form, and W is read off the leading right singular vectors of H K (lam I + v v')^(-1/2):
    a principal component analysis in which the direction between the means is shrunk.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the components of the source.
    kernel : {"primal", "linear", "rbf"}
        ``primal`` puts the features X' (d, n) for K, and regularises d-vectors; ``linear`` is K = X X',
        regularises n-vectors, and is another problem.
    dim : int
        Number of components.
    lam : float
        The paper's mu.
    gamma : float, optional
        Of exp(-gamma ||x - y||^2); None is 1 / (2 median ||x - y||^2) over both domains together.
    unit_mmd : bool
        Divide L by its Frobenius norm 1/ns + 1/nt, as the authors of JDA and the textbook do. Their lam is
        then lam (1/ns + 1/nt) in the formula above, which changes with the sizes of the domains.
    columns : {"unit", "constraint"}
        Length of the columns of W, which the objective leaves open: 2-norm 1, as an eigensolver returns
        them and published accuracies need, or W'K H K W = I, the paper's constraint, where all components
        have the same variance.
    unit_rows : bool
        Scale each sample to 2-norm 1 first, as the authors of JDA do.
    unit_components : bool
        Scale each embedded sample to 2-norm 1, as the textbook does.

    Attributes
    ----------
    components_ : ndarray of shape (d, dim), or (n, dim) where there is a kernel
        W, most important first, the entry of largest magnitude positive.
    gamma_ : float or None
        The bandwidth in use.

    Raises
    ------
    ValueError
        The data vary in fewer than `dim` directions.

    References
    ----------
    S. J. Pan, I. W. Tsang, J. T. Kwok and Q. Yang, "Domain adaptation via transfer component analysis",
    IEEE Transactions on Neural Networks 22, 2011, section III and Algorithm 1. (The IJCAI 2009 version
    has I + mu K L K where this has K L K + mu I.)
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        kernel: Literal["primal", "linear", "rbf"] = "primal",
        dim: PositiveInt = 30,
        lam: PositiveFloat = 1.0,
        gamma: PositiveFloat | None = None,
        unit_mmd: bool = False,
        columns: Literal["unit", "constraint"] = "unit",
        unit_rows: bool = False,
        unit_components: bool = False,
    ) -> None:
        super().__init__(classifier=classifier)
        self.kernel = kernel
        self.dim = dim
        self.lam = lam
        self.gamma = gamma
        self.unit_mmd = unit_mmd
        self.columns = columns
        self.unit_rows = unit_rows
        self.unit_components = unit_components

    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ns, nt = len(Xs), len(Xt)
        X = self._samples(np.concatenate([Xs, Xt]))
        self.gamma_ = bandwidth(self.kernel, self.gamma, X[:ns], X[ns:])
        if self.kernel != "primal":
            self.anchors_ = X
        e = np.repeat([1 / ns, -1 / nt], [ns, nt])
        K = self._features(X)
        W, scatter = transfer_components(K, e, self.lam * (e @ e if self.unit_mmd else 1.0), self.dim)
        self.components_ = W / np.sqrt(scatter) if self.columns == "constraint" else W
        Z = self._embedded(K)
        return Z[:ns], Z[ns:]

    def transform(self, X: np.ndarray) -> np.ndarray:
        return self._embedded(self._features(self._samples(X)))

    def _samples(self, X: np.ndarray) -> np.ndarray:
        X = X.astype(np.float64, copy=False)
        return normalize(X) if self.unit_rows else X

    def _embedded(self, K: np.ndarray) -> np.ndarray:
        Z: np.ndarray = K @ self.components_
        return normalize(Z) if self.unit_components else Z

    def _features(self, X: np.ndarray) -> np.ndarray:
        """Return X (n, d) itself, or its kernel matrix with the fitted samples (n, ns + nt)."""
        return X if self.kernel == "primal" else gram(self.kernel, X, self.anchors_, self.gamma_)


def transfer_components(K: np.ndarray, e: np.ndarray, lam: float, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `dim` leading w of K'H K w = rho (K'e e'K + lam I) w, of 2-norm 1, and each w'K'H K w."""
    return shrunk_components(K - K.mean(axis=0), K.T @ e, lam, dim)


def shrunk_components(
    C: np.ndarray, v: np.ndarray, lam: float, dim: int, outer: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the `dim` leading w (m,) of C'C w = rho (v v' + lam I) w, of 2-norm 1, and each w'C'C w, for C (n, m).

    (lam I + v v')^(-1/2) = (I - s v v') / sqrt(lam), s = 1 / (t + lam + sqrt(lam (t + lam))), t = v'v.
    So w = (I - s v v') u for the leading right singular vectors u of C (I - s v v'), found from the smaller of
    its two matrices of inner products. `outer`, where given, is C C' (n, n), which is then taken.

    Raises
    ------
    ValueError
        C has fewer than `dim` singular values that are not 0.
    """
    n, m = C.shape
    total = lam + v @ v
    shrink = 1 / (total + np.sqrt(lam * total))
    if m <= n and outer is None:
        S = C.T @ C
        across = np.outer(S @ v, shrink * v)
        squared, u = leading(S - across - across.T + shrink**2 * (v @ S @ v) * np.outer(v, v), dim)
    else:
        Cv = C @ v
        products = C @ C.T if outer is None else outer
        squared, u = leading(products - (2 * shrink - shrink**2 * (v @ v)) * np.outer(Cv, Cv), dim, size=max(n, m))
        u = (C.T @ u - np.outer(v, shrink * (Cv @ u))) / np.sqrt(squared)
    w = u - np.outer(v, shrink * (v @ u))
    length = np.linalg.norm(w, axis=0)
    w, _ = svd_flip(w / length, None)
    return w, squared / length**2
