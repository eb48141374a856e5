"""Kernel matrices between two samples, and the bandwidth to give them when none is given."""

import os
from typing import Literal

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances, pairwise_kernels
from sklearn.utils import gen_batches

from tda.memory import remembered

Kernel = Literal["linear", "rbf"]
ROUNDING = 64 * np.finfo(float).eps  # of the squared norms: the squared distance that equal rows may show


def gram(kernel: Kernel, X: np.ndarray, Y: np.ndarray, gamma: float | None) -> np.ndarray:
    """Return the kernel matrix of the rows of X (n, d) and Y (m, d): (n, m), in double precision.

    ``linear`` is k(x, y) = x'y, which leaves `gamma` aside; ``rbf`` is k(x, y) = exp(-gamma ||x - y||^2).

    Raises
    ------
    ValueError
        The matrix is larger than this machine's memory.

    Examples
    --------
    >>> gram("linear", np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [0.0, 1.0]]), gamma=None)
    array([[11.,  2.]])
    """
    check_affordable(len(X), len(Y))
    X64 = X.astype(np.float64, copy=False)
    Y64 = X64 if Y is X else Y.astype(np.float64, copy=False)
    K: np.ndarray = pairwise_kernels(X64, Y64, metric=kernel, filter_params=True, gamma=gamma)
    return K


def squared_distances(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Return ||x - y||^2 of the rows of X (n, d) and Y (m, d): (n, m), in double precision.

    Raises
    ------
    ValueError
        The matrix is larger than this machine's memory.
    """
    check_affordable(len(X), len(Y))
    X64 = X.astype(np.float64, copy=False)
    Y64 = X64 if Y is X else Y.astype(np.float64, copy=False)
    D: np.ndarray = euclidean_distances(X64, Y64, squared=True)
    return D


def check_affordable(rows: int, columns: int) -> None:
    """Raise `ValueError` if a matrix of this shape, in double precision, is larger than this machine's memory."""
    needed, there = 8 * rows * columns, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise ValueError(
            f"a matrix of {rows} x {columns} pairs of samples takes {needed / 2**30:.0f} GiB, and this machine has "
            f"{there / 2**30:.0f}; take fewer samples, or a method without such a matrix (tca, jda, coral, gfk, sa)"
        )


def mean_similarity(
    kernel: Kernel, X: np.ndarray, Y: np.ndarray, gamma: float | None, *, block: int = 2048
) -> np.ndarray:
    """Return 1/m sum_j k(x_i, y_j) of each row of X (n, d) over the m rows of Y: (n,).

    Only `block` rows of Y are met at a time, so memory is n x `block` however large Y is.
    """
    total = np.zeros(len(X))
    for rows in gen_batches(len(Y), block):
        total += gram(kernel, X, Y[rows], gamma).sum(axis=1)
    return total / len(Y)


def median_gamma(X: np.ndarray, Y: np.ndarray, *, at_most: int = 1000) -> float:
    """Return 1 / (2 m), with m the median of ||a - b||^2 over the pairs of the rows of X and Y together.

    The median heuristic: exp(-gamma ||a - b||^2) is then exp(-1/2) at the median distance. From a sample
    larger than `at_most` that many rows are drawn, always the same ones.

    Raises
    ------
    ValueError
        More than half of the pairs coincide, so the median is 0.

    Examples
    --------
    >>> median_gamma(np.array([[0.0], [1.0]]), np.array([[3.0]]))  # distances 1, 2, 3
    0.125
    """
    draw = np.random.default_rng(0)
    thinned = [Z[draw.permutation(len(Z))[:at_most]] for Z in (X, Y)]
    both = np.concatenate(thinned)
    median = float(median_distance(both)[0])
    if median <= ROUNDING * np.square(both, dtype=np.float64).sum(axis=1).max():
        raise ValueError(
            f"median heuristic: expected samples that differ, given {sum(map(len, thinned))} of which at least half "
            "of the pairs coincide; set gamma"
        )
    return 1 / (2 * median)


def candidate_gammas(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Return the gammas (5,) that cross-validation chooses from: 1/16, 1/4, 1, 4 and 16 times `median_gamma`."""
    return median_gamma(X, Y) * 4.0 ** np.arange(-2, 3)


@remembered
def median_distance(X: np.ndarray) -> tuple[np.ndarray]:
    """Return the median of ||a - b||^2 over the pairs of the rows of X (n, d): ()."""
    squared = squared_distances(X, X)
    return (np.asarray(np.median(squared[np.triu_indices(len(X), k=1)])),)


def bandwidth(kernel: str, gamma: float | None, X: np.ndarray, Y: np.ndarray) -> float | None:
    """Return `gamma`, or the median heuristic where an RBF kernel is given none."""
    return median_gamma(X, Y) if kernel == "rbf" and gamma is None else gamma
