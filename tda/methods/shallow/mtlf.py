"""MTLF: metric transfer learning framework."""

import numpy as np
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from tda.methods.shallow.base import Aligner, ShallowMethod
from tda.methods.shallow.dtml import joint_axes
from tda.methods.shallow.ulsif import ULSIF

GROWTH = 1e3  # of ||A||_F over that of the identity: more is taken for a descent without end


class MTLF(Aligner):
    """Learn a Mahalanobis distance and the importance of each source sample together ::

        min_{A, w}  tr(A'A) + lam ||w - w0||^2 / ns + beta (same(A, w) - different(A, w))
        s.t.        w >= 0,  sum_i w_i = ns

    with same(A, w) the mean of w_i w_j ||A (x_i - x_j)||^2 over the pairs of source samples of one class,
    different(A, w) over those of different classes, and w0 the ratio of the target's density to the source's.

    A and w are moved in turn by gradient steps from the identity and w0: with a great beta the objective has no
    minimum, so that the number of steps regularises. The means over all pairs are sums over classes, at a cost
    of ns C dim. The features are first reduced to principal components, of mean variance 1.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the source in the metric; 1-NN in the paper.
    dim : int
        Number of principal components, of both domains together, each centred by its own mean.
    lam : float
        Weight of the distance of w from w0.
    beta : float
        Weight of the pairs.
    step, step_weights : float
        Of the descent in A, and in w (whose gradient is taken ns times).
    iterations : int
        Number of steps.
    seed : int
        Of the kernel centres of the density ratio.

    Attributes
    ----------
    components_ : ndarray of shape (d, dim)
        The principal components times A'.
    weights_ : ndarray of shape (ns,)
        w.

    Raises
    ------
    ValueError
        The data vary in fewer than `dim` directions, no source sample lies near the target, or A grows to
        `GROWTH` times the identity's norm: `beta` leaves the objective no minimum, or `step` is too long.

    Notes
    -----
    The paper draws 100 pairs, keeps w near its constraints by a penalty, and estimates w0 by relative density
    ratios; here all pairs count, w is clipped at 0 and rescaled, and w0 is that of uLSIF. The authors' program
    multiplies the sign of a pair in twice, which turns the pairs of different classes into attracting ones:
    the equations are followed. The defaults of `lam` and of the steps are those that its demo passes on, yet its
    initParam overwrites them: what runs there has lam 1e4, steps of 1e-4 and 1e-5, the sum over the 100 pairs in
    the place of the mean, and the features as they come, since the principal components are never used.

    References
    ----------
    Y. Xu, S. J. Pan, H. Xiong, Q. Wu, R. Luo, H. Min and H. Song, "A unified framework for metric transfer
    learning", IEEE Transactions on Knowledge and Data Engineering 29, 2017.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        dim: PositiveInt = 30,
        lam: NonNegativeFloat = 100.0,
        beta: NonNegativeFloat = 1.0,
        step: PositiveFloat = 1e-3,
        step_weights: PositiveFloat = 1e-4,
        iterations: PositiveInt = 100,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(classifier=classifier)
        self.dim = dim
        self.lam = lam
        self.beta = beta
        self.step = step
        self.step_weights = step_weights
        self.iterations = iterations
        self.seed = seed

    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        axes = joint_axes(Xs, Xt, self.dim)
        Us, A = Xs @ axes, np.eye(self.dim)
        classes = np.unique(ys, return_inverse=True)[1]
        prior = w = ULSIF(classifier=self.classifier, seed=self.seed).weigh(Us, ys, Xt @ axes)
        for _ in range(self.iterations):
            A = A - self.step * 2 * (A + self.beta * A @ contrast(Us, classes, w))
            if not np.linalg.norm(A) <= GROWTH * np.sqrt(self.dim):
                raise ValueError(
                    f"MTLF: the metric grows without end; lower beta (given {self.beta}), step (given {self.step}) or "
                    f"iterations (given {self.iterations})"
                )
            slope = len(w) * pull(Us @ A.T, classes, w)
            w = np.maximum(w - self.step_weights * (2 * self.lam * (w - prior) + self.beta * slope), 0)
            w *= len(w) / w.sum()
        self.weights_ = w
        self.components_ = axes @ A.T
        return self.transform(Xs), self.transform(Xt)

    def transform(self, X: np.ndarray) -> np.ndarray:
        Z: np.ndarray = X.astype(np.float64, copy=False) @ self.components_
        return Z


def contrast(X: np.ndarray, classes: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the mean of w_i w_j (x_i - x_j)(x_i - x_j)' over pairs of one class, minus that over the other pairs.

    The classes are 0 .. C-1 of the rows of X (n, d). The sum over all pairs of a set is twice
    sum(w) X'diag(w)X - (X'w)(X'w)' over its members: (d, d).
    """
    alike, unlike = numbers(classes)
    members = np.eye(classes.max() + 1)[classes].T * w  # (C, n)
    masses, sums = members.sum(axis=1), members @ X
    same = (X.T * (w * masses[classes])) @ X - sums.T @ sums
    every = masses.sum() * (X.T * w) @ X - np.outer(sums.sum(axis=0), sums.sum(axis=0))
    C: np.ndarray = 2 * (same / alike - (every - same) / unlike)
    return C


def pull(Z: np.ndarray, classes: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the derivatives by w (n,) of the trace of `contrast` of the rows of Z (n, d)."""
    alike, unlike = numbers(classes)
    members = np.eye(classes.max() + 1)[classes].T * w  # (C, n)
    squares = np.sum(Z**2, axis=1)
    to_class = np.outer(squares, members.sum(axis=1)) + members @ squares - 2 * Z @ (members @ Z).T  # (n, C)
    same = to_class[np.arange(len(Z)), classes]
    slope: np.ndarray = 2 * (same / alike - (to_class.sum(axis=1) - same) / unlike)
    return slope


def numbers(classes: np.ndarray) -> tuple[int, int]:
    """Return how many ordered pairs are of one class, and how many of two; 1 at least."""
    counts = np.bincount(classes)
    alike = int(np.sum(counts * (counts - 1)))
    return max(alike, 1), max(len(classes) * (len(classes) - 1) - alike, 1)
