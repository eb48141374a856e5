"""ARTL: adaptation regularisation based transfer learning."""

from collections.abc import Callable
from copy import deepcopy
from typing import Self

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from scipy.linalg import lu_factor, lu_solve
from scipy.sparse import csr_array, diags_array, eye_array
from sklearn.neighbors import kneighbors_graph
from sklearn.preprocessing import normalize

from tda.divergences.kernels import Kernel, bandwidth, gram
from tda.methods.shallow.base import ShallowMethod
from tda.methods.shallow.jda import conditional, marginal


class ARTL(ShallowMethod):
    """A kernel classifier that fits the source, matches the domains and is smooth over both ::

        min_f  sum_{i <= ns} ||y_i - f(x_i)||^2 + sigma ||f||^2 + lam tr(F'M F) + rho tr(F'L F)

    over f(x) = sum_j alpha_j k(x, x_j), with F = K alpha (n, C) its values on both domains together, y_i the
    one-hot label, M = (C M_0 + sum_c M_c) / ||.||_F the discrepancy of the domains and of their classes (as in
    JDA, each guessed class of the target is that of the previous iteration), and L the normalised Laplacian
    of the graph of neighbours by cosine. Its solution is that of ((E + lam M + rho L) K + sigma I) alpha = E Y,
    where E is 1 on the diagonal for the source.

    The matrix changes from one iteration to the next by a term of rank C + 1 only, so it is factorised once.
    (The product of two symmetric matrices, it is not symmetric: an LU decomposition, 2/3 n^3 operations, is
    less than it takes to form any symmetric system that is equivalent.)

    Parameters
    ----------
    classifier : ShallowMethod
        Guesses the target's classes before the first iteration: 1-NN in the published accuracies, a
        logistic regression in the authors' own code.
    kernel : {"rbf", "linear"}
    gamma : float, optional
        Of exp(-gamma ||x - y||^2); None is 1 / (2 median ||x - y||^2) over both domains together. The
        authors' is 1 / (2 m), with m the mean norm of a sample: 1/2 for unit rows.
    sigma : float
        Weight of the norm of f.
    lam : float
        Weight of the discrepancy; the paper's lambda.
    rho : float
        Weight of the smoothness; the paper's gamma.
    neighbours : int
        Of each sample in the graph; the paper's p.
    iterations : int
        At most; the end is where no guess changes any more. The authors' code makes 1, the published
        accuracies are of 10.
    unit_rows : bool
        Scale each sample to 2-norm 1 first, as the authors do.

    Attributes
    ----------
    coefficients_ : ndarray of shape (ns + nt, C)
        alpha.
    gamma_ : float or None
        The bandwidth in use.

    Raises
    ------
    UsageError
        `fit` is given weights.

    References
    ----------
    M. Long, J. Wang, G. Ding, S. J. Pan and P. S. Yu, "Adaptation regularization: a general framework for
    transfer learning", IEEE TKDE 26, 2014, equations 10 to 13 and Algorithm 1 (ARRLS).
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        kernel: Kernel = "rbf",
        gamma: PositiveFloat | None = 0.5,
        sigma: PositiveFloat = 0.1,
        lam: NonNegativeFloat = 10.0,
        rho: NonNegativeFloat = 1.0,
        neighbours: PositiveInt = 10,
        iterations: PositiveInt = 10,
        unit_rows: bool = True,
    ) -> None:
        self.classifier = classifier
        self.kernel = kernel
        self.gamma = gamma
        self.sigma = sigma
        self.lam = lam
        self.rho = rho
        self.neighbours = neighbours
        self.iterations = iterations
        self.unit_rows = unit_rows

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        self.refuse(weights)
        ns = len(Xs)
        self.anchors_ = X = self._rows(np.concatenate([Xs, Xt]))
        self.gamma_ = bandwidth(self.kernel, self.gamma, X[:ns], X[ns:])
        self.classes_, classes = np.unique(ys, return_inverse=True)
        K = gram(self.kernel, X, X, self.gamma_)
        solve = risk_minimiser(K, laplacian(X, self.neighbours), classes, ridge=self.sigma, rho=self.rho)
        guesses = deepcopy(self.classifier).fit(X[:ns], classes, X[ns:]).predict(X[ns:])
        for _ in range(self.iterations):
            D = self._discrepancy(X, classes, guesses)
            self.coefficients_ = solve(D * np.sqrt(self.lam / np.linalg.norm(D.T @ D)))
            previous, guesses = guesses, np.argmax(K[ns:] @ self.coefficients_, axis=1)
            if np.array_equal(previous, guesses):
                break
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        F = gram(self.kernel, self._rows(X), self.anchors_, self.gamma_) @ self.coefficients_
        y: np.ndarray = self.classes_[np.argmax(F, axis=1)]
        return y

    def _discrepancy(self, X: np.ndarray, classes: np.ndarray, guesses: np.ndarray) -> np.ndarray:
        """Return D (ns + nt, C + 1) of M = D D' / ||D D'||."""
        means = marginal(len(classes), len(guesses))[:, None] * np.sqrt(len(self.classes_))
        return np.hstack([means, conditional(classes, guesses)])

    def _rows(self, X: np.ndarray) -> np.ndarray:
        X64 = X.astype(np.float64, copy=False)
        unit: np.ndarray = normalize(X64) if self.unit_rows else X64
        return unit


def laplacian(X: np.ndarray, neighbours: int) -> csr_array:
    """Return I - D^(-1/2) W D^(-1/2) of the graph of the rows of X (n, d): (n, n), sparse.

    W_ij is the cosine of two rows of which one is among the `neighbours` nearest by cosine of the other (0
    where it is negative), W_ii = 1, and D is the diagonal of the row sums of W, as in the graphs of D. Cai
    that the authors of ARTL and MEDA use.
    """
    unit = normalize(X)
    apart = np.maximum(1 - unit @ unit.T, 0)
    W = kneighbors_graph(apart, min(neighbours, len(X) - 1), mode="distance", metric="precomputed")
    W.data = np.maximum(1 - W.data, 0)
    W = csr_array(W.maximum(W.T)) + eye_array(len(X))
    scale = diags_array(W.sum(axis=1) ** -0.5)
    return csr_array(eye_array(len(X)) - scale @ W @ scale)


def risk_minimiser(
    K: np.ndarray, L: csr_array, classes: np.ndarray, *, ridge: float, rho: float
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the map from D (n, r) to the alpha (n, C) of ((E + rho L + D D') K + ridge I) alpha = E Y.

    K (n, n) is a kernel matrix, E is 1 on the diagonal for the first ns of the n samples, and E Y are the one-hot
    `classes` (ns,) of these, 0 for the rest. B = (E + rho L) K + ridge I is factorised once; each D then takes
    n^2 r operations, by the identity of Woodbury ::

        alpha = R - B^-1 D (I + D'K B^-1 D)^-1 D'K R,    R = B^-1 E Y
    """
    ns, n = len(classes), len(K)
    S = rho * L + diags_array(np.repeat([1.0, 0.0], [ns, n - ns]))
    B = S @ K
    B[np.diag_indices(n)] += ridge
    factors = lu_factor(B, overwrite_a=True, check_finite=False)
    EY = np.zeros((n, classes.max() + 1))
    EY[np.arange(ns), classes] = 1
    R = lu_solve(factors, EY, check_finite=False)

    def solve(D: np.ndarray) -> np.ndarray:
        BD, KD = lu_solve(factors, D, check_finite=False), K @ D
        alpha: np.ndarray = R - BD @ np.linalg.solve(np.eye(D.shape[1]) + KD.T @ BD, KD.T @ R)
        return alpha

    return solve
