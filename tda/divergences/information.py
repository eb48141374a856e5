"""Divergences of information theory: of discrete distributions, of normal fits to samples, and of labels."""

from typing import NamedTuple, Self

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.special import entr, logsumexp, rel_entr


def kl(p: np.ndarray, q: np.ndarray) -> float:
    """Return KL(p || q) = sum_i p_i log(p_i / q_i) in nats; infinite where a p_i > 0 has q_i = 0.

    Parameters
    ----------
    p : ndarray of shape (m,)
        Probabilities, or counts: they are divided by their sum.
    q : ndarray of shape (m,)

    References
    ----------
    S. Kullback and R. A. Leibler, "On information and sufficiency", Annals of Mathematical Statistics 22, 1951.

    Examples
    --------
    >>> round(kl(np.array([1, 1]), np.array([1, 3])), 4)  # log(2/1)/2 + log(2/3)/2
    0.1438
    """
    return float(np.sum(rel_entr(p / np.sum(p), q / np.sum(q))))


def js(p: np.ndarray, q: np.ndarray) -> float:
    """Return the Jensen-Shannon divergence KL(p || m)/2 + KL(q || m)/2 with m = (p + q)/2: from 0 to log 2 nats.

    Parameters
    ----------
    p : ndarray of shape (m,)
        Probabilities, or counts: they are divided by their sum.
    q : ndarray of shape (m,)

    References
    ----------
    J. Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 37, 1991.
    """
    p, q = p / np.sum(p), q / np.sum(q)
    middle = (p + q) / 2
    return (kl(p, middle) + kl(q, middle)) / 2


class Gaussian(NamedTuple):
    """A normal distribution N(mean, C), C = root root'.

    Parameters
    ----------
    mean : ndarray of shape (d,)
    root : ndarray of shape (d, d)
        The lower Cholesky factor of C.
    """

    mean: np.ndarray
    root: np.ndarray

    @classmethod
    def fit(cls, X: np.ndarray, ridge: float = 1e-3) -> Self:
        """Fit the rows of X (n, d): C is their covariance plus `ridge` times its mean variance on the diagonal.

        Raises
        ------
        ValueError
            The rows are all the same.
        """
        X64 = X.astype(np.float64, copy=False)
        mean = X64.mean(axis=0)
        centred = X64 - mean
        C = centred.T @ centred / len(X64)
        variance = np.trace(C) / len(C)
        if not np.ptp(X, axis=0).any():
            raise ValueError(f"a normal distribution: expected rows that differ, given {len(X)} of the same")
        C[np.diag_indices_from(C)] += ridge * variance
        return cls(mean, cholesky(C, lower=True))

    def log_density(self, X: np.ndarray) -> np.ndarray:
        """Return log N(x; mean, C) of each row of X (n, d): (n,)."""
        white = solve_triangular(self.root, (X - self.mean).T, lower=True)  # (d, n)
        density: np.ndarray = -0.5 * (np.sum(white**2, axis=0) + len(self.mean) * np.log(2 * np.pi)) - self._log_volume
        return density

    @property
    def _log_volume(self) -> float:
        return float(np.sum(np.log(np.diag(self.root))))


def gaussian_kl(Xs: np.ndarray, Xt: np.ndarray, *, ridge: float = 1e-3) -> float:
    """Return KL(N(ms, Cs) || N(mt, Ct)) in nats of the normal fits to two samples ::

        1/2 (tr(Ct^-1 Cs) + (mt - ms)' Ct^-1 (mt - ms) - d + log det Ct - log det Cs)

    Parameters
    ----------
    Xs : ndarray of shape (ns, d)
    Xt : ndarray of shape (nt, d)
    ridge : float
        Added to both covariances, as a part of their mean variance. Where there are not many more rows than features,
        the value depends on it more than on the samples.

    References
    ----------
    S. Kullback, "Information theory and statistics", Wiley, 1959, chapter 9.
    """
    s, t = Gaussian.fit(Xs, ridge), Gaussian.fit(Xt, ridge)
    white = solve_triangular(t.root, np.column_stack([s.root, t.mean - s.mean]), lower=True)
    return float(0.5 * (np.sum(white**2) - len(s.mean)) + t._log_volume - s._log_volume)


def gaussian_js(Xs: np.ndarray, Xt: np.ndarray, *, ridge: float = 1e-3, draws: int = 2000, seed: int = 0) -> float:
    """Return an estimate of the Jensen-Shannon divergence of the normal fits to two samples, from 0 to log 2 nats ::

        1/2 E_s log(2 s(x) / (s(x) + t(x))) + 1/2 E_t log(2 t(x) / (s(x) + t(x)))

    which has no closed form: the means are over `draws` draws from each, the same whenever the seed is.

    Parameters
    ----------
    Xs : ndarray of shape (ns, d)
    Xt : ndarray of shape (nt, d)
    ridge : float
        As in `gaussian_kl`.
    draws : int
        From each; the standard error is below log(2) / sqrt(draws), and falls with the divergence.
    seed : int
        Of the draws.
    """
    fits = Gaussian.fit(Xs, ridge), Gaussian.fit(Xt, ridge)
    draw = np.random.default_rng(seed)
    total = 0.0
    for own, other in (fits, fits[::-1]):
        x = own.mean + draw.standard_normal((draws, len(own.mean))) @ own.root.T
        both = np.stack([own.log_density(x), other.log_density(x)])
        total += float(np.mean(np.log(2) + both[0] - logsumexp(both, axis=0)))
    return float(np.clip(total / 2, 0, np.log(2)))


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Return I(a; b) = KL(joint || product of margins) in nats of two labellings of the same samples.

    Parameters
    ----------
    a : ndarray of shape (n,)
        Any labels.
    b : ndarray of shape (n,)

    References
    ----------
    T. M. Cover and J. A. Thomas, "Elements of information theory", Wiley, 1991, section 2.3.

    Examples
    --------
    >>> round(mutual_information(np.array([3, 3, 7, 7]), np.array([0, 0, 1, 1])), 4)  # log 2
    0.6931
    """
    (rows, i), (columns, j) = (np.unique(labels, return_inverse=True) for labels in (a, b))
    joint = np.bincount(i * len(columns) + j, minlength=len(rows) * len(columns)).reshape(len(rows), -1)
    return kl(joint, np.outer(joint.sum(axis=1), joint.sum(axis=0)))


def prediction_information(P: np.ndarray) -> float:
    """Return the mutual information of a sample and its predicted class, H(mean_i P_i) - mean_i H(P_i), in nats.

    Large where each prediction is certain and the classes are used evenly; no label is needed.

    Parameters
    ----------
    P : ndarray of shape (n, C)
        The probabilities of the classes of each sample.

    References
    ----------
    J. S. Bridle, A. J. R. Heading and D. J. C. MacKay, "Unsupervised classifiers, mutual information and 'phantom
    targets'", NIPS 1991, equation 2.

    Examples
    --------
    >>> round(prediction_information(np.eye(2)), 4), prediction_information(np.full((3, 2), 0.5))
    (0.6931, 0.0)
    """
    return float(np.sum(entr(P.mean(axis=0))) - np.mean(np.sum(entr(P), axis=1)))
