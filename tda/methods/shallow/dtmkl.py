"""DTMKL: domain transfer multiple kernel learning."""

from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular
from scipy.optimize import LinearConstraint, minimize

from tda.divergences.kernels import gram, median_gamma
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
    slope and curvature are known: Newton's steps on the simplex, few of them, each of one Cholesky factorisation.

    Parameters
    ----------
    kernels : int
        Number of kernels exp(-gamma_m ||x - y||^2), gamma_m a power of 2 times 1 / (2 median ||x - y||^2), with powers
        around 0.
    C : float
        Weight of the losses; the paper's zeta, as its own C goes with the epsilon-insensitive loss.
    theta : float
        Weight of the structural risk against the distance of the domains.
    zeta : float
        Weight of a target sample's virtual label against a source sample's label; the paper's lambda.
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
    and 3.3 (DTMKL_f). Which of its symbols is which follows published code by others, commented with its equations 15
    and 16, that adds 1/zeta to the kernel's diagonal for a label and 1/(zeta lambda) for a virtual one.
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
        self.refuse(weights)
        ns, nt = len(Xs), len(Xt)
        self.anchors_ = X = np.concatenate([Xs, Xt]).astype(np.float64, copy=False)
        self.classes_, classes = np.unique(ys, return_inverse=True)
        Y = 2 * np.eye(len(self.classes_))[classes] - 1
        self.gammas_ = median_gamma(Xs, Xt) * 2.0 ** (np.arange(self.kernels) - self.kernels // 2)
        grams = list(gaussians(X, X, self.gammas_))
        e = marginal(ns, nt)
        self.distances_ = np.array([e @ K @ e for K in grams])
        base = [K[ns:, :ns] @ cho_solve(cho_factor(K[:ns, :ns] + np.eye(ns) / self.C), Y) for K in grams]
        kept = ns + nt if self.zeta > 0 else ns
        known = np.concatenate([Y, np.zeros((nt, Y.shape[1]))])[:kept]
        virtual = np.pad(base, ((0, 0), (ns, 0), (0, 0)))[:, :kept]  # (kernels, kept, C)
        noise = 1 / (self.C * np.repeat([1.0, self.zeta], [ns, nt])[:kept])

        def objective(d: np.ndarray) -> Point:
            labels = known + np.tensordot(d, virtual, axes=1)
            K = np.diag(noise)
            for d_m, K_m in zip(d, grams, strict=True):
                if d_m != 0:
                    K += d_m * K_m[:kept, :kept]
            L = cholesky(K.T, lower=True, overwrite_a=True, check_finite=False)
            alpha = cho_solve((L, True), labels, check_finite=False)
            pulled = np.stack([K_m[:kept, :kept] @ alpha for K_m in grams])
            slope = np.tensordot(virtual - pulled / 2, alpha, axes=2)
            bent = solve_triangular(L, np.hstack([*(pulled - virtual)]), lower=True, check_finite=False)
            bent = bent.reshape(kept, self.kernels, -1)
            curvature = np.einsum("imc,ilc->ml", bent, bent)
            distance = self.distances_ @ d
            return Point(
                distance**2 / 2 + self.theta * float(np.vdot(labels, alpha)) / 2,
                distance * self.distances_ + self.theta * slope,
                np.outer(self.distances_, self.distances_) + self.theta * curvature,
                alpha,
            )

        d = np.full(self.kernels, 1 / self.kernels)
        at = objective(d)
        for _ in range(self.steps):
            move = simplex_minimum(at.slope, at.curvature, d) - d
            gain = -(at.slope @ move + move @ at.curvature @ move / 2)
            if gain <= 1e-8 * at.value:
                break
            while (there := objective(d + move)).value > at.value + 1e-4 * (at.slope @ move):
                move /= 2
            d, at = d + move, there
        self.mixture_, self.objective_ = d, at.value
        self.anchors_ = X[:kept]
        self.coefficients_ = at.alpha
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        F = sum(
            K_m @ (d_m * self.coefficients_)
            for d_m, K_m in zip(self.mixture_, gaussians(X, self.anchors_, self.gammas_), strict=True)
            if d_m > 0
        )
        y: np.ndarray = self.classes_[np.argmax(F, axis=1)]
        return y


class Point(NamedTuple):
    """The objective at d, its slope (kernels,) and curvature (kernels, kernels), and the alpha (n, C) of its f."""

    value: float
    slope: np.ndarray
    curvature: np.ndarray
    alpha: np.ndarray


def simplex_minimum(slope: np.ndarray, curvature: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Return the x >= 0 of sum 1 of least slope'(x - d) + 1/2 (x - d)'curvature (x - d), from d in that simplex."""
    scale = np.abs(slope).max() or 1.0  # the tolerance of the search is absolute

    def quadratic(x: np.ndarray) -> tuple[float, np.ndarray]:
        along = curvature @ (x - d)
        return float((slope + along / 2) @ (x - d)) / scale, (slope + along) / scale

    found = minimize(
        quadratic,
        d,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * len(d),
        constraints=LinearConstraint(np.ones((1, len(d))), 1, 1),
        options={"maxiter": 200, "ftol": 1e-14},
    )
    x: np.ndarray = np.maximum(found.x, 0)
    x /= x.sum()
    return x


def gaussians(X: np.ndarray, Y: np.ndarray, gammas: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the kernel matrices (n, m) of the rows of X (n, d) and Y (m, d) for `gammas`, each twice the one before.

    Each matrix is then the square, entry by entry, of the one before: distances and exponentials are met once.
    """
    K = gram("rbf", X, Y, gammas[0])
    yield K
    for _ in gammas[1:]:
        K = np.square(K)
        yield K
