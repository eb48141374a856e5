"""Quadratic programmes between bounds, with a bounded sum."""

from collections.abc import Callable
from typing import Any

import numpy as np
from cvxopt import blas, lapack, matrix, solvers
from scipy.linalg import LinAlgError, cho_factor, cho_solve

RIDGE = 1e-10  # of the mean of the diagonal: of all x that are as good, as where samples coincide, the shortest


def bounded_qp(P: np.ndarray, q: np.ndarray, *, upper: float, least: float, most: float) -> np.ndarray:
    """Return the x of least 1/2 x'P x - q'x with 0 <= x <= upper and least <= sum(x) <= most.

    Raises
    ------
    RuntimeError
        Neither solver met its tolerances: P is not positive semi-definite, or badly scaled.
    """
    x = pivoted(P, q, upper=upper, least=least, most=most)
    return interior(P, q, upper=upper, least=least, most=most) if x is None else x


def pivoted(
    P: np.ndarray, q: np.ndarray, *, upper: float, least: float, most: float, patience: int = 10
) -> np.ndarray | None:
    """Return the x that `bounded_qp` seeks, by block principal pivoting; None where P is singular or no end is seen.

    Each x_i is at 0, at `upper`, or free; the sum is held at `least`, at `most`, or free. The free x_i solve
    (P x - q)_i = mu, mu = 0 where the sum is free. All that then stand on the wrong side of a condition change over
    at once: a free x_i beyond its bounds, one at a bound that the slope P x - q - mu draws inwards, a sum beyond its
    bounds, one that mu draws inwards. Once none does, x is the answer. Pivoting ends after `patience` turns in which
    their number has not fallen below its least.

    J. J. Judice and F. M. Pires, "A block principal pivoting algorithm for large-scale strictly monotone linear
    complementarity problems", Computers and Operations Research 21, 1994; here with bounds above and on the sum.
    """
    n = len(q)
    ridge = RIDGE * float(np.mean(np.diag(P)))
    low, high = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    held: float | None = None
    fewest, left = n + 2, patience
    while left:
        free = np.flatnonzero(~(low | high))
        x, mu = np.where(high, upper, 0.0), 0.0
        try:
            within = P[np.ix_(free, free)]
            within[np.diag_indices_from(within)] += ridge
            factor = cho_factor(within.T, overwrite_a=True, check_finite=False)
        except LinAlgError:
            return None
        x[free] = cho_solve(factor, q[free] - upper * P[np.ix_(free, high)].sum(axis=1))
        if held is not None and len(free):
            along = cho_solve(factor, np.ones(len(free)))
            mu = (held - x.sum()) / along.sum()
            x[free] += mu * along
        support = np.flatnonzero(x)
        slope = P[:, support] @ x[support] + ridge * x - q - mu
        slack, flat = 1e-10 * np.abs(x).max(), 1e-10 * np.abs(q).max()
        if np.abs(slope[free]).max(initial=0) > 1e4 * flat:
            return None
        under, over = x < -slack, x > upper + slack
        inwards = (low & (slope < -flat)) | (high & (slope > flat))
        total = x.sum()
        if held is None:
            turned = least if total < least - n * slack else most if total > most + n * slack else None
        else:
            turned = None if (mu < 0 if held == least else mu > 0) else held
        wrong = int(np.sum(under | over | inwards)) + (turned != held)
        if not wrong:
            return np.clip(x, 0, upper)
        fewest, left = (wrong, patience) if wrong < fewest else (fewest, left - 1)
        low, high, held = (low | under) & ~inwards, (high | over) & ~inwards, turned
    return None


def interior(P: np.ndarray, q: np.ndarray, *, upper: float, least: float, most: float) -> np.ndarray:
    """Return the x that `bounded_qp` seeks by cvxopt's interior-point method, for P that may be singular.

    The 2 n + 2 constraints G x <= h, G = [I; -I; 1'; -1'], are met as an operator, never as a matrix. A step of
    coneqp solves, for a diagonal D, ::

        [ P  G'    ] [x]   [bx]          (P + G' D^-2 G) x = bx + G' D^-2 bz
        [ G  -D^2  ] [z] = [bz]   <=>    D z = D^-1 (G x - bz)

    where G' D^-2 G is a diagonal plus a multiple of 11': one Cholesky factorisation of P + diagonal, and
    the Sherman-Morrison formula for the rest.
    """
    n = len(q)
    scale = float(np.mean(np.diag(P))) or 1.0  # the tolerances of the solver are absolute
    scaled, damped = matrix(0.0, (n, n)), matrix(0.0, (n, n))
    np.divide(P.T, scale, out=np.asarray(scaled))
    h = np.concatenate([np.full(n, upper), np.zeros(n), [most, -least]])

    def view(x: Any) -> np.ndarray:
        array: np.ndarray = np.asarray(x).reshape(-1)
        return array

    def forward(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x, -x, [x.sum(), -x.sum()]])

    def adjoint(z: np.ndarray) -> np.ndarray:
        combined: np.ndarray = z[:n] - z[n : 2 * n] + (z[2 * n] - z[2 * n + 1])
        return combined

    def multiply_p(x: Any, y: Any, alpha: float = 1.0, beta: float = 0.0) -> None:
        blas.symv(scaled, x, y, alpha=alpha, beta=beta)

    def multiply_g(x: Any, y: Any, alpha: float = 1.0, beta: float = 0.0, trans: str = "N") -> None:
        view(y)[:] = alpha * (adjoint if trans == "T" else forward)(view(x)) + beta * view(y)

    def factorise(W: Any) -> Callable[[Any, Any, Any], None]:
        inverse = view(W["di"]).copy()  # of D
        along = matrix(1.0, (n, 1))
        blas.copy(scaled, damped)
        damped[:: n + 1] += matrix(inverse[:n] ** 2 + inverse[n : 2 * n] ** 2)
        lapack.potrf(damped)
        lapack.potrs(damped, along)
        shrink = 1 / (1 / np.sum(inverse[2 * n :] ** 2) + sum(along))

        def solve(x: Any, _: Any, z: Any) -> None:
            view(x)[:] += adjoint(inverse**2 * view(z))
            lapack.potrs(damped, x)
            view(x)[:] -= view(along) * (shrink * sum(x))
            view(z)[:] = inverse * (forward(view(x)) - view(z))

        return solve

    options = {"show_progress": False, "refinement": 1}
    x0 = np.full(n, min(1.0, upper / 2))
    start = {
        "x": matrix(x0),
        "s": matrix(np.maximum(h - forward(x0), 0.1)),
        "z": matrix(1.0, (len(h), 1)),
    }
    solution = solvers.coneqp(
        multiply_p,
        matrix(-q / scale),
        multiply_g,
        matrix(h),
        initvals=start,
        kktsolver=factorise,
        options=options,
    )
    if solution["status"] != "optimal":
        raise RuntimeError(
            f"the quadratic programme did not converge in {solution['iterations']} steps "
            f"(relative gap {solution['relative gap']}); set another gamma, or lower B"
        )
    x: np.ndarray = np.clip(view(solution["x"]), 0, upper)
    return x
