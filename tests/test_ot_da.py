import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment, minimize, minimize_scalar
from scipy.special import entr

from tda.methods.shallow.one_nn import OneNN
from tda.methods.shallow.ot_da import (
    ExactOT,
    GroupLassoOT,
    LaplacianOT,
    SinkhornOT,
    best_share,
    class_sums,
    entropic,
    neighbour_laplacian,
    times_gram,
)
from tests.test_jda import clusters

METHODS = [ExactOT, SinkhornOT, GroupLassoOT, LaplacianOT]


def costs(Xs, Xt, unit):
    C = np.sum((Xs[:, None] - Xt[None]) ** 2, axis=2)
    return C / C.mean() if unit else C


def group_lasso(g, C, classes, reg, eta):
    norms = sum(np.linalg.norm(g[classes == c, j]) for c in np.unique(classes) for j in range(g.shape[1]))
    return np.sum(g * C) + reg * np.sum(g * np.log(g)) + eta * norms


def like_samples_apart(g, Xs, Xt, classes, C, reg, eta, alpha, neighbours):
    """The objective of OT-Laplace, one pair of samples after the other."""

    def near(X):
        distance = np.linalg.norm(X[:, None] - X[None], axis=2)
        np.fill_diagonal(distance, np.inf)
        nearest = distance.argsort(axis=1)[:, :neighbours]
        W = np.zeros_like(distance)
        np.put_along_axis(W, nearest, 1, axis=1)
        return np.maximum(W, W.T)

    ns, nt = g.shape
    Zs, Zt = ns * g @ Xt, nt * g.T @ Xs
    Ws, Wt = near(Xs) * (classes[:, None] == classes), near(Xt)
    apart = [np.sum(W * np.sum((Z[:, None] - Z[None]) ** 2, axis=2)) / 2 for W, Z in ((Ws, Zs), (Wt, Zt))]
    return np.sum(g * C) - reg * np.sum(entr(g)) + eta * ((1 - alpha) * apart[0] / ns**2 + alpha * apart[1] / nt**2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("unit_cost", [True, False])
def test_the_plan_has_its_margins_and_the_map_is_barycentric(method, unit_cost):
    Xs, ys, Xt, _ = clusters()
    Xs, Xt = Xs / 4, Xt / 4
    model = method(classifier=OneNN(), unit_cost=unit_cost)
    Zs, Zt = model.align(Xs, ys, Xt)
    assert model.plan_.min() >= 0
    np.testing.assert_allclose(model.plan_.sum(axis=1), 1 / 60, atol=1e-6)
    np.testing.assert_allclose(model.plan_.sum(axis=0), 1 / 45, atol=1e-6)
    np.testing.assert_allclose(Zs, 60 * model.plan_ @ Xt, atol=1e-5)
    np.testing.assert_array_equal(Zt, Xt)
    np.testing.assert_array_equal(model.transform(Xt[3:5]), Xt[3:5])


@pytest.mark.parametrize("unit_cost", [True, False])
def test_between_equal_numbers_the_exact_plan_is_an_assignment(unit_cost):
    Xs, ys, Xt, _ = clusters(ns=45, nt=45)
    model = ExactOT(classifier=OneNN(), unit_cost=unit_cost)
    Zs, _ = model.align(Xs, ys, Xt)
    _, partner = linear_sum_assignment(costs(Xs, Xt, unit_cost))
    np.testing.assert_allclose(Zs, Xt[partner], atol=1e-10)


def test_the_entropic_plan_is_the_scaled_kernel():
    Xs, ys, Xt, _ = clusters()
    model = SinkhornOT(classifier=OneNN(), reg=0.2)
    model.align(Xs, ys, Xt)
    ratio = np.log(model.plan_) + costs(Xs, Xt, True) / 0.2  # u_i + v_j
    np.testing.assert_allclose(ratio - ratio[:1] - ratio[:, :1] + ratio[0, 0], 0, atol=1e-8)
    plan = ot.bregman.sinkhorn_log(np.full(60, 1 / 60), np.full(45, 1 / 45), costs(Xs, Xt, True), 0.2, stopThr=1e-12)
    np.testing.assert_allclose(model.plan_, plan, atol=1e-9)


def test_a_plan_that_the_plain_iterations_cannot_represent_is_found():
    C = np.random.default_rng(0).uniform(size=(20, 15)) + 50
    np.testing.assert_allclose(entropic(C, 0.05), entropic(C - 50, 0.05), atol=1e-9)
    assert np.exp(-C / 0.05).max() == 0


def test_an_entropy_too_small_to_converge_is_reported():
    C = np.random.default_rng(0).uniform(size=(40, 30))
    with pytest.raises(RuntimeError, match=r"after \d+ iterations; raise reg \(given 1e-05\)"):
        entropic(C, 1e-5)


def test_the_sums_of_the_classes_are_those_of_their_rows():
    g, classes = np.random.default_rng(0).uniform(size=(9, 4)), np.array([2, 0, 1, 1, 0, 2, 2, 2, 0])
    np.testing.assert_allclose(class_sums(g, classes), [g[classes == c].sum(axis=0) for c in range(3)])


def test_the_group_lasso_descends_to_where_no_plan_near_is_better():
    Xs, ys, Xt, _ = clusters()
    C = costs(Xs, Xt, True)
    worth = []
    for iterations in (1, 5, 60):
        model = GroupLassoOT(classifier=OneNN(), reg=0.2, eta=0.5, iterations=iterations)
        model.align(Xs, ys, Xt)
        worth.append(group_lasso(model.plan_, C, ys, 0.2, 0.5))
    assert group_lasso(entropic(C, 0.2), C, ys, 0.2, 0.5) > worth[0] > worth[1] > worth[2]
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = entropic(C + 0.3 * rng.normal(size=C.shape), 0.2)
        assert group_lasso(0.99 * model.plan_ + 0.01 * other, C, ys, 0.2, 0.5) > worth[2]


@pytest.mark.parametrize("method", [GroupLassoOT, LaplacianOT])
def test_without_its_own_term_it_is_entropic_transport(method):
    Xs, ys, Xt, _ = clusters()
    plans = []
    for model in (method(classifier=OneNN(), eta=0.0, reg=0.2), SinkhornOT(classifier=OneNN(), reg=0.2)):
        model.align(Xs, ys, Xt)
        plans.append(model.plan_)
    np.testing.assert_allclose(*plans, atol=1e-10)


def test_the_group_lasso_sends_fewer_classes_to_a_sample():
    Xs, ys, Xt, _ = clusters()

    def mixed(model):
        model.align(Xs, ys, Xt)
        shares = np.array([model.plan_[ys == c].sum(axis=0) for c in range(3)]) * 45
        return np.mean(1 - shares.max(axis=0))

    assert mixed(GroupLassoOT(classifier=OneNN(), reg=0.2, eta=1.0)) < mixed(SinkhornOT(classifier=OneNN(), reg=0.2))


def mean_distance(Xs, Xt):
    return np.sqrt(np.mean(np.sum((Xs[:, None] - Xt[None]) ** 2, axis=2)))


@pytest.mark.parametrize(("alpha", "neighbours", "eta"), [(0.3, 4, 50.0), (1.0, 20, 20.0), (0.5, 3, 100.0)])
def test_the_laplacian_plan_descends_to_where_no_plan_near_is_better(alpha, neighbours, eta):
    Xs, ys, Xt, _ = clusters()
    C, scale = costs(Xs, Xt, True), mean_distance(Xs, Xt)

    def objective(plan):
        return like_samples_apart(plan, Xs / scale, Xt / scale, ys, C, 0.2, eta, alpha, neighbours)

    worth = [objective(entropic(C, 0.2))]
    for iterations in (1, 2, 3, 5, 40):
        model = LaplacianOT(
            classifier=OneNN(), reg=0.2, eta=eta, alpha=alpha, neighbours=neighbours, iterations=iterations
        )
        model.align(Xs, ys, Xt)
        worth.append(objective(model.plan_))
    assert np.all(np.diff(worth) < 0)
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = entropic(C + 0.3 * rng.normal(size=C.shape), 0.2)
        assert objective(0.99 * model.plan_ + 0.01 * other) > worth[-1]


def test_the_laplacian_plan_is_that_of_a_general_solver():
    Xs, ys, Xt, _ = clusters(ns=8, nt=6, d=3, classes=2)
    C, scale = costs(Xs, Xt, True), mean_distance(Xs, Xt)
    margins = np.vstack([np.kron(np.eye(8), np.ones(6)), np.kron(np.ones(8), np.eye(6))[:-1]])  # the last follows
    found = minimize(
        lambda g: like_samples_apart(g.reshape(8, 6), Xs / scale, Xt / scale, ys, C, 0.1, 2.0, 0.4, 2),
        np.full(48, 1 / 48),
        method="SLSQP",
        bounds=[(1e-12, 1)] * 48,
        constraints={"type": "eq", "fun": lambda g: margins @ g - np.repeat([1 / 8, 1 / 6], [8, 5])},
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert found.success
    model = LaplacianOT(classifier=OneNN(), reg=0.1, eta=2.0, alpha=0.4, neighbours=2, iterations=100)
    model.align(Xs, ys, Xt)
    np.testing.assert_allclose(model.plan_, found.x.reshape(8, 6), atol=1e-5)
    assert np.abs(model.plan_ - entropic(C, 0.1)).max() > 1e-2


@pytest.mark.parametrize(("rise", "bend"), [(-1.0, 0.3), (-0.05, 0.3), (0.2, 0.3), (-5.0, 0.0)])
def test_the_share_is_the_best_on_the_line(rise, bend):
    draw = np.random.default_rng(0)
    g, vertex = (entropic(draw.uniform(size=(9, 7)), 0.1) for _ in range(2))
    share = best_share(g, vertex - g, 0.1, lambda t: rise + t * bend)
    found = minimize_scalar(
        lambda t: rise * t + bend * t**2 / 2 - 0.1 * entr(g + t * (vertex - g)).sum(),
        bounds=(0, 1),
        method="bounded",
        options={"xatol": 1e-8},
    )
    assert share == pytest.approx(found.x, abs=1e-5)
    assert share == 1.0 or rise > -5.0


@pytest.mark.parametrize("d", [2, 11])
def test_a_product_with_a_gram_matrix_is_the_same_in_both_orders(d):
    draw = np.random.default_rng(0)
    g, X = draw.normal(size=(5, 12)), draw.normal(size=(12, d))
    np.testing.assert_allclose(times_gram(g, X, X @ X.T), g @ (X @ X.T), atol=1e-12)


def test_the_graph_of_the_source_keeps_to_the_classes():
    X, classes = np.array([[0.0], [1.0], [1.1], [5.0]]), np.array([0, 0, 1, 1])
    np.testing.assert_array_equal(
        neighbour_laplacian(X @ X.T, 1, classes).toarray(), [[1, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 1, -1], [0, 0, -1, 1]]
    )
