"""LabelPropagation: source labels spread over a graph of both domains."""

from typing import Self

import numpy as np
from pydantic import PositiveFloat, PositiveInt
from scipy.sparse import block_array, csr_array, diags_array, eye_array
from scipy.sparse.linalg import cg
from sklearn.metrics import pairwise_distances_argmin
from sklearn.neighbors import NearestNeighbors

from tda.divergences.kernels import bandwidth
from tda.memory import remembered
from tda.methods.shallow.base import ShallowMethod, weighted
from tda.ranges import PositiveBelowOne

FLOOR = 1e-150  # of an edge's weight: a sample far from all others is still someone's neighbour


class LabelPropagation(ShallowMethod):
    """Let each sample take its label from its neighbours, and the source keep to its own ::

        min_F  1/2 sum_ij W_ij ||F_i/sqrt(D_i) - F_j/sqrt(D_j)||^2 + (1/alpha - 1) sum_i ||F_i - Y_i||^2

    whose solution is F = (1 - alpha)(I - alpha S)^-1 Y, S = D^-1/2 W D^-1/2. Y (n, C) has one 1 in the rows of the
    source and none in those of the target; W_ij = exp(-gamma ||x_i - x_j||^2) where j is one of the k samples of its
    domain that are nearest to i, or i to j, and D_i = sum_j W_ij. (The paper takes the nearest of all samples, of which
    hardly any is from the other domain where the domains are apart.) No such W_ij is below 1e-150. W is sparse: each
    class is one system, solved by conjugate gradients. A target sample takes the largest entry of its row of F, and one
    not seen in `fit` what the nearest target sample took.

    Parameters
    ----------
    k : int
        Neighbours of each sample in each domain.
    alpha : float in (0, 1)
        How far labels spread. The paper's 0.99 is for a handful of labelled samples; from a whole labelled domain it
        hands the target to the few classes with most links across.
    class_mass : bool
        Scale each column of F over the target to the class's share of the source before the largest is taken.
    gamma : float, optional
        None is 1 / (2 median ||x - y||^2) over both domains together.

    Attributes
    ----------
    scores_ : ndarray of shape (nt, C)
        The rows of F / (1 - alpha) of the target, with `class_mass` scaled by column.
    gamma_ : float
        The bandwidth in use.

    References
    ----------
    D. Zhou, O. Bousquet, T. N. Lal, J. Weston and B. Schoelkopf, "Learning with local and global consistency", NIPS
    2003, equations 2 to 4. The class mass is that of X. Zhu, Z. Ghahramani and J. Lafferty, "Semi-supervised learning
    using Gaussian fields and harmonic functions", ICML 2003, equation 9. The default k and alpha are scikit-learn's.
    """

    def __init__(
        self,
        *,
        k: PositiveInt = 7,
        alpha: PositiveBelowOne = 0.2,
        gamma: PositiveFloat | None = None,
        class_mass: bool = False,
    ) -> None:
        self.k = k
        self.alpha = alpha
        self.gamma = gamma
        self.class_mass = class_mass

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        Xs, ys, weights = weighted(Xs, ys, weights)
        classes, labels = np.unique(ys, return_inverse=True)
        ns, self.Xt_ = len(Xs), Xt.astype(np.float64, copy=False)
        self.gamma_ = bandwidth("rbf", self.gamma, Xs, Xt)
        S = normalised(neighbours(Xs, self.Xt_, self.k, self.gamma_))
        Y = np.zeros((S.shape[0], len(classes)))
        Y[np.arange(ns), labels] = 1 if weights is None else weights
        system = csr_array(eye_array(len(Y)) - self.alpha * S)
        self.scores_ = np.column_stack([cg(system, y, rtol=1e-8)[0] for y in Y.T])[ns:]  # (nt, C)
        if self.class_mass:
            share, mass = Y.sum(axis=0) / Y.sum(), self.scores_.sum(axis=0)
            self.scores_ *= np.divide(share, mass, out=np.ones_like(mass), where=mass > 0)
        self.labels_ = classes[self.scores_.argmax(axis=1)]
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        nearest = pairwise_distances_argmin(X.astype(np.float64, copy=False), self.Xt_)
        y: np.ndarray = self.labels_[nearest]
        return y


def neighbours(Xs: np.ndarray, Xt: np.ndarray, k: int, gamma: float | None) -> csr_array:
    """Return W (n, n), symmetric: exp(-gamma ||x_i - x_j||^2) where one is of its domain's k nearest to the other.

    Parameters
    ----------
    Xs : ndarray of shape (ns, d)
        Two rows at least, and of Xt; where there are fewer than k + 1, all are neighbours.
    Xt : ndarray of shape (nt, d)
    k : int
    gamma : float, optional
        None is 0.
    """
    n = len(Xs) + len(Xt)
    far, columns, starts = links(Xs, Xt, k)
    W = csr_array((np.maximum(np.exp(-(gamma or 0) * far**2), FLOOR), columns, starts), shape=(n, n))
    return W.maximum(W.T)


@remembered
def links(Xs: np.ndarray, Xt: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how far each sample's k nearest in either domain are, by compressed rows: data, columns, starts."""
    indices = [(X, NearestNeighbors(n_neighbors=min(k, len(X) - 1)).fit(X)) for X in (Xs, Xt)]
    blocks = [[of.kneighbors_graph(None if X is Y else X, mode="distance") for Y, of in indices] for X in (Xs, Xt)]
    joint = csr_array(block_array(blocks))
    return joint.data, joint.indices, joint.indptr


def normalised(W: csr_array) -> csr_array:
    """Return D^-1/2 W D^-1/2, D the sums of the rows of W."""
    root = diags_array(1 / np.sqrt(W.sum(axis=1)))
    return csr_array(root @ W @ root)
