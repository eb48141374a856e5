"""LinearSVM: a linear support vector machine."""

from typing import Self

import numpy as np
from pydantic import PositiveFloat
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from tda.divergences.kernels import gram
from tda.methods.shallow.base import ShallowMethod, weighted

FOLDS = 2


class LinearSVM(ShallowMethod):
    """One linear support vector machine for each pair of classes, and a vote.

    For classes a and b, with r_i = 1 for the source samples of a and -1 for those of b ::

        min_{w, b}  1/2 ||w||^2 + C sum_i weights_i max(0, 1 - r_i (w'xs_i + b))

    solved in the dual by LIBSVM on the Gram matrix of the source, which is formed once: time and memory do not
    depend on the number of features after that. The source's mean is subtracted first: b is free, so that the machine
    is the same, and LIBSVM loses no digits to an offset. Else features are taken as they come: the right C depends on
    their scale.

    Parameters
    ----------
    C : float or list of float
        Weight of the loss against the norm of w. Of several, the one with the best accuracy, weighted as the samples
        are, in a cross-validation on the source, in `FOLDS` stratified folds; the least of equals.

    Attributes
    ----------
    model_ : sklearn.svm.SVC
    mean_ : ndarray of shape (d,)
        Of the source samples of positive weight.
    C_ : float
        The weight in use.

    Raises
    ------
    ValueError
        Fewer than two classes have samples of positive weight.

    References
    ----------
    C.-C. Chang and C.-J. Lin, "LIBSVM: a library for support vector machines", ACM Transactions on Intelligent Systems
    and Technology 2, 2011, equations 1 and 2.
    """

    def __init__(self, *, C: PositiveFloat | list[PositiveFloat] = 1.0) -> None:
        self.C = C

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        Xs, ys, weights = weighted(Xs, ys, weights)
        self.mean_ = Xs.mean(axis=0)
        self.Xs_ = Xs - self.mean_
        K = gram("linear", self.Xs_, self.Xs_, None)
        self.C_ = self.C if not isinstance(self.C, list) else best(sorted(self.C), K, ys, weights)
        self.model_ = SVC(C=self.C_, kernel="precomputed").fit(K, ys, sample_weight=weights)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        y: np.ndarray = self.model_.predict(gram("linear", X - self.mean_, self.Xs_, None))
        return y


def best(choices: list[float], K: np.ndarray, ys: np.ndarray, weights: np.ndarray | None) -> float:
    """Return the C of best cross-validated accuracy on samples with kernel matrix K (ns, ns) and classes ys (ns,)."""
    w = np.ones(len(ys)) if weights is None else weights
    shares = np.zeros(len(choices))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(K, ys):
        taught, asked = K[np.ix_(train, train)], K[np.ix_(test, train)]
        for at, C in enumerate(choices):
            model = SVC(C=C, kernel="precomputed").fit(taught, ys[train], sample_weight=w[train])
            shares[at] += np.average(model.predict(asked) == ys[test], weights=w[test])
    return choices[int(np.argmax(shares))]
