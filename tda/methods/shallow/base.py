"""The three shapes of a shallow method: a classifier, an aligner before one, a reweighter before one."""

from abc import ABC, abstractmethod
from copy import deepcopy
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from tda.errors import UsageError

Standardise = Literal["no", "source", "domain", "joint"]
Scaler: TypeAlias = StandardScaler | FunctionTransformer


def standardisers(how: Standardise, Xs: np.ndarray, Xt: np.ndarray) -> tuple[Scaler, Scaler]:
    """Return the scalers of source and target rows to mean 0 and variance 1; a constant feature becomes 0.

    ``source`` scales both by the source's statistics, ``joint`` both by those of the two together, ``domain`` each by
    its own, ``no`` neither.
    """
    if how == "no":
        return FunctionTransformer(), FunctionTransformer()
    both = np.concatenate([Xs, Xt]) if how == "joint" else Xs
    return StandardScaler().fit(both), StandardScaler().fit(Xt if how == "domain" else both)


def weighted(
    Xs: np.ndarray, ys: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return the samples of positive weight, in double precision, and their weights: all where none are given."""
    if weights is not None:
        present = weights > 0
        Xs, ys, weights = Xs[present], ys[present], weights[present]
    return Xs.astype(np.float64, copy=False), ys, weights


def check_weights(weights: np.ndarray, made_by: str, samples: int) -> None:
    """Raise a ValueError unless weights are finite and not negative, one for each source sample, and not all 0."""
    if weights.shape != (samples,) or weights.dtype.kind not in "biuf":
        what = f"{weights.dtype} of shape {weights.shape}"
    elif not np.isfinite(weights).all():
        what = f"{np.count_nonzero(~np.isfinite(weights))} that are infinite or no number"
    elif weights.min() < 0:
        what = f"{np.count_nonzero(weights < 0)} below 0"
    elif not weights.any():
        what = "nothing but 0"
    else:
        return
    raise ValueError(
        f"{made_by} returned {what}; expected a weight of 0 or more for each of {samples} source samples, not all 0"
    )


class ShallowMethod(ABC):
    """A method on feature matrices. ``__init__`` only assigns; what is learned ends in ``_``."""

    @abstractmethod
    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        """Learn from source features (ns, d), source labels (ns,) and target features (nt, d).

        `weights` (ns,), where given, are the importance of each source sample.
        """

    @abstractmethod
    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the class of each row of the target features X (n, d)."""

    def refuse(self, weights: np.ndarray | None) -> None:
        """Raise `UsageError` if there are `weights`; for methods that take none."""
        if weights is not None:
            raise UsageError(
                f"{type(self).__name__} cannot weigh samples; choose a classifier that can: "
                "LinearSVM, LogisticRegression"
            )


class Aligner(ShallowMethod):
    """Maps both domains to where they look alike, then classifies there.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the aligned source and predicts the aligned target; 1-NN in most papers.

    Attributes
    ----------
    aligned_ : tuple of ndarray
        What `align` returned.
    """

    def __init__(self, *, classifier: ShallowMethod) -> None:
        self.classifier = classifier

    @abstractmethod
    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the aligned source Zs (ns, k) and target Zt (nt, k)."""

    @abstractmethod
    def transform(self, X: np.ndarray) -> np.ndarray:
        """Map target samples X (n, d), seen in `align` or not, as `align` mapped the target: (n, k)."""

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        aligned: Any = self.align(Xs, ys, Xt)
        if not isinstance(aligned, tuple | list) or len(aligned) != 2:
            what = f"{len(aligned)} parts" if isinstance(aligned, tuple | list) else type(aligned).__name__
            raise TypeError(f"{type(self).__name__}.align returned {what}; expected two, the aligned source and target")
        Zs, Zt = aligned
        self.aligned_ = Zs, Zt
        if (len(Zs), len(Zt)) != (len(Xs), len(Xt)):
            raise ValueError(
                f"{type(self).__name__}.align returned {len(Zs)} source and {len(Zt)} target rows; expected a row for "
                f"each of {len(Xs)} and {len(Xt)} samples"
            )
        self.classifier_ = deepcopy(self.classifier).fit(Zs, ys, Zt, weights)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.classifier_.predict(self.transform(X))


class Reweighter(ShallowMethod):
    """Weighs the source samples so that they resemble the target, then trains a weighted classifier.

    Parameters
    ----------
    classifier : ShallowMethod
        A classifier whose ``fit`` honours `weights`.
    """

    def __init__(self, *, classifier: ShallowMethod) -> None:
        self.classifier = classifier

    @abstractmethod
    def weigh(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        """Return the non-negative importance of each source sample (ns,)."""

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        if weights is not None:
            raise UsageError(
                f"{type(self).__name__} makes weights itself, and takes none; choose a classifier that takes them: "
                "LinearSVM, LogisticRegression"
            )
        self.weights_ = np.asarray(self.weigh(Xs, ys, Xt))
        check_weights(self.weights_, f"{type(self).__name__}.weigh", len(Xs))
        self.classifier_ = deepcopy(self.classifier).fit(Xs, ys, Xt, self.weights_)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.classifier_.predict(X)
