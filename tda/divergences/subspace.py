"""Linear subspaces as points of the Grassmann manifold: principal subspaces, angles, geodesics, distances."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.utils.extmath import svd_flip

from tda.memory import remembered


class Subspace(NamedTuple):
    """An orthonormal basis (d, dim), and the variance of the data along each of its columns (dim,), descending."""

    basis: np.ndarray
    variances: np.ndarray


class Principal(NamedTuple):
    """Two subspaces by their principal vectors, A'B = diag(cos angles): start A, end B (d, dim), angles (dim,)."""

    start: np.ndarray
    end: np.ndarray
    angles: np.ndarray


@remembered
def principal_subspace(X: np.ndarray, dim: int, *, fewer: bool = False) -> Subspace:
    """Return the `dim` leading principal components of the centred rows of X (n, d); `fewer`: all, if there are fewer.

    They come from the smaller of the covariance (d, d) and the Gram matrix (n, n), in double precision, see
    `leading`. The entry of largest magnitude of each component is positive.

    Raises
    ------
    ValueError
        The rows vary in fewer than `dim` directions, and not `fewer`.

    Examples
    --------
    >>> X = np.array([[3.0, 0.0, 1.0], [-3.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, -1.0, 1.0]])
    >>> principal_subspace(X, 2).variances
    array([6.        , 0.66666667])
    """
    n, d = X.shape
    centred = X.astype(np.float64, copy=False) - X.mean(axis=0, dtype=np.float64)
    centred[:, np.ptp(X, axis=0) == 0] = 0
    smaller = centred.T @ centred if d <= n else centred @ centred.T  # (min(n, d), min(n, d))
    squared, vectors = leading(smaller, dim, size=max(n, d), fewer=fewer)
    if d > n:
        vectors = centred.T @ vectors / np.sqrt(squared)
    basis, _ = svd_flip(vectors, None)
    return Subspace(basis, squared / (n - 1))


def leading(
    scatter: np.ndarray | LinearOperator[np.float64], dim: int, size: int | None = None, fewer: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the `dim` greatest eigenvalues, falling, of the scatter matrix of samples, and their eigenvectors.

    Few of many are found by Lanczos iterations, to machine precision and from a fixed start. `size`, by default the
    order of the matrix, is the number of terms in whose rounding error an eigenvalue counts as 0; those are left out.

    Raises
    ------
    ValueError
        Fewer than `dim` eigenvalues are not 0, and not `fewer`.
    """
    order = int(scatter.shape[0])
    if dim < order // 8 and order > 500 and (not isinstance(scatter, np.ndarray) or scatter.any()):
        start = np.random.default_rng(0).standard_normal(order)
        squared, u = eigsh(scatter, dim, v0=start)
    else:
        matrix = scatter if isinstance(scatter, np.ndarray) else scatter @ np.eye(order)
        squared, u = eigh(matrix, subset_by_index=[max(order - dim, 0), order - 1])
    rank = int(np.sum(squared > squared.max() * (size or order) * np.finfo(float).eps))
    if rank < dim and not fewer:
        raise ValueError(
            f"dim: expected at most {rank}, as the samples vary in no more directions, given {dim}; lower dim"
        )
    descending = np.argsort(-squared)[:rank]
    return squared[descending], u[:, descending]


def principal_vectors(P: np.ndarray, Q: np.ndarray) -> Principal:
    """Return the principal vectors and angles (ascending, in [0, pi/2]) of the spans of orthonormal P, Q (d, dim).

    An angle is twice the arc sine of half the chord between its vectors, which is exact near 0, where the
    arc cosine of a singular value of P'Q is not.

    Examples
    --------
    >>> principal_vectors(np.eye(3)[:, :2], np.eye(3)[:, 1:]).angles / np.pi
    array([0. , 0.5])
    """
    U, _, Vt = np.linalg.svd(P.T @ Q)
    A, B = P @ U, Q @ Vt.T
    half_chord = np.linalg.norm(B - A, axis=0) / 2
    return Principal(A, B, 2 * np.arcsin(np.minimum(half_chord, np.sqrt(0.5))))


def geodesic(between: Principal, t: float) -> np.ndarray:
    """Return the orthonormal basis (d, dim) at time t of the shortest path from the one subspace to the other.

    Each principal vector turns towards its partner, Phi(t) = (A sin((1 - t) theta) + B sin(t theta)) / sin(theta):
    this is Phi(t) = A cos(t theta) + C sin(t theta) with the unit vectors C = (B - A cos(theta)) / sin(theta).
    """
    A, B, theta = between

    def share(t: float) -> np.ndarray:
        """Return sin(t theta) / sin(theta), t where theta is 0."""
        return np.asarray(t * np.sinc(t * theta / np.pi) / np.sinc(theta / np.pi))

    Phi: np.ndarray = A * share(1 - t) + B * share(t)
    return Phi


def disagreement(Xs: np.ndarray, Xt: np.ndarray, most: int) -> np.ndarray:
    """Return the subspace disagreement measure D(d) of the rows of Xs (ns, d) and Xt (nt, d), d = 1 .. `most`.

    It ends where a domain has no more directions.

    D(d) = (sin alpha_d + sin beta_d) / 2, with alpha_d and beta_d the largest principal angles that the first
    d components of the source, and those of the target, have with the first d of both together, each domain
    centred by its own mean. It is 1 where both subspaces hold a direction that is orthogonal to what the
    domains share.

    References
    ----------
    B. Gong, Y. Shi, F. Sha and K. Grauman, "Geodesic flow kernel for unsupervised domain adaptation",
    CVPR 2012, section 3.4.
    """
    centred = [X - X.mean(axis=0, dtype=np.float64) for X in (Xs, Xt)]
    own = [principal_subspace(X, most, fewer=True).basis for X in (Xs, Xt)]
    most = min(basis.shape[1] for basis in own)
    both = principal_subspace(np.concatenate(centred), most).basis
    cosines = [basis.T @ both for basis in own]
    least = [[np.linalg.svd(C[:d, :d], compute_uv=False)[-1] for d in range(1, most + 1)] for C in cosines]
    sines: np.ndarray = np.sqrt(1 - np.clip(least, 0, 1) ** 2)
    measure: np.ndarray = sines.mean(axis=0)
    return measure


def agreeing_dim(Xs: np.ndarray, Xt: np.ndarray, most: int, *, tolerance: float = 0.005) -> int:
    """Return the least dimension at which the disagreement measure is 1 (to `tolerance`), or `most` if none is.

    More dimensions keep more variance; beyond this one the domains' subspaces hold orthogonal directions. The few
    leading components are looked at first, then twice as many, until the measure is 1.
    """
    few = min(50, most)
    while True:
        measure = disagreement(Xs, Xt, few)
        reached = np.flatnonzero(measure >= 1 - tolerance)
        if len(reached):
            return int(reached[0]) + 1
        if few == most or len(measure) < few:
            return len(measure)
        few = min(2 * few, most)


def rank_of_domain(Xs: np.ndarray, Xt: np.ndarray, dim: int) -> float:
    """Return how badly Xs (ns, d) suits as the source of Xt (nt, d): of several sources, take the one of least rank.

    R(S, T) = 1/dim sum_i theta_i [KL(S_i || T_i) + KL(T_i || S_i)], with theta_i the principal angles of the
    principal subspaces, and S_i and T_i the domains along the i-th principal vectors, as Gaussians of mean 0:
    the divergences of the two directions add up to (r + 1/r) / 2 - 1, r the ratio of their variances.

    References
    ----------
    B. Gong, Y. Shi, F. Sha and K. Grauman, "Geodesic flow kernel for unsupervised domain adaptation",
    CVPR 2012, section 3.5.
    """
    A, B, theta = principal_vectors(principal_subspace(Xs, dim).basis, principal_subspace(Xt, dim).basis)
    ratio = np.var(Xs @ A, axis=0) / np.var(Xt @ B, axis=0)
    return float(np.mean(theta * ((ratio + 1 / ratio) / 2 - 1)))
