"""PCA: principal components of both domains together."""

import numpy as np
from pydantic import PositiveInt
from sklearn.preprocessing import normalize

from tda.methods.shallow.base import Aligner, ShallowMethod
from tda.methods.shallow.tca import transfer_components


class PCA(Aligner):
    """Project both domains on the directions in which they vary most, taken together ::

        max_W  tr(W' X'H X W),   W'W = I,   Z = (X - 1 m') W

    with X the samples of both (n, d), m their mean, and H = I - 11'/n. Nothing draws the domains together: it is the
    control for TCA and JDA, which it is the limit of as their lam grows.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the components of the source.
    dim : int
        Number of components.
    unit_rows : bool
        Scale each sample to 2-norm 1 before.

    Attributes
    ----------
    components_ : ndarray of shape (d, dim)
        W, most important first, the entry of largest magnitude positive.
    mean_ : ndarray of shape (d,)
        m.

    Raises
    ------
    ValueError
        The data vary in fewer than `dim` directions.

    References
    ----------
    I. T. Jolliffe, "Principal component analysis", Springer, 2002, section 1.1; a baseline of M. Long, J. Wang,
    G. Ding, J. Sun and P. S. Yu, "Transfer feature learning with joint distribution adaptation", ICCV 2013,
    with dim = 100.
    """

    def __init__(self, *, classifier: ShallowMethod, dim: PositiveInt = 30, unit_rows: bool = False) -> None:
        super().__init__(classifier=classifier)
        self.dim = dim
        self.unit_rows = unit_rows

    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        X = self._rows(np.concatenate([Xs, Xt]))
        self.mean_ = X.mean(axis=0)
        self.components_, _ = transfer_components(X, np.zeros(len(X)), 1.0, self.dim)
        Z = (X - self.mean_) @ self.components_
        return Z[: len(Xs)], Z[len(Xs) :]

    def transform(self, X: np.ndarray) -> np.ndarray:
        Z: np.ndarray = (self._rows(X) - self.mean_) @ self.components_
        return Z

    def _rows(self, X: np.ndarray) -> np.ndarray:
        X64 = X.astype(np.float64, copy=False)
        unit: np.ndarray = normalize(X64) if self.unit_rows else X64
        return unit
