import numpy as np
import pytest
import scipy.linalg

from tda.methods.shallow.jgsa import JGSA, solved
from tda.methods.shallow.one_nn import OneNN
from tests.test_jda import clusters, joint


def nearest(Zs, ys, Zt):
    return ys[np.linalg.norm(Zt[:, None] - Zs, axis=2).argmin(axis=1)]


def textbook(Xs, ys, Xt, *, dim, lam, mu, beta, iterations):
    """The paper's 2d x 2d matrices and a dense solver; samples of 2-norm 1."""
    Xs, Xt = (X / np.linalg.norm(X, axis=1, keepdims=True) for X in (Xs, Xt))
    (ns, d), nt = Xs.shape, len(Xt)
    within, between = np.zeros((d, d)), np.zeros((d, d))
    for c in np.unique(ys):
        rows = Xs[ys == c]
        within += (rows - rows.mean(axis=0)).T @ (rows - rows.mean(axis=0))
        between += len(rows) * np.outer(rows.mean(axis=0) - Xs.mean(axis=0), rows.mean(axis=0) - Xs.mean(axis=0))
    scatter = (Xt - Xt.mean(axis=0)).T @ (Xt - Xt.mean(axis=0))
    e0 = np.concatenate([np.full(ns, 1 / ns), np.full(nt, -1 / nt)])
    both = scipy.linalg.block_diag(Xs, Xt)  # (n, 2d)
    identity = np.eye(d)
    Zs, Zt = Xs, Xt
    for _ in range(iterations):
        M = joint(ys, nearest(Zs, ys, Zt), e0, None)
        great = scipy.linalg.block_diag(beta * between, mu * scatter)
        marginal = len(np.unique(ys)) * np.outer(e0, e0)
        small = both.T @ (M / np.linalg.norm(marginal, "fro")) @ both + np.block(
            [[beta * within + lam * identity, -lam * identity], [-lam * identity, (lam + mu) * identity]]
        )
        W = scipy.linalg.eigh(great, small)[1][:, ::-1][:, :dim]
        A, B = np.split(W / np.linalg.norm(W, axis=0), 2)
        Zs, Zt = Xs @ A, Xt @ B
    return Zs, Zt


@pytest.mark.parametrize(("ns", "nt", "d"), [(60, 45, 12), (24, 18, 70), (60, 20, 30)], ids=["d<n", "d>n", "nt<d<ns"])
def test_it_does_what_the_plain_algorithm_does(ns, nt, d):
    Xs, ys, Xt, _ = clusters(ns, nt, d)
    settings = {"dim": 4, "lam": 0.8, "mu": 1.2, "beta": 0.3, "iterations": 3}
    expected = textbook(Xs, ys, Xt, **settings)
    labels = np.array([4, 7, 9])
    model = JGSA(classifier=OneNN(), **settings).fit(Xs, labels[ys], Xt)
    found = model.align(Xs, labels[ys], Xt)
    signs = np.sign(np.sum(found[0] * expected[0], axis=0))
    for Z, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(Z * signs, other, atol=1e-7)
    np.testing.assert_array_equal(model.predict(Xt), labels[nearest(expected[0], ys, expected[1])])
    np.testing.assert_allclose(model.transform(Xt[3:5]), found[1][3:5], atol=1e-10)


def test_the_blocks_are_inverted():
    draw = np.random.default_rng(0)
    a, Y = 1 + draw.uniform(size=5), draw.normal(size=(10, 3))
    D = np.block([[np.diag(a), -0.4 * np.eye(5)], [-0.4 * np.eye(5), 2 * np.eye(5)]])
    np.testing.assert_allclose(D @ solved(a, 0.4, 2.0, Y), Y)


def test_a_great_lam_makes_the_two_projections_one():
    Xs, ys, Xt, _ = clusters()
    differences = []
    for lam in (0.1, 1e6):
        model = JGSA(classifier=OneNN(), dim=3, lam=lam).fit(Xs, ys, Xt)
        differences.append(np.linalg.norm(model.source_components_ - model.target_components_))
    assert differences[1] < 1e-3 < differences[0]
