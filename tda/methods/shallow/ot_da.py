"""OTDA: optimal transport for domain adaptation."""

import warnings
from abc import abstractmethod
from collections.abc import Callable
from functools import cache

import numpy as np
import ot
from numpy.polynomial import Polynomial
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from scipy.optimize import brentq
from scipy.sparse import csr_array, diags_array
from sklearn.neighbors import kneighbors_graph

from tda.divergences.kernels import check_affordable
from tda.divergences.transport import exact
from tda.methods.shallow.base import Aligner, ShallowMethod
from tda.ranges import Share

TINY = np.finfo(float).tiny
SPARSE = 0.1  # share of entries that are not 0, below which a plan is multiplied as a sparse matrix


class OTDA(Aligner):
    """Move each source sample to where the least costly transport of the source onto the target sends it ::

        min_g  <g, C> + Omega(g)    s.t.  g >= 0,  g 1 = 1/ns,  g'1 = 1/nt       C_ij = ||xs_i - xt_j||^2
        zs_i = ns sum_j g_ij xt_j                                                (the barycentric map)

    The target stays where it is, so an unseen target sample is its own image. Each subclass has its Omega.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the moved source; 1-NN in the paper.
    unit_cost : bool
        Scale the features so that the mean cost is 1: the weights in Omega then mean the same for all features.

    Attributes
    ----------
    plan_ : ndarray of shape (ns, nt)
        g.
    """

    def __init__(self, *, classifier: ShallowMethod, unit_cost: bool = True) -> None:
        super().__init__(classifier=classifier)
        self.unit_cost = unit_cost

    @abstractmethod
    def transport(self, Xs: np.ndarray, classes: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        """Return the plan (ns, nt) for Xs (ns, d) of the classes 0, 1, ... (ns,), and Xt (nt, d)."""

    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        check_affordable(len(Xs), len(Xt))
        Xs64, Xt64 = self.transform(Xs), self.transform(Xt)
        squares = sum(np.vdot(X, X) / X.size for X in (Xs64, Xt64))
        mean = squares - 2 * np.mean(Xs64.mean(axis=0) * Xt64.mean(axis=0))
        scale = np.sqrt(mean * Xs.shape[1]) if self.unit_cost and mean > 0 else 1.0
        self.plan_ = self.transport(Xs64 / scale, np.unique(ys, return_inverse=True)[1], Xt64 / scale)
        few = csr_array(self.plan_) if np.count_nonzero(self.plan_) < SPARSE * self.plan_.size else self.plan_
        return few @ Xt64 / self.plan_.sum(axis=1, keepdims=True), Xt64

    def transform(self, X: np.ndarray) -> np.ndarray:
        return X.astype(np.float64, copy=False)


class ExactOT(OTDA):
    """OTDA without a regulariser: a linear programme, whose plan has at most ns + nt - 1 entries that are not 0.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the moved source.
    unit_cost : bool
        Scale the features so that the mean cost is 1, which changes nothing here.

    References
    ----------
    N. Courty, R. Flamary, D. Tuia and A. Rakotomamonjy, "Optimal transport for domain adaptation", IEEE TPAMI 39,
    2017, equations 6 and 14 (OT-exact).
    """

    def transport(self, Xs: np.ndarray, classes: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        return exact(ot.dist(Xs, Xt)).g.toarray()


class SinkhornOT(OTDA):
    """OTDA by entropic transport: Omega(g) = reg sum_ij g_ij log g_ij.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the moved source.
    unit_cost : bool
        Scale the features so that the mean cost is 1.
    reg : float
        The paper's lambda: the greater, the more each source sample is spread over the target.

    Raises
    ------
    RuntimeError
        Sinkhorn's iterations did not converge.

    References
    ----------
    N. Courty, R. Flamary, D. Tuia and A. Rakotomamonjy, "Optimal transport for domain adaptation", IEEE TPAMI 39,
    2017, equations 7 and 14 (OT-IT); M. Cuturi, "Sinkhorn distances: lightspeed computation of optimal
    transport", NIPS 2013.
    """

    def __init__(self, *, classifier: ShallowMethod, unit_cost: bool = True, reg: PositiveFloat = 0.1) -> None:
        super().__init__(classifier=classifier, unit_cost=unit_cost)
        self.reg = reg

    def transport(self, Xs: np.ndarray, classes: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        return entropic(ot.dist(Xs, Xt), self.reg)


class GroupLassoOT(OTDA):
    """OTDA by entropic transport in which the mass that a target sample receives is of few classes ::

        Omega(g) = reg sum_ij g_ij log g_ij + eta sum_j sum_c ||(g_ij)_(i of class c)||_2

    found by generalised conditional gradient: each step is an entropic transport in which the second term is
    linear, and then an exact search along the line to its plan.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the moved source.
    unit_cost : bool
        Scale the features so that the mean cost is 1.
    reg : float
        The paper's lambda.
    eta : float
        Weight of the group lasso.
    iterations : int
        Steps.

    Raises
    ------
    RuntimeError
        Sinkhorn's iterations did not converge.

    References
    ----------
    N. Courty, R. Flamary, D. Tuia and A. Rakotomamonjy, "Optimal transport for domain adaptation", IEEE TPAMI 39,
    2017, equation 16 with p = 1 and q = 2, and Algorithm 1 (OT-GL). The line search is on the whole objective,
    with its entropy, as there (and unlike `ot.optim.gcg` of POT 0.9).
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        unit_cost: bool = True,
        reg: PositiveFloat = 0.1,
        eta: NonNegativeFloat = 1.0,
        iterations: PositiveInt = 10,
    ) -> None:
        super().__init__(classifier=classifier, unit_cost=unit_cost)
        self.reg = reg
        self.eta = eta
        self.iterations = iterations

    def transport(self, Xs: np.ndarray, classes: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        C = ot.dist(Xs, Xt)
        g = entropic(C, self.reg)
        for _ in range(self.iterations):
            squares = class_sums(g * g, classes)
            slope = g / np.sqrt(np.maximum(squares, TINY))[classes]
            vertex = entropic(C + self.eta * slope, self.reg)
            mixed, squares_there = class_sums(g * vertex, classes), class_sums(vertex * vertex, classes)
            change = vertex - g
            rest = self._rise(float(np.vdot(C, change)), squares, mixed, squares_there)
            g += best_share(g, change, self.reg, rest) * change
        return g

    def _rise(
        self, cost: float, squares: np.ndarray, mixed: np.ndarray, squares_there: np.ndarray
    ) -> Callable[[float], float]:
        """Return the derivative at h = g + t (v - g), by t, of <h, C> + eta sum ||.||_2.

        `cost` is <v - g, C>, and the sums of g^2, g v and v^2 over each class are the rest: h^2 is of them without a
        difference, which rounding would spoil where v is all but 0.
        """

        def rise(t: float) -> float:
            norms = np.sqrt((1 - t) ** 2 * squares + 2 * t * (1 - t) * mixed + t**2 * squares_there)
            half = t * squares_there + (1 - 2 * t) * mixed - (1 - t) * squares
            return cost + self.eta * float(np.sum(half / np.maximum(norms, TINY)))

        return rise


class LaplacianOT(OTDA):
    """OTDA by entropic transport in which neighbours of one class in the source, and those in the target, stay so ::

        Omega(g) = reg sum_ij g_ij log g_ij + eta ( (1 - alpha) tr(Zs'Ls Zs) / ns^2 + alpha tr(Zt'Lt Zt) / nt^2 )
        Zs = ns g Xt,   Zt = nt g'Xs                            (the barycentric maps)

    with L = D - W of the graph in which W_ij = 1 where one sample is among the nearest of the other; in Ls the two
    have the same class. Found by generalised conditional gradient: each step is an entropic transport in which the
    second term is linear, and then an exact search along the line to its plan. The second term is quadratic, so that
    its gradient is known all along the line from that of the line's direction.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the moved source.
    unit_cost : bool
        Scale the features so that the mean cost is 1.
    reg : float
        The paper's lambda.
    eta : float
        Weight of the second term.
    alpha : float in [0, 1]
        Share of the target's graph.
    neighbours : int
        Of each sample in its domain's graph.
    iterations : int
        Steps.

    Raises
    ------
    RuntimeError
        Sinkhorn's iterations did not converge.

    References
    ----------
    N. Courty, R. Flamary, D. Tuia and A. Rakotomamonjy, "Optimal transport for domain adaptation", IEEE TPAMI 39,
    2017, equation 15 with the Laplacian regularisation, and Algorithm 1 (OT-Laplace). POT's `emd_laplace` leaves the
    entropy out.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        unit_cost: bool = True,
        reg: PositiveFloat = 0.1,
        eta: NonNegativeFloat = 100.0,
        alpha: Share = 0.5,
        neighbours: PositiveInt = 3,
        iterations: PositiveInt = 10,
    ) -> None:
        super().__init__(classifier=classifier, unit_cost=unit_cost)
        self.reg = reg
        self.eta = eta
        self.alpha = alpha
        self.neighbours = neighbours
        self.iterations = iterations

    def transport(self, Xs: np.ndarray, classes: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        Ks, Kt = Xs @ Xs.T, Xt @ Xt.T
        Ls = (1 - self.alpha) * neighbour_laplacian(Ks, self.neighbours, classes)
        Lt = self.alpha * neighbour_laplacian(Kt, self.neighbours, np.zeros(len(Xt)))

        def gradient(g: np.ndarray) -> np.ndarray:
            slope: np.ndarray = Ls @ times_gram(g, Xt, Kt) + (Lt @ times_gram(g.T, Xs, Ks)).T
            slope *= 2 * self.eta
            return slope

        cost = ot.dist(Xs, Xt)
        g = entropic(cost, self.reg)
        cost += gradient(g)
        for _ in range(self.iterations):
            change = entropic(cost, self.reg) - g
            bend = gradient(change)
            rise = Polynomial([np.vdot(cost, change), np.vdot(bend, change)])
            share = best_share(g, change, self.reg, rise)
            g += share * change
            cost += share * bend
        return g


def neighbour_laplacian(K: np.ndarray, neighbours: int, classes: np.ndarray) -> csr_array:
    """Return D - W (n, n), W_ij = 1 for samples of one class, one being among the other's nearest; K (n, n) is X X'."""
    squares = np.diag(K)
    apart = np.maximum(squares[:, None] + squares - 2 * K, 0)
    W = kneighbors_graph(apart, min(neighbours, len(K) - 1), metric="precomputed").tocoo()
    same = classes[W.row] == classes[W.col]
    W = csr_array((W.data[same], (W.row[same], W.col[same])), shape=W.shape)
    W = W.maximum(W.T)
    return csr_array(diags_array(W.sum(axis=1)) - W)


def times_gram(g: np.ndarray, X: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Return g K for g (m, n), X (n, d) and K = X X' (n, n), in the order of fewer operations."""
    product: np.ndarray = g @ X @ X.T if 2 * X.shape[1] < len(X) else g @ K
    return product


def class_sums(g: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the sums (C, nt) of the columns of g (ns, nt) over the rows of each class."""
    members = csr_array((np.ones(len(classes)), (classes, np.arange(len(classes)))))
    sums: np.ndarray = members @ g
    return sums


def best_share(g: np.ndarray, change: np.ndarray, reg: float, rise: Callable[[float], float]) -> float:
    """Return the t in [0, 1] of least f(t) + reg sum_ij h_ij log h_ij, h = g + t change, for f convex of slope `rise`.

    It is where the slope of the whole is 0, to 1e-6: rise(t) + reg <change, log h>, as the change sums to 0.
    """

    @cache
    def slope(t: float) -> float:
        h = t * change
        h += g
        np.log(np.maximum(h, TINY, out=h), out=h)
        return float(rise(t) + reg * np.vdot(change, h))

    if slope(1.0) <= 0:
        return 1.0
    return float(brentq(slope, 0.0, 1.0, xtol=1e-6)) if slope(0.0) < 0 else 0.0


def entropic(C: np.ndarray, reg: float) -> np.ndarray:
    """Return the plan g (ns, nt) of least <g, C> + reg sum_ij g_ij log g_ij, with uniform margins.

    Raises
    ------
    RuntimeError
        The margins are off after 10,000 iterations, or earlier for want of digits.
    """
    relative = C - C.min(
        axis=0
    )  # constants for a row or a column leave the plan alone, and exp(-C / reg) representable
    relative -= relative.min(axis=1, keepdims=True)
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        plan, log = ot.sinkhorn([], [], relative, reg, numItermax=10_000, log=True)
    off = max(np.abs(plan.sum(axis=axis) * size - 1).max() for axis, size in ((1, len(C)), (0, C.shape[1])))
    if not off < 1e-3:
        raise RuntimeError(
            f"Sinkhorn: the margins are still off after {log['niter']} iterations; raise reg (given {reg}) or lower eta"
        )
    g: np.ndarray = plan
    return g
