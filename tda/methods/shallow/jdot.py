"""JDOT: joint distribution optimal transport."""

from typing import Self

import numpy as np
import ot
from pydantic import PositiveFloat, PositiveInt
from scipy.linalg import cholesky, eigh, solve_triangular
from scipy.optimize import minimize

from tda.divergences.kernels import Kernel, bandwidth, gram
from tda.divergences.transport import exact
from tda.methods.shallow.base import ShallowMethod


class JDOT(ShallowMethod):
    """Learn the target's classifier with the plan that moves the source, labels and all, onto its predictions ::

        min_{f, g}  sum_ij g_ij (alpha ||xs_i - xt_j||^2 + sum_c l(y_ic f_c(xt_j))) + lam sum_c ||f_c||^2

    over the plans g with margins 1/ns and 1/nt and the functions f_c of a reproducing kernel Hilbert space, with
    y_ic = 1 where the source sample i is of class c and -1 elsewhere, and l(m) = max(0, 1 - m)^2. By turns, g is an
    exact transport, first for the features alone, and f a support vector machine on the target whose sample j is of
    class c with the weight nt sum_(i of class c) g_ij: the objective never grows.

    Parameters
    ----------
    kernel : {"linear", "rbf"}
        Scaled so that the mean of k(x, x) over the target is 1. The linear f_c has no intercept, as in the authors'
        code: give it features whose mean is about 0.
    gamma : float, optional
        Of exp(-gamma ||x - y||^2); None is 1 / (2 median ||x - y||^2) over both domains together.
    alpha : float, optional
        Weight of the features against the labels; None is the paper's 1 / max_ij ||xs_i - xt_j||^2.
    lam : float
        Weight of the norms; the paper's lambda.
    iterations : int
        At most; the end is where the plan does not change any more.

    Attributes
    ----------
    plan_ : ndarray of shape (ns, nt)
        The last g.
    coefficients_ : ndarray of shape (d, C), or (nt, C) with the RBF kernel
        Of f_c(x) = sum_j coefficients_jc x_j / sqrt(scale_), or sum_j coefficients_jc k(x, xt_j).
    scale_ : float
        Mean of k(x, x) over the target, before it is scaled.
    objective_ : list of float
        Its value after each iteration.

    Raises
    ------
    UsageError
        `fit` is given weights.

    References
    ----------
    N. Courty, R. Flamary, A. Habrard and A. Rakotomamonjy, "Joint distribution optimal transportation for domain
    adaptation", NIPS 2017, equations 6 and 9 and Algorithm 1; the squared hinge loss as in the authors' code.
    """

    def __init__(
        self,
        *,
        kernel: Kernel = "linear",
        gamma: PositiveFloat | None = None,
        alpha: PositiveFloat | None = None,
        lam: PositiveFloat = 0.01,
        iterations: PositiveInt = 10,
    ) -> None:
        self.kernel = kernel
        self.gamma = gamma
        self.alpha = alpha
        self.lam = lam
        self.iterations = iterations

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        self.refuse(weights)
        self.anchors_ = Xt.astype(np.float64, copy=True)
        self.classes_, classes = np.unique(ys, return_inverse=True)
        members = np.eye(len(self.classes_))[classes]  # (ns, C)
        self.gamma_ = bandwidth(self.kernel, self.gamma, Xs, Xt)
        root, back = self._root()
        Q, L = conditioned(root, self.lam)
        distances = ot.dist(Xs.astype(np.float64, copy=False), self.anchors_)
        distances *= 1 / distances.max() if self.alpha is None else self.alpha
        V = np.zeros((len(L), len(self.classes_)))
        self.objective_: list[float] = []
        plan = exact(distances)
        for left in reversed(range(self.iterations)):
            V = soft_svm(Q, len(Xt) * plan.g.T @ members, V)
            F = Q @ V
            hit, miss = (np.maximum(0, 1 - sign * F) ** 2 for sign in (1, -1))  # (nt, C)
            losses = hit + miss.sum(axis=1, keepdims=True) - miss  # (nt, C), of each class that a sample may be of
            cost = distances + losses.T[classes]
            self.objective_.append(float(plan.g.multiply(cost).sum() + np.sum(V**2) / 2 - np.sum(F**2) / len(Xt)))
            moved = exact(cost, plan) if left else plan
            if (moved.g - plan.g).count_nonzero() == 0:
                break
            plan = moved
        self.plan_ = plan.g.toarray()
        W = solve_triangular(L, V, lower=True, trans="T")
        self.coefficients_ = W if back is None else back @ W
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        y: np.ndarray = self.classes_[np.argmax(self._features(X) @ self.coefficients_, axis=1)]
        return y

    def _features(self, X: np.ndarray) -> np.ndarray:
        """Return X (n, d), or its similarities to the target samples (n, nt), in the kernel's scale."""
        if self.kernel == "linear":
            features: np.ndarray = X / np.sqrt(self.scale_)
            return features
        return gram(self.kernel, X, self.anchors_, self.gamma_) / self.scale_

    def _root(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return R (nt, r), R R' = K, and B (m, r) of R = Phi B, Phi (nt, m) the features; None for the identity."""
        X = self.anchors_
        self.scale_ = (float(np.vdot(X, X)) / len(X) or 1.0) if self.kernel == "linear" else 1.0
        features = self._features(X)
        if self.kernel == "linear":
            if len(X) >= X.shape[1]:
                return features, None
            back, upper = np.linalg.qr(features.T)
            return upper.T, back
        values, vectors = eigh(features, overwrite_a=True)
        real = values > values[-1] * len(X) * np.finfo(float).eps
        return vectors[:, real] * np.sqrt(values[real]), vectors[:, real] / np.sqrt(values[real])


def conditioned(X: np.ndarray, lam: float) -> tuple[np.ndarray, np.ndarray]:
    """Return Q (n, r) and a lower triangular L (r, r) of X = Q L', with L L' = 2 (X'X / n + lam I).

    Between the margins, where most f are, max(0, 1 - f)^2 and max(0, 1 + f)^2 have the same curvature. So in V = L'W,
    f = X W = Q V, the Hessian of a soft machine's problem is near the identity, whatever its labels are.
    """
    n = len(X)
    curvature = X.T @ X
    curvature *= 2 / n
    curvature[np.diag_indices_from(curvature)] += 2 * lam
    L = cholesky(curvature, lower=True, overwrite_a=True)
    return solve_triangular(L, X.T, lower=True).T, L


def soft_svm(Q: np.ndarray, P: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the V (r, C) of least 1/n sum_jc (P_jc h(f_jc) + (1 - P_jc) h(-f_jc)) + lam ||W||^2, f = Q V.

    P is (n, C) in [0, 1], h(m) = max(0, 1 - m)^2, and lam ||W||^2 = ||V||^2 / 2 - ||f||^2 / n in the coordinates of
    `conditioned`; found by L-BFGS from `start`.
    """
    n = len(Q)

    def value_and_slope(v: np.ndarray) -> tuple[float, np.ndarray]:
        V = v.reshape(start.shape)
        F = Q @ V
        short, over = np.maximum(0, 1 - F), np.maximum(0, 1 + F)
        value = float(np.sum(P * short**2 + (1 - P) * over**2 - F**2) / n + np.sum(V**2) / 2)
        slope = Q.T @ (2 / n * ((1 - P) * over - P * short - F)) + V
        return value, slope.ravel()

    found = minimize(
        value_and_slope, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 500, "gtol": 1e-7}
    )
    V: np.ndarray = found.x.reshape(start.shape)
    return V
