import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power

from tda.methods.shallow.coral import CORAL
from tda.methods.shallow.one_nn import OneNN


def draw(ns, nt, d, seed=0):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(d, d)) / np.sqrt(d)
    return rng.normal(size=(ns, d)) + 1, rng.normal(size=(nt, d)) @ mix * 2 - 3


def plain(Xs, Xt, ridge):
    d = Xs.shape[1]
    Cs, Ct = np.cov(Xs.T) + ridge * np.eye(d), np.cov(Xt.T) + ridge * np.eye(d)
    return Xs @ fractional_matrix_power(Cs, -0.5) @ fractional_matrix_power(Ct, 0.5)


@pytest.mark.parametrize(("ns", "nt", "d"), [(90, 70, 20), (40, 30, 60), (90, 30, 60), (30, 90, 60), (60, 61, 60)])
@pytest.mark.parametrize("ridge", [1.0, 1e-3])
@pytest.mark.parametrize("standardise", ["no", "domain"])
def test_the_map_is_that_of_the_full_matrices(ns, nt, d, ridge, standardise):
    Xs, Xt = draw(ns, nt, d)
    Us, Ut = Xs, Xt
    if standardise == "domain":
        Us, Ut = ((X - X.mean(axis=0)) / X.std(axis=0) for X in (Xs, Xt))
    model = CORAL(classifier=OneNN(), ridge=ridge, standardise=standardise)
    Zs, Zt = model.align(Xs, np.zeros(ns), Xt)
    expected = plain(Us, Ut, ridge)
    np.testing.assert_allclose(Zs, expected, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(Zt, Ut)


def test_the_covariances_become_equal_as_the_ridge_goes():
    Xs, Xt = draw(300, 200, 8)
    Zs, Zt = CORAL(classifier=OneNN(), ridge=1e-9, standardise="no").align(Xs, np.zeros(300), Xt)
    np.testing.assert_allclose(np.cov(Zs.T), np.cov(Zt.T), rtol=1e-5, atol=1e-6)


def test_equal_domains_are_left_alone():
    Xs, _ = draw(50, 50, 80)
    Zs, Zt = CORAL(classifier=OneNN(), standardise="no").align(Xs, np.zeros(50), Xs)
    np.testing.assert_allclose(Zs, Zt, atol=1e-10)


@pytest.mark.parametrize("standardise", ["no", "domain"])
def test_unseen_samples_are_mapped_as_the_fitted_ones(standardise):
    Xs, Xt = draw(60, 40, 12)
    model = CORAL(classifier=OneNN(), standardise=standardise)
    _, Zt = model.align(Xs, np.zeros(60), Xt)
    np.testing.assert_allclose(model.transform(Xt[7:9]), Zt[7:9])


def test_constant_features_stay_finite():
    Xs, Xt = draw(60, 40, 12)
    Xs[:, 3], Xt[:, 3], Xt[:, 5] = 2.0, 5.0, 1.0
    for Z in CORAL(classifier=OneNN()).align(Xs, np.zeros(60), Xt):
        assert np.isfinite(Z).all()


def test_single_precision_gives_nearly_the_same_map():
    Xs, Xt = draw(40, 30, 60)
    model = CORAL(classifier=OneNN())
    doubles, _ = model.align(Xs, np.zeros(40), Xt)
    singles, _ = model.align(Xs.astype(np.float32), np.zeros(40), Xt.astype(np.float32))
    np.testing.assert_allclose(singles, doubles, atol=1e-4 * np.abs(doubles).max())


def test_a_correlation_of_the_target_is_taken_over():
    rng = np.random.default_rng(2)
    ys, yt = rng.integers(0, 2, 300), rng.integers(0, 2, 300)
    Us, Ut = (
        np.column_stack([0.95 * (2 * y - 1) + 0.3 * rng.normal(size=300), rng.normal(size=300)]) for y in (ys, yt)
    )  # of covariance I, nearly
    Xt = Ut @ [[3.0, 2.5], [2.5, 3.0]]
    adapted = CORAL(classifier=OneNN(), ridge=1e-6, standardise="no").fit(Us, ys, Xt).predict(Xt)
    assert np.mean(adapted == yt) > 0.95
    assert np.mean(OneNN().fit(Us, ys, Xt).predict(Xt) == yt) < 0.9
