"""KMM: kernel mean matching."""

import numpy as np
from pydantic import PositiveFloat

from tda.divergences.kernels import Kernel, bandwidth, gram, mean_similarity
from tda.methods.shallow.base import Reweighter, ShallowMethod
from tda.methods.shallow.bounded_qp import bounded_qp
from tda.ranges import PositiveBelowOne


class KMM(Reweighter):
    """Kernel mean matching: weigh the source so that its mean in feature space is the target's.

    The weights b of the ns source samples solve the quadratic programme ::

        min_b  1/2 b'K b - kappa'b     K_ij = k(xs_i, xs_j),  kappa_i = ns/nt sum_j k(xs_i, xt_j)
        s.t.   0 <= b_i <= B,  |sum_i b_i - ns| <= ns eps

    Most weights are 0 or B in the end: the search is for the few others, whose equations are linear. Where it finds no
    end, as it may where K is singular (the linear kernel's, or an rbf's of few features), an interior-point method
    takes over. Of a singular K many b are as good, and this is one of them: which, and with how large a sum, is not
    settled by the programme.

    Parameters
    ----------
    classifier : ShallowMethod
        A classifier whose ``fit`` honours `weights`; the paper's are support vector machines.
    kernel : {"rbf", "linear"}
        ``linear`` matches the means of the features themselves.
    gamma : float, optional
        Of exp(-gamma ||x - y||^2); None is 1 / (2 median ||x - y||^2) over both domains together.
    B : float
        Largest weight. The paper takes 1000, which hardly binds; 1 only ever takes samples away.
    eps : float in (0, 1), optional
        How far the mean weight may lie from 1; None is the paper's (sqrt(ns) - 1) / sqrt(ns).

    Attributes
    ----------
    weights_ : ndarray of shape (ns,)
        b.
    gamma_ : float or None
        The bandwidth in use.

    Raises
    ------
    ValueError
        B is below 1 - eps, so that no weights reach the least sum allowed; or no bandwidth can be found.
    RuntimeError
        The solver stopped before its tolerances were met.

    References
    ----------
    J. Huang, A. J. Smola, A. Gretton, K. M. Borgwardt and B. Schoelkopf, "Correcting sample selection bias
    by unlabeled data", NIPS 2006, equation 12; B and eps as in its experiments.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        kernel: Kernel = "rbf",
        gamma: PositiveFloat | None = None,
        B: PositiveFloat = 1000.0,
        eps: PositiveBelowOne | None = None,
    ) -> None:
        super().__init__(classifier=classifier)
        self.kernel = kernel
        self.gamma = gamma
        self.B = B
        self.eps = eps

    def weigh(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        ns = len(Xs)
        eps = (np.sqrt(ns) - 1) / np.sqrt(ns) if self.eps is None else self.eps
        self.gamma_ = bandwidth(self.kernel, self.gamma, Xs, Xt)
        return mean_matching(self.kernel, Xs, Xt, self.gamma_, B=self.B, eps=eps)


def mean_matching(
    kernel: Kernel, Xs: np.ndarray, Xt: np.ndarray, gamma: float | None, *, B: float, eps: float
) -> np.ndarray:
    """Return the weights b (ns,) of the programme of `KMM`, of the rows of Xs (ns, d) against those of Xt (nt, d).

    Raises
    ------
    ValueError
        No weights up to B have so large a sum.
    RuntimeError
        The solver stopped before its tolerances were met.
    """
    ns = len(Xs)
    if 1 - eps > B:
        raise ValueError(f"B: expected at least 1 - eps = {1 - eps:.4g}, given {B}; raise B")
    K = gram(kernel, Xs, Xs, gamma)
    kappa = ns * mean_similarity(kernel, Xs, Xt, gamma)
    return bounded_qp(K, kappa, upper=B, least=ns * (1 - eps), most=ns * (1 + eps))
