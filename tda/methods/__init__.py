"""The zoo: shallow methods work on features, deep methods train a network."""

from typing import Protocol, Self

import numpy as np


class Estimator(Protocol):
    """What the runner asks of a method. There is no slot for target labels."""

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> Self:
        """Learn from labelled source samples and unlabelled target samples."""

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the class of each target sample."""
