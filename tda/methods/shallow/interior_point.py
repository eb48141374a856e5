"""Quadratic programmes between bounds by the interior-point method of cvxopt (GPL-3), imported where one is needed."""

from collections.abc import Callable
from typing import Any

import numpy as np
from cvxopt import blas, lapack, matrix, solvers


def interior(P: np.ndarray, q: np.ndarray, *, upper: float, least: float, most: float) -> np.ndarray:
    """Return the x that `bounded_qp` seeks, for P that may be singular.

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
            f"KMM: the quadratic programme did not converge in {solution['iterations']} steps "
            f"(relative gap {solution['relative gap']}); set another gamma, or lower B"
        )
    x: np.ndarray = np.clip(view(solution["x"]), 0, upper)
    return x
