"""The ratio of two densities from a classifier that tells samples of the one from those of the other."""

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

PENALTIES = (1e-4, 1e-2, 1.0)
CLOSELY: dict[str, Any] = {"tol": 1e-8, "max_iter": 10_000}  # ratios are exponentials: else they are wrong by a tenth


def density_ratio(source: np.ndarray, target: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the density of the target over that of the source, estimated by a domain classifier ::

        w(x) = pt(x) / ps(x) = ns/nt * J(target | x) / J(source | x)

    J is a logistic regression on features of mean 0 and variance 1. Its penalty C is, of `PENALTIES`, that of the
    least log-loss on a fifth of the samples that it was not fitted on; it is then fitted on them all.

    The textbook calls the source d = 0 and the target d = 1 and writes ns/nt * J(d=0)/J(d=1), which is the ratio upside
    down: with the labels 1 for the source and 0 for the target of the authors' code the formula is right.

    Parameters
    ----------
    source : ndarray of shape (ns, d)
    target : ndarray of shape (nt, d)
    at : ndarray of shape (n, d)
        Where to evaluate the ratio.

    Returns
    -------
    ndarray of shape (n,)

    References
    ----------
    S. Bickel, M. Brueckner, T. Scheffer. Discriminative learning for differing training and test distributions.
    ICML 2007; K. You, X. Wang, M. Long, M. I. Jordan. Towards accurate model selection in deep unsupervised domain
    adaptation. ICML 2019, algorithm 1.
    """
    X = np.concatenate([source, target]).astype(np.float64)
    is_target = np.repeat([0, 1], [len(source), len(target)])
    scaler = StandardScaler().fit(X)
    X = scaler.transform(X)
    tried = np.random.default_rng(0).permutation(len(X)) % 5 == 0

    def log_odds(C: float, rows: np.ndarray, of: np.ndarray) -> np.ndarray:
        fitted = LogisticRegression(C=C, **CLOSELY).fit(X[rows], is_target[rows])
        odds: np.ndarray = fitted.decision_function(of)
        return odds

    def log_loss(C: float) -> float:
        sign = 1 - 2 * is_target[tried]
        return float(np.mean(np.logaddexp(0, sign * log_odds(C, ~tried, X[tried]))))

    everything = np.ones(len(X), dtype=bool)
    chosen = log_odds(min(PENALTIES, key=log_loss), everything, scaler.transform(at.astype(np.float64)))
    ratio: np.ndarray = len(source) / len(target) * np.exp(chosen)
    return ratio
