"""OTDA: optimal transport for domain adaptation."""

import warnings
from abc import abstractmethod
from typing import Annotated, NamedTuple

import numpy as np
import ot
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from scipy.optimize import minimize_scalar
from scipy.sparse import coo_array, csr_array, diags_array
from scipy.special import entr
from sklearn.neighbors import kneighbors_graph

from tda.divergences.kernels import check_affordable
from tda.methods.shallow.base import Aligner, ShallowMethod

Share = Annotated[float, Field(ge=0, le=1)]
PAIRS = 12  # of each row and column, among which an exact plan is first sought
STEPS = 100_000_000  # of the network simplex, at most
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
        return exact(ot.dist(Xs, Xt)).g


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
            slope = g / np.maximum(np.sqrt(squares), np.finfo(float).tiny)[classes]
            change = entropic(C + self.eta * slope, self.reg) - g
            along, bend = class_sums(g * change, classes), class_sums(change * change, classes)
            g = g + self._share(g, change, np.vdot(C, change), (squares, along, bend)) * change
        return g

    def _share(self, g: np.ndarray, change: np.ndarray, cost: float, quadratic: tuple[np.ndarray, ...]) -> float:
        """Return the t in [0, 1] of the least objective of g + t change.

        Its cost rises by `cost` t; the squared norms are squares + 2 t along + t^2 bend, the three of `quadratic`.
        """
        squares, along, bend = quadratic

        def objective(t: float) -> float:
            norms = np.sqrt(np.maximum(squares + t * (2 * along + t * bend), 0))
            return float(t * cost - self.reg * entr(g + t * change).sum() + self.eta * norms.sum())

        return float(minimize_scalar(objective, bounds=(0, 1), method="bounded").x)


class LaplacianOT(OTDA):
    """OTDA in which neighbours of one class in the source, and neighbours in the target, stay neighbours ::

        Omega(g) = eta ( (1 - alpha) tr(Zs'Ls Zs) / ns^2 + alpha tr(Zt'Lt Zt) / nt^2 )
        Zs = ns g Xt,   Zt = nt g'Xs                            (the barycentric maps)

    with L = D - W of the graph in which W_ij = 1 where one sample is among the nearest of the other; in Ls the two
    have the same class. Found by conditional gradient, from the exact plan: each step is an exact transport. Omega
    is quadratic, so that the best point of each line has a closed form, and its gradient is linear: that of a point
    between two plans is between theirs, so that it is computed of exact plans only, which have few entries.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the moved source.
    unit_cost : bool
        Scale the features so that the mean cost is 1.
    eta : float
        Weight of Omega.
    alpha : float in [0, 1]
        Share of the target's graph.
    neighbours : int
        Of each sample in its domain's graph.
    iterations : int
        Steps.

    References
    ----------
    N. Courty, R. Flamary, D. Tuia and A. Rakotomamonjy, "Optimal transport for domain adaptation", IEEE TPAMI 39,
    2017, section 4.3 (OT-Laplace).
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        unit_cost: bool = True,
        eta: NonNegativeFloat = 100.0,
        alpha: Share = 0.5,
        neighbours: PositiveInt = 3,
        iterations: PositiveInt = 10,
    ) -> None:
        super().__init__(classifier=classifier, unit_cost=unit_cost)
        self.eta = eta
        self.alpha = alpha
        self.neighbours = neighbours
        self.iterations = iterations

    def transport(self, Xs: np.ndarray, classes: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        C, Ks, Kt = ot.dist(Xs, Xt), Xs @ Xs.T, Xt @ Xt.T
        Ls = (1 - self.alpha) * neighbour_laplacian(Ks, self.neighbours, classes)
        Lt = self.alpha * neighbour_laplacian(Kt, self.neighbours, np.zeros(len(Xt)))

        def gradient(vertex: np.ndarray) -> np.ndarray:
            few = csr_array(vertex)
            slope: np.ndarray = 2 * self.eta * (Ls @ (few @ Kt) + (Lt @ (few.T @ Ks)).T)
            return slope

        vertex = exact(C)
        g, slope = vertex.g, gradient(vertex.g)
        for _ in range(self.iterations):
            vertex = exact(C + slope, vertex)
            change, bend = vertex.g - g, gradient(vertex.g) - slope
            descent, curvature = -np.vdot(C + slope, change), np.vdot(change, bend)
            share = min(descent / curvature, 1.0) if curvature > 0 else 1.0
            g, slope = g + share * change, slope + share * bend
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


def class_sums(g: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the sums (C, nt) of the columns of g (ns, nt) over the rows of each class."""
    members = csr_array((np.ones(len(classes)), (classes, np.arange(len(classes)))))
    sums: np.ndarray = members @ g
    return sums


class Plan(NamedTuple):
    """A transport plan g (ns, nt) of least cost, and the prices of its margins, (ns,) and (nt,)."""

    g: np.ndarray
    prices: tuple[np.ndarray, np.ndarray]


def exact(C: np.ndarray, near: Plan | None = None) -> Plan:
    """Return the plan of least cost for the costs C (ns, nt), with uniform margins; sooner from one for similar C.

    Then few pairs can be in it: those that the prices of the plan at hand make dear beside the others of their row and
    column are left out at first. With the prices p, q of a plan that is best without them, those that break
    p_i + q_j <= C_ij are let in; once none does, the plan is best of all.
    """
    if near is None:
        g, log = ot.emd([], [], C, numItermax=STEPS, log=True)
        return Plan(g, (log["u"], log["v"]))
    ns, nt = C.shape
    prices = near.prices
    dearness = C - prices[0][:, None] - prices[1]
    pairs = near.g > 0
    pairs |= cheapest(dearness, PAIRS * -(-nt // ns), axis=1) | cheapest(dearness, PAIRS * -(-ns // nt), axis=0)
    while True:
        few = coo_array((C[pairs], np.nonzero(pairs)), shape=C.shape)
        g, log = ot.emd([], [], few, numItermax=STEPS, log=True, potentials_init=prices, center_dual=False)
        prices = log["u"], log["v"]
        broken = C - prices[0][:, None] - prices[1] < -1e-10 * np.abs(C).max()
        if not (broken & ~pairs).any():
            return Plan(g.toarray(), prices)
        pairs |= broken


def cheapest(C: np.ndarray, count: int, axis: int) -> np.ndarray:
    """Return where an entry of C is among the `count` least of its row (axis 1) or column (axis 0)."""
    if count >= C.shape[axis]:
        return np.ones(C.shape, dtype=bool)
    least: np.ndarray = np.partition(C, count - 1, axis=axis).take([count - 1], axis=axis) >= C
    return least


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
            f"Sinkhorn: the margins are still off after {log['niter']} iterations; raise reg (given {reg})"
        )
    g: np.ndarray = plan
    return g
