import numpy as np
import pytest
from scipy.linalg import null_space, svd

from tda.divergences.subspace import principal_subspace
from tda.methods.shallow.gfk import GFK, flow_factor
from tda.methods.shallow.one_nn import OneNN
from tests.test_jda import accuracy

# the authors' dimension of each pair of domains, as their example gives them, and JDA's table of the results
AUTHORS = {"C-W": 20, "W-C": 20, "C-D": 10, "D-C": 10, "C-A": 20, "A-C": 20}
AUTHORS |= {"A-W": 10, "W-A": 10, "A-D": 20, "D-A": 20, "W-D": 10, "D-W": 10}
PUBLISHED = {"C-A": 41.02, "C-W": 40.68, "C-D": 38.85, "A-C": 40.25, "A-W": 38.98, "A-D": 36.31}
PUBLISHED |= {"W-C": 30.72, "W-A": 29.75, "W-D": 80.89, "D-C": 30.28, "D-A": 32.05, "D-W": 75.59}


def sample(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.7) @ np.linalg.qr(rng.normal(size=(d, d)))[0]


def textbook_flow(Ps, Pt, t):
    """The paper's Phi(t) = Ps U1 Gamma(t) - Rs U2 Sigma(t), by the orthogonal complement Rs."""
    Rs = null_space(Ps.T)
    U1, cosines, Vt = svd(Ps.T @ Pt)
    theta = np.arccos(np.clip(cosines, -1, 1))
    U2 = -(Rs.T @ Pt @ Vt.T) / np.sin(theta)  # Rs'Pt = -U2 Sigma V'
    return Ps @ U1 * np.cos(t * theta) - Rs @ U2 * np.sin(t * theta)


def test_the_kernel_is_the_integral_over_the_geodesic():
    Ps, Pt = (np.linalg.qr(np.random.default_rng(seed).normal(size=(15, 4)))[0] for seed in (1, 2))
    nodes, weights = np.polynomial.legendre.leggauss(20)
    flow = [textbook_flow(Ps, Pt, (node + 1) / 2) for node in nodes]
    G = sum(weight / 2 * Phi @ Phi.T for weight, Phi in zip(weights, flow, strict=True))
    L = flow_factor(Ps, Pt)
    assert L.shape == (15, 8)
    np.testing.assert_allclose(L @ L.T, G, atol=1e-12)


@pytest.mark.parametrize("angle", [0, 1e-12, 1e-8, 1e-5, 0.99e-4, 1.01e-4, 1e-2, 1, np.pi / 2])
def test_the_kernel_is_exact_at_every_angle(angle):
    b = np.array([[np.cos(angle)], [np.sin(angle)]])
    L = flow_factor(np.eye(2)[:, :1], b)
    cos_sin = np.sin(angle) * np.sinc(angle / np.pi) / 2
    half = np.sinc(2 * angle / np.pi) / 2
    np.testing.assert_allclose(L @ L.T, [[0.5 + half, cos_sin], [cos_sin, 0.5 - half]], atol=1e-12)


def test_equal_domains_leave_the_projection_on_their_subspace():
    X = sample(60, 12)
    Zs, Zt = GFK(classifier=OneNN(), dim=4).align(X, np.zeros(60), X)
    P = principal_subspace(X, 4).basis
    np.testing.assert_allclose(Zs @ Zt.T, X @ P @ P.T @ X.T, atol=1e-10)


@pytest.mark.parametrize("dim", [5, "sdm"])
def test_unseen_samples_are_mapped_as_the_fitted_ones(dim):
    Xs, Xt = sample(60, 20, 0), sample(50, 20, 1)
    model = GFK(classifier=OneNN(), dim=dim, sdm_most=7)
    _, Zt = model.align(Xs, np.zeros(60), Xt)
    assert Zt.shape[1] == 2 * model.dim_ <= 14
    np.testing.assert_allclose(model.transform(Xt[3:5]), Zt[3:5], atol=1e-12)


def test_domains_that_never_disagree_leave_half_of_the_dimensions():
    X = sample(60, 8)
    model = GFK(classifier=OneNN(), dim="sdm", sdm_most=100)
    model.align(X, np.zeros(60), X)
    assert model.dim_ == 4


def test_one_feature_is_one_dimension():
    model = GFK(classifier=OneNN(), dim="sdm")
    model.align(sample(9, 1), np.zeros(9), sample(8, 1, 1))
    assert model.dim_ == 1


@pytest.mark.data
@pytest.mark.parametrize("task", AUTHORS)
def test_the_published_accuracy_is_reproduced(task):
    found = accuracy("gfk", "office_caltech10_surf", task, f"method.dim={AUTHORS[task]}")
    assert found == pytest.approx(PUBLISHED[task], abs=0.0051)
