import numpy as np
import pytest
from scipy.linalg import subspace_angles
from scipy.stats import norm
from sklearn.decomposition import PCA

from tda.divergences.subspace import (
    agreeing_dim,
    disagreement,
    geodesic,
    principal_subspace,
    principal_vectors,
    rank_of_domain,
)


def sample(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.7 + rng.normal(size=d)


def basis(d, dim, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, dim)))[0]


@pytest.mark.parametrize("shape", [(80, 20), (20, 80), (900, 600), (600, 900)])
def test_the_components_are_those_of_scikit_learn(shape):
    X = sample(*shape)
    oracle = PCA(8, svd_solver="full").fit(X)
    found = principal_subspace(X, 8)
    np.testing.assert_allclose(found.variances, oracle.explained_variance_, rtol=1e-8)
    np.testing.assert_allclose(np.abs(np.sum(found.basis.T * oracle.components_, axis=1)), 1, rtol=1e-8)
    np.testing.assert_allclose(found.basis.T @ found.basis, np.eye(8), atol=1e-10)


def test_more_dimensions_than_directions_are_refused():
    with pytest.raises(ValueError, match=r"dim: expected at most 9, .* given 10; lower dim"):
        principal_subspace(sample(10, 30), 10)


def test_the_angles_are_those_of_scipy():
    P, Q = basis(30, 6, 1), basis(30, 6, 2)
    A, B, theta = principal_vectors(P, Q)
    np.testing.assert_allclose(theta, np.sort(subspace_angles(P, Q)), atol=1e-12)
    np.testing.assert_allclose(A.T @ B, np.diag(np.cos(theta)), atol=1e-12)


def test_small_angles_are_exact():
    tiny = 1e-9
    Q = np.array([[np.cos(tiny)], [np.sin(tiny)]])
    np.testing.assert_allclose(principal_vectors(np.eye(2)[:, :1], Q).angles, tiny, rtol=1e-6)


def test_the_geodesic_joins_the_subspaces_at_constant_speed():
    P, Q = basis(30, 6, 1), basis(30, 6, 2)
    between = principal_vectors(P, Q)
    for end, t in ((P, 0), (Q, 1)):
        assert np.max(subspace_angles(geodesic(between, t), end)) < 1e-7
    for t in (0.2, 0.5, 0.9):
        Phi = geodesic(between, t)
        np.testing.assert_allclose(Phi.T @ Phi, np.eye(6), atol=1e-12)
        np.testing.assert_allclose(np.sort(subspace_angles(P, Phi)), t * between.angles, atol=1e-7)


def test_the_geodesic_between_equal_subspaces_stands_still():
    P = basis(10, 3, 0)
    Phi = geodesic(principal_vectors(P, P), 0.3)
    np.testing.assert_allclose(Phi @ Phi.T, P @ P.T, atol=1e-12)


def test_disagreement_is_that_of_the_definition():
    Xs, Xt = sample(60, 12, 0), sample(50, 12, 1)
    both = PCA().fit(np.concatenate([Xs - Xs.mean(axis=0), Xt - Xt.mean(axis=0)])).components_
    expected = [
        np.mean([np.sin(subspace_angles(PCA().fit(X).components_[:d].T, both[:d].T).max()) for X in (Xs, Xt)])
        for d in range(1, 7)
    ]
    np.testing.assert_allclose(disagreement(Xs, Xt, 6), expected, atol=1e-7)


def test_domains_alike_agree_in_all_dimensions_and_the_first_orthogonal_direction_stops():
    rng = np.random.default_rng(0)
    scale = np.array([9, 7, 5, 0.1, 0.1, 0.1, 0.1, 0.1])
    Xs, same = (rng.normal(size=(400, 8)) * scale for _ in range(2))
    other = rng.normal(size=(400, 8)) * scale[[0, 1, 3, 2, 4, 5, 6, 7]]  # a third direction of its own
    assert np.all(disagreement(Xs, same, 3) < 0.2)
    assert agreeing_dim(Xs, same, 3) == 3
    assert disagreement(Xs, other, 3)[1] < 0.2 < 0.4 < disagreement(Xs, other, 3)[2]


def test_rank_of_domain_is_that_of_the_definition():
    Xs, Xt = sample(60, 12, 0), sample(50, 12, 1) * 2
    A, B, theta = principal_vectors(*(PCA(4).fit(X).components_.T for X in (Xs, Xt)))
    grid = np.linspace(-30, 30, 200001)

    def kl(a, b):
        p, log_q = norm(scale=a).pdf(grid), norm(scale=b).logpdf(grid)
        return np.sum(p * (norm(scale=a).logpdf(grid) - log_q)) * (grid[1] - grid[0])

    spreads = zip((Xs @ A).std(axis=0), (Xt @ B).std(axis=0), strict=True)
    expected = np.mean([t * (kl(s, o) + kl(o, s)) for t, (s, o) in zip(theta, spreads, strict=True)])
    assert rank_of_domain(Xs, Xt, 4) == pytest.approx(expected, rel=1e-6)


def test_the_nearer_source_ranks_first():
    Xt = sample(200, 12, 0)
    near = Xt + 0.1 * np.random.default_rng(1).normal(size=Xt.shape)
    far = (Xt * 3) @ basis(12, 12, 2)
    assert rank_of_domain(near, Xt, 4) < rank_of_domain(far, Xt, 4)


def test_the_agreeing_dimension_is_the_same_where_more_components_are_needed_than_are_looked_at_first():
    draw = np.random.default_rng(0)
    Xs = draw.standard_normal((150, 90)) * np.linspace(3, 0.5, 90)
    apart = np.linalg.qr(draw.standard_normal((90, 90)))[0]
    Xt = np.hstack([Xs[:, :60], Xs[:, 60:] @ apart[60:, 60:]])
    tolerance = 1 - disagreement(Xs, Xt, 80)[64:].max() + 1e-9
    reached = np.flatnonzero(disagreement(Xs, Xt, 80) >= 1 - tolerance)[0] + 1
    assert 50 < reached < 80
    assert agreeing_dim(Xs, Xt, 80, tolerance=tolerance) == reached


def test_the_dimension_ends_where_a_domain_has_no_more_directions():
    draw = np.random.default_rng(0)
    Xs, Xt = np.repeat(draw.normal(size=(10, 40)), 3, axis=0), draw.normal(size=(30, 40))
    assert agreeing_dim(Xs, Xt, 20) <= 9
