"""Distances of the moments of two samples: covariances (CORAL) and central moments of each feature (CMD)."""

import numpy as np


def coral_distance(Xs: np.ndarray, Xt: np.ndarray) -> float:
    """Return 1/(4 d^2) ||cov(Xs) - cov(Xt)||_F^2, the loss of Deep CORAL.

    With A the centred rows of both samples, each over the square root of its sample's n - 1, and J = diag(1, -1) by
    sample, cov(Xs) - cov(Xt) = A'JA; where there are fewer rows than features its norm comes from G = AA', as
    ||A'JA||_F^2 = sum_ij J_ii J_jj G_ij^2.

    Parameters
    ----------
    Xs : ndarray of shape (ns, d)
        Two rows at least, and of Xt.
    Xt : ndarray of shape (nt, d)

    References
    ----------
    B. Sun and K. Saenko, "Deep CORAL: correlation alignment for deep domain adaptation", ECCV workshops 2016,
    equation 1.

    Examples
    --------
    >>> round(coral_distance(np.array([[0.0], [2.0]]), np.array([[1.0], [3.0], [5.0]])), 9)  # variances 2 and 4
    1.0
    """
    sizes, d = (len(Xs), len(Xt)), Xs.shape[1]
    centred = [X.astype(np.float64, copy=False) - X.mean(axis=0, dtype=np.float64) for X in (Xs, Xt)]
    A = np.concatenate([X / np.sqrt(len(X) - 1) for X in centred])
    signs = np.repeat([1.0, -1.0], sizes)
    if d <= len(A):
        squared = np.sum((A.T @ (signs[:, None] * A)) ** 2)
    else:
        squared = np.maximum(signs @ (A @ A.T) ** 2 @ signs, 0)
    return float(squared / (4 * d**2))


def cmd(Xs: np.ndarray, Xt: np.ndarray, *, order: int = 5, span: float = 1.0) -> float:
    """Return the central moment discrepancy of two samples of features in an interval of length b - a ::

        1/(b-a) ||E[s] - E[t]|| + sum_{k=2..order} 1/(b-a)^k ||c_k(s) - c_k(t)||,   c_k(x) = E[(x - E[x])^k]

    with powers taken feature by feature, so that cross-moments are left aside.

    Parameters
    ----------
    Xs : ndarray of shape (ns, d)
    Xt : ndarray of shape (nt, d)
    order : int
        Highest moment; the paper's K, 5 there.
    span : float
        b - a; the paper's features are sigmoids, in an interval of length 1. Where features go further, high moments
        outweigh the low ones unless it is raised.

    References
    ----------
    W. Zellinger, T. Grubinger, E. Lughofer, T. Natschlaeger and S. Saminger-Platz, "Central moment discrepancy (CMD)
    for domain-invariant representation learning", ICLR 2017, definition 2 and equation 11.

    Examples
    --------
    >>> cmd(np.array([[0.0], [1.0]]), np.array([[0.0], [0.0], [1.0], [1.0]]) + 0.25)
    0.25
    """
    source, target = (X.astype(np.float64, copy=False) for X in (Xs, Xt))
    means = source.mean(axis=0), target.mean(axis=0)
    centred = source - means[0], target - means[1]
    total = np.linalg.norm(means[0] - means[1]) / span
    powers = centred
    for k in range(2, order + 1):
        powers = powers[0] * centred[0], powers[1] * centred[1]
        total += np.linalg.norm(powers[0].mean(axis=0) - powers[1].mean(axis=0)) / span**k
    return float(total)
