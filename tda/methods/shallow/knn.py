"""KNN: a vote of the nearest neighbours."""

from typing import Literal, Self

import numpy as np
from pydantic import PositiveInt
from sklearn.neighbors import NearestNeighbors

from tda.methods.shallow.base import ShallowMethod, Standardise, standardisers, weighted


class KNN(ShallowMethod):
    """Give each target sample the class with most votes among its k nearest source samples ::

        y(x) = argmax_c  sum_{i in N_k(x), ys_i = c}  weights_i v(||x - xs_i||)

    A tie goes to the class that comes first.

    Parameters
    ----------
    k : int
        Number of neighbours, in Euclidean distance.
    vote : {"uniform", "distance"}
        v is 1, or the inverse distance; neighbours at distance 0 then are the only ones that vote.
    standardise : {"no", "source", "domain"}
        Scale each feature to mean 0 and variance 1: by the source's statistics in both domains, or each domain by its
        own (which already aligns the domains).

    Raises
    ------
    ValueError
        Fewer than k source samples have positive weight.

    References
    ----------
    T. Cover and P. Hart, "Nearest neighbor pattern classification", IEEE Transactions on Information Theory 13, 1967;
    S. A. Dudani, "The distance-weighted k-nearest-neighbor rule", IEEE Transactions on Systems, Man and Cybernetics 6,
    1976, equation 2.

    Examples
    --------
    >>> Xs, ys, Xt = np.array([[0.0], [1.0], [5.0]]), np.array([3, 7, 7]), np.array([[0.1]])
    >>> KNN(k=3).fit(Xs, ys, Xt).predict(Xt), KNN(k=3, vote="distance").fit(Xs, ys, Xt).predict(Xt)
    (array([7]), array([3]))
    """

    def __init__(
        self, *, k: PositiveInt = 5, vote: Literal["uniform", "distance"] = "uniform", standardise: Standardise = "no"
    ) -> None:
        self.k = k
        self.vote = vote
        self.standardise = standardise

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        source, self.scaler_ = standardisers(self.standardise, Xs, Xt)
        Zs, ys, weights = weighted(source.transform(Xs), ys, weights)
        if len(Zs) < self.k:
            raise ValueError(f"k: expected at most the {len(Zs)} source samples in use, given {self.k}; lower k")
        self.classes_, self.labels_ = np.unique(ys, return_inverse=True)
        self.weights_ = np.ones(len(Zs)) if weights is None else weights
        self.neighbours_ = NearestNeighbors(n_neighbors=self.k).fit(Zs)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        distances, nearest = self.neighbours_.kneighbors(self.scaler_.transform(X.astype(np.float64, copy=False)))
        votes = self.weights_[nearest]
        if self.vote == "distance":
            coincide = distances == 0
            inverse = np.divide(1, distances, out=np.zeros_like(distances), where=~coincide)
            votes = votes * np.where(coincide.any(axis=1, keepdims=True), coincide, inverse)
        rows = np.arange(len(X))[:, None]
        count = len(self.classes_)
        ballot = (rows * count + self.labels_[nearest]).ravel()  # (n k,)
        tally = np.bincount(ballot, votes.ravel(), minlength=len(X) * count).reshape(len(X), count)
        y: np.ndarray = self.classes_[tally.argmax(axis=1)]
        return y
