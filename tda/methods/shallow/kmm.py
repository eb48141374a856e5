"""KMM: kernel mean matching."""

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from cvxopt import blas, lapack, matrix, solvers
from pydantic import Field, PositiveFloat

from tda.divergences.kernels import Kernel, bandwidth, gram, mean_similarity
from tda.methods.shallow.base import Reweighter, ShallowMethod

BelowOne = Annotated[float, Field(gt=0, lt=1)]


class KMM(Reweighter):
    """Kernel mean matching: weigh the source so that its mean in feature space is the target's.

    The weights b of the ns source samples solve the quadratic programme ::

        min_b  1/2 b'K b - kappa'b     K_ij = k(xs_i, xs_j),  kappa_i = ns/nt sum_j k(xs_i, xt_j)
        s.t.   0 <= b_i <= B,  |sum_i b_i - ns| <= ns eps

    The interior-point method of cvxopt meets the 2 ns + 2 constraints as an operator, never as a matrix:
    they add a diagonal and a rank-one term to K, so that a step costs one Cholesky factorisation (ns^3 / 3).

    Parameters
    ----------
    classifier : ShallowMethod
        A classifier whose ``fit`` honours `weights`; the paper's are support vector machines.
    kernel : {"rbf", "linear"}
        ``linear`` matches the means of the features themselves.
    gamma : float, optional
        Of exp(-gamma ||x - y||^2); None is 1 / (2 median ||x - y||^2) over both domains together.
    B : float
        Largest weight. The paper takes 1000, which hardly binds; 1 only ever takes samples away.
    eps : float in (0, 1), optional
        How far the mean weight may lie from 1; None is the paper's (sqrt(ns) - 1) / sqrt(ns).

    Attributes
    ----------
    weights_ : ndarray of shape (ns,)
        b.
    gamma_ : float or None
        The bandwidth in use.

    Raises
    ------
    ValueError
        B is below 1 - eps, so that no weights reach the least sum allowed; or no bandwidth can be found.
    RuntimeError
        The solver stopped before its tolerances were met.

    References
    ----------
    J. Huang, A. J. Smola, A. Gretton, K. M. Borgwardt and B. Schoelkopf, "Correcting sample selection bias
    by unlabeled data", NIPS 2006, equation 12; B and eps as in its experiments.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        kernel: Kernel = "rbf",
        gamma: PositiveFloat | None = None,
        B: PositiveFloat = 1000.0,
        eps: BelowOne | None = None,
    ) -> None:
        super().__init__(classifier=classifier)
        self.kernel = kernel
        self.gamma = gamma
        self.B = B
        self.eps = eps

    def weigh(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        ns = len(Xs)
        eps = (np.sqrt(ns) - 1) / np.sqrt(ns) if self.eps is None else self.eps
        if 1 - eps > self.B:
            raise ValueError(f"B: expected at least 1 - eps = {1 - eps:.4g}, given {self.B}; raise B or eps")
        self.gamma_ = bandwidth(self.kernel, self.gamma, Xs, Xt)
        return mean_matching(self.kernel, Xs, Xt, self.gamma_, B=self.B, eps=eps)


def mean_matching(
    kernel: Kernel, Xs: np.ndarray, Xt: np.ndarray, gamma: float | None, *, B: float, eps: float
) -> np.ndarray:
    """Return the weights b (ns,) of the programme of `KMM`, of the rows of Xs (ns, d) against those of Xt (nt, d).

    Raises
    ------
    RuntimeError
        The solver stopped before its tolerances were met.
    """
    ns = len(Xs)
    K = gram(kernel, Xs, Xs, gamma)
    kappa = ns * mean_similarity(kernel, Xs, Xt, gamma)
    return bounded_qp(K, kappa, upper=B, least=ns * (1 - eps), most=ns * (1 + eps))


def bounded_qp(P: np.ndarray, q: np.ndarray, *, upper: float, least: float, most: float) -> np.ndarray:
    """Return the x of least 1/2 x'P x - q'x with 0 <= x <= upper and least <= sum(x) <= most.

    With the constraints as G x <= h, G = [I; -I; 1'; -1'], a step of coneqp solves, for a diagonal D, ::

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
