"""SA, SDA and SGF: methods on principal subspaces."""

import numpy as np
import pytest
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA

from tda.methods.shallow.gfk import GFK
from tda.methods.shallow.one_nn import OneNN
from tda.methods.shallow.sa import SA
from tda.methods.shallow.sda import SDA
from tda.methods.shallow.sgf import SGF
from tests.test_gfk import PUBLISHED, sample
from tests.test_jda import accuracy


def turned(X, angle):
    c, s = np.cos(angle), np.sin(angle)
    R = np.eye(X.shape[1])
    R[:2, :2] = [[c, -s], [s, c]]
    return X @ R


@pytest.mark.parametrize("shape", [(60, 50, 12), (25, 20, 40)])
def test_the_alignment_is_that_of_the_principal_components(shape):
    ns, nt, d = shape
    Xs, Xt = sample(ns, d, 0) + 1, sample(nt, d, 1) - 2
    source, target = PCA(5).fit(Xs), PCA(5).fit(Xt)
    Zs, Zt = source.transform(Xs) @ source.components_ @ target.components_.T, target.transform(Xt)
    As, At = SA(classifier=OneNN(), dim=5).align(Xs, np.zeros(ns), Xt)
    np.testing.assert_allclose(As @ At.T, Zs @ Zt.T, atol=1e-9)  # whatever the signs
    np.testing.assert_allclose(As @ As.T, Zs @ Zs.T, atol=1e-9)


def test_the_alignment_is_the_nearest_map_of_the_axes():
    Xs, Xt = sample(60, 12, 0), sample(50, 12, 1)
    model = SA(classifier=OneNN(), dim=4)
    model.align(Xs, np.zeros(60), Xt)
    Ps, Pt = model.source_.basis, model.target_.basis
    M = np.linalg.lstsq(Ps, Pt)[0]
    np.testing.assert_allclose(Ps.T @ Pt, M, atol=1e-10)


def test_a_small_turn_is_undone_with_its_variances():
    rng = np.random.default_rng(0)
    Xs = rng.normal(size=(300, 4)) * [8, 4, 2, 1]
    Xt = turned(Xs, 0.3) * 3 + 5
    Zs, Zt = SDA(classifier=OneNN(), dim=4).align(Xs, np.zeros(300), Xt)
    np.testing.assert_allclose(Zt.var(axis=0) / Zt.var(axis=0)[0], np.array([64, 16, 4, 1]) / 64, rtol=0.3)
    As, _ = SA(classifier=OneNN(), dim=4).align(Xs, np.zeros(300), Xt)
    np.testing.assert_allclose(Zs, 3 * As, rtol=1e-8)  # the turn is aligned; the target's deviations are thrice


@pytest.mark.parametrize("method", [SA, SDA, SGF])
def test_unseen_samples_are_mapped_as_the_fitted_ones(method):
    Xs, Xt = sample(60, 20, 0), sample(50, 20, 1)
    model = method(classifier=OneNN(), dim=5)
    _, Zt = model.align(Xs, np.zeros(60), Xt)
    np.testing.assert_allclose(model.transform(Xt[3:5]), Zt[3:5], atol=1e-12)


def test_many_samples_of_the_flow_give_the_geodesic_flow_kernel():
    Xs, Xt = sample(60, 20, 0), sample(50, 20, 1)
    Zs, Zt = SGF(classifier=OneNN(), dim=4, subspaces=2000).align(Xs, np.zeros(60), Xt)
    As, At = GFK(classifier=OneNN(), dim=4).align(Xs, np.zeros(60), Xt)
    np.testing.assert_allclose(Zs @ Zt.T / 2000, As @ At.T, atol=5e-3 * np.abs(As @ At.T).max())


def test_two_samples_of_the_flow_are_the_two_subspaces():
    Xs, Xt = sample(60, 20, 0), sample(50, 20, 1)
    Zs, Zt = SGF(classifier=OneNN(), dim=4, subspaces=2).align(Xs, np.zeros(60), Xt)
    Ps, Pt = PCA(4).fit(Xs).components_, PCA(4).fit(Xt).components_
    np.testing.assert_allclose(Zs @ Zt.T, Xs @ (Ps.T @ Ps + Pt.T @ Pt) @ Xt.T, atol=1e-10)


def test_least_squares_find_the_direction_of_the_classes():
    rng = np.random.default_rng(0)
    ys = np.arange(200) % 2
    Xs = rng.normal(size=(200, 6)) * [5, 4, 3, 1, 1, 1]
    Xs[:, 2] += 8 * ys
    Zs, _ = SGF(classifier=OneNN(), dim=3, components=1).align(Xs, ys + 7, Xs + 0.1)
    means = [Zs[ys == c].mean() for c in (0, 1)]
    assert abs(means[1] - means[0]) > 2 * Zs[ys == 0].std()


def test_the_components_are_those_of_least_squares_on_the_flow():
    Xs, Xt, ys = sample(60, 6, 0), sample(50, 6, 1), np.arange(60) % 3
    Fs, Ft = SGF(classifier=OneNN(), dim=3, subspaces=4).align(Xs, ys, Xt)
    Zs, Zt = SGF(classifier=OneNN(), dim=3, subspaces=4, components=2).align(Xs, ys, Xt)
    squares = PLSRegression(2, scale=False).fit(Fs, np.eye(3)[ys])
    np.testing.assert_allclose(Zs - Zs.mean(axis=0), squares.transform(Fs), atol=1e-9)
    np.testing.assert_allclose(Zt - Zs.mean(axis=0), squares.transform(Ft), atol=1e-9)


@pytest.mark.data
@pytest.mark.parametrize(("method", "published"), [("sa", 44.7), ("sda", 44.6)])  # JGSA's table
def test_the_average_is_as_good_as_published(method, published):
    found = [accuracy(method, "office_caltech10_surf", task) for task in PUBLISHED]
    assert np.mean(found) > published - 0.1
