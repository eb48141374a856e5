from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics.pairwise import rbf_kernel

from tda.errors import UsageError
from tda.methods.shallow.jdot import JDOT, conditioned, soft_svm
from tests.test_jda import clusters


def hinge(margin):
    return np.maximum(0, 1 - margin) ** 2


def objective(model, Xs, ys, Xt, K, alpha, lam):
    """The paper's objective, one pair of samples after the other."""
    if model.kernel == "linear":
        F = Xt / np.sqrt(np.mean(np.sum(Xt**2, axis=1))) @ model.coefficients_
        coefficients = np.linalg.pinv(K) @ F  # of the least norm, of what the samples can have
        assert np.sum(model.coefficients_**2) == pytest.approx(np.trace(coefficients.T @ F))
    else:
        coefficients = model.coefficients_
        F = K @ coefficients
    total = lam * np.trace(coefficients.T @ K @ coefficients)
    for i in range(len(Xs)):
        for j in range(len(Xt)):
            labels = np.where(np.arange(F.shape[1]) == ys[i], 1, -1)
            loss = alpha * np.sum((Xs[i] - Xt[j]) ** 2) + hinge(labels * F[j]).sum()
            total += model.plan_[i, j] * loss
    return total


@pytest.mark.parametrize(("kernel", "alpha"), [("linear", None), ("rbf", None), ("linear", 0.02)])
def test_each_iteration_lowers_the_objective_of_the_paper(kernel, alpha):
    Xs, ys, Xt, _ = clusters(ns=36, nt=24)
    K = Xt @ Xt.T if kernel == "linear" else rbf_kernel(Xt, gamma=0.05)
    K = K / np.diag(K).mean()
    used = alpha or 1 / np.max(np.sum((Xs[:, None] - Xt[None]) ** 2, axis=2))
    worth = []
    for iterations in (1, 2, 3):
        model = JDOT(kernel=kernel, gamma=0.05, alpha=alpha, lam=0.05, iterations=iterations).fit(Xs, ys, Xt)
        worth.append(objective(model, Xs, ys, Xt, K, used, 0.05))
    assert worth[-1] == pytest.approx(model.objective_[-1])
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(worth))


def test_the_plan_has_its_margins():
    Xs, ys, Xt, _ = clusters()
    model = JDOT().fit(Xs, ys, Xt)
    np.testing.assert_allclose(model.plan_.sum(axis=1), 1 / 60, atol=1e-12)
    np.testing.assert_allclose(model.plan_.sum(axis=0), 1 / 45, atol=1e-12)


def test_the_machine_is_the_best_for_its_soft_labels():
    rng = np.random.default_rng(0)
    X, P = rng.normal(size=(30, 4)), rng.dirichlet(np.ones(3), size=30)
    Q, L = conditioned(X, 0.1)
    W = np.linalg.solve(L.T, soft_svm(Q, P, np.zeros((4, 3))))
    for c in range(3):  # the classes are apart, and a search without a gradient finds the same

        def value(w, c=c):
            return np.mean(P[:, c] * hinge(X @ w) + (1 - P[:, c]) * hinge(-X @ w)) + 0.1 * w @ w

        found = minimize(
            value, np.zeros(4), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12, "maxiter": 5000}
        )
        np.testing.assert_allclose(W[:, c], found.x, atol=1e-5)


def test_weights_are_refused():
    Xs, ys, Xt, _ = clusters()
    with pytest.raises(UsageError, match="JDOT cannot weigh samples"):
        JDOT().fit(Xs, ys, Xt, np.ones(60))
