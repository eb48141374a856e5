"""EasyTL: easy transfer learning."""

from copy import deepcopy
from typing import Literal, Self

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import pairwise_distances

from tda.methods.shallow.base import Aligner, ShallowMethod, Standardise, standardisers


class EasyTL(ShallowMethod):
    """Give each target sample a class so that none is left empty, at the least total distance to the centres ::

        min_M  sum_{t,c} D_tc M_tc     D_tc = d(xt_t, centre of the source's class c)
        s.t.   0 <= M_tc <= 1,  sum_c M_tc = 1 for each sample t,  sum_t M_tc >= 1 for each class c

    after an alignment of the domains (intra-domain alignment), which may be none. Nothing is to be tuned.

    The linear programme has an integral solution: every class has one sample to stand for it, and each other
    sample is in the class of the nearest centre. So the nt C unknowns come down to choosing C of the samples,
    at least sum_c (D_tc - min_c' D_tc'), which is a rectangular assignment problem. A sample that was not fitted
    gets the class of least D_tc - price_c, where the prices solve the dual programme: they give the fitted
    samples what the programme gives them, where no two of these coincide, and are all 0 where no class is short of
    samples.

    Parameters
    ----------
    aligner : Aligner, optional
        Maps both domains before; None is the paper's EasyTL(c).
    standardise : {"domain", "source", "joint", "no"}
        Scale each feature to mean 0 and variance 1 before all else: each domain by its own statistics, as in
        all of the authors' experiments, or both by the source's, or by those of both together.
    metric : {"euclidean", "sqeuclidean", "cosine"}
        The distance d.

    Attributes
    ----------
    centres_ : ndarray of shape (C, k)
        The mean of each class of the aligned source.
    prices_ : ndarray of shape (C,)
        What each class pays for a sample.

    Raises
    ------
    ValueError
        There are fewer target samples than classes, so that the programme has no solution.
    UsageError
        `fit` is given weights.

    References
    ----------
    J. Wang, Y. Chen, H. Yu, M. Huang and Q. Yang, "Easy transfer learning by exploiting intra-domain
    structures", ICME 2019, equations 2 to 7; the sum over samples is at least 1, as in the authors' code.
    """

    def __init__(
        self,
        *,
        aligner: Aligner | None = None,
        standardise: Standardise = "domain",
        metric: Literal["euclidean", "sqeuclidean", "cosine"] = "euclidean",
    ) -> None:
        self.aligner = aligner
        self.standardise = standardise
        self.metric = metric

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        self.refuse(weights)
        self.classes_, classes = np.unique(ys, return_inverse=True)
        count = len(self.classes_)
        if len(Xt) < count:
            raise ValueError(
                f"EasyTL: expected at least a target sample for each of the {count} classes, given {len(Xt)} samples"
            )
        source, self.scaler_ = standardisers(self.standardise, Xs, Xt)
        self.aligner_ = deepcopy(self.aligner)
        Zs, Zt = source.transform(Xs.astype(np.float64, copy=False)), self._standardised(Xt)
        if self.aligner_ is not None:
            Zs, Zt = self.aligner_.align(Zs, ys, Zt)
        self.centres_ = np.zeros((count, Zs.shape[1]))
        np.add.at(self.centres_, classes, Zs)
        self.centres_ /= np.bincount(classes)[:, None]
        D = self._distances(Zt)
        self.prices_ = prices(D, assign(D))
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        Z = self._standardised(X)
        if self.aligner_ is not None:
            Z = self.aligner_.transform(Z)
        y: np.ndarray = self.classes_[np.argmin(self._distances(Z) - self.prices_, axis=1)]
        return y

    def _standardised(self, X: np.ndarray) -> np.ndarray:
        Z: np.ndarray = self.scaler_.transform(X.astype(np.float64, copy=False))
        return Z

    def _distances(self, Z: np.ndarray) -> np.ndarray:
        D: np.ndarray = pairwise_distances(Z, self.centres_, metric=self.metric)
        return D


def assign(D: np.ndarray) -> np.ndarray:
    """Return the column (n,) of each row of D (n, C) of least total cost that leaves no column empty."""
    chosen: np.ndarray = np.argmin(D, axis=1)
    columns, rows = linear_sum_assignment((D - D.min(axis=1, keepdims=True)).T)
    chosen[rows] = columns
    return chosen


def prices(D: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return p (C,), p >= 0, under which row t of D (n, C) finds column chosen_t the best: of least D_tc - p_c.

    They solve the dual of the programme that `assign` solves: p_c - p_b is at most the least D_tc - D_tb of the
    rows t that chose b, and p_c = 0 for a column that more than one row chose. The lengths of the shortest paths
    from any one column, with these bounds for arcs, meet them all; what is returned is the mean of these
    solutions, so that no row is torn between two columns where it need not be.
    """
    n, count = D.shape
    excess = D - D[np.arange(n), chosen][:, None]
    length = np.zeros((count + 1, count + 1))  # the last node is the price 0, which no price is below
    for b in range(count):
        length[b, :count] = excess[chosen == b].min(axis=0)
    shared = np.bincount(chosen, minlength=count) > 1
    length[count, :count] = np.where(shared, 0, count * np.ptp(D))
    for via in range(count + 1):
        length = np.minimum(length, length[:, via, None] + length[via])
    mean: np.ndarray = np.mean(length[:, :count] - length[:, count:], axis=0)
    return mean
