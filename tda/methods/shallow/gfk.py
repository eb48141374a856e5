"""GFK: geodesic flow kernel."""

from typing import Literal

import numpy as np
from pydantic import PositiveInt

from tda.divergences.subspace import agreeing_dim, principal_subspace, principal_vectors
from tda.methods.shallow.base import Aligner, ShallowMethod


class GFK(Aligner):
    """Compare samples by their projections on all the subspaces between the source's and the target's ::

        x'G y,   G = integral of Phi(t) Phi(t)' over t in [0, 1]

    with Phi(t) (d, dim) the geodesic on the Grassmann manifold from the first `dim` principal components of
    the source, Phi(0), to those of the target, Phi(1). G has rank 2 dim at most: the samples are mapped to
    the features L'x of G = L L', see :func:`flow_factor`, and neither G nor its square root is formed.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the mapped source; 1-NN in the paper.
    dim : int or "sdm"
        Dimension of the subspaces. ``sdm`` takes the least one at which the subspace disagreement measure is 1,
        out of at most half the number of features and `sdm_most`.
    sdm_most : int
        Largest dimension that ``sdm`` may choose.

    Attributes
    ----------
    factor_ : ndarray of shape (d, 2 dim)
        L.
    dim_ : int
        The dimension in use.

    Raises
    ------
    ValueError
        A domain varies in fewer than `dim` directions.

    Notes
    -----
    The sign of the second term of Phi(t) is lost in common copies of the paper's formula in block form; the
    factor here comes from the integral itself.

    References
    ----------
    B. Gong, Y. Shi, F. Sha and K. Grauman, "Geodesic flow kernel for unsupervised domain adaptation",
    CVPR 2012, equations 3 to 6 and section 3.4; dimension 20 as in half of its tasks, and 10 in the others.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        dim: PositiveInt | Literal["sdm"] = 20,
        sdm_most: PositiveInt = 200,
    ) -> None:
        super().__init__(classifier=classifier)
        self.dim = dim
        self.sdm_most = sdm_most

    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.dim == "sdm":
            most = max(1, min(self.sdm_most, Xs.shape[1] // 2, len(Xs) - 1, len(Xt) - 1))
            self.dim_ = agreeing_dim(Xs, Xt, most)
        else:
            self.dim_ = self.dim
        self.factor_ = flow_factor(*(principal_subspace(X, self.dim_).basis for X in (Xs, Xt)))
        return self.transform(Xs), self.transform(Xt)

    def transform(self, X: np.ndarray) -> np.ndarray:
        Z: np.ndarray = X.astype(np.float64, copy=False) @ self.factor_
        return Z


def flow_factor(Ps: np.ndarray, Pt: np.ndarray) -> np.ndarray:
    """Return L (d, 2 dim) of the geodesic flow kernel G = L L' between orthonormal Ps and Pt (d, dim).

    The principal vectors a and b of an angle theta span a plane, in which Phi(t) turns from a to b. That arc is
    symmetric about a + b, so the integral is diagonal in the orthogonal directions a + b and b - a, with the
    eigenvalues (1 + sin(theta) / theta) / 2 and (1 - sin(theta) / theta) / 2.

    Examples
    --------
    >>> from tda.divergences.subspace import geodesic
    >>> Ps, Pt = np.eye(4)[:, :2], np.linalg.qr(np.random.default_rng(0).normal(size=(4, 2)))[0]
    >>> L, between = flow_factor(Ps, Pt), principal_vectors(Ps, Pt)
    >>> flow = [geodesic(between, t) for t in (np.arange(1000) + 0.5) / 1000]
    >>> bool(np.allclose(L @ L.T, np.mean([Phi @ Phi.T for Phi in flow], axis=0), atol=1e-6))
    True
    """
    A, B, theta = principal_vectors(Ps, Pt)
    sinc = np.sinc(theta / np.pi)
    along = np.sqrt((1 + sinc) / 2) / (2 * np.cos(theta / 2))
    apart = np.maximum(theta, 1e-4)  # where (1 - sinc) / 2 and the chord vanish alike
    across = np.sqrt((1 - np.sinc(apart / np.pi)) / 2) / (2 * np.sin(apart / 2))
    return np.hstack([(A + B) * along, (B - A) * across])
