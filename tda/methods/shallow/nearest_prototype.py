"""NearestPrototype: the nearest class mean."""

from typing import Literal, Self

import numpy as np
from sklearn.metrics import pairwise_distances_argmin
from sklearn.preprocessing import normalize

from tda.methods.shallow.base import ShallowMethod, weighted


class NearestPrototype(ShallowMethod):
    """Give each target sample the class whose mean is nearest ::

        y(x) = argmin_c ||x - p_c||,   p_c = sum_{ys_i = c} weights_i xs_i / sum_{ys_i = c} weights_i

    Parameters
    ----------
    metric : {"euclidean", "cosine"}
        ``cosine`` scales each sample, and each mean of such samples, to 2-norm 1: the largest cosine wins.

    Attributes
    ----------
    prototypes_ : ndarray of shape (C, d)
        p_c.
    classes_ : ndarray of shape (C,)

    References
    ----------
    T. Mensink, J. Verbeek, F. Perronnin and G. Csurka, "Distance-based image classification: generalizing to new
    classes at near-zero cost", IEEE Transactions on Pattern Analysis and Machine Intelligence 35, 2013, equation 6.

    Examples
    --------
    >>> Xs, ys, Xt = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 9.0]]), np.array([4, 4, 7]), np.array([[2.0, 3.0]])
    >>> NearestPrototype().fit(Xs, ys, Xt).predict(Xt), NearestPrototype(metric="cosine").fit(Xs, ys, Xt).predict(Xt)
    (array([4]), array([7]))
    """

    def __init__(self, *, metric: Literal["euclidean", "cosine"] = "euclidean") -> None:
        self.metric = metric

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        X, ys, weights = weighted(Xs, ys, weights)
        share = np.ones(len(X)) if weights is None else weights
        X = self._rows(X)
        self.classes_ = np.unique(ys)
        of_class = [np.flatnonzero(ys == c) for c in self.classes_]
        self.prototypes_ = self._rows(np.stack([share[rows] @ X[rows] / share[rows].sum() for rows in of_class]))
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        nearest = pairwise_distances_argmin(self._rows(X.astype(np.float64, copy=False)), self.prototypes_)
        y: np.ndarray = self.classes_[nearest]
        return y

    def _rows(self, X: np.ndarray) -> np.ndarray:
        unit: np.ndarray = normalize(X) if self.metric == "cosine" else X
        return unit
