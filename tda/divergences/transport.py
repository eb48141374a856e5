"""Exact optimal transport of one sample onto the other, and the Wasserstein distances, which are its cost."""

from typing import Literal, NamedTuple

import numpy as np
import ot
from scipy.sparse import coo_array, csr_array
from sklearn.metrics.pairwise import euclidean_distances

LARGEST = 2 * 10**8
PAIRS = 24  # of each row and column that are let in at a time
STEPS = 10**8  # of the network simplex, at most
ROUNDING = 1e-12  # of the greatest cost, by which prices may miss it
SHARE = 0.1  # of the costs' spread: the entropy's weight
SWEEPS = 30  # of Sinkhorn's iterations


class Plan(NamedTuple):
    """A transport plan g (ns, nt) of least cost, and the prices of its margins, (ns,) and (nt,)."""

    g: csr_array
    prices: tuple[np.ndarray, np.ndarray]


def exact(C: np.ndarray, near: Plan | None = None) -> Plan:
    """Return the plan of least cost for the costs C (ns, nt), with uniform margins ::

        min_g  <g, C>    s.t.  g >= 0,  g 1 = 1/ns,  g'1 = 1/nt

    At most ns + nt - 1 pairs are in it, so the linear programme is solved among few: those of each row and column that
    are cheapest once its samples' prices are paid, prices being those of a plan for similar costs, or of an entropic
    plan. With the prices p, q of the plan that is best among these, pairs that break p_i + q_j <= C_ij are let in; once
    none does, the plan is best of all.

    Raises
    ------
    RuntimeError
        The solver stopped before the optimum.
    """
    scale = 2.0 ** np.frexp(np.abs(C).max())[1]  # the solver's tolerance is absolute
    C = C / scale
    if near is None:
        (p, q), some_plan = entropic_prices(C), staircase(*C.shape)
    else:
        p, q = (prices / scale for prices in near.prices)
        some_plan = near.g.nonzero()
    pairs = cheapest(C - p[:, None] - q)
    pairs[some_plan] = True
    while True:
        few = coo_array((C[pairs], np.nonzero(pairs)), shape=C.shape)
        g, log = ot.emd([], [], few, numItermax=STEPS, log=True, center_dual=False)
        if log["warning"] is not None:
            raise RuntimeError(f"exact transport of {len(C)} x {C.shape[1]} samples: {log['warning']}; draw fewer rows")
        p, q = log["u"], log["v"]
        dearness = C - p[:, None] - q
        broken = (dearness < -ROUNDING * np.abs(C).max()) & ~pairs
        if not broken.any():
            return Plan(csr_array(g), (p * scale, q * scale))
        pairs |= broken & cheapest(np.where(broken, dearness, np.inf))


def cheapest(C: np.ndarray) -> np.ndarray:
    """Return where an entry of C is among the least `PAIRS` of its row or column; of the longer, in proportion more."""
    ns, nt = C.shape
    least = C.astype(np.float32)
    found = np.zeros(C.shape, dtype=bool)
    for axis, count in ((1, PAIRS * -(-nt // ns)), (0, PAIRS * -(-ns // nt))):
        last = min(count, C.shape[axis]) - 1
        found |= least <= np.partition(least, last, axis=axis).take([last], axis=axis)
    return found


def staircase(ns: int, nt: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of the north-west corner plan, which has uniform margins at any cost."""
    starts = np.union1d(np.arange(0, ns * nt, nt), np.arange(0, ns * nt, ns))
    return starts // nt, starts // ns


def entropic_prices(C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return roughly the prices of the plan of least cost, of rows and of columns: an entropic plan's, half converged.

    References
    ----------
    M. Cuturi, "Sinkhorn distances: lightspeed computation of optimal transport", NIPS 2013, Algorithm 1.
    """
    ns, nt = C.shape
    p = C.min(axis=1)
    q = (C - p[:, None]).min(axis=0)
    dearness = C - p[:, None] - q  # 0 somewhere in each row and column, where K is then 1
    reg = SHARE * dearness.std() or 1.0
    K = np.exp((dearness / -reg).astype(np.float32))
    v = np.ones(nt, dtype=np.float32)
    for _ in range(SWEEPS):
        u = nt / ns / (K @ v)
        v = 1 / (u @ K)
    return p + reg * np.log(u), q + reg * np.log(v)


def wasserstein(Xs: np.ndarray, Xt: np.ndarray, *, p: Literal[1, 2] = 2) -> float:
    """Return W_p = (min_P sum_ij P_ij ||s_i - t_j||^p)^(1/p) over the plans P with margins 1/ns and 1/nt.

    Parameters
    ----------
    Xs : ndarray of shape (ns, d)
    Xt : ndarray of shape (nt, d)
    p : {1, 2}

    Raises
    ------
    ValueError
        The matrix of distances would take more than 1.6 GB.
    RuntimeError
        The solver stopped before the optimum.

    References
    ----------
    C. Villani, "Optimal transport: old and new", Springer, 2009, definition 6.1; solved by the network simplex of
    N. Bonneel, M. van de Panne, S. Paris and W. Heidrich, "Displacement interpolation using Lagrangian mass transport",
    SIGGRAPH Asia 2011.

    Examples
    --------
    >>> wasserstein(np.array([[0.0], [1.0]]), np.array([[4.0], [3.0]]))
    3.0
    """
    ns, nt = len(Xs), len(Xt)
    if ns * nt > LARGEST:
        raise ValueError(
            f"exact transport: {ns} x {nt} distances would take {ns * nt * 8 / 1e9:.0f} GB; use "
            "sliced_wasserstein, or draw fewer rows"
        )
    source, target = (X.astype(np.float64, copy=False) for X in (Xs, Xt))
    cost = euclidean_distances(source, target, squared=p == 2)
    distance: float = float(exact(cost).g.multiply(cost).sum()) ** (1 / p)
    return distance


def sliced_wasserstein(
    Xs: np.ndarray, Xt: np.ndarray, *, p: Literal[1, 2] = 2, projections: int = 100, seed: int = 0
) -> float:
    """Return (mean_u W_p(Xs u, Xt u)^p)^(1/p) over random directions u of norm 1.

    On a line the best plan follows the order, so the cost is that of sorting: O(n log n) for each direction. It is at
    most W_p, for p = 2 about W_p / sqrt(d) for samples that are shifted.

    Parameters
    ----------
    Xs : ndarray of shape (ns, d)
    Xt : ndarray of shape (nt, d)
    p : {1, 2}
    projections : int
        Number of directions.
    seed : int
        Of the directions.

    References
    ----------
    N. Bonneel, J. Rabin, G. Peyre and H. Pfister, "Sliced and Radon Wasserstein barycenters of measures", Journal of
    Mathematical Imaging and Vision 51, 2015, definition 1.
    """
    source, target = (X.astype(np.float64, copy=False) for X in (Xs, Xt))
    return float(ot.sliced_wasserstein_distance(source, target, n_projections=projections, p=p, seed=seed))
