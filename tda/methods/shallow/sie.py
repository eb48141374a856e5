"""SIE: statistically invariant embedding."""

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from tda.divergences.kernels import median_gamma
from tda.divergences.subspace import principal_subspace
from tda.methods.shallow.base import Aligner, ShallowMethod


class SIE(Aligner):
    """The subspace in which the densities of the domains have the least Hellinger distance ::

        min_W  H(X W)   s.t.   W'W = I,       H = int (sqrt s(z) - sqrt t(z))^2 dz

    a distance on the manifold of densities, unlike the maximum mean discrepancy. The densities s and t are
    kernel estimates, and H the mean over the source plus the mean over the target of
    1 - 2 sqrt(s(z) t(z)) / (s(z) + t(z)). H depends on the span of W only: it is lowered by gradient steps on the
    Grassmann manifold from the joint principal components, each step halved until H falls.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the embedded source.
    dim : int
        Dimension of the subspace.
    gamma : float, optional
        Of the kernel exp(-gamma ||x - y||^2); None is 1 / (2 median ||x - y||^2) at the start.
    iterations : int
        Number of steps at most. One costs a few kernel matrices of both domains together.
    step : float
        Length of the first step tried, an angle in radians; an accepted step is tried twice as long next.

    Attributes
    ----------
    components_ : ndarray of shape (d, dim)
        W.
    path_ : list of float
        H at the start and after each step.

    Raises
    ------
    ValueError
        The data vary in fewer than `dim` directions, or the kernel matrix would not fit in memory.

    References
    ----------
    M. Baktashmotlagh, M. T. Harandi, B. C. Lovell and M. Salzmann, "Domain adaptation on the statistical
    manifold", CVPR 2014, section 4. The paper takes conjugate gradients; its sample selection is another method.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        dim: PositiveInt = 20,
        gamma: PositiveFloat | None = None,
        iterations: PositiveInt = 10,
        step: PositiveFloat = 0.1,
    ) -> None:
        super().__init__(classifier=classifier)
        self.dim = dim
        self.gamma = gamma
        self.iterations = iterations
        self.step = step

    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        X, ns = np.concatenate([Xs, Xt]).astype(np.float64, copy=False), len(Xs)
        if len(X) > 20_000:
            raise ValueError(
                f"SIE: expected at most 20000 samples, whose kernel matrix takes 3.2 GB, given {len(X)}; take a sample"
            )
        W = principal_subspace(X, self.dim).basis
        gamma = median_gamma(Xs @ W, Xt @ W) if self.gamma is None else self.gamma
        value, slope = hellinger(X @ W, ns, gamma)
        self.path_, step = [value], self.step
        for _ in range(self.iterations):
            G = X.T @ slope
            G -= W @ (W.T @ G)  # the gradient on the manifold
            G /= np.linalg.norm(G, 2) or 1.0
            while step > 1e-6:
                trial = np.linalg.qr(W - step * G)[0]
                value, slope = hellinger(X @ trial, ns, gamma)
                if value < self.path_[-1]:
                    break
                step /= 2
            else:
                break
            W, step = trial, 2 * step
            self.path_.append(value)
        self.components_ = W
        return self.transform(Xs), self.transform(Xt)

    def transform(self, X: np.ndarray) -> np.ndarray:
        Z: np.ndarray = X.astype(np.float64, copy=False) @ self.components_
        return Z


def hellinger(Z: np.ndarray, ns: int, gamma: float) -> tuple[float, np.ndarray]:
    """Return H between the first ns rows of Z (n, k) and the others, in [0, 2], and its gradient by Z (n, k)."""
    n = len(Z)
    half, one = gamma * np.einsum("ij,ij->i", Z, Z)[:, None], np.ones((n, 1))
    K = np.hstack([2 * gamma * Z, -half, one]) @ np.hstack([Z, one, -half]).T  # -gamma times the squared distances
    np.exp(K, out=K)
    s, t = (np.maximum(part.mean(axis=1), np.finfo(float).tiny) for part in (K[:, :ns], K[:, ns:]))
    share = np.repeat([1 / ns, 1 / (n - ns)], [ns, n - ns])  # of each sample in the mean of its domain
    geometric, total = np.sqrt(s * t), s + t
    value = float(share @ (1 - 2 * geometric / total))
    by_s = -share * geometric / total * (1 / s - 2 / total)
    by_t = -share * geometric / total * (1 / t - 2 / total)
    by_s /= ns
    by_t /= n - ns
    Z1 = np.hstack([Z, one])
    pulled = np.concatenate([K[:ns] @ (by_s[:, None] * Z1), K[ns:] @ (by_t[:, None] * Z1)])  # by the others' densities
    pulled += by_s[:, None] * (K[:, :ns] @ Z1[:ns]) + by_t[:, None] * (K[:, ns:] @ Z1[ns:])  # by its own
    slope: np.ndarray = -2 * gamma * (pulled[:, -1:] * Z - pulled[:, :-1])
    return value, slope
