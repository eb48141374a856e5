"""Source selection: the source samples nearest to the target are kept, then a classifier is trained on them."""

from abc import abstractmethod

import numpy as np
from pydantic import NonNegativeInt, PositiveFloat

from tda.divergences.information import Gaussian
from tda.divergences.kernels import bandwidth, gram, mean_similarity
from tda.divergences.proxy import held_out_scores
from tda.methods.shallow.base import Reweighter, ShallowMethod
from tda.ranges import PositiveShare


class SourceSelection(Reweighter):
    """Keep the `keep` share of each class that is nearest to the target: weight 1, and 0 for the rest.

    The choice is made class by class, so that no class is lost and the class prior stays; it is made once, before the
    classifier is trained.

    Parameters
    ----------
    classifier : ShallowMethod
        A classifier whose ``fit`` honours `weights`.
    keep : float in (0, 1]
        Share of each class that is kept, rounded up.
    """

    def __init__(self, *, classifier: ShallowMethod, keep: PositiveShare = 0.5) -> None:
        super().__init__(classifier=classifier)
        self.keep = keep

    @abstractmethod
    def distance(self, Xs: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        """Return how far each source sample is from the target (ns,): the smallest are kept."""

    def weigh(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        far = self.distance(Xs.astype(np.float64, copy=False), Xt.astype(np.float64, copy=False))
        weights = np.zeros(len(Xs))
        for c in np.unique(ys):
            rows = np.flatnonzero(ys == c)
            nearest = np.argsort(far[rows], kind="stable")[: int(np.ceil(self.keep * len(rows)))]
            weights[rows[nearest]] = 1
        return weights


class MMDSelection(SourceSelection):
    """Source selection by MMD: the samples that a greedy search for the least MMD to the target takes first ::

        i_m+1 = argmin_i  || 1/(m+1) (phi(s_i) + sum_{j <= m} phi(s_ij)) - 1/nt sum_j phi(t_j) ||^2

    (kernel herding towards the target's mean, among the source samples, each taken once).

    Parameters
    ----------
    classifier : ShallowMethod
        A classifier whose ``fit`` honours `weights`.
    keep : float in (0, 1]
        Share of each class that is kept, rounded up.
    gamma : float, optional
        Of k(x, y) = exp(-gamma ||x - y||^2); None is 1 / (2 median ||x - y||^2) over both domains together.

    References
    ----------
    Y. Chen, M. Welling and A. Smola, "Super-samples from kernel herding", UAI 2010, equation 8; A. Gretton et al.,
    "A kernel two-sample test", Journal of Machine Learning Research 13, 2012.
    """

    def __init__(
        self, *, classifier: ShallowMethod, keep: PositiveShare = 0.5, gamma: PositiveFloat | None = None
    ) -> None:
        super().__init__(classifier=classifier, keep=keep)
        self.gamma = gamma

    def distance(self, Xs: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        gamma = bandwidth("rbf", self.gamma, Xs, Xt)
        return herding(gram("rbf", Xs, Xs, gamma), mean_similarity("rbf", Xs, Xt, gamma))


def herding(K: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the step (n,) at which a greedy search for the least MMD to a target takes each sample.

    With m samples taken, taking i changes (m + 1)^2 MMD^2 by K_ii + 2 sum_{j taken} K_ij - 2 (m + 1) target_i, apart
    from what is the same for every i.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        The kernel of the samples.
    target : ndarray of shape (n,)
        The mean similarity of each to the target's samples.
    """
    n = len(K)
    step = np.empty(n, dtype=np.int64)
    crowd = np.diag(K).copy()
    for m in range(n):
        i = int(np.argmin(crowd - 2 * (m + 1) * target))
        step[i] = m
        crowd += 2 * K[i]
        crowd[i] = np.inf
    return step


class CrossEntropySelection(SourceSelection):
    """Source selection by the difference of two cross-entropies, log p_s(x) - log p_t(x), the least first.

    p_s and p_t are the normal distributions fitted to the two domains, in the place of the paper's language models: a
    sample is near where the model of the target finds it likely and that of the source does not.

    Parameters
    ----------
    classifier : ShallowMethod
        A classifier whose ``fit`` honours `weights`.
    keep : float in (0, 1]
        Share of each class that is kept, rounded up.
    ridge : float
        Added to both covariances, as a part of their mean variance.

    References
    ----------
    R. C. Moore and W. Lewis, "Intelligent selection of language model training data", ACL 2010, section 2.
    """

    def __init__(self, *, classifier: ShallowMethod, keep: PositiveShare = 0.5, ridge: PositiveFloat = 1.0) -> None:
        super().__init__(classifier=classifier, keep=keep)
        self.ridge = ridge

    def distance(self, Xs: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        difference: np.ndarray = Gaussian.fit(Xs, self.ridge).log_density(Xs) - Gaussian.fit(
            Xt, self.ridge
        ).log_density(Xs)
        return difference


class ADistanceSelection(SourceSelection):
    """Source selection by the classifier of the proxy A-distance: the samples that it would rather call target.

    Each sample is scored by a linear classifier of the domains that was trained on the half of them without it.

    Parameters
    ----------
    classifier : ShallowMethod
        A classifier whose ``fit`` honours `weights`.
    keep : float in (0, 1]
        Share of each class that is kept, rounded up.
    ridge : float
        Of the classifier of the domains.
    seed : int
        Of the halves.

    References
    ----------
    S. Ben-David, J. Blitzer, K. Crammer and F. Pereira, "Analysis of representations for domain adaptation", NIPS 2006,
    section 4.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        keep: PositiveShare = 0.5,
        ridge: PositiveFloat = 0.1,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(classifier=classifier, keep=keep)
        self.ridge = ridge
        self.seed = seed

    def distance(self, Xs: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        scores, _ = held_out_scores(Xs, Xt, seed=self.seed, ridge=self.ridge)
        return scores
