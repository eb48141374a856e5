"""DTML: transfer metric learning, of one linear layer."""

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt
from scipy.linalg import eigh
from sklearn.metrics import euclidean_distances

from tda.divergences.subspace import principal_subspace
from tda.methods.shallow.base import Aligner, ShallowMethod


class DTML(Aligner):
    """Bring neighbours of one class together and those of other classes apart, and the domains together ::

        J(W) = Sc - alpha Sb + beta D = tr(W'M W)

        Sc = 1/(ns k1) sum_ij P_ij ||W'(x_i - x_j)||^2    P_ij = 1 if x_j is one of the k1 nearest of x_i's class
        Sb = 1/(ns k2) sum_ij Q_ij ||W'(x_i - x_j)||^2    Q_ij = 1 if x_j is one of the k2 nearest of other classes
        D  = ||W'(mean of Xs - mean of Xt)||^2

    The paper trains layers of tanh by gradient descent from the identity. For one linear layer that descent has
    a closed form: with steps that go to 0, after t of it W = exp(-2 t M) = exp(-time M), which shrinks the directions
    that tell the domains or the samples of a class apart and stretches those that tell classes apart. (J itself has no
    minimum but 0 or none, and the paper's gamma ||W||^2 only multiplies W by a constant: no parameter here.) As in the
    paper the features are first reduced to principal components; those are scaled to a mean variance of 1.

    The textbook's transfer metric learning, J = Sc - alpha Sb + beta MMD, is this objective too.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the source in the metric.
    dim : int
        Number of principal components, of both domains together, each centred by its own mean.
    alpha : float
        Weight of the separation of classes.
    beta : float
        Weight of the distance of the domains.
    time : float
        Twice how long the descent goes on: 0 leaves the principal components as they are.
    k1, k2 : int
        Numbers of neighbours within a class and outside it; fewer where there are fewer.

    Attributes
    ----------
    components_ : ndarray of shape (d, dim)
        The principal components times W.

    Raises
    ------
    ValueError
        The data vary in fewer than `dim` directions.

    References
    ----------
    J. Hu, J. Lu and Y.-P. Tan, "Deep transfer metric learning", CVPR 2015, equations 3 to 8.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        dim: PositiveInt = 30,
        alpha: NonNegativeFloat = 0.1,
        beta: NonNegativeFloat = 10.0,
        time: NonNegativeFloat = 0.5,
        k1: PositiveInt = 5,
        k2: PositiveInt = 10,
    ) -> None:
        super().__init__(classifier=classifier)
        self.dim = dim
        self.alpha = alpha
        self.beta = beta
        self.time = time
        self.k1 = k1
        self.k2 = k2

    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        axes = joint_axes(Xs, Xt, self.dim)
        Us, Ut = Xs @ axes, Xt @ axes
        near, apart = neighbours(Us, ys, self.k1, self.k2)
        between = Us.mean(axis=0) - Ut.mean(axis=0)
        M = scatter(Us, near) - self.alpha * scatter(Us, apart) + self.beta * np.outer(between, between)
        values, vectors = eigh(M)
        self.components_ = axes @ (vectors * np.exp(-self.time * values))
        return self.transform(Xs), self.transform(Xt)

    def transform(self, X: np.ndarray) -> np.ndarray:
        Z: np.ndarray = X.astype(np.float64, copy=False) @ self.components_
        return Z


def joint_axes(Xs: np.ndarray, Xt: np.ndarray, dim: int) -> np.ndarray:
    """Return the principal components (d, dim) of both domains about their own means, for a mean variance of 1."""
    centred = np.concatenate([X - X.mean(axis=0, dtype=np.float64) for X in (Xs, Xt)])
    basis, variances = principal_subspace(centred, dim)
    axes: np.ndarray = basis / np.sqrt(variances.mean())
    return axes


def neighbours(X: np.ndarray, y: np.ndarray, k1: int, k2: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs (i, j), (2, m) each, of x_j one of the k1 nearest of x_i in its class, or k2 outside."""
    near: list[np.ndarray] = []
    apart: list[np.ndarray] = []
    for label in np.unique(y):
        inside, outside = np.flatnonzero(y == label), np.flatnonzero(y != label)
        for others, k, pairs in ((inside, k1 + 1, near), (outside, k2, apart)):
            if not len(others):  # a source of one class
                continue
            order = np.argsort(euclidean_distances(X[inside], X[others]), axis=1, kind="stable")[:, :k]
            pairs.append(np.stack([np.repeat(inside, order.shape[1]), others[order].ravel()]))
    within = np.hstack(near)
    return within[:, within[0] != within[1]], np.hstack(apart or [within[:, :0]])


def scatter(X: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the mean of (x_i - x_j)(x_i - x_j)' over the pairs (2, m): (d, d), in sums over the rows of X (n, d)."""
    n, m = len(X), pairs.shape[1]
    i, j = pairs
    degree = np.bincount(i, minlength=n) + np.bincount(j, minlength=n)
    partners = np.zeros_like(X)  # sum of x_j over the partners of i
    np.add.at(partners, i, X[j])
    cross = X.T @ partners
    C: np.ndarray = ((X.T * degree) @ X - cross - cross.T) / max(m, 1)
    return C
