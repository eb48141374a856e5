"""ULSIF: importance weights by unconstrained least squares."""

import numpy as np
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from scipy.linalg import eigh

from tda.divergences.kernels import candidate_gammas, squared_distances
from tda.methods.shallow.base import Reweighter, ShallowMethod

RIDGES = 10.0 ** np.arange(-3, 2)


class ULSIF(Reweighter):
    """Fit the density ratio w(x) = sum_l alpha_l exp(-gamma ||x - c_l||^2) by least squares ::

        min_alpha  1/2 alpha'H alpha - h'alpha + ridge/2 alpha'alpha
        H = 1/ns sum_i k(xs_i) k(xs_i)',   h = 1/nt sum_j k(xt_j)

    with k(x) the kernel of x and each centre, and negative entries of the solution (H + ridge I)^-1 h then set to 0.
    The centres c_l are target samples. gamma and ridge are those of the least squared error, 1/2 w(xs_i)^2 - w(xt_i),
    of the pairs (xs_i, xt_i) left out one by one, which has a closed form; no label is needed. The weights are divided
    by their mean, which is 1 for a density ratio and below it for the fit where the domains are far apart: so the
    weighted classifier's own C keeps its meaning.

    Parameters
    ----------
    classifier : ShallowMethod
        A classifier whose ``fit`` honours `weights`.
    centres : int
        Target samples drawn as centres, at most.
    gamma : float, optional
        None is chosen from 1/16, 1/4, 1, 4 and 16 times the median heuristic.
    ridge : float, optional
        None is chosen from 0.001, 0.01, 0.1, 1 and 10.
    seed : int
        Of the draw of centres and of the pairs.

    Attributes
    ----------
    weights_ : ndarray of shape (ns,)
        Of mean 1.
    gamma_, ridge_ : float
        In use.

    Raises
    ------
    ValueError
        Every weight is 0.

    References
    ----------
    T. Kanamori, S. Hido and M. Sugiyama, "A least-squares approach to direct importance estimation", Journal of Machine
    Learning Research 10, 2009, equations 7 and 16, section 3.3 and figure 2.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        centres: PositiveInt = 100,
        gamma: PositiveFloat | None = None,
        ridge: PositiveFloat | None = None,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(classifier=classifier)
        self.centres = centres
        self.gamma = gamma
        self.ridge = ridge
        self.seed = seed

    def weigh(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        if len(Xt) < 2 or len(Xs) < 2:
            raise ValueError(f"ULSIF: expected two samples of each domain at least, given {len(Xs)} and {len(Xt)}")
        draw = np.random.default_rng(self.seed)
        orders = [draw.permutation(len(X)) for X in (Xs, Xt)]
        chosen = Xt[orders[1][: self.centres]]
        to_source, to_target = squared_distances(Xs, chosen), squared_distances(Xt, chosen)
        gammas = candidate_gammas(Xs, Xt) if self.gamma is None else np.array([self.gamma])
        ridges = RIDGES if self.ridge is None else np.array([self.ridge])
        best = np.inf
        for gamma in gammas:
            Ks, Kt = np.exp(-gamma * to_source[orders[0]]), np.exp(-gamma * to_target[orders[1]])
            for ridge, error in zip(ridges, left_out_errors(Ks, Kt, ridges), strict=True):
                if error < best:
                    best, self.gamma_, self.ridge_ = error, float(gamma), float(ridge)
        Ks, Kt = np.exp(-self.gamma_ * to_source), np.exp(-self.gamma_ * to_target)
        regular = Ks.T @ Ks / len(Ks) + self.ridge_ * np.eye(len(chosen))
        weights: np.ndarray = Ks @ np.maximum(np.linalg.solve(regular, Kt.mean(axis=0)), 0)
        if not weights.any():
            raise ValueError("ULSIF: expected source samples near the target, given none with a weight; lower gamma")
        weights /= weights.mean()
        return weights


def left_out_errors(Ks: np.ndarray, Kt: np.ndarray, ridges: np.ndarray) -> np.ndarray:
    """Return for each ridge the mean of 1/2 w_i(xs_i)^2 - w_i(xt_i), w_i learned without the pair i.

    Without x = k(xs_i) and y = k(xt_i), H' = (ns H - x x')/(ns - 1) and h' = (nt h - y)/(nt - 1), so that with
    B = H + ridge (ns - 1)/ns I ::

        (H' + ridge I)^-1 h' = (ns - 1)/ns  (B^-1 h' + B^-1 x (x'B^-1 h') / (ns - x'B^-1 x))

    for which one eigenvalue decomposition of H serves every ridge.

    Parameters
    ----------
    Ks : ndarray of shape (ns, b)
        The kernel of the source samples and the centres; its row i and that of Kt are the pair i.
    Kt : ndarray of shape (nt, b)
    ridges : ndarray of shape (r,)
    """
    ns, nt = len(Ks), len(Kt)
    n = min(ns, nt)
    values, vectors = eigh(Ks.T @ Ks / ns)
    x, y = Ks[:n], Kt[:n]
    rest = (Kt.sum(axis=0) - y) / (nt - 1)  # (n, b): h' of each pair
    errors = []
    for ridge in ridges:
        inverse = vectors / (values + ridge * (ns - 1) / ns) @ vectors.T
        solved, along = rest @ inverse, x @ inverse
        pull = np.sum(along * rest, axis=1) / (ns - np.sum(along * x, axis=1))
        alpha = np.maximum(solved + along * pull[:, None], 0) * (ns - 1) / ns
        errors.append(np.mean(np.sum(x * alpha, axis=1) ** 2 / 2 - np.sum(y * alpha, axis=1)))
    return np.array(errors)
