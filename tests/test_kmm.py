import sys

import numpy as np
import pytest
from cvxopt import matrix, solvers
from sklearn.metrics.pairwise import rbf_kernel

from tda.divergences.kernels import bandwidth, candidate_gammas, gram, mean_similarity, median_gamma
from tda.errors import UsageError
from tda.methods.shallow.bounded_qp import bounded_qp, pivoted
from tda.methods.shallow.kmm import KMM
from tda.methods.shallow.linear_svm import LinearSVM
from tda.methods.shallow.one_nn import OneNN


def draw(ns=120, nt=70, d=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(ns, d)), rng.normal(size=(nt, d)) * 0.8 + 0.4


def dense_qp(K, kappa, B, eps):
    n = len(kappa)
    ones = np.ones((1, n))
    G = np.vstack([ones, -ones, np.eye(n), -np.eye(n)])
    h = np.concatenate([[n * (1 + eps), -n * (1 - eps)], np.full(n, B), np.zeros(n)])
    options = {"show_progress": False, "abstol": 1e-9, "reltol": 1e-9, "feastol": 1e-9}
    return np.ravel(solvers.qp(matrix(K), matrix(-kappa), matrix(G), matrix(h), options=options)["x"])


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize(("B", "eps"), [(1000.0, None), (1000.0, 0.05), (1.5, None), (1.0, 0.1)])
def test_the_objective_is_that_of_the_dense_programme(kernel, B, eps):
    Xs, Xt = draw()
    ns, nt = len(Xs), len(Xt)
    gamma = 0.1
    allowed = (np.sqrt(ns) - 1) / np.sqrt(ns) if eps is None else eps
    K = rbf_kernel(Xs, gamma=gamma) if kernel == "rbf" else Xs @ Xs.T
    cross = rbf_kernel(Xs, Xt, gamma=gamma) if kernel == "rbf" else Xs @ Xt.T
    kappa = ns / nt * cross.sum(axis=1)

    b = KMM(classifier=LinearSVM(), kernel=kernel, gamma=gamma, B=B, eps=eps).weigh(Xs, np.zeros(ns), Xt)

    def objective(x):
        return 0.5 * x @ K @ x - kappa @ x

    assert objective(b) == pytest.approx(objective(dense_qp(K, kappa, B, allowed)), rel=1e-6)
    assert b.min() >= 0
    assert b.max() <= B
    assert abs(b.sum() - ns) <= ns * allowed * (1 + 1e-6)


def test_the_programme_with_a_known_answer():
    # The x >= 0 nearest to (3, 1, -1): each at most 2; with a sum of at most 2; with one of at most 3.
    P, q = np.eye(3), np.array([3.0, 1.0, -1.0])
    np.testing.assert_allclose(bounded_qp(P, q, upper=2, least=0.5, most=9), [2, 1, 0], atol=2e-3)
    np.testing.assert_allclose(bounded_qp(P, q, upper=2, least=0.5, most=2), [2, 0, 0], atol=2e-3)
    np.testing.assert_allclose(bounded_qp(P, q, upper=9, least=0.5, most=3), [2.5, 0.5, 0], atol=2e-3)


def test_weights_follow_the_density_ratio():
    rng = np.random.default_rng(3)
    Xs, Xt = rng.normal(0, 1, (400, 1)), rng.normal(1, 0.7, (400, 1))
    b = KMM(classifier=LinearSVM()).weigh(Xs, np.zeros(400), Xt)
    assert b @ Xs[:, 0] / b.sum() == pytest.approx(Xt.mean(), abs=0.05)
    ratio = np.exp(-((Xs[:, 0] - 1) ** 2) / (2 * 0.49) + Xs[:, 0] ** 2 / 2) / 0.7
    thirds = np.array_split(np.argsort(ratio), 3)
    means = [b[rows].mean() for rows in thirds]
    assert means[0] < 0.15 < means[1] < means[2]


def test_the_classifier_is_trained_with_the_weights():
    rng = np.random.default_rng(4)
    Xs = np.concatenate([rng.normal(-2, 0.5, (100, 2)), rng.normal(2, 0.5, (100, 2))])
    ys = np.concatenate([Xs[:100, 0] > -2, Xs[100:, 1] > 2]).astype(np.int64)  # the rule depends on the place
    Xt = rng.normal(2, 0.5, (150, 2))
    yt = Xt[:, 1] > 2
    model = KMM(classifier=LinearSVM(C=10.0)).fit(Xs, ys, Xt)
    assert model.weights_[:100].sum() < 0.02 * model.weights_.sum()
    assert np.mean(model.predict(Xt) == yt) > 0.9


def test_single_precision_gives_nearly_the_same_weights():
    Xs, Xt = draw()
    model = KMM(classifier=LinearSVM())
    doubles = model.weigh(Xs, np.zeros(120), Xt)
    singles = model.weigh(Xs.astype(np.float32), np.zeros(120), Xt.astype(np.float32))
    np.testing.assert_allclose(singles, doubles, atol=2e-2 * doubles.max())


def test_a_bound_that_no_weights_meet_is_said():
    Xs, Xt = draw()
    with pytest.raises(ValueError, match=r"B: expected at least 1 - eps = 0\.9, given 0\.5; raise B"):
        KMM(classifier=LinearSVM(), B=0.5, eps=0.1).weigh(Xs, np.zeros(120), Xt)


def test_a_programme_that_does_not_converge_is_said():
    with pytest.raises(RuntimeError, match="did not converge"):
        bounded_qp(np.diag([1.0, -5.0]), np.ones(2), upper=1000, least=0.1, most=1900)


def test_a_classifier_without_weights_is_refused():
    Xs, Xt = draw()
    with pytest.raises(UsageError, match="cannot weigh"):
        KMM(classifier=OneNN()).fit(Xs, np.zeros(120), Xt)


def test_the_median_heuristic():
    Xs, Xt = draw(40, 30)
    pooled = np.concatenate([Xs, Xt])
    pairs = [np.sum((pooled[i] - pooled[j]) ** 2) for i in range(70) for j in range(i)]
    assert median_gamma(Xs, Xt) == pytest.approx(1 / (2 * np.median(pairs)))
    assert median_gamma(Xs, Xt, at_most=25) == pytest.approx(median_gamma(Xs, Xt), rel=0.2)
    assert bandwidth("rbf", 0.3, Xs, Xt) == 0.3
    assert bandwidth("linear", None, Xs, Xt) is None
    with pytest.raises(ValueError, match="set gamma"):
        median_gamma(np.ones((5, 2)), np.ones((4, 2)))


def test_the_candidate_bandwidths_are_powers_of_four_around_the_median():
    Xs, Xt = draw(40, 30)
    np.testing.assert_allclose(candidate_gammas(Xs, Xt) / median_gamma(Xs, Xt), [1 / 16, 1 / 4, 1, 4, 16])


def test_the_mean_similarity_does_not_depend_on_the_block():
    Xs, Xt = draw()
    expected = gram("rbf", Xs, Xt, 0.2).mean(axis=1)
    np.testing.assert_allclose(mean_similarity("rbf", Xs, Xt, 0.2, block=16), expected)


@pytest.mark.parametrize("singular", [False, True])
def test_only_a_singular_programme_needs_cvxopt(singular, monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxopt", None)
    monkeypatch.delitem(sys.modules, "tda.methods.shallow.interior_point", raising=False)
    P = np.ones((3, 3)) if singular else np.eye(3)
    setting = {"upper": 9.0, "least": 0.5, "most": 3.0}
    if singular:
        with pytest.raises(UsageError, match="pip install cvxopt"):
            bounded_qp(-P, np.ones(3), **setting)
    else:
        np.testing.assert_allclose(bounded_qp(P, np.array([3.0, 1.0, -1.0]), **setting), [2.5, 0.5, 0], atol=1e-8)


@pytest.mark.parametrize(("upper", "least", "most"), [(1000.0, 1.0, 500.0), (1.0, 70.0, 90.0), (2.0, 76.0, 84.0)])
@pytest.mark.parametrize("twins", [0, 5])
def test_pivoting_meets_the_conditions_of_the_best(upper, least, most, twins):
    """Karush, Kuhn and Tucker's, whose slope at a bound leads outwards; some samples may be there twice."""
    Xs, Xt = draw(ns=80, nt=60)
    Xs[:twins] = Xs[twins : 2 * twins]
    P, q = rbf_kernel(Xs, gamma=0.3), 80 * rbf_kernel(Xs, Xt, gamma=0.3).mean(axis=1)
    x = pivoted(P, q, upper=upper, least=least, most=most)
    assert x.min() >= 0
    assert x.max() <= upper
    assert least - 1e-6 <= x.sum() <= most + 1e-6
    slope = P @ x - q
    free = (x > 1e-7) & (x < upper - 1e-7)
    mu = slope[free].mean()
    np.testing.assert_allclose(slope[free], mu, atol=1e-6)
    assert np.all(slope[x <= 1e-7] >= mu - 1e-6)
    assert np.all(slope[x >= upper - 1e-7] <= mu + 1e-6)
    if least + 1e-6 < x.sum() < most - 1e-6:
        assert mu == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("q", "bounds", "expected"),
    [([9.0, 9.0, 9.0], {"upper": 1.5, "least": 1.5, "most": 3.3}, [1.1, 1.1, 1.1]),
     ([-1e-3, 5.0], {"upper": 1.0, "least": 1.8, "most": 2.2}, [0.8, 1.0])],
    ids=["above", "below"],
)  # fmt: skip
def test_the_sum_keeps_its_bounds_where_all_weights_are_at_theirs(q, bounds, expected):
    np.testing.assert_allclose(bounded_qp(np.eye(len(q)), np.array(q), **bounds), expected, atol=1e-5)
