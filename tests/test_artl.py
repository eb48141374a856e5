import numpy as np
import pytest
from sklearn.metrics.pairwise import rbf_kernel

from tda.errors import UsageError
from tda.methods.shallow.artl import ARTL, laplacian, risk_minimiser
from tda.methods.shallow.one_nn import OneNN
from tests.test_jda import accuracy, clusters


def unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def graph_laplacian(X, neighbours):
    """The normalised Laplacian of the cosine graph, one pair after the other."""
    cosines = unit(X) @ unit(X).T
    n = len(X)
    W = np.eye(n)
    for i in range(n):
        for j in sorted(set(range(n)) - {i}, key=lambda j: -cosines[i, j])[:neighbours]:
            W[i, j] = W[j, i] = max(cosines[i, j], 0)
    D = W.sum(axis=1)
    return np.eye(n) - W / np.sqrt(np.outer(D, D))


def textbook(X, classes, guesses, *, K, sigma, lam, rho, neighbours, mu=0.5):
    """alpha of the closed form, with every n x n matrix formed."""
    ns, n = len(classes), len(X)
    e = np.concatenate([np.full(ns, 1 / ns), np.full(n - ns, -1 / (n - ns))])
    M = (1 - mu) * (classes.max() + 1) * np.outer(e, e)
    for c in np.unique(classes):
        e = np.concatenate([(classes == c) / np.sum(classes == c), (guesses == c) / -max(np.sum(guesses == c), 1)])
        M += mu * np.outer(e, e)
    M /= np.linalg.norm(M)
    E = np.diag(np.arange(n) < ns).astype(float)
    Y = np.zeros((n, classes.max() + 1))
    Y[np.arange(ns), classes] = 1
    L = graph_laplacian(X, neighbours)
    return np.linalg.solve((E + lam * M + rho * L) @ K + sigma * np.eye(n), E @ Y)


@pytest.mark.parametrize("d", [12, 200])
def test_the_laplacian_is_that_of_the_cosine_graph(d):
    X = np.random.default_rng(0).normal(size=(40, d)) + 0.3
    L = laplacian(X, 4).toarray()
    np.testing.assert_allclose(L, graph_laplacian(X, 4), atol=1e-12)
    assert np.linalg.eigvalsh(L)[0] == pytest.approx(0, abs=1e-12)


def test_rows_of_zeros_and_rows_that_coincide_have_a_laplacian():
    X = np.random.default_rng(0).normal(size=(20, 5))
    X[:4] = 0
    X[4:12] = X[4]
    assert np.isfinite(laplacian(X, 3).toarray()).all()


def test_each_iteration_is_the_closed_form_of_the_paper():
    Xs, ys, Xt, _ = clusters()
    Xt = Xt + 4 * np.random.default_rng(1).normal(size=Xt.shape)
    X = unit(np.concatenate([Xs, Xt]))
    K = rbf_kernel(X, gamma=0.5)
    parameters = {"sigma": 0.3, "lam": 10.0, "rho": 0.2, "neighbours": 6}
    guesses = ys[np.argmin(np.linalg.norm(X[60:, None] - X[None, :60], axis=2), axis=1)]
    for iterations in (1, 2):
        alpha = textbook(X, ys, guesses, K=K, **parameters)
        previous, guesses = guesses, np.argmax(K[60:] @ alpha, axis=1)
        assert not np.array_equal(previous, guesses)
        model = ARTL(classifier=OneNN(), iterations=iterations, **parameters).fit(Xs, ys, Xt)
        np.testing.assert_allclose(model.coefficients_, alpha, atol=1e-9)
        np.testing.assert_array_equal(model.predict(Xt), guesses)


def test_without_target_terms_it_is_kernel_ridge_regression():
    Xs, ys, Xt, _ = clusters()
    model = ARTL(classifier=OneNN(), lam=0.0, rho=0.0, sigma=0.2, unit_rows=False).fit(Xs, ys, Xt)
    K = rbf_kernel(Xs, gamma=0.5)
    alpha = np.linalg.solve(K + 0.2 * np.eye(60), np.eye(3)[ys])
    np.testing.assert_allclose(model.coefficients_, np.vstack([alpha, np.zeros((45, 3))]), atol=1e-10)


def test_the_solution_is_the_least_of_the_objective():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 4))
    classes, D = np.arange(18) % 3, 0.3 * rng.normal(size=(30, 2))
    K, L = rbf_kernel(X, gamma=0.2), laplacian(X, 5)
    Y, E = np.eye(3)[classes], np.arange(30) < 18

    def objective(alpha):
        F = K @ alpha
        fit = np.sum((Y - F[E]) ** 2)
        return fit + 0.1 * np.sum(alpha * F) + np.sum((D.T @ F) ** 2) + 0.5 * np.sum(F * (L @ F))

    alpha = risk_minimiser(K, L, classes, ridge=0.1, rho=0.5)(D)
    least = objective(alpha)
    for _ in range(20):
        assert objective(alpha + 1e-3 * rng.normal(size=alpha.shape)) > least


def test_weights_are_refused():
    Xs, ys, Xt, _ = clusters()
    with pytest.raises(UsageError, match="ARTL cannot weigh samples"):
        ARTL(classifier=OneNN()).fit(Xs, ys, Xt, np.ones(60))


@pytest.mark.data
@pytest.mark.parametrize(
    ("dataset", "published"),
    [
        (
            "office_caltech10_surf",
            "C-A 44.1 C-W 31.5 C-D 39.5 A-C 36.1 A-W 33.6 A-D 36.9 W-C 29.7 W-A 38.3 W-D 87.9 D-C 30.5 D-A 34.9 D-W 88.5",
        ),
        ("mnist_usps_mat", "U-M 67.7 M-U 88.8"),
    ],
)
def test_every_published_accuracy_is_reproduced_to_the_digit(dataset, published):
    words = published.split()
    for task, expected in zip(words[::2], map(float, words[1::2]), strict=True):
        assert accuracy("artl", dataset, task) == pytest.approx(expected, abs=0.051), task
