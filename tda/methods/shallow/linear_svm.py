"""LinearSVM: a linear support vector machine."""

import warnings
from typing import Self

import numpy as np
from pydantic import PositiveFloat
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from tda.methods.shallow.base import ShallowMethod


class LinearSVM(ShallowMethod):
    """One linear support vector machine a class against the rest, with the squared hinge loss.

    For each class, with r_i = 1 for its source samples and -1 for the rest ::

        min_{w, b}  1/2 (||w||^2 + b^2) + C sum_i weights_i max(0, 1 - r_i (w'xs_i + b))^2

    and a sample goes to the class of the largest w'x + b. Features are taken as they come: the right C
    depends on their scale. liblinear descends on the dual, one variable a sample; where that does not
    converge, or samples far outnumber features, it takes Newton steps on the primal.

    Parameters
    ----------
    C : float
        Weight of the loss against the norm of w.

    Attributes
    ----------
    model_ : sklearn.svm.LinearSVC

    Raises
    ------
    ValueError
        Fewer than two classes have samples of positive weight.

    References
    ----------
    R.-E. Fan, K.-W. Chang, C.-J. Hsieh, X.-R. Wang and C.-J. Lin, "LIBLINEAR: a library for large linear
    classification", JMLR 9, 2008, equations 1 and 2.
    """

    def __init__(self, *, C: PositiveFloat = 1.0) -> None:
        self.C = C

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        if weights is not None:
            present = weights > 0
            Xs, ys, weights = Xs[present], ys[present], weights[present]
        n, d = Xs.shape
        converged, most = False, 10_000
        if n <= 9 * d:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                self.model_ = LinearSVC(C=self.C, dual=True, max_iter=most, random_state=0)
                self.model_.fit(Xs, ys, sample_weight=weights)
            converged = self.model_.n_iter_ < most
        if not converged:
            self.model_ = LinearSVC(C=self.C, dual=False).fit(Xs, ys, sample_weight=weights)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        y: np.ndarray = self.model_.predict(X)
        return y
