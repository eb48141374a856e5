"""DTMKL: domain transfer multiple kernel learning."""

from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import LinearConstraint, minimize

from tda.divergences.kernels import gram, median_gamma
from tda.errors import UsageError
from tda.methods.shallow.base import ShallowMethod
from tda.methods.shallow.jda import marginal


class DTMKL(ShallowMethod):
    """Learn a classifier and, with it, the mixture of kernels in which the domains are close ::

        min_d  1/2 (sum_m d_m p_m)^2 + theta R(d)    s.t.  d >= 0,  sum_m d_m = 1        K = sum_m d_m K_m
        R(d) = min_f  1/2 ||f||^2 + C/2 ( sum_i ||f(xs_i) - y_i||^2 + zeta sum_j ||f(xt_j) - sum_m d_m f_m(xt_j)||^2 )

    with p_m = e'K_m e the squared distance of the domains' means in the feature space of K_m, and f_m the classifier
    of the source alone in K_m. This is DTMKL_f without labels in the target: the source's labels take the place of the
    few that the paper has there, and the virtual labels of all target samples are those of the prelearned f_m. Its
    loss is the square (kernel regularised least squares, which the paper's framework admits) in the place of the
    epsilon-insensitive one, so that f has a closed form. The problem is then convex in d, of few unknowns, and its
    slope is known; each step costs one Cholesky factorisation.

    Parameters
    ----------
    kernels : int
        Number of kernels exp(-gamma_m ||x - y||^2), gamma_m a power of 2 times 1 / (2 median ||x - y||^2), with powers
        around 0.
    C : float
        Weight of the losses.
    theta : float
        Weight of the structural risk against the distance of the domains.
    zeta : float
        Weight of a target sample's virtual label against a source sample's label.
    steps : int
        Of the search for d, at most.

    Attributes
    ----------
    mixture_ : ndarray of shape (kernels,)
        d.
    gammas_ : ndarray of shape (kernels,)
        The bandwidths.
    distances_ : ndarray of shape (kernels,)
        p.
    coefficients_ : ndarray of shape (ns + nt, C)
        Of f(x) = sum_i coefficients_i k(x, x_i).

    Raises
    ------
    UsageError
        `fit` is given weights.

    References
    ----------
    L. Duan, I. W. Tsang and D. Xu, "Domain transfer multiple kernel learning", IEEE TPAMI 34, 2012, sections 3.1
    and 3.3 (DTMKL_f).
    """

    def __init__(
        self,
        *,
        kernels: PositiveInt = 5,
        C: PositiveFloat = 1.0,
        theta: PositiveFloat = 1e-5,
        zeta: NonNegativeFloat = 1.0,
        steps: PositiveInt = 20,
    ) -> None:
        self.kernels = kernels
        self.C = C
        self.theta = theta
        self.zeta = zeta
        self.steps = steps

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        if weights is not None:
            raise UsageError("DTMKL cannot weigh samples; choose a classifier that can: LinearSVM, LogisticRegression")
        ns, nt = len(Xs), len(Xt)
        self.anchors_ = X = np.concatenate([Xs, Xt]).astype(np.float64, copy=False)
        self.classes_, classes = np.unique(ys, return_inverse=True)
        Y = 2 * np.eye(len(self.classes_))[classes] - 1
        self.gammas_ = median_gamma(Xs, Xt) * 2.0 ** (np.arange(self.kernels) - self.kernels // 2)
        grams = list(gaussians(X, X, self.gammas_))
        e = marginal(ns, nt)
        self.distances_ = np.array([e @ K @ e for K in grams])
        base = [K[ns:, :ns] @ cho_solve(cho_factor(K[:ns, :ns] + np.eye(ns) / self.C), Y) for K in grams]
        virtual = np.array(base)  # (kernels, nt, C)
        kept = ns + nt if self.zeta > 0 else ns
        noise = 1 / (self.C * np.repeat([1.0, self.zeta], [ns, nt])[:kept])

        def risk(d: np.ndarray) -> Risk:
            labels = np.concatenate([Y, np.tensordot(d, virtual, axes=1)])[:kept]
            K = np.diag(noise)
            for d_m, K_m in zip(d, grams, strict=True):
                if d_m != 0:
                    K += d_m * K_m[:kept, :kept]
            alpha = cho_solve(cho_factor(K.T, overwrite_a=True, check_finite=False), labels, check_finite=False)
            slope = [
                np.vdot(alpha[ns:], F[: kept - ns]) - np.vdot(alpha, K_m[:kept, :kept] @ alpha) / 2
                for F, K_m in zip(virtual, grams, strict=True)
            ]
            return Risk(float(np.vdot(labels, alpha)) / 2, np.array(slope), alpha)

        def valued(d: np.ndarray, found: Risk) -> tuple[float, np.ndarray]:
            distance = self.distances_ @ d
            return distance**2 / 2 + self.theta * found.value, distance * self.distances_ + self.theta * found.slope

        def objective(d: np.ndarray) -> tuple[float, np.ndarray]:
            return valued(d, risk(d))

        found = minimize(
            objective,
            np.full(self.kernels, 1 / self.kernels),
            jac=True,
            method="SLSQP",
            bounds=[(0, 1)] * self.kernels,
            constraints=LinearConstraint(np.ones((1, self.kernels)), 1, 1),
            options={"maxiter": self.steps, "ftol": 1e-8},
        )
        self.mixture_ = np.maximum(found.x, 0) / np.maximum(found.x, 0).sum()
        least = risk(self.mixture_)
        self.objective_ = float(valued(self.mixture_, least)[0])
        self.anchors_ = X[:kept]
        self.coefficients_ = least.alpha
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        F = sum(
            K_m @ (d_m * self.coefficients_)
            for d_m, K_m in zip(self.mixture_, gaussians(X, self.anchors_, self.gammas_), strict=True)
            if d_m > 0
        )
        y: np.ndarray = self.classes_[np.argmax(F, axis=1)]
        return y


class Risk(NamedTuple):
    """R(d), its derivatives by d (kernels,), and the coefficients (n, C) of the f of least risk."""

    value: float
    slope: np.ndarray
    alpha: np.ndarray


def gaussians(X: np.ndarray, Y: np.ndarray, gammas: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the kernel matrices (n, m) of the rows of X (n, d) and Y (m, d) for `gammas`, each twice the one before.

    Each matrix is then the square, entry by entry, of the one before: distances and exponentials are met once.
    """
    K = gram("rbf", X, Y, gammas[0])
    yield K
    for _ in gammas[1:]:
        K = np.square(K)
        yield K
