import numpy as np
import pytest
import scipy.linalg
from sklearn.metrics.pairwise import rbf_kernel

from tda.methods.shallow.aca import ACA
from tda.methods.shallow.one_nn import OneNN
from tests.test_jda import clusters, same_up_to_sign


@pytest.mark.parametrize("kernel", ["primal", "linear", "rbf"])
@pytest.mark.parametrize("structure", ["linear", "rbf"])
@pytest.mark.parametrize(("ns", "nt", "d"), [(60, 45, 12), (24, 18, 70)], ids=["d<n", "d>n"])
@pytest.mark.parametrize("unit", [False, True])
def test_the_components_are_those_of_the_full_eigenproblem(kernel, structure, ns, nt, d, unit):
    Xs, ys, Xt, _ = clusters(ns, nt, d)

    def rows(X):
        return X / np.linalg.norm(X, axis=1, keepdims=True) if unit else X

    X = rows(np.concatenate([Xs, Xt]))
    n = ns + nt
    kernels = {"primal": X, "linear": X @ X.T, "rbf": rbf_kernel(X, gamma=0.05)}
    K, B = kernels[kernel], kernels[structure]
    H = np.eye(n) - np.ones((n, n)) / n
    e = np.concatenate([np.full(ns, 1 / ns), np.full(nt, -1 / nt)])
    L = np.outer(e, e) / (np.linalg.norm(np.outer(e, e), "fro") if unit else 1)
    W = scipy.linalg.eigh(K.T @ H @ B @ H @ K, K.T @ L @ K + 0.4 * np.eye(K.shape[1]))[1][:, ::-1][:, :4]
    settings = {"kernel": kernel, "structure": structure, "dim": 4, "lam": 0.4, "gamma": 0.05}
    model = ACA(classifier=OneNN(), unit_mmd=unit, unit_rows=unit, **settings)
    Zs, Zt = model.align(Xs, ys, Xt)
    same_up_to_sign((Zs, Zt), rows(K @ (W / np.linalg.norm(W, axis=0))))
    np.testing.assert_allclose(model.transform(Xt[3:5]), Zt[3:5], atol=1e-8)


def test_the_first_component_depends_most_on_the_data():
    """tr(H K_z H B) of a component is what the objective calls its dependence: without a mean term it must fall."""
    Xs, ys, Xt, _ = clusters()
    X = np.concatenate([Xs, Xt])
    Z = np.concatenate(ACA(classifier=OneNN(), dim=5, lam=1e9, unit_rows=False).align(Xs, ys, Xt))
    centred = Z - Z.mean(axis=0)
    hsic = [float(np.sum((X.T @ z) ** 2)) for z in centred.T]
    assert hsic == sorted(hsic, reverse=True)
