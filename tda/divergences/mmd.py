"""The maximum mean discrepancy: the distance of the means of two samples in the space of a kernel."""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils import gen_batches

from tda.divergences.kernels import Kernel, bandwidth, gram, median_gamma


def mmd2(
    Xs: np.ndarray,
    Xt: np.ndarray,
    *,
    kernel: Kernel = "rbf",
    gamma: float | None = None,
    unbiased: bool = False,
    block: int = 2048,
) -> float:
    """Return the squared maximum mean discrepancy of two samples ::

        biased    1/ns^2      sum_ij  k(s_i, s_j)  +  1/nt^2      sum_ij  k(t_i, t_j)  -  2/(ns nt) sum_ij k(s_i, t_j)
        unbiased  1/ns(ns-1)  sum_i/=j k(s_i, s_j) +  1/nt(nt-1)  sum_i/=j k(t_i, t_j) -  2/(ns nt) sum_ij k(s_i, t_j)

    The biased one is the squared distance of the two means, never negative; the unbiased one has mean 0 where the
    distributions are the same. Kernel values are met `block` x `block` at a time: memory does not grow with n^2.

    Parameters
    ----------
    Xs : ndarray of shape (ns, d)
    Xt : ndarray of shape (nt, d)
    kernel : {"rbf", "linear"}
        ``linear`` compares the means of the features themselves.
    gamma : float, optional
        Of exp(-gamma ||x - y||^2); None is 1 / (2 median ||x - y||^2) over both samples together.
    unbiased : bool
        Leave the pairs of a row with itself aside. Needs two rows of each.
    block : int
        Rows met at a time.

    References
    ----------
    A. Gretton, K. M. Borgwardt, M. J. Rasch, B. Schoelkopf and A. Smola, "A kernel two-sample test", Journal of
    Machine Learning Research 13, 2012, equations 3 and 5.

    Examples
    --------
    >>> mmd2(np.array([[0.0], [2.0]]), np.array([[3.0], [5.0]]), kernel="linear")
    9.0
    """
    used = bandwidth(kernel, gamma, Xs, Xt)
    return _mmd2(lambda X, Y: gram(kernel, X, Y, used), Xs, Xt, unbiased, block)


def mk_mmd2(
    Xs: np.ndarray,
    Xt: np.ndarray,
    *,
    gammas: Sequence[float] | None = None,
    betas: Sequence[float] | None = None,
    unbiased: bool = False,
    block: int = 2048,
) -> float:
    """Return the squared MMD with a combination of RBF kernels, k = sum_u beta_u exp(-gamma_u ||x - y||^2).

    Parameters
    ----------
    Xs : ndarray of shape (ns, d)
    Xt : ndarray of shape (nt, d)
    gammas : sequence of float, optional
        None is the median heuristic times 1/4, 1/2, 1, 2 and 4.
    betas : sequence of float, optional
        Not negative; None is 1/m for each of m kernels, a convex combination. Ones give their sum.
    unbiased, block
        As in `mmd2`.

    Raises
    ------
    ValueError
        `gammas` and `betas` differ in number.

    References
    ----------
    A. Gretton, B. Sriperumbudur, D. Sejdinovic, H. Strathmann, S. Balakrishnan, M. Pontil and K. Fukumizu, "Optimal
    kernel choice for large-scale two-sample tests", NIPS 2012, equation 2; M. Long, Y. Cao, J. Wang and M. I. Jordan,
    "Learning transferable features with deep adaptation networks", ICML 2015, equation 2.
    """
    scales = median_gamma(Xs, Xt) * 2.0 ** np.arange(-2, 3) if gammas is None else np.asarray(gammas, dtype=float)
    shares = np.full(len(scales), 1 / len(scales)) if betas is None else np.asarray(betas, dtype=float)
    if len(scales) != len(shares):
        raise ValueError(f"betas: expected one for each of the {len(scales)} kernels, given {len(shares)}")

    def mixture(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
        squared = euclidean_distances(X, Y, squared=True)
        total: np.ndarray = np.zeros_like(squared)
        for gamma, beta in zip(scales, shares, strict=True):
            total += beta * np.exp(-gamma * squared)
        return total

    return _mmd2(mixture, Xs, Xt, unbiased, block)


def linear_time_mmd2(
    Xs: np.ndarray, Xt: np.ndarray, *, kernel: Kernel = "rbf", gamma: float | None = None, seed: int = 0
) -> float:
    """Return the unbiased estimate of the squared MMD from n/2 quadruples, n = min(ns, nt) rounded down to even ::

        2/n sum_i  k(s_2i-1, s_2i) + k(t_2i-1, t_2i) - k(s_2i-1, t_2i) - k(s_2i, t_2i-1)

    Its cost is O(n d); its variance is larger than that of `mmd2`. The quadruples are drawn at random without
    replacement, since rows in the order of their labels are no independent draws.

    Parameters
    ----------
    Xs : ndarray of shape (ns, d)
        Two rows at least, and of Xt.
    Xt : ndarray of shape (nt, d)
    kernel, gamma
        As in `mmd2`.
    seed : int
        Of the draw.

    References
    ----------
    A. Gretton et al., "A kernel two-sample test", Journal of Machine Learning Research 13, 2012, lemma 14.
    """
    used = bandwidth(kernel, gamma, Xs, Xt)
    draw = np.random.default_rng(seed)
    n = min(len(Xs), len(Xt)) // 2 * 2
    s, t = (X[draw.permutation(len(X))[:n]].astype(np.float64, copy=False) for X in (Xs, Xt))

    def each(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
        if kernel == "linear" or used is None:
            return np.asarray(np.einsum("ij,ij->i", X, Y))
        return np.asarray(np.exp(-used * np.einsum("ij,ij->i", X - Y, X - Y)))

    h = each(s[::2], s[1::2]) + each(t[::2], t[1::2]) - each(s[::2], t[1::2]) - each(s[1::2], t[::2])
    return float(np.mean(h))


def _mmd2(
    k: Callable[[np.ndarray, np.ndarray], np.ndarray], Xs: np.ndarray, Xt: np.ndarray, unbiased: bool, block: int
) -> float:
    """Return the squared MMD with the kernel k(X, Y), (n, d) and (m, d) to (n, m)."""
    Xs, Xt = (X.astype(np.float64, copy=False) for X in (Xs, Xt))
    parts = [[X[rows] for rows in gen_batches(len(X), block)] for X in (Xs, Xt)]
    discrepancy = -2 * sum(k(A, B).sum() for A in parts[0] for B in parts[1]) / (len(Xs) * len(Xt))
    for blocks, n in zip(parts, (len(Xs), len(Xt)), strict=True):
        total = 2 * sum(k(A, B).sum() for i, A in enumerate(blocks) for B in blocks[:i])
        for A in blocks:
            own = k(A, A)
            total += own.sum() - (np.trace(own) if unbiased else 0)
        discrepancy += total / (n * (n - 1) if unbiased else n**2)
    return float(discrepancy)
