"""ACA: adapting component analysis."""

from typing import Literal

import numpy as np
from pydantic import PositiveFloat, PositiveInt
from sklearn.preprocessing import normalize

from tda.divergences.kernels import Kernel, bandwidth, gram
from tda.methods.shallow.base import Aligner, ShallowMethod
from tda.methods.shallow.jda import marginal
from tda.methods.shallow.tca import shrunk_components


class ACA(Aligner):
    """TCA that keeps the dependence on the data themselves, not only variance ::

        max_W  tr( (W'(K L K + lam I) W)^-1 W'K H B H K W ),   Z = K W

    where tr(W'K H B H K W), B the kernel matrix of the samples, is the Hilbert-Schmidt independence criterion of the
    embedding Z (with a linear kernel) and the samples, and W'K L K W the squared distance of the domains' means. TCA
    has B = I.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the components of the source.
    kernel : {"primal", "linear", "rbf"}
        Of K; ``primal`` puts the features X' (d, n) for K.
    structure : {"linear", "rbf"}
        Kernel of B: what similarity the components preserve.
    dim : int
        Number of components.
    lam : float
        Ridge, which the paper leaves out; without one the components in the means' null space are arbitrary.
    gamma : float, optional
        Of exp(-gamma ||x - y||^2), for K and B; None is 1 / (2 median ||x - y||^2) over both domains together.
    unit_mmd : bool
        Divide L by its Frobenius norm, as the authors of JDA do.
    unit_rows : bool
        Scale each sample to 2-norm 1 before, and each embedded sample after.

    Attributes
    ----------
    components_ : ndarray of shape (d, dim), or (n, dim) where there is a kernel
        W, of columns of 2-norm 1, most important first.
    gamma_ : float or None
        The bandwidth in use.

    Raises
    ------
    ValueError
        The data vary in fewer than `dim` directions.

    References
    ----------
    F. Dorri and A. Ghodsi, "Adapting component analysis", ICDM 2012; and "Minimizing the discrepancy between source
    and target domains by learning adapting components", Journal of Computer Science and Technology 29, 2014.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        kernel: Literal["primal", "linear", "rbf"] = "primal",
        structure: Kernel = "linear",
        dim: PositiveInt = 30,
        lam: PositiveFloat = 1.0,
        gamma: PositiveFloat | None = None,
        unit_mmd: bool = True,
        unit_rows: bool = True,
    ) -> None:
        super().__init__(classifier=classifier)
        self.kernel = kernel
        self.structure = structure
        self.dim = dim
        self.lam = lam
        self.gamma = gamma
        self.unit_mmd = unit_mmd
        self.unit_rows = unit_rows

    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ns, nt = len(Xs), len(Xt)
        X = self._rows(np.concatenate([Xs, Xt]).astype(np.float64, copy=False))
        self.gamma_ = bandwidth(
            "rbf" if "rbf" in (self.kernel, self.structure) else "linear", self.gamma, X[:ns], X[ns:]
        )
        if self.kernel != "primal":
            self.anchors_ = X
        K = self._features(X)
        centred = K - K.mean(axis=0)
        e = marginal(ns, nt)
        C = dependence(centred, X, self.structure, self.gamma_)
        self.components_, _ = shrunk_components(C, K.T @ e, self.lam * (e @ e if self.unit_mmd else 1.0), self.dim)
        Z = self._rows(K @ self.components_)
        return Z[:ns], Z[ns:]

    def transform(self, X: np.ndarray) -> np.ndarray:
        return self._rows(self._features(self._rows(X.astype(np.float64, copy=False))) @ self.components_)

    def _rows(self, X: np.ndarray) -> np.ndarray:
        unit: np.ndarray = normalize(X) if self.unit_rows else X
        return unit

    def _features(self, X: np.ndarray) -> np.ndarray:
        """Return X (n, d) itself, or its kernel matrix with the fitted samples (n, ns + nt)."""
        return X if self.kernel == "primal" else gram(self.kernel, X, self.anchors_, self.gamma_)


def dependence(centred: np.ndarray, X: np.ndarray, structure: Kernel, gamma: float | None) -> np.ndarray:
    """Return C with C'C = centred' B centred, B the kernel matrix of X (n, d), for centred (n, m)."""
    if structure == "linear":
        linear: np.ndarray = X.T @ centred
        return linear
    values, vectors = np.linalg.eigh(centred.T @ gram(structure, X, X, gamma) @ centred)
    C: np.ndarray = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    return C
