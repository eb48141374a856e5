"""RBFSVM: a support vector machine with a Gaussian kernel."""

from typing import Self

import numpy as np
from pydantic import PositiveFloat
from sklearn.svm import SVC

from tda.divergences.kernels import bandwidth, gram
from tda.methods.shallow.base import ShallowMethod, weighted


class RBFSVM(ShallowMethod):
    """One support vector machine for each pair of classes, and a vote, with k(x, y) = exp(-gamma ||x - y||^2).

    For classes a and b, with r_i = 1 for the source samples of a and -1 for those of b ::

        max_alpha  sum_i alpha_i - 1/2 sum_ij alpha_i alpha_j r_i r_j k(xs_i, xs_j)
        s.t.       0 <= alpha_i <= C weights_i,   sum_i alpha_i r_i = 0

    solved by LIBSVM on the kernel matrix of the source, which is formed once.

    Parameters
    ----------
    C : float
        Weight of the loss against the norm. The default does better than 1 in cross-validation on the source for the
        classic features, whose kernel values are much alike.
    gamma : float, optional
        None is 1 / (2 median ||x - y||^2) over the source samples, so that the scale of the features is of no matter.

    Attributes
    ----------
    model_ : sklearn.svm.SVC
    gamma_ : float
        The bandwidth in use.

    Raises
    ------
    ValueError
        Fewer than two classes have samples of positive weight.

    References
    ----------
    C. Cortes and V. Vapnik, "Support-vector networks", Machine Learning 20, 1995; C.-C. Chang and C.-J. Lin, "LIBSVM: a
    library for support vector machines", ACM Transactions on Intelligent Systems and Technology 2, 2011, equation 2.
    """

    def __init__(self, *, C: PositiveFloat = 10.0, gamma: PositiveFloat | None = None) -> None:
        self.C = C
        self.gamma = gamma

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        X, ys, weights = weighted(Xs, ys, weights)
        self.gamma_ = bandwidth("rbf", self.gamma, X, X[:0])
        self.model_ = SVC(C=self.C, kernel="precomputed")
        self.model_.fit(gram("rbf", X, X, self.gamma_), ys, sample_weight=weights)
        self.Xs_ = X
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        y: np.ndarray = self.model_.predict(gram("rbf", X, self.Xs_, self.gamma_))
        return y
