"""KLIEP: importance weights by the least Kullback-Leibler divergence."""

import numpy as np
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from scipy.optimize import fmin_l_bfgs_b

from tda.divergences.kernels import candidate_gammas, squared_distances
from tda.methods.shallow.base import Reweighter, ShallowMethod
from tda.ranges import AtLeastTwo

TINY = np.finfo(float).tiny
PRECISION = 1e-8  # of the slopes: the objective is flat, and weights would be left wrong by a tenth
RESTARTS = 10  # a search that rounding has ended goes on from where it is


class KLIEP(Reweighter):
    """Model the density ratio as w(x) = sum_l alpha_l exp(-gamma ||x - c_l||^2), and make p_t log-likely under w p_s ::

        max_alpha  1/nt sum_j log w(xt_j)    s.t.  alpha >= 0,  1/ns sum_i w(xs_i) = 1

    which is the least KL(p_t || w p_s). The centres c_l are target samples. The constraint on the mean is met without
    being imposed by the minimum of 1/ns sum_i w(xs_i) - 1/nt sum_j log w(xt_j), which L-BFGS-B finds.

    Parameters
    ----------
    classifier : ShallowMethod
        A classifier whose ``fit`` honours `weights`.
    centres : int
        Target samples drawn as centres, at most.
    gamma : float, optional
        None is, of 1/16, 1/4, 1, 4 and 16 times the median heuristic, the one with the largest mean log w of held-out
        target samples; no label is needed.
    folds : int
        Parts of the target that are held out in turn for that; 2 or more.
    seed : int
        Of the draw of centres and of the folds.

    Attributes
    ----------
    weights_ : ndarray of shape (ns,)
        Of mean 1.
    gamma_ : float
        The bandwidth in use.

    Raises
    ------
    ValueError
        No source sample is near enough to a centre to have a weight.

    References
    ----------
    M. Sugiyama, T. Suzuki, S. Nakajima, H. Kashima, P. von Buenau and M. Kawanabe, "Direct importance estimation for
    covariate shift adaptation", Annals of the Institute of Statistical Mathematics 60, 2008, equation 9 and figure 1;
    centres and folds as in section 2.3 and its experiments.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        centres: PositiveInt = 100,
        gamma: PositiveFloat | None = None,
        folds: AtLeastTwo = 5,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(classifier=classifier)
        self.centres = centres
        self.gamma = gamma
        self.folds = folds
        self.seed = seed

    def weigh(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        order = np.random.default_rng(self.seed).permutation(len(Xt))
        chosen = Xt[order[: self.centres]]
        to_source, to_target = squared_distances(Xs, chosen), squared_distances(Xt, chosen)[order]
        folds = min(self.folds, len(Xt))
        fold = np.arange(len(Xt)) % folds

        def held_out(gamma: float) -> float:
            target, mean = np.exp(-gamma * to_target), np.exp(-gamma * to_source).mean(axis=0)
            if mean.min() < TINY:
                return -np.inf
            parts = [(target[fold != f], target[fold == f]) for f in range(folds)]
            return float(np.mean([np.mean(_log(test @ mixture(kept, mean))) for kept, test in parts]))

        self.gamma_ = float(max(candidate_gammas(Xs, Xt), key=held_out)) if self.gamma is None else self.gamma
        source = np.exp(-self.gamma_ * to_source)
        weights: np.ndarray = source @ mixture(np.exp(-self.gamma_ * to_target), source.mean(axis=0))
        return weights


def _log(w: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.maximum(w, TINY)))


def mixture(target: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the alpha >= 0 (b,) of least mean'alpha - average(log(target alpha)); then mean'alpha is 1.

    Parameters
    ----------
    target : ndarray of shape (n, b)
        The kernel of the target samples and the centres.
    mean : ndarray of shape (b,)
        The mean kernel of the source samples and each centre.

    Raises
    ------
    ValueError
        A mean is 0, or too small to divide by.
    """
    if mean.min() < TINY:
        raise ValueError(
            "KLIEP: expected source samples near every centre, given one far from all; lower gamma, or leave out the "
            "target's outliers"
        )
    A = target / mean

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        w = np.maximum(A @ theta, TINY)
        return theta.sum() - np.mean(np.log(w)), 1 - A.T @ (1 / w) / len(A)

    theta = np.full(A.shape[1], 1 / A.shape[1])
    for _ in range(RESTARTS):
        theta, _, _ = fmin_l_bfgs_b(
            objective, theta, bounds=[(0, None)] * len(theta), factr=0, pgtol=PRECISION, maxiter=2000
        )
        slope = objective(theta)[1]
        if np.abs(np.where(theta > 0, slope, np.minimum(slope, 0))).max() <= PRECISION:
            break
    alpha: np.ndarray = theta / theta.sum() / mean
    return alpha
