"""DTML, MTLF and DLID: learned metrics and interpolated domains."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import approx_fprime
from sklearn.decomposition import PCA

from tda.methods.shallow.dlid import DLID
from tda.methods.shallow.dtml import DTML, joint_axes, neighbours, scatter
from tda.methods.shallow.mtlf import MTLF, contrast, pull
from tda.methods.shallow.one_nn import OneNN
from tda.methods.shallow.ulsif import ULSIF


def clusters(n, d, seed):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return 2 * np.eye(3, d)[y] + rng.normal(size=(n, d)), y


def objective(W, Xs, ys, Xt, alpha, beta, k1, k2):
    """The paper's J(W), by loops, with the neighbours of the features given."""
    near = apart = 0.0
    for x, y in zip(Xs, ys, strict=True):
        ranked = sorted(zip(Xs, ys, strict=True), key=lambda other: np.sum((other[0] - x) ** 2))[1:]
        near += sum(np.sum((W.T @ (x - z)) ** 2) for z in [z for z, c in ranked if c == y][:k1]) / k1
        apart += sum(np.sum((W.T @ (x - z)) ** 2) for z in [z for z, c in ranked if c != y][:k2]) / k2
    between = np.sum((W.T @ (Xs.mean(axis=0) - Xt.mean(axis=0))) ** 2)
    return (near - alpha * apart) / len(Xs) + beta * between


def test_the_metric_is_that_of_the_descent_from_the_identity():
    (Xs, ys), (Xt, _) = clusters(15, 4, 0), clusters(12, 4, 1)
    model = DTML(classifier=OneNN(), dim=3, alpha=0.3, beta=2.0, time=0.2, k1=2, k2=4)
    _, Zt = model.align(Xs, ys, Xt)
    axes = joint_axes(Xs, Xt, 3)
    Us, Ut = Xs @ axes, Xt @ axes

    def descend(_, w):
        return -approx_fprime(w, lambda w: objective(w.reshape(3, 3), Us, ys, Ut, 0.3, 2.0, 2, 4), 1e-6) / 2

    flow = solve_ivp(descend, (0, 0.2), np.eye(3).ravel(), rtol=1e-3, atol=1e-5)
    W = flow.y[:, -1].reshape(3, 3)
    np.testing.assert_allclose(Zt @ Zt.T, Ut @ W @ W.T @ Ut.T, rtol=5e-3, atol=2e-2)
    np.testing.assert_allclose(model.transform(Xt[:2]), Zt[:2], atol=1e-12)


def test_the_scatter_is_the_mean_over_the_pairs():
    X, y = clusters(20, 3, 0)
    near, apart = neighbours(X, y, 2, 3)
    assert near.shape == (2, 40)
    assert apart.shape == (2, 60)
    assert np.all(y[near[0]] == y[near[1]])
    assert np.all(y[apart[0]] != y[apart[1]])
    expected = np.mean([np.outer(X[i] - X[j], X[i] - X[j]) for i, j in near.T], axis=0)
    np.testing.assert_allclose(scatter(X, near), expected, atol=1e-12)


def test_a_class_of_one_sample_has_no_neighbours():
    X = np.random.default_rng(0).normal(size=(5, 2))
    near, _ = neighbours(X, np.array([0, 0, 1, 1, 2]), 3, 3)
    assert 4 not in near


def test_a_source_of_one_class_has_none_to_keep_apart():
    near, apart = neighbours(np.random.default_rng(0).normal(size=(5, 2)), np.zeros(5), 3, 3)
    assert near.shape == (2, 15)
    assert apart.shape == (2, 0)


def test_the_pairs_of_mtlf_are_those_of_a_double_loop():
    X, y = clusters(12, 3, 0)
    w = np.random.default_rng(1).uniform(0.5, 2, 12)

    def mean(same, w):
        pairs = [(i, j) for i in range(12) for j in range(12) if i != j and (y[i] == y[j]) == same]
        return sum(w[i] * w[j] * np.outer(X[i] - X[j], X[i] - X[j]) for i, j in pairs) / len(pairs)

    np.testing.assert_allclose(contrast(X, y, w), mean(True, w) - mean(False, w), atol=1e-12)
    numerical = approx_fprime(w, lambda w: np.trace(mean(True, w) - mean(False, w)), 1e-6)
    np.testing.assert_allclose(pull(X, y, w), numerical, atol=1e-5)


def test_the_metric_of_mtlf_favours_the_directions_of_the_classes():
    (Xs, ys), (Xt, _) = clusters(60, 8, 0), clusters(45, 8, 1)
    model = MTLF(classifier=OneNN(), dim=8)
    model.align(Xs, ys, Xt)
    gains = np.linalg.norm(model.components_, axis=1)
    assert gains[:3].min() > gains[3:].mean()
    assert model.weights_.min() >= 0
    assert model.weights_.mean() == pytest.approx(1)


def test_mtlf_descends_the_objective_of_the_paper_by_turns():
    (Xs, ys), (Xt, _) = clusters(30, 4, 0), clusters(24, 4, 1)
    model = MTLF(classifier=OneNN(), dim=3, lam=2.0, beta=0.7, step=0.05, step_weights=0.01, iterations=3)
    model.align(Xs, ys, Xt)
    axes = joint_axes(Xs, Xt, 3)
    U = Xs @ axes
    prior = ULSIF(classifier=OneNN()).weigh(U, ys, Xt @ axes)

    def worth(A, w):
        pairs = np.trace(A @ contrast(U, ys, w) @ A.T)
        return np.sum(A**2) + 2.0 * np.sum((w - prior) ** 2) / 30 + 0.7 * pairs

    def slope(function, at):  # exact, for it is quadratic in A and in w
        steps = np.eye(at.size).reshape(-1, *at.shape)
        return np.reshape([(function(at + step) - function(at - step)) / 2 for step in steps], at.shape)

    A, w = np.eye(3), prior
    for _ in range(3):
        A = A - 0.05 * slope(lambda A, w=w: worth(A, w), A)
        w = np.maximum(w - 0.01 * 30 * slope(lambda w, A=A: worth(A, w), w), 0)
        w = w * 30 / w.sum()
    np.testing.assert_allclose(model.weights_, w, rtol=1e-9)
    np.testing.assert_allclose(model.components_, axes @ A.T, rtol=1e-9)


def test_a_weight_of_the_pairs_for_which_mtlf_has_no_minimum_is_refused():
    (Xs, ys), (Xt, _) = clusters(60, 8, 0), clusters(45, 8, 1)
    axes = joint_axes(Xs, Xt, 8)
    pairs = contrast(Xs @ axes, ys, ULSIF(classifier=OneNN()).weigh(Xs @ axes, ys, Xt @ axes))
    assert np.linalg.eigvalsh(np.eye(8) + 10 * pairs)[0] < -1  # a direction along which the objective falls for ever
    with pytest.raises(ValueError, match=r"grows without end; lower beta \(given 10.0\)"):
        MTLF(classifier=OneNN(), dim=8, beta=10.0).align(Xs, ys, Xt)


def test_dlid_starts_at_the_source_and_ends_at_the_target():
    (Xs, ys), (Xt, _) = clusters(60, 6, 0), clusters(45, 6, 1)
    model = DLID(classifier=OneNN(), dim=2, steps=4)
    _, Zt = model.align(Xs, ys, Xt + 5)
    assert Zt.shape == (45, 8)
    for X, columns in ((Xs, slice(0, 2)), (Xt + 5, slice(6, 8))):
        expected = PCA(2).fit(X).transform(Xt + 5)
        np.testing.assert_allclose(np.abs(Zt[:, columns]), np.abs(expected), atol=1e-9)
    np.testing.assert_allclose(model.transform(Xt[:2] + 5), Zt[:2], atol=1e-12)


def test_the_steps_of_dlid_are_even():
    draw = np.random.default_rng(0)
    Xs, Xt = draw.normal(size=(60, 3)), draw.normal(size=(60, 3)) + 90
    model = DLID(classifier=OneNN(), dim=3, steps=4)
    model.align(Xs, np.zeros(60), Xt)
    steps = zip(np.hsplit(model.projection_, 4), np.split(model.offset_, 4), strict=True)
    means = [W @ offset for W, offset in steps]  # W is square: W W' = I
    np.testing.assert_allclose(means, np.repeat([[0], [30], [60], [90]], 3, axis=1), atol=1)


def test_the_steps_of_dlid_between_depend_on_the_seed_only():
    (Xs, ys), (Xt, _) = clusters(60, 6, 0), clusters(45, 6, 1)
    one, same, other = (DLID(classifier=OneNN(), dim=2, seed=seed).align(Xs, ys, Xt)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)
