"""Quadratic programmes between bounds, with a bounded sum."""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from tda.errors import UsageError

RIDGE = 1e-10  # of the mean of the diagonal, for a matrix that is just not singular, as where samples coincide


def bounded_qp(P: np.ndarray, q: np.ndarray, *, upper: float, least: float, most: float) -> np.ndarray:
    """Return the x of least 1/2 x'P x - q'x with 0 <= x <= upper and least <= sum(x) <= most.

    Raises
    ------
    UsageError
        P is singular, and cvxopt, which can solve such a programme, is not installed.
    RuntimeError
        Neither solver met its tolerances: P is not positive semi-definite, or badly scaled.
    """
    x = pivoted(P, q, upper=upper, least=least, most=most)
    if x is not None:
        return x
    try:
        from tda.methods.shallow.interior_point import interior
    except ImportError as absent:
        raise UsageError(
            "KMM: this kernel matrix is singular, and its programme needs cvxopt, which is not installed; "
            "pip install cvxopt, or set kernel=rbf with a larger gamma"
        ) from absent
    return interior(P, q, upper=upper, least=least, most=most)


def pivoted(
    P: np.ndarray, q: np.ndarray, *, upper: float, least: float, most: float, patience: int = 10
) -> np.ndarray | None:
    """Return the x that `bounded_qp` seeks, by block principal pivoting; None where P is singular or no end is seen.

    Each x_i is at 0, at `upper`, or free; the sum is held at `least`, at `most`, or free. The free x_i solve
    (P x - q)_i = mu, mu = 0 where the sum is free. All that then stand on the wrong side of a condition change over
    at once: a free x_i beyond its bounds, one at a bound that the slope P x - q - mu draws inwards, a sum beyond its
    bounds, one that mu draws inwards. Once none does, x is the answer. Pivoting ends after `patience` turns in which
    their number has not fallen below its least.

    J. J. Judice and F. M. Pires, "A block principal pivoting algorithm for large-scale strictly monotone linear
    complementarity problems", Computers and Operations Research 21, 1994; here with bounds above and on the sum.
    """
    n = len(q)
    ridge = RIDGE * float(np.mean(np.diag(P)))
    low, high = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    held: float | None = None
    fewest, left = n + 2, patience
    while left:
        free = np.flatnonzero(~(low | high))
        x, mu = np.where(high, upper, 0.0), 0.0
        try:
            within = P[np.ix_(free, free)]
            within[np.diag_indices_from(within)] += ridge
            factor = cho_factor(within.T, overwrite_a=True, check_finite=False)
        except LinAlgError:
            return None
        x[free] = cho_solve(factor, q[free] - upper * P[np.ix_(free, high)].sum(axis=1))
        if held is not None and len(free):
            along = cho_solve(factor, np.ones(len(free)))
            mu = (held - x.sum()) / along.sum()
            x[free] += mu * along
        slope = P @ x + ridge * x - q - mu
        slack, flat = 1e-10 * np.abs(x).max(), 1e-10 * np.abs(q).max()
        if np.abs(slope[free]).max(initial=0) > 1e4 * flat:
            return None
        under, over = x < -slack, x > upper + slack
        inwards = (low & (slope < -flat)) | (high & (slope > flat))
        total = x.sum()
        if held is None:
            turned = least if total < least - n * slack else most if total > most + n * slack else None
        else:
            turned = None if (mu < 0 if held == least else mu > 0) else held
        wrong = int(np.sum(under | over | inwards)) + (turned != held)
        if not wrong:
            met = least - n * slack <= total <= most + n * slack  # not where the sum is held and no x is free
            return np.clip(x, 0, upper) if met else None
        fewest, left = (wrong, patience) if wrong < fewest else (fewest, left - 1)
        low, high, held = (low | under) & ~inwards, (high | over) & ~inwards, turned
    return None
