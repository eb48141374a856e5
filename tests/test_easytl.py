import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.spatial.distance import cdist

from tda.errors import UsageError
from tda.methods.shallow.easytl import EasyTL, assign, prices
from tda.methods.shallow.one_nn import OneNN
from tda.methods.shallow.sa import SA
from tests.test_jda import accuracy, clusters


def programme(D):
    """The paper's linear programme, with all of its n C unknowns and constraints: its solution M (n, C)."""
    n, count = D.shape
    found = linprog(
        D.ravel(),
        A_eq=np.kron(np.eye(n), np.ones(count)),
        b_eq=np.ones(n),
        A_ub=-np.kron(np.ones(n), np.eye(count)),
        b_ub=-np.ones(count),
        bounds=(0, 1),
        method="highs",
    )
    return found.x.reshape(n, count), found.fun


def tight(n, count, seed, short):
    """Costs where the last `short` columns are never the cheapest of a row."""
    D = np.random.default_rng(seed).uniform(1, 2, size=(n, count))
    D[:, count - short :] += 0.9
    return D


@pytest.mark.parametrize(("n", "count", "short"), [(40, 6, 0), (40, 6, 3), (12, 6, 5), (9, 8, 7), (6, 6, 3)])
@pytest.mark.parametrize("seed", range(5))
def test_the_assignment_solves_the_linear_programme(n, count, short, seed):
    D = tight(n, count, seed, short)
    M, least = programme(D)
    chosen = assign(D)
    assert D[np.arange(n), chosen].sum() == pytest.approx(least)
    assert set(chosen) == set(range(count))
    np.testing.assert_array_equal(chosen, M.argmax(axis=1))


@pytest.mark.parametrize(("n", "count", "short"), [(40, 6, 0), (40, 6, 3), (12, 6, 5), (9, 8, 7), (6, 6, 3)])
@pytest.mark.parametrize("seed", range(5))
def test_the_prices_give_each_row_what_the_programme_gives_it(n, count, short, seed):
    D = tight(n, count, seed, short)
    chosen = assign(D)
    p = prices(D, chosen)
    np.testing.assert_array_equal(np.argmin(D - p, axis=1), chosen)
    if n > count:  # else all prices may rise together
        dual = np.min(D - p, axis=1).sum() + p.sum()
        assert dual == pytest.approx(D[np.arange(n), chosen].sum())
        assert p.min() >= 0


def test_where_every_class_has_samples_it_is_the_nearest_centre():
    Xs, ys, Xt, _ = clusters()
    model = EasyTL(standardise="no").fit(Xs, ys, Xt)
    centres = np.array([Xs[ys == c].mean(axis=0) for c in range(3)])
    np.testing.assert_array_equal(model.prices_, 0)
    np.testing.assert_array_equal(model.predict(Xt), np.argmin(cdist(Xt, centres), axis=1))


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])
def test_the_fitted_target_gets_what_the_programme_gives_it(metric):
    Xs, ys, Xt, yt = clusters()
    Xt = Xt[yt < 2] - 0.5  # a target without the third class
    model = EasyTL(standardise="no", metric=metric).fit(Xs, ys, Xt)
    centres = np.array([Xs[ys == c].mean(axis=0) for c in range(3)])
    M, _ = programme(cdist(Xt, centres, metric=metric))
    np.testing.assert_array_equal(model.predict(Xt), M.argmax(axis=1))
    assert set(model.predict(Xt)) == {0, 1, 2}


def test_the_classes_are_centred_and_priced_where_the_aligner_puts_the_domains():
    Xs, ys, Xt, yt = clusters()
    Xt = Xt[yt < 2][:15]  # the third centre is no sample's nearest
    aligner = SA(classifier=OneNN(), dim=12)
    model = EasyTL(aligner=aligner, standardise="no").fit(Xs, ys, Xt)
    Zs, Zt = aligner.align(Xs, ys, Xt)
    np.testing.assert_allclose(model.centres_, [Zs[ys == c].mean(axis=0) for c in range(3)])
    D = cdist(Zt, model.centres_)
    assert model.prices_.max() > 0
    np.testing.assert_allclose(model.prices_, prices(D, assign(D)), atol=1e-9)
    np.testing.assert_array_equal(model.predict(Xt), assign(D))


def test_fewer_target_samples_than_classes_are_refused():
    Xs, ys, Xt, _ = clusters()
    with pytest.raises(ValueError, match="each of the 3 classes, given 2 samples"):
        EasyTL().fit(Xs, ys, Xt[:2])


def test_weights_are_refused():
    Xs, ys, Xt, _ = clusters()
    with pytest.raises(UsageError, match="EasyTL cannot weigh samples"):
        EasyTL().fit(Xs, ys, Xt, np.ones(60))


@pytest.mark.data
@pytest.mark.parametrize(
    ("method", "published"),
    [
        ("easytl", "52.6 53.9 51.6 42.3 43.1 48.4 35.4 38.2 79.6 36.1 38.3 86.1"),
        ("easytl_c", "50.1 49.5 48.4 43.0 40.7 38.9 29.7 35.2 77.1 31.2 31.9 69.5"),
    ],
)
def test_every_published_accuracy_is_reproduced_to_the_digit(method, published):
    tasks = ["C-A", "C-W", "C-D", "A-C", "A-W", "A-D", "W-C", "W-A", "W-D", "D-C", "D-A", "D-W"]
    for task, expected in zip(tasks, map(float, published.split()), strict=True):
        assert accuracy(method, "office_caltech10_surf", task) == pytest.approx(expected, abs=0.051), task
