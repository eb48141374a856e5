"""The proxy A-distance: how well a linear classifier tells two samples apart."""

import numpy as np
from scipy.linalg import solve


def a_distance(Xs: np.ndarray, Xt: np.ndarray, *, seed: int = 0, at_most: int = 1000, ridge: float = 0.1) -> float:
    """Return 2 (1 - 2 err) in [0, 2], err the held-out error of a linear classifier between the two samples.

    0 is for samples that it tells apart no better than by chance (worse counts as chance), 2 for samples that it
    never confuses. err is the mean of the error rates in the two samples, so that they are not "apart" for being
    of unequal size; each half of them is judged by the classifier that was trained on the other half, which is
    ridge regression to +1 and -1 where each sample has half of the total weight ::

        min_w  sum_i a_i (w'(x_i - m) - y_i)^2 + lam ||w||^2     a_i = 1/2ns or 1/2nt,  m = sum_i a_i x_i

    solved by the smaller of its two normal equations. lam is `ridge` times the mean of the min(n, d) largest
    eigenvalues of sum_i a_i (x_i - m)(x_i - m)': the scale of the features is of no matter. From fewer than two
    rows nothing can be held out: there is no evidence that such samples differ, and the distance is 0.

    Parameters
    ----------
    Xs : ndarray of shape (ns, d)
    Xt : ndarray of shape (nt, d)
    seed : int
        Of the halves, and of the rows drawn.
    at_most : int
        Rows drawn from a larger sample. With 1000 of each, err has a standard error below 0.012.
    ridge : float
        Strength of the penalty.

    References
    ----------
    S. Ben-David, J. Blitzer, K. Crammer and F. Pereira, "Analysis of representations for domain adaptation",
    NIPS 2006, sections 4 and 5; S. Ben-David, J. Blitzer, K. Crammer, A. Kulesza, F. Pereira and J. Wortman
    Vaughan, "A theory of learning from different domains", Machine Learning 79, 2010, lemma 2, where the
    error rates of the two samples are summed as here. (In some texts err is the hinge loss.)

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3))
    >>> a_distance(X[:100], X[100:] + 9)
    2.0
    >>> a_distance(X[:100], X[100:]) < 0.5
    True
    """
    if min(len(Xs), len(Xt)) < 2:
        return 0.0
    draw = np.random.default_rng(seed)
    drawn = (X[draw.permutation(len(X))[:at_most]] for X in (Xs, Xt))
    source, target = held_out_scores(*drawn, seed=seed, ridge=ridge)
    wrong = [np.mean(scores < 0) + 0.5 * np.mean(scores == 0) for scores in (source, -target)]
    return 2 * (1 - 2 * min(float(np.mean(wrong)), 0.5))


def held_out_scores(
    Xs: np.ndarray, Xt: np.ndarray, *, seed: int = 0, ridge: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Return w'(x - m) of each row of Xs and of Xt, with the m and w learned from the halves without that row.

    Parameters
    ----------
    Xs : ndarray of shape (ns, d)
        Two rows at least, and of Xt.
    Xt : ndarray of shape (nt, d)
    seed : int
        Of the halves.
    ridge : float
        As in `a_distance`.

    Returns
    -------
    ndarray of shape (ns,), ndarray of shape (nt,)
        Positive where the row looks like one of Xs.
    """
    draw = np.random.default_rng(seed)
    samples = [X.astype(np.float64, copy=False) for X in (Xs, Xt)]
    second = [draw.permutation(len(X)) % 2 == 1 for X in samples]
    scores = [np.empty(len(X)) for X in samples]
    for half in (False, True):
        middle, w = _ridge(*(X[part != half] for X, part in zip(samples, second, strict=True)), ridge=ridge)
        for X, part, into in zip(samples, second, scores, strict=True):
            into[part == half] = (X[part == half] - middle) @ w
    return scores[0], scores[1]


def _ridge(Xs: np.ndarray, Xt: np.ndarray, *, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Return m (d,) and w (d,) of the balanced ridge regression to +1 on Xs and -1 on Xt."""
    middle = (Xs.mean(axis=0) + Xt.mean(axis=0)) / 2
    root = np.sqrt(np.repeat([0.5 / len(Xs), 0.5 / len(Xt)], [len(Xs), len(Xt)]))
    A = root[:, None] * (np.concatenate([Xs, Xt]) - middle)  # (n, d)
    b = root * np.repeat([1.0, -1.0], [len(Xs), len(Xt)])
    variance = float(np.vdot(A, A))
    if variance == 0:
        return middle, np.zeros_like(middle)
    damping = ridge * variance / min(A.shape) * np.eye(min(A.shape))
    if A.shape[1] <= A.shape[0]:
        w: np.ndarray = solve(A.T @ A + damping, A.T @ b, assume_a="pos")
    else:
        w = A.T @ solve(A @ A.T + damping, b, assume_a="pos")
    return middle, w
