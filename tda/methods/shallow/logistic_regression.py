"""LogisticRegression: the multinomial logistic model."""

from typing import Self

import numpy as np
from pydantic import PositiveFloat
from sklearn import linear_model

from tda.methods.shallow.base import ShallowMethod, weighted


class LogisticRegression(ShallowMethod):
    """Multinomial logistic regression, p(c | x) proportional to exp(w_c'x + b_c) ::

        min_{w, b}  1/2 sum_c ||w_c||^2 - C sum_i weights_i log p(ys_i | xs_i)

    found by L-BFGS in double precision, so near the minimum that rounding, which no two processors do alike, does not
    show in what is predicted. Features are taken as they come: the right C depends on their scale.

    Parameters
    ----------
    C : float
        Weight of the likelihood against the norm of w; b is not penalised.

    Attributes
    ----------
    model_ : sklearn.linear_model.LogisticRegression

    Raises
    ------
    ValueError
        Fewer than two classes have samples of positive weight.

    References
    ----------
    D. R. Cox, "The regression analysis of binary sequences", Journal of the Royal Statistical Society B 20,
    1958; D. C. Liu and J. Nocedal, "On the limited memory BFGS method for large scale optimization",
    Mathematical Programming 45, 1989.
    """

    def __init__(self, *, C: PositiveFloat = 1.0) -> None:
        self.C = C

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        Xs, ys, weights = weighted(Xs, ys, weights)
        self.model_ = linear_model.LogisticRegression(C=self.C, tol=1e-6, max_iter=10_000)
        self.model_.fit(Xs, ys, sample_weight=weights)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        y: np.ndarray = self.model_.predict(X)
        return y
