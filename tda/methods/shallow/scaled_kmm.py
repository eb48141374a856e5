"""ScaledKMM: kernel mean matching whose weights multiply features, as the textbook's companion code has it."""

import numpy as np
from pydantic import PositiveFloat

from tda.divergences.kernels import Kernel, bandwidth
from tda.methods.shallow.base import Aligner, ShallowMethod, Standardise, standardisers
from tda.methods.shallow.kmm import mean_matching


class ScaledKMM(Aligner):
    """Multiply each source sample by its kernel mean matching weight, then classify ::

        min_b  1/2 b'K b - kappa'b     s.t.   0 <= b_i <= B,  |sum_i b_i - ns| <= ns eps
        Zs = diag(b) Xs,   Zt = Xt

    with K and kappa as in `KMM`. A nearest neighbour cannot weigh samples; scaled by b < 1 a sample is not less
    important but nearer to the origin, and so are all of its distances to the target changed. Where b is the same for
    all samples, which is so if K is near the identity, the whole source shrinks.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the scaled source; 1-NN in the textbook.
    kernel : {"linear", "rbf"}
        ``linear`` in the listing.
    gamma : float, optional
        Of exp(-gamma ||x - y||^2), 1 in the listing; None is 1 / (2 median ||x - y||^2) over both domains together.
    B : float
        Largest weight; 1 in the listing, which can only take weight away.
    standardise : {"no", "source", "domain", "joint"}
        What is done to the features first; see `OneNN`.

    Attributes
    ----------
    weights_ : ndarray of shape (ns,)
        b, with eps = B / sqrt(ns); from B = sqrt(ns) on the sum has no lower bound.

    References
    ----------
    J. Wang, Y. Chen. Introduction to transfer learning (in Chinese), 2021, section 5.4; the listing leaves out how 1-NN
    uses the weights, which is taken from its companion code.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        kernel: Kernel = "linear",
        gamma: PositiveFloat | None = 1.0,
        B: PositiveFloat = 1.0,
        standardise: Standardise = "no",
    ) -> None:
        super().__init__(classifier=classifier)
        self.kernel = kernel
        self.gamma = gamma
        self.B = B
        self.standardise = standardise

    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        source, self.scaler_ = standardisers(self.standardise, Xs, Xt)
        Zs, Zt = source.transform(Xs.astype(np.float64, copy=False)), self.transform(Xt)
        gamma = bandwidth(self.kernel, self.gamma, Zs, Zt)
        self.weights_ = mean_matching(self.kernel, Zs, Zt, gamma, B=self.B, eps=self.B / np.sqrt(len(Xs)))
        return self.weights_[:, None] * Zs, Zt

    def transform(self, X: np.ndarray) -> np.ndarray:
        Z: np.ndarray = self.scaler_.transform(X.astype(np.float64, copy=False))
        return Z
