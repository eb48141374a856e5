"""OneNN: the nearest neighbour in Euclidean distance."""

from typing import Self

import numpy as np
from sklearn.metrics import pairwise_distances_argmin

from tda.methods.shallow.base import ShallowMethod, Standardise, standardisers


class OneNN(ShallowMethod):
    """Give each target sample the label of its nearest source sample: y(x) = ys_i, i = argmin ||x - xs_i||.

    "1-NN on normalised features" is ambiguous in the literature, and the choices give other accuracies:
    hence `standardise`. A tie goes to the source sample that comes first.

    Parameters
    ----------
    standardise : {"no", "source", "domain", "joint"}
        Scale each feature to mean 0 and variance 1: by the source's statistics in both domains, each domain by
        its own (which already aligns the domains), or both by those of the two together. A constant feature becomes 0.

    Raises
    ------
    UsageError
        `fit` is given weights: a nearest neighbour cannot weigh samples.

    References
    ----------
    T. Cover and P. Hart, "Nearest neighbor pattern classification", IEEE Transactions on Information
    Theory 13, 1967.

    Examples
    --------
    >>> Xs, ys, Xt = np.array([[0.0], [1.0]]), np.array([3, 7]), np.array([[10.2], [10.9]])
    >>> OneNN().fit(Xs, ys, Xt).predict(Xt)
    array([7, 7])
    >>> OneNN(standardise="domain").fit(Xs, ys, Xt).predict(Xt)
    array([3, 7])
    """

    def __init__(self, *, standardise: Standardise = "no") -> None:
        self.standardise = standardise

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        self.refuse(weights)
        source, self.scaler_ = standardisers(self.standardise, Xs, Xt)
        self.Xs_, self.ys_ = source.transform(Xs), ys
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        nearest: np.ndarray = pairwise_distances_argmin(self.scaler_.transform(X), self.Xs_)
        y: np.ndarray = self.ys_[nearest]
        return y
