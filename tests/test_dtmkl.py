import numpy as np
import pytest
from sklearn.metrics.pairwise import rbf_kernel

from tda.errors import UsageError
from tda.methods.shallow.dtmkl import DTMKL
from tests.test_jda import clusters


def objective(d, model, Xs, ys, Xt, *, C, theta, zeta):
    """The paper's objective for the weights d, with the f of least risk found by its normal equations."""
    X, ns = np.concatenate([Xs, Xt]), len(Xs)
    Y = np.where(ys[:, None] == np.unique(ys), 1.0, -1.0)
    e = np.concatenate([np.full(ns, 1 / ns), np.full(len(Xt), -1 / len(Xt))])
    K, distance, virtual = 0, 0, 0
    for d_m, gamma in zip(d, model.gammas_, strict=True):
        K_m = rbf_kernel(X, gamma=gamma)
        K, distance = K + d_m * K_m, distance + d_m * e @ K_m @ e
        virtual = virtual + d_m * K_m[ns:, :ns] @ np.linalg.solve(K_m[:ns, :ns] + np.eye(ns) / C, Y)
    weight = C * np.repeat([1.0, zeta], [ns, len(Xt)])[:, None]
    labels = np.concatenate([Y, virtual])
    alpha = np.linalg.solve(K @ (weight * K) + K + 1e-12 * np.eye(len(K)), K @ (weight * labels))
    residual = K @ alpha - labels
    return distance**2 / 2 + theta * (np.sum(alpha * (K @ alpha)) + np.sum(weight * residual**2)) / 2


@pytest.mark.parametrize("theta", [1e-5, 1e-3])
@pytest.mark.parametrize("zeta", [0.0, 0.5])
def test_the_mixture_is_the_best_of_the_simplex(theta, zeta):
    Xs, ys, Xt, _ = clusters(ns=40, nt=30)
    setting = {"C": 2.0, "theta": theta, "zeta": zeta}
    model = DTMKL(kernels=3, steps=200, **setting).fit(Xs, ys, Xt)
    d = model.mixture_
    assert d.min() >= 0
    assert d.sum() == pytest.approx(1)
    least = objective(d, model, Xs, ys, Xt, **setting)
    assert model.objective_ == pytest.approx(least, rel=1e-5)
    grid = [np.array([a, b, 8 - a - b]) / 8 for a in range(9) for b in range(9 - a)]
    assert least <= min(objective(g, model, Xs, ys, Xt, **setting) for g in grid) * (1 + 1e-6)


def test_with_one_kernel_and_no_virtual_labels_it_is_regularised_least_squares():
    Xs, ys, Xt, _ = clusters(ns=40, nt=30)
    model = DTMKL(kernels=1, zeta=0.0, C=2.0).fit(Xs, ys, Xt)
    Y = np.where(ys[:, None] == np.arange(3), 1.0, -1.0)
    K = rbf_kernel(Xs, gamma=model.gammas_[0])
    alpha = np.linalg.solve(K + np.eye(40) / 2, Y)
    np.testing.assert_allclose(model.coefficients_, alpha, atol=1e-10)
    expected = np.argmax(rbf_kernel(Xt, Xs, gamma=model.gammas_[0]) @ alpha, axis=1)
    np.testing.assert_array_equal(model.predict(Xt), expected)


def test_where_the_risk_does_not_count_the_domains_are_closest():
    Xs, ys, Xt, _ = clusters(ns=40, nt=30)
    model = DTMKL(theta=1e-14).fit(Xs, ys, Xt)
    assert model.mixture_ @ model.distances_ == pytest.approx(model.distances_.min(), rel=1e-3)


def test_weights_are_refused():
    Xs, ys, Xt, _ = clusters(ns=40, nt=30)
    with pytest.raises(UsageError, match="DTMKL cannot weigh samples"):
        DTMKL().fit(Xs, ys, Xt, np.ones(40))
