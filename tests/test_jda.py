import os
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from hydra import compose
from sklearn.metrics.pairwise import rbf_kernel

from tda.config import composer
from tda.methods.shallow.jda import JDA, axes, conditional, joint_components, marginal
from tda.methods.shallow.one_nn import OneNN
from tda.methods.shallow.tca import TCA
from tda.preparation import prepared
from tda.run import adapted

KERNELS = ["primal", "linear", "rbf"]
SURF = ["C-A", "C-W", "C-D", "A-C", "A-W", "A-D", "W-C", "W-A", "W-D", "D-C", "D-A", "D-W"]
DATA = Path(os.environ.get("TDA_DATA", Path(__file__).parents[2] / "shared" / "data"))


def accuracy(method: str, dataset: str, task: str, *overrides: str) -> float:
    """Run one cell as `tda run` does, with the paper's own values for the dataset: per cent, two decimals."""
    if not (DATA / "mat").is_dir():
        pytest.skip(f"no feature files in {DATA / 'mat'}; set TDA_DATA")
    with composer():
        config = compose(
            "config", [f"method={method}", f"dataset={dataset}", f"task={task}", f"runtime.data={DATA}", *overrides]
        )
    estimator, cell = prepared(config, "cpu")
    return round(100 * float(np.mean(adapted(estimator, cell) == cell.test.y)), 2)


def clusters(ns=60, nt=45, d=12, seed=0, classes=3, apart=1.5):
    """Classes around random centres; the target is moved, and its labels are returned for judging only."""
    draw = np.random.default_rng(seed)
    centres = apart * draw.normal(size=(classes, d))
    ys, yt = np.arange(ns) % classes, np.arange(nt) % classes
    Xs = centres[ys] + draw.normal(size=(ns, d))
    return Xs, ys, centres[yt] + draw.normal(size=(nt, d)) + 0.5, yt


def joint(ys, guesses, e0, Z):
    """JDA's M (n, n), one class after the other."""
    ns = len(ys)
    M = np.outer(e0, e0) * len(np.unique(ys))
    for c in np.unique(ys) if guesses is not None else []:
        e = np.zeros(len(e0))
        e[:ns][ys == c] = 1 / np.sum(ys == c)
        e[ns:][guesses == c] = -1 / max(np.sum(guesses == c), 1)
        M += np.outer(e, e)
    return M


def textbook(
    Xs, ys, Xt, *, kernel="primal", dim, lam, gamma=None, iterations, unit_rows, unit_mmd, matrix=joint, penalty=0
):
    """The plain loop with n x n matrices and a dense solver; `penalty` (m, m) is added to K'M K + lam I."""

    def unit(X):
        return X / np.linalg.norm(X, axis=1, keepdims=True) if unit_rows else X

    X = unit(np.concatenate([Xs, Xt]))
    ns, n = len(Xs), len(Xs) + len(Xt)
    K = {"primal": X, "linear": X @ X.T, "rbf": rbf_kernel(X, gamma=gamma)}[kernel]
    H = np.eye(n) - np.ones((n, n)) / n
    e0 = np.concatenate([np.full(ns, 1 / ns), np.full(n - ns, -1 / (n - ns))])
    guesses, Z = None, K
    for _ in range(iterations):
        mmd = matrix(ys, guesses, e0, Z)
        if unit_mmd:
            mmd = mmd / np.linalg.norm(mmd, "fro")
        _, W = scipy.linalg.eigh(K.T @ H @ K, K.T @ mmd @ K + lam * np.eye(K.shape[1]) + penalty)
        W = W[:, ::-1][:, :dim]
        Z = unit(K @ (W / np.linalg.norm(W, axis=0)))
        nearest = np.linalg.norm(Z[ns:, None] - Z[None, :ns], axis=2).argmin(axis=1)
        guesses = ys[nearest]
    return Z, guesses


def same_up_to_sign(found, expected):
    found = np.concatenate(found)
    signs = np.sign(np.sum(found * expected, axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("ns", "nt", "d"), [(60, 45, 12), (24, 18, 70)], ids=["d<n", "d>n"])
@pytest.mark.parametrize("unit", [False, True])
def test_it_does_what_the_plain_algorithm_does(kernel, ns, nt, d, unit):
    Xs, ys, Xt, _ = clusters(ns, nt, d)
    settings = {"dim": 4, "lam": 0.3, "gamma": 0.05, "iterations": 4, "unit_rows": unit, "unit_mmd": unit}
    Z, guesses = textbook(Xs, ys, Xt, kernel=kernel, **settings)
    labels = np.array([4, 7, 9])
    model = JDA(classifier=OneNN(), kernel=kernel, **settings).fit(Xs, labels[ys], Xt)
    same_up_to_sign(model.align(Xs, labels[ys], Xt), Z)
    np.testing.assert_array_equal(model.predict(Xt), labels[guesses])


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_iteration_is_tca(kernel):
    Xs, ys, Xt, _ = clusters()
    settings = {"classifier": OneNN(), "kernel": kernel, "dim": 4, "unit_mmd": True, "unit_rows": True}
    expected = np.concatenate(TCA(unit_components=True, **settings).align(Xs, ys, Xt))
    same_up_to_sign(JDA(iterations=1, **settings).align(Xs, ys, Xt), expected)


def test_the_mean_and_class_terms_are_squared_distances_of_means():
    Xs, ys, Xt, yt = clusters()
    X = np.concatenate([Xs, Xt])
    np.testing.assert_allclose(marginal(len(Xs), len(Xt)) @ X, Xs.mean(axis=0) - Xt.mean(axis=0))
    for c, e in enumerate(conditional(ys, yt).T):
        np.testing.assert_allclose(e @ X, Xs[ys == c].mean(axis=0) - Xt[yt == c].mean(axis=0))


def test_a_class_that_no_target_sample_is_taken_for_keeps_its_source_part():
    E = conditional(np.array([0, 1, 2, 2]), np.array([0, 0]))
    np.testing.assert_array_equal(E[:, 2], [0, 0, 0.5, 0.5, 0, 0])


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
@pytest.mark.parametrize("linear", [False, True])
def test_the_axes_keep_the_problem(shape, linear):
    K = np.random.default_rng(0).normal(size=shape)
    R, F, energy = axes(K, linear)
    np.testing.assert_allclose(F, K @ R, atol=1e-8)
    np.testing.assert_allclose(F.T @ F, np.diag(energy), atol=1e-8)
    full = K @ K.T if linear else K
    np.testing.assert_allclose(F @ F.T, full @ full.T, atol=1e-8)


def test_the_iterative_solver_agrees_with_the_full_one():
    draw = np.random.default_rng(5)
    energy, mean, V = np.arange(1.0, 521), 0.5 * draw.normal(size=520), draw.normal(size=(520, 4))
    W = joint_components(energy, mean, V, 0.5, 6)
    S = np.diag(energy) - np.outer(mean, mean)
    _, expected = scipy.linalg.eigh(S, V @ V.T + 0.5 * np.eye(520), subset_by_index=[514, 519])
    expected = expected[:, ::-1] / np.linalg.norm(expected[:, ::-1], axis=0)
    np.testing.assert_allclose(np.abs(np.sum(W * expected, axis=0)), 1, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_unseen_samples_are_mapped_as_the_fitted_ones(kernel):
    Xs, ys, Xt, _ = clusters()
    model = JDA(classifier=OneNN(), kernel=kernel, dim=4, iterations=3)
    Zs, Zt = model.align(Xs, ys, Xt)
    np.testing.assert_allclose(model.transform(Xt[7:9]), Zt[7:9], atol=1e-10)
    np.testing.assert_allclose(model.transform(Xs), Zs, atol=1e-10)


def test_more_components_than_directions_are_refused():
    Xs, ys, Xt, _ = clusters(d=12)
    with pytest.raises(ValueError, match=r"dim: expected at most 12, .* given 13; lower dim"):
        JDA(classifier=OneNN(), dim=13).align(Xs, ys, Xt)


@pytest.mark.data
@pytest.mark.parametrize(
    ("dataset", "published"),
    [
        (
            "office_caltech10_surf",
            dict(
                zip(
                    SURF,
                    [44.78, 41.69, 45.22, 39.36, 37.97, 39.49, 31.17, 32.78, 89.17, 31.52, 33.09, 89.49],
                    strict=True,
                )
            ),
        ),
        ("mnist_usps_mat", {"U-M": 59.65, "M-U": 67.28}),
    ],
)
def test_every_published_accuracy_is_reproduced_to_the_digit(dataset, published):
    assert {task: accuracy("jda", dataset, task) for task in published} == published


def test_iterations_end_where_the_guesses_come_again():
    Xs, ys, Xt, _ = clusters()
    asked = []

    class Counted(OneNN):
        def predict(self, X):
            asked.append(super().predict(X))
            return asked[-1]

    short = JDA(classifier=Counted(), dim=3, iterations=30).align(Xs, ys, Xt)
    settled = next(i for i in range(1, 30) if np.array_equal(asked[i], asked[i - 1]))
    assert len(asked) == settled + 1 < 29
    whole = JDA(classifier=OneNN(), dim=3, iterations=settled + 1).align(Xs, ys, Xt)
    np.testing.assert_array_equal(np.vstack(short), np.vstack(whole))
