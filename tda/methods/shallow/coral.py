"""CORAL: correlation alignment."""

from typing import Literal

import numpy as np
from pydantic import PositiveFloat

from tda.memory import remembered
from tda.methods.shallow.base import Aligner, ShallowMethod, standardisers


class CORAL(Aligner):
    """Whiten the source and re-colour it with the target's covariance ::

        Cs = cov(Xs) + ridge I,   Ct = cov(Xt) + ridge I
        Zs = Xs Cs^(-1/2) Ct^(1/2),   Zt = Xt

    which is the linear map of least ||A'Cs A - Ct||_F. Powers of a covariance come from the eigenvectors
    with variance, min(n - 1, d) at most: the rest of the space is only scaled, by ridge^p.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the re-coloured source; the paper's is a linear support vector machine.
    ridge : float
        Variance added to each feature. The paper's 1 presumes features of variance 1: where they are much
        smaller than it, the map is close to the identity.
    standardise : {"domain", "no"}
        ``domain`` scales the features of each domain to mean 0 and variance 1 by its own statistics, as the
        paper does before Algorithm 1. ``no`` takes features as they come, as common listings do: then the
        means stay apart, and the ridge has another meaning.

    References
    ----------
    B. Sun, J. Feng and K. Saenko, "Return of frustratingly easy domain adaptation", AAAI 2016, Algorithm 1.

    Examples
    --------
    >>> from tda.methods.shallow.one_nn import OneNN
    >>> rng = np.random.default_rng(0)
    >>> Xs, Xt = rng.normal(size=(500, 2)), rng.normal(size=(500, 2)) @ [[2.0, 1.0], [0.0, 1.0]]
    >>> Zs, Zt = CORAL(classifier=OneNN(), ridge=1e-6, standardise="no").align(Xs, np.zeros(500), Xt)
    >>> bool(np.allclose(np.cov(Zs.T), np.cov(Zt.T), atol=1e-4))
    True
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        ridge: PositiveFloat = 1.0,
        standardise: Literal["no", "domain"] = "domain",
    ) -> None:
        super().__init__(classifier=classifier)
        self.ridge = ridge
        self.standardise = standardise

    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        source, self.scaler_ = standardisers(self.standardise, Xs, Xt)
        Zs, Zt = source.transform(Xs.astype(np.float64, copy=False)), self.transform(Xt)
        return recoloured(Zs, Zt, self.ridge), Zt

    def transform(self, X: np.ndarray) -> np.ndarray:
        Z: np.ndarray = self.scaler_.transform(X.astype(np.float64, copy=False))
        return Z


def recoloured(Xs: np.ndarray, Xt: np.ndarray, ridge: float) -> np.ndarray:
    """Return Xs Cs^(-1/2) Ct^(1/2), C = cov(X) + ridge I; by d x d matrices where there are more samples than features.

    Cs^(-1/2) is then ridge^(-1/2) I - B B', B the directions of cov(Xs) scaled: half the work of a general product.
    """
    ns, d = Xs.shape
    variances, directions = principal(Xs)
    if ns <= d:
        white = times_power(Xs, variances, directions, ridge, -0.5)
        return times_power(white, *principal(Xt), ridge, 0.5)
    B = directions * np.sqrt(ridge**-0.5 - (variances + ridge) ** -0.5)
    whiten = B @ B.T
    np.negative(whiten, out=whiten)
    whiten[np.diag_indices(d)] += ridge**-0.5
    product: np.ndarray = Xs @ times_power(whiten, *principal(Xt), ridge, 0.5)
    return product


@remembered
def principal(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positive eigenvalues (r,) of cov(X) and their eigenvectors (d, r), by the smaller side."""
    n, d = X.shape
    centred = X - X.mean(axis=0)
    smaller = centred.T @ centred if d <= n else centred @ centred.T  # (min(n, d), min(n, d))
    squared, vectors = np.linalg.eigh(smaller)
    rank = int(np.sum(squared > squared[-1] * max(n, d) * np.finfo(float).eps))
    squared, vectors = squared[len(squared) - rank :], vectors[:, len(squared) - rank :]
    if d > n:
        vectors = centred.T @ (vectors / np.sqrt(squared))
    return squared / (n - 1), vectors


def times_power(X: np.ndarray, variances: np.ndarray, directions: np.ndarray, ridge: float, p: float) -> np.ndarray:
    """Return X C^p of C = ridge I + directions diag(variances) directions', for orthonormal directions."""
    powers = (variances + ridge) ** p - ridge**p
    Y: np.ndarray = (X @ directions * powers) @ directions.T
    Y += ridge**p * X
    return Y
