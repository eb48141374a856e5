import numpy as np
import pytest
import scipy.linalg
from sklearn.metrics.pairwise import rbf_kernel

from tda.methods.shallow.one_nn import OneNN
from tda.methods.shallow.tca import TCA
from tda.methods.shallow.tjm import TJM, scatter_root
from tests.test_jda import clusters, same_up_to_sign


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize(("ns", "nt", "d"), [(60, 45, 12), (24, 18, 70)], ids=["d<n", "d>n"])
@pytest.mark.parametrize("unit_rows", [False, True])
def test_it_does_what_the_plain_algorithm_does(kernel, ns, nt, d, unit_rows):
    Xs, ys, Xt, _ = clusters(ns, nt, d)

    def unit(X):
        return X / np.linalg.norm(X, axis=1, keepdims=True) if unit_rows else X

    X = unit(np.concatenate([Xs, Xt]))
    n = ns + nt
    K = X @ X.T if kernel == "linear" else rbf_kernel(X, gamma=0.05)
    H = np.eye(n) - np.ones((n, n)) / n
    e = np.concatenate([np.full(ns, 1 / ns), np.full(nt, -1 / nt)])
    M = np.outer(e, e) / np.linalg.norm(np.outer(e, e), "fro")
    G = np.eye(n)
    for _ in range(4):
        _, W = scipy.linalg.eigh(K @ H @ K, K @ M @ K + 0.7 * G)
        W = W[:, ::-1][:, :4] / np.linalg.norm(W[:, ::-1][:, :4], axis=0)
        G[range(ns), range(ns)] = 1 / np.linalg.norm(W[:ns], axis=1)
    model = TJM(classifier=OneNN(), kernel=kernel, dim=4, lam=0.7, gamma=0.05, iterations=4, unit_rows=unit_rows)
    Zs, Zt = model.align(Xs, ys, Xt)
    same_up_to_sign((Zs, Zt), K @ W)
    np.testing.assert_allclose(model.relevance_, np.linalg.norm(W[:ns], axis=1), atol=1e-8)
    np.testing.assert_allclose(model.transform(Xt[3:5]), Zt[3:5], atol=1e-8)


def test_one_iteration_is_tca():
    Xs, ys, Xt, _ = clusters()
    settings = {"classifier": OneNN(), "kernel": "linear", "dim": 4, "unit_rows": True}
    expected = np.concatenate(TCA(unit_mmd=True, **settings).align(Xs, ys, Xt))
    same_up_to_sign(TJM(iterations=1, **settings).align(Xs, ys, Xt), expected)


@pytest.mark.parametrize(("n", "d", "rank"), [(40, 12, 12), (40, 12, 5), (9, 12, 12)], ids=["d<n", "deficient", "d>n"])
def test_the_root_of_the_scatter_is_one(n, d, rank):
    draw = np.random.default_rng(0)
    X = draw.normal(size=(n, rank)) @ draw.normal(size=(rank, d)) + 3
    R = scatter_root(X)
    assert len(R) == min(n, rank)
    np.testing.assert_allclose(R.T @ R, (n - 1) * np.cov(X.T), atol=1e-10)
