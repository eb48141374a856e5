"""JGSA: joint geometrical and statistical alignment."""

from copy import deepcopy

import numpy as np
from pydantic import PositiveFloat, PositiveInt
from scipy.linalg import block_diag, solve
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import svd_flip

from tda.divergences.subspace import leading
from tda.methods.shallow.base import Aligner, ShallowMethod
from tda.methods.shallow.jda import conditional, marginal


class JGSA(Aligner):
    """A projection for each domain, A and B, that differ little and align means while classes stay apart ::

        max  mu |B'St B| + beta |A'Sb A|
        ----------------------------------------------------------------------
             |A'Xs' - B'Xt'|^2_M + beta |A'Sw A| + lam |A - B|^2 + mu |B|^2

    where |.| is the trace, St the scatter of the target, Sb and Sw those of the source between and within classes,
    and M JDA's matrix of the means, C M_0 + sum_c M_c, over the Frobenius norm of C M_0 alone, as in the authors' code.
    The target's classes are first those that the classifier predicts from the features, and then from their
    projections.

    With W = [A; B] (2d, dim) it is the problem N N'W = (D + E E') W R: N has a column for each direction in
    which the target or the classes vary, and E has C + 1. In the eigenvectors of Sw, D consists of a 2 x 2 block for
    each of them, so that D^-1 costs nothing, and an iteration is a symmetric eigenproblem of the order of N's columns,
    N'D^-1 N less a term of rank C + 1.

    Parameters
    ----------
    classifier : ShallowMethod
        Guesses the target's classes in each iteration, and predicts in the end.
    dim : int
        Columns of A and of B; the paper's k.
    lam : float
        Weight of the difference of A and B; alpha in the authors' code.
    mu : float
        Weight of the target's variance.
    beta : float
        Weight of the source's classes.
    iterations : int
        The paper's T.
    unit_rows : bool
        Scale each sample to 2-norm 1 first, as the authors do.

    Attributes
    ----------
    source_components_, target_components_ : ndarray of shape (d, dim)
        A and B, the columns of [A; B] of 2-norm 1.

    Raises
    ------
    ValueError
        The target and the source's classes vary in fewer than `dim` directions.

    References
    ----------
    J. Zhang, W. Li and P. Ogunbona, "Joint geometrical and statistical alignment for visual domain adaptation",
    CVPR 2017, Algorithm 1: JGSA primal.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        dim: PositiveInt = 30,
        lam: PositiveFloat = 1.0,
        mu: PositiveFloat = 1.0,
        beta: PositiveFloat = 0.1,
        iterations: PositiveInt = 10,
        unit_rows: bool = True,
    ) -> None:
        super().__init__(classifier=classifier)
        self.dim = dim
        self.lam = lam
        self.mu = mu
        self.beta = beta
        self.iterations = iterations
        self.unit_rows = unit_rows

    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        Xs, Xt = self._rows(Xs), self._rows(Xt)
        classes = np.unique(ys, return_inverse=True)[1]
        counts = np.bincount(classes)
        means = np.stack([Xs[classes == c].mean(axis=0) for c in range(len(counts))])
        within, centred = Xs - means[classes], Xt - Xt.mean(axis=0)
        spread, Q = spread_axes(within)
        between = np.sqrt(self.beta * counts)[:, None] * (means - Xs.mean(axis=0))  # (C, d)
        varying = np.sqrt(self.mu) * (
            centred if len(Xt) <= Xt.shape[1] else np.linalg.qr(centred, mode="r")
        )  # (min(nt, d), d)
        blocks = Q.T @ between.T, Q.T @ varying.T
        N = block_diag(*blocks)
        first = self.lam + self.beta * spread
        Y = solved(first, self.lam, self.lam + self.mu, N)
        ratio = np.concatenate([block.T @ half for block, half in zip(blocks, np.split(Y, 2), strict=True)])  # N'Y
        Zs, Zt = Xs, Xt
        guesses = np.zeros(0)
        for _ in range(self.iterations):
            last, guesses = guesses, deepcopy(self.classifier).fit(Zs, classes, Zt).predict(Zt)
            if np.array_equal(guesses, last):  # and so would all that follow
                break
            e = marginal(len(Xs), len(Xt))[:, None] * np.sqrt(len(counts))
            E = np.hstack([e, conditional(classes, guesses)])
            E /= np.linalg.norm(e)
            gap = np.concatenate([Q.T @ (Xs.T @ E[: len(Xs)]), Q.T @ (Xt.T @ E[len(Xs) :])])  # (2d, C + 1)
            closing = solved(first, self.lam, self.lam + self.mu, gap)
            across = N.T @ closing
            inner = np.eye(E.shape[1]) + gap.T @ closing
            _, u = leading(ratio - across @ solve(inner, across.T, assume_a="pos"), self.dim)
            W = Y @ u - closing @ solve(inner, across.T @ u, assume_a="pos")
            W, _ = svd_flip(W / np.linalg.norm(W, axis=0), None)
            A, B = np.split(W, 2)
            self.source_components_, self.target_components_ = Q @ A, Q @ B
            Zs, Zt = Xs @ self.source_components_, Xt @ self.target_components_
        return Zs, Zt

    def transform(self, X: np.ndarray) -> np.ndarray:
        Z: np.ndarray = self._rows(X) @ self.target_components_
        return Z

    def _rows(self, X: np.ndarray) -> np.ndarray:
        X = X.astype(np.float64, copy=False)
        return normalize(X) if self.unit_rows else X


def spread_axes(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues (d,) of X'X and all its orthonormal eigenvectors (d, d), X (n, d).

    Of fewer rows than columns, X X' gives those with variance, and a QR decomposition completes the basis.
    """
    n, d = X.shape
    if d <= n:
        squared, Q = np.linalg.eigh(X.T @ X)
        return np.maximum(squared, 0), Q
    squared, vectors = np.linalg.eigh(X @ X.T)
    real = np.flatnonzero(squared > squared[-1] * d * np.finfo(float).eps)[::-1]
    Q = np.linalg.qr(X.T @ vectors[:, real], mode="complete")[0]
    return np.pad(squared[real], (0, d - len(real))), Q


def solved(a: np.ndarray, b: float, c: float, Y: np.ndarray) -> np.ndarray:
    """Return D^-1 Y for Y (2d, k) and D = [diag(a), -b I; -b I, c I] of a (d,), by the inverse of its 2 x 2 blocks."""
    top, bottom = np.split(Y, 2)
    a = a[:, None]
    scaled: np.ndarray = np.concatenate([c * top + b * bottom, b * top + a * bottom]) / np.tile(a * c - b**2, (2, 1))
    return scaled
