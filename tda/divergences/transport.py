"""Wasserstein distances: the cost of moving one sample onto the other."""

from typing import Literal

import numpy as np
import ot
from sklearn.metrics.pairwise import euclidean_distances

LARGEST = 2 * 10**8


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
    value, log = ot.emd2(np.full(ns, 1 / ns), np.full(nt, 1 / nt), cost, numItermax=10**7, log=True)
    if log["warning"] is not None:
        raise RuntimeError(f"exact transport of {ns} x {nt} samples: {log['warning']}; draw fewer rows")
    distance: float = float(value) ** (1 / p)
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
