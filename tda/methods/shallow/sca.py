"""SCA: scatter component analysis."""

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from scipy.linalg import cholesky, solve_triangular
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import svd_flip

from tda.divergences.kernels import Kernel, bandwidth, gram
from tda.divergences.subspace import leading
from tda.methods.shallow.base import Aligner, ShallowMethod
from tda.methods.shallow.jda import marginal
from tda.ranges import Share


class SCA(Aligner):
    """Components in which classes scatter and domains do not, a Fisher discriminant for both ::

        max_W  tr( W'(beta P + (1 - beta) T) W ) / tr( W'(delta D + Q + K + ridge I) W ),   Z = K W

    with K the centred kernel matrix of both domains (n, n). The scatters are of the rows k_i of K: T that of all
    samples over their number, D that of the means of the two domains, P that between the classes of the source, a
    class counted as often as it has samples, and Q that within them. The ratio is solved as W of the leading
    generalised eigenvectors, W'(delta D + Q + K + ridge I) W = I, from a Cholesky factor.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the components of the source.
    kernel : {"rbf", "linear"}
        Of K.
    gamma : float, optional
        Of exp(-gamma ||x - y||^2); None is 1 / (2 median ||x - y||^2) over both domains together.
    dim : int
        Number of components; the paper's k.
    beta : float in [0, 1]
        Weight of the scatter between classes, against the total.
    delta : float
        Weight of the scatter between domains.
    ridge : float
        Keeps the denominator well posed; of similarities so great that it is lost, what their rounding needs.
    unit_rows : bool
        Scale each sample to 2-norm 1 before, and each embedded sample after, as the authors of JDA do: the
        average published for SURF features is met with it, single tasks are not. (Scaling a component by its
        eigenvalue^(-1/2), as kernel methods of this kind often do, gives far lower ones.)

    Attributes
    ----------
    components_ : ndarray of shape (n, dim)
        W, most important first.
    gamma_ : float or None
        The bandwidth in use.

    Raises
    ------
    ValueError
        The data vary in fewer than `dim` directions.

    References
    ----------
    M. Ghifary, D. Balduzzi, W. B. Kleijn and M. Zhang, "Scatter component analysis: a unified framework for domain
    adaptation and domain generalization", IEEE Transactions on Pattern Analysis and Machine Intelligence 39, 2017,
    Algorithm 1, for unsupervised domain adaptation: one labelled domain and one without labels.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        kernel: Kernel = "rbf",
        gamma: PositiveFloat | None = None,
        dim: PositiveInt = 30,
        beta: Share = 0.5,
        delta: NonNegativeFloat = 1.0,
        ridge: PositiveFloat = 1e-3,
        unit_rows: bool = True,
    ) -> None:
        super().__init__(classifier=classifier)
        self.kernel = kernel
        self.gamma = gamma
        self.dim = dim
        self.beta = beta
        self.delta = delta
        self.ridge = ridge
        self.unit_rows = unit_rows

    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ns, nt = len(Xs), len(Xt)
        n = ns + nt
        self.anchors_ = self._rows(np.concatenate([Xs, Xt]).astype(np.float64, copy=False))
        self.gamma_ = bandwidth(self.kernel, self.gamma, self.anchors_[:ns], self.anchors_[ns:])
        K = gram(self.kernel, self.anchors_, self.anchors_, self.gamma_)
        self.means_ = K.mean(axis=0)
        K = self._centred(K)
        classes = np.unique(ys, return_inverse=True)[1]
        means = np.stack([K[:ns][classes == c].mean(axis=0) for c in range(int(classes.max()) + 1)])
        within = K[:ns] - means[classes]
        between = np.sqrt(np.bincount(classes))[:, None] * (means - K[:ns].mean(axis=0))
        gap = np.sqrt(self.delta) / 2 * marginal(ns, nt) @ K
        narrow = np.vstack([within, gap])
        small = narrow.T @ narrow  # delta D + Q, to begin with
        small += K
        small[np.diag_indices(n)] += max(self.ridge, n * np.finfo(float).eps * np.trace(small))
        L = cholesky(small.T, lower=True, overwrite_a=True, check_finite=False)
        classwise, total = (solve_triangular(L, wide.T, lower=True) for wide in (between, K))
        great = total @ total.T
        great *= (1 - self.beta) / n
        great += self.beta * classwise @ classwise.T
        _, u = leading(great, self.dim)
        self.components_, _ = svd_flip(solve_triangular(L, u, lower=True, trans="T"), None)
        Z = self._rows(K @ self.components_)
        return Z[:ns], Z[ns:]

    def transform(self, X: np.ndarray) -> np.ndarray:
        K = gram(self.kernel, self._rows(X.astype(np.float64, copy=False)), self.anchors_, self.gamma_)
        return self._rows(self._centred(K) @ self.components_)

    def _centred(self, K: np.ndarray) -> np.ndarray:
        """Centre the similarities K (m, n) to the fitted samples in the feature space of the kernel."""
        centred: np.ndarray = K - (self.means_ - self.means_.mean())
        centred -= K.mean(axis=1, keepdims=True)
        return centred

    def _rows(self, X: np.ndarray) -> np.ndarray:
        unit: np.ndarray = normalize(X) if self.unit_rows else X
        return unit
