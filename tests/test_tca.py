import numpy as np
import pytest
import scipy.linalg
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import normalize

from tda.methods.shallow.one_nn import OneNN
from tda.methods.shallow.tca import TCA, transfer_components

KERNELS = ["primal", "linear", "rbf"]


def draw(ns, nt, d, seed=0):
    rng = np.random.default_rng(seed)
    scale = np.arange(1, d + 1) ** -0.5
    return rng.normal(size=(ns, d)) * scale, rng.normal(size=(nt, d)) * scale + 0.3


def matrices(kernel, Xs, Xt, gamma):
    """The paper's matrices, formed in full: K (m, n), K L K', K H K'."""
    X = np.concatenate([Xs, Xt])
    n = len(X)
    K = {"primal": X.T, "linear": X @ X.T, "rbf": rbf_kernel(X, gamma=gamma)}[kernel]
    e = np.concatenate([np.full(len(Xs), 1 / len(Xs)), np.full(len(Xt), -1 / len(Xt))])[:, None]
    H = np.eye(n) - np.ones((n, n)) / n
    return K, K @ e @ e.T @ K.T, K @ H @ K.T


def distance(A, B):
    """The sine of the largest angle between two column spaces."""
    return np.sin(scipy.linalg.subspace_angles(A, B).max())


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("ns", "nt", "d"), [(60, 40, 12), (25, 20, 70)], ids=["d<n", "d>n"])
@pytest.mark.parametrize("unit_mmd", [False, True])
def test_the_components_are_those_of_the_full_eigenproblem(kernel, ns, nt, d, unit_mmd):
    Xs, Xt = draw(ns, nt, d)
    lam, gamma, dim = 0.7, 0.05, 5
    K, mmd, scatter = matrices(kernel, Xs, Xt, gamma)
    if unit_mmd:
        e = np.concatenate([np.full(ns, 1 / ns), np.full(nt, -1 / nt)])
        mmd /= np.linalg.norm(np.outer(e, e), "fro")
    values, vectors = scipy.linalg.eigh(scatter, mmd + lam * np.eye(len(K)))
    expected = vectors[:, ::-1][:, :dim]

    model = TCA(classifier=OneNN(), kernel=kernel, dim=dim, lam=lam, gamma=gamma, unit_mmd=unit_mmd)
    Zs, Zt = model.align(Xs, np.zeros(ns), Xt)
    W = model.components_
    assert distance(W, expected) < 1e-6
    np.testing.assert_allclose(np.linalg.norm(W, axis=0), 1)
    for k in range(dim):  # each one, in the order of the eigenvalues
        cosine = abs(W[:, k] @ expected[:, k]) / np.linalg.norm(expected[:, k])
        assert cosine == pytest.approx(1, abs=1e-9)
        rayleigh = (W[:, k] @ scatter @ W[:, k]) / (W[:, k] @ (mmd + lam * np.eye(len(K))) @ W[:, k])
        assert rayleigh == pytest.approx(values[-1 - k], rel=1e-8)
    np.testing.assert_allclose(np.concatenate([Zs, Zt]), K.T @ W, atol=1e-10)


@pytest.mark.parametrize("shape", [(700, 520), (520, 700)], ids=["d<n", "d>n"])
def test_the_iterative_solver_agrees_with_the_full_one(shape):
    n, m = shape
    K = np.random.default_rng(5).normal(size=shape) * np.arange(1, m + 1) ** -0.5
    e = np.repeat([1 / 300, -1 / (n - 300)], [300, n - 300])
    W, _ = transfer_components(K, e, 0.5, 8)
    centred = K - K.mean(axis=0)
    v = K.T @ e
    expected = scipy.linalg.eigh(centred.T @ centred, np.outer(v, v) + 0.5 * np.eye(m), subset_by_index=[m - 8, m - 1])[
        1
    ]
    assert distance(W, expected) < 1e-6


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_constraint_of_the_paper_can_be_kept(kernel):
    Xs, Xt = draw(60, 40, 12)
    model = TCA(classifier=OneNN(), kernel=kernel, dim=4, gamma=0.05, columns="constraint")
    model.align(Xs, np.zeros(60), Xt)
    W = model.components_
    _, _, scatter = matrices(kernel, Xs, Xt, 0.05)
    np.testing.assert_allclose(W.T @ scatter @ W, np.eye(4), atol=1e-8)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("unit_components", [False, True])
def test_unseen_samples_are_mapped_as_the_fitted_ones(kernel, unit_components):
    Xs, Xt = draw(60, 40, 12)
    model = TCA(classifier=OneNN(), kernel=kernel, dim=4, unit_rows=True, unit_components=unit_components)
    Zs, Zt = model.align(Xs, np.zeros(60), Xt)
    np.testing.assert_allclose(model.transform(Xt[7:9]), Zt[7:9], atol=1e-10)
    np.testing.assert_allclose(model.transform(Xs), Zs, atol=1e-10)
    of_units = TCA(classifier=OneNN(), kernel=kernel, dim=4, unit_components=unit_components)
    np.testing.assert_allclose(of_units.align(normalize(Xs), np.zeros(60), normalize(Xt))[1], Zt)
    if unit_components:
        np.testing.assert_allclose(np.linalg.norm(Zt, axis=1), 1)


def test_a_strong_mean_term_brings_the_means_together():
    Xs, Xt = draw(80, 50, 10)
    gaps = []
    for lam in (1e-6, 1e6):
        Zs, Zt = TCA(classifier=OneNN(), dim=3, lam=lam).align(Xs, np.zeros(80), Xt)
        gaps.append(np.linalg.norm(Zs.mean(axis=0) - Zt.mean(axis=0)))
    assert gaps[0] < 1e-3 < 0.1 < gaps[1]


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_great_lam_leaves_principal_components(kernel):
    Xs, Xt = draw(60, 40, 12)
    model = TCA(classifier=OneNN(), kernel=kernel, dim=3, lam=1e12, gamma=0.05)
    model.align(Xs, np.zeros(60), Xt)
    _, _, scatter = matrices(kernel, Xs, Xt, 0.05)
    assert distance(model.components_, np.linalg.eigh(scatter)[1][:, -3:]) < 1e-6


@pytest.mark.parametrize("kernel", KERNELS)
def test_single_precision_gives_nearly_the_same_components(kernel):
    Xs, Xt = draw(60, 40, 12)
    model = TCA(classifier=OneNN(), kernel=kernel, dim=3)
    doubles, _ = model.align(Xs, np.zeros(60), Xt)
    singles, _ = model.align(Xs.astype(np.float32), np.zeros(60), Xt.astype(np.float32))
    np.testing.assert_allclose(singles, doubles, atol=1e-4 * np.abs(doubles).max())


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_same_data_give_the_same_bits(kernel):
    Xs, Xt = draw(60, 40, 12)
    first, second = (TCA(classifier=OneNN(), kernel=kernel, dim=3).align(Xs, np.zeros(60), Xt)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("kernel", "dim", "most"), [("primal", 13, 12), ("linear", 13, 12), ("primal", 200, 12)])
def test_more_components_than_directions_are_refused(kernel, dim, most):
    Xs, Xt = draw(60, 40, 12)
    with pytest.raises(ValueError, match=f"dim: expected at most {most}, .* given {dim}; lower dim"):
        TCA(classifier=OneNN(), kernel=kernel, dim=dim).align(Xs, np.zeros(60), Xt)


def test_a_sample_fewer_directions_than_samples():
    Xs, Xt = draw(10, 8, 40)
    TCA(classifier=OneNN(), dim=17).align(Xs, np.zeros(10), Xt)
    with pytest.raises(ValueError, match="at most 17"):
        TCA(classifier=OneNN(), dim=18).align(Xs, np.zeros(10), Xt)


def test_a_shift_along_a_nuisance_is_undone():
    rng = np.random.default_rng(1)
    ys, yt = rng.integers(0, 2, 200), rng.integers(0, 2, 150)

    def sample(y, shift):
        class_axes = 2 * (2 * y[:, None] - 1) + rng.normal(size=(len(y), 2)) * 0.6
        return np.column_stack([class_axes, shift + rng.normal(size=(len(y), 1)) * 3])

    Xs, Xt = sample(ys, 0), sample(yt, 12)
    adapted = TCA(classifier=OneNN(), dim=1, lam=1e-3).fit(Xs, ys, Xt).predict(Xt)
    assert np.mean(adapted == yt) > 0.95
