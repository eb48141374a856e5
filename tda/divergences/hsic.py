"""The Hilbert-Schmidt independence criterion: how much two descriptions of the same samples depend on each other."""

import numpy as np

from tda.divergences.kernels import Kernel, bandwidth, gram


def hsic(
    X: np.ndarray,
    Y: np.ndarray,
    *,
    kernel: Kernel = "rbf",
    gamma_x: float | None = None,
    gamma_y: float | None = None,
    unbiased: bool = False,
) -> float:
    """Return the estimate of HSIC from n samples, with K and L the kernel matrices of X and Y and H = I - 11'/n ::

        biased    tr(K H L H) / (n - 1)^2
        unbiased  (tr(K~ L~) + 1'K~1 1'L~1 / ((n-1)(n-2)) - 2/(n-2) 1'K~ L~1) / (n (n-3))

    where K~ and L~ have zeros on the diagonal. 0 is for independence, with a kernel such as rbf only for it. Some texts
    leave out the factor 1/(n - 1)^2.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    Y : ndarray of shape (n, e)
        Row i describes the same sample as row i of X.
    kernel : {"rbf", "linear"}
        Of both; ``linear`` gives the squared norm of the cross-covariance of X and Y.
    gamma_x, gamma_y : float, optional
        Of exp(-gamma ||a - b||^2); None is the median heuristic of each.
    unbiased : bool
        Needs four rows.

    References
    ----------
    A. Gretton, O. Bousquet, A. Smola and B. Schoelkopf, "Measuring statistical dependence with Hilbert-Schmidt norms",
    ALT 2005, definition 2; L. Song, A. Smola, A. Gretton, J. Bedo and K. Borgwardt, "Feature selection via dependence
    maximization", Journal of Machine Learning Research 13, 2012, equation 5.
    """
    n = len(X)
    K, L = (gram(kernel, Z, Z, bandwidth(kernel, gamma, Z, Z[:0])) for Z, gamma in ((X, gamma_x), (Y, gamma_y)))
    if not unbiased:
        centred = K - K.mean(axis=0) - K.mean(axis=1, keepdims=True) + K.mean()
        return float(np.vdot(centred, L) / (n - 1) ** 2)
    for Z in (K, L):
        np.fill_diagonal(Z, 0)
    sums = K.sum(axis=1), L.sum(axis=1)
    product = sums[0].sum() * sums[1].sum() / ((n - 1) * (n - 2))
    return float((np.vdot(K, L) + product - 2 / (n - 2) * (sums[0] @ sums[1])) / (n * (n - 3)))
