import numpy as np
import pytest
from scipy.optimize import approx_fprime

from tda.methods.shallow.one_nn import OneNN
from tda.methods.shallow.sie import SIE, hellinger


def plain(Z, ns, gamma):
    def density(z, sample):
        return np.mean([np.exp(-gamma * np.sum((z - x) ** 2)) for x in sample])

    source, target = Z[:ns], Z[ns:]
    total = 0.0
    for domain in (source, target):
        shares = [density(z, source) / (density(z, source) + density(z, target)) for z in domain]
        total += np.mean([(np.sqrt(T) - np.sqrt(1 - T)) ** 2 for T in shares])
    return total


def test_the_distance_is_that_of_the_densities_and_its_gradient_that_of_differences():
    Z = np.random.default_rng(0).normal(size=(9, 2))
    value, slope = hellinger(Z, 5, 0.4)
    assert value == pytest.approx(plain(Z, 5, 0.4), rel=1e-12)
    numerical = approx_fprime(Z.ravel(), lambda z: plain(z.reshape(9, 2), 5, 0.4), 1e-7)
    np.testing.assert_allclose(slope.ravel(), numerical, atol=1e-6)


def test_equal_samples_are_at_0_and_far_ones_at_2():
    Z = np.random.default_rng(0).normal(size=(20, 3))
    assert hellinger(np.concatenate([Z, Z]), 20, 1.0)[0] == pytest.approx(0, abs=1e-12)
    assert hellinger(np.concatenate([Z, Z + 9]), 20, 1.0)[0] == pytest.approx(2, abs=1e-6)


def test_a_sample_that_is_like_none_of_the_other_domain_leaves_the_gradient_finite():
    Z = np.random.default_rng(0).normal(size=(20, 3))
    value, slope = hellinger(np.concatenate([Z, Z[:9], Z[:1] + 200]), 20, 1.0)
    assert 0 < value < 2
    assert np.isfinite(slope).all()


def test_the_subspace_turns_from_the_direction_between_the_domains():
    rng = np.random.default_rng(1)
    scale = np.array([3.0, 2.0, 1.5])
    Xs, Xt = rng.normal(size=(120, 3)) * scale, rng.normal(size=(90, 3)) * scale + [8, 0, 0]
    model = SIE(classifier=OneNN(), dim=2, iterations=60)
    _, Zt = model.align(Xs, np.zeros(120), Xt)
    W = model.components_
    np.testing.assert_allclose(W.T @ W, np.eye(2), atol=1e-12)
    assert np.all(np.diff(model.path_) < 0)
    assert np.linalg.norm(W[0]) < 0.1
    np.testing.assert_allclose(model.transform(Xt[:2]), Zt[:2], atol=1e-12)
