import numpy as np
import pytest
import scipy.linalg
from sklearn.metrics.pairwise import rbf_kernel

from tda.methods.shallow.one_nn import OneNN
from tda.methods.shallow.sca import SCA
from tests.test_jda import SURF, accuracy, clusters, same_up_to_sign


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize(("ns", "nt", "d"), [(60, 45, 12), (24, 18, 70)], ids=["d<n", "d>n"])
@pytest.mark.parametrize("unit", [False, True])
def test_the_components_are_those_of_the_full_eigenproblem(kernel, ns, nt, d, unit):
    Xs, ys, Xt, _ = clusters(ns, nt, d)

    def rows(X):
        return X / np.linalg.norm(X, axis=1, keepdims=True) if unit else X

    X, n = rows(np.concatenate([Xs, Xt])), ns + nt
    H = np.eye(n) - np.ones((n, n)) / n
    K = H @ (X @ X.T if kernel == "linear" else rbf_kernel(X, gamma=0.05)) @ H
    source, target = K[:ns], K[ns:]
    middle = (source.mean(axis=0) + target.mean(axis=0)) / 2
    domains = sum(np.outer(half.mean(axis=0) - middle, half.mean(axis=0) - middle) for half in (source, target)) / 2
    between, within = np.zeros((n, n)), np.zeros((n, n))
    for k, y in zip(source, ys, strict=True):
        mean = source[ys == y].mean(axis=0)
        between += np.outer(mean - source.mean(axis=0), mean - source.mean(axis=0))
        within += np.outer(k - mean, k - mean)
    total = sum(np.outer(k, k) for k in K) / n
    great, small = 0.3 * between + 0.7 * total, 2 * domains + within + K + 0.1 * np.eye(n)
    W = scipy.linalg.eigh(great, small)[1][:, ::-1][:, :4]
    model = SCA(classifier=OneNN(), kernel=kernel, gamma=0.05, dim=4, beta=0.3, delta=2.0, ridge=0.1, unit_rows=unit)
    Zs, Zt = model.align(Xs, ys, Xt)
    same_up_to_sign((Zs, Zt), rows(K @ W))
    np.testing.assert_allclose(model.transform(Xt[3:5]), Zt[3:5], atol=1e-8)


def test_a_great_delta_brings_the_means_of_the_domains_together():
    Xs, ys, Xt, _ = clusters()
    gaps = []
    for delta in (0.0, 1e6):
        Zs, Zt = SCA(classifier=OneNN(), dim=3, delta=delta, unit_rows=False).align(Xs, ys, Xt)
        gaps.append(np.linalg.norm(Zs.mean(axis=0) - Zt.mean(axis=0)) / Zs.std())
    assert gaps[1] < 0.1 * gaps[0]


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_features_of_any_scale_are_mapped(scale):
    Xs, ys, Xt, yt = clusters()
    model = SCA(classifier=OneNN(), kernel="linear", dim=3, unit_rows=False).fit(scale * Xs, ys, scale * Xt)
    assert np.mean(model.predict(scale * Xt) == yt) > 0.9


@pytest.mark.data
def test_the_published_average_is_reached():
    """45.2 on SURF: the authors' table."""
    found = [accuracy("sca", "office_caltech10_surf", task) for task in SURF]
    assert np.mean(found) == pytest.approx(45.2, abs=1.5)
