"""SGF: sampling geodesic flow."""

import numpy as np
from pydantic import PositiveInt
from sklearn.cross_decomposition import PLSRegression

from tda.divergences.subspace import geodesic, principal_subspace, principal_vectors
from tda.methods.shallow.base import Aligner, ShallowMethod
from tda.ranges import AtLeastTwo


class SGF(Aligner):
    """Project the samples on several subspaces between the source's and the target's, and keep all projections ::

        z(x) = [Phi(0)'x; Phi(1 / (N - 1))'x; ...; Phi(1)'x]

    with Phi(t) (d, dim) the geodesic on the Grassmann manifold from the leading principal components of the
    source to those of the target, at N times. The N dim features may be reduced by partial least squares
    against the classes of the source. (GFK is the limit of N to infinity, without the reduction.)

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the projected source; 1-NN in the paper.
    dim : int
        Dimension of the subspaces.
    subspaces : int
        N, both ends included.
    components : int, optional
        Number of components of partial least squares; None leaves the projections as they are.

    Attributes
    ----------
    projection_ : ndarray of shape (d, N dim), or (d, components)
        Maps samples to features.

    Raises
    ------
    ValueError
        A domain varies in fewer than `dim` directions.

    References
    ----------
    R. Gopalan, R. Li and R. Chellappa, "Domain adaptation for object recognition: an unsupervised approach",
    ICCV 2011, sections 3.1 to 3.3. The paper does not fix N, dim and the number of components: those of the
    configuration are ours.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        dim: PositiveInt = 20,
        subspaces: AtLeastTwo = 8,
        components: PositiveInt | None = None,
    ) -> None:
        super().__init__(classifier=classifier)
        self.dim = dim
        self.subspaces = subspaces
        self.components = components

    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        between = principal_vectors(*(principal_subspace(X, self.dim).basis for X in (Xs, Xt)))
        flow = [geodesic(between, t) for t in np.linspace(0, 1, self.subspaces)]
        self.projection_ = np.hstack(flow)
        if self.components is not None:
            classes = np.eye(len(np.unique(ys)))[np.unique(ys, return_inverse=True)[1]]  # (ns, C)
            squares = PLSRegression(self.components, scale=False).fit(self.transform(Xs), classes)
            self.projection_ = self.projection_ @ squares.x_rotations_
        return self.transform(Xs), self.transform(Xt)

    def transform(self, X: np.ndarray) -> np.ndarray:
        Z: np.ndarray = X.astype(np.float64, copy=False) @ self.projection_
        return Z
