import numpy as np
import pytest

from tda.divergences.proxy import a_distance
from tda.methods.shallow.bda import BDA, balance
from tda.methods.shallow.jda import JDA
from tda.methods.shallow.one_nn import OneNN
from tests.test_jda import accuracy, clusters, same_up_to_sign, textbook

SETTINGS = {"dim": 4, "lam": 0.3, "iterations": 4, "unit_rows": True, "unit_mmd": True}


def plain(mu, weighted):
    def matrix(ys, guesses, e0, Z):
        ns, nt, C = len(ys), len(e0) - len(ys), len(np.unique(ys))
        marginal = np.outer(e0, e0) * (1 if weighted else C)
        if guesses is None:
            return marginal
        balance = mu(Z[:ns], ys, Z[ns:], guesses) if callable(mu) else mu
        conditional = np.zeros_like(marginal)
        for c in range(C):
            source, target = np.sum(ys == c), max(np.sum(guesses == c), 1)
            e = np.zeros(len(e0))
            e[:ns][ys == c] = (np.sqrt(source / ns) if weighted else 1) / source
            e[ns:][guesses == c] = -(np.sqrt(target / nt) if weighted else 1) / target
            conditional += np.outer(e, e)
        return (1 - balance) * marginal + balance * conditional

    return matrix


def estimated(Zs, ys, Zt, guesses):
    domains = a_distance(Zs, Zt)
    classes = [a_distance(Zs[ys == c], Zt[guesses == c]) for c in np.unique(ys)]
    return 1 - domains / (domains + sum(classes))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mu", [0.2, 1.0, "a_distance"])
def test_it_does_what_the_plain_algorithm_does(mu, weighted):
    Xs, ys, Xt, _ = clusters(ns=63, nt=50)
    model = BDA(classifier=OneNN(), mu=mu, weighted=weighted, **SETTINGS)
    Z, guesses = textbook(Xs, ys, Xt, matrix=plain(estimated if mu == "a_distance" else mu, weighted), **SETTINGS)
    same_up_to_sign(model.align(Xs, ys, Xt), Z)
    np.testing.assert_array_equal(model.fit(Xs, ys, Xt).predict(Xt), guesses)


def test_the_middle_is_jda_and_nought_is_its_first_iteration():
    Xs, ys, Xt, _ = clusters()
    middle = BDA(classifier=OneNN(), mu=0.5, **SETTINGS).align(Xs, ys, Xt)
    same_up_to_sign(middle, np.concatenate(JDA(classifier=OneNN(), **SETTINGS).align(Xs, ys, Xt)))
    first = JDA(classifier=OneNN(), **SETTINGS | {"iterations": 1}).align(Xs, ys, Xt)
    same_up_to_sign(BDA(classifier=OneNN(), mu=0.0, **SETTINGS).align(Xs, ys, Xt), np.concatenate(first))


def test_the_average_adds_the_squared_distances_of_eleven_balances():
    Xs, ys, Xt, _ = clusters()
    total = 0
    for mu in np.linspace(0, 1, 11):
        Zs, Zt = BDA(classifier=OneNN(), mu=float(mu), **SETTINGS).align(Xs, ys, Xt)
        total = total + np.sum((Zt[:, None] - Zs) ** 2, axis=2)
    model = BDA(classifier=OneNN(), mu="average", **SETTINGS).fit(Xs, ys, Xt)
    Zs, Zt = model.align(Xs, ys, Xt)
    np.testing.assert_allclose(np.sum((Zt[:, None] - Zs) ** 2, axis=2), total, atol=1e-7)
    np.testing.assert_array_equal(model.predict(Xt), ys[total.argmin(axis=1)])
    np.testing.assert_allclose(model.transform(Xt[3:5]), Zt[3:5], atol=1e-10)


def test_the_seed_fixes_the_balances_drawn():
    Xs, ys, Xt, _ = clusters()
    one, same, other = (
        BDA(classifier=OneNN(), mu="random", draws=3, seed=seed, **SETTINGS).align(Xs, ys, Xt)[1] for seed in (0, 0, 1)
    )
    assert one.shape == (len(Xt), 12)
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


def test_the_balance_is_of_the_distances_of_the_domains_and_of_each_class():
    draw = np.random.default_rng(0)
    classes, guesses = np.arange(300) % 3, draw.integers(0, 3, 300)
    Z = draw.normal(size=(600, 4)) + 0.7 * np.concatenate([classes, guesses])[:, None]
    Z[300:] += 0.5
    apart = [a_distance(Z[:300][classes == c], Z[300:][guesses == c]) for c in range(3)]
    assert 0 < min(apart) < max(apart) < 2
    assert balance(Z, classes, guesses) == pytest.approx(estimated(Z[:300], classes, Z[300:], guesses))
    assert balance(np.zeros((4, 1)), np.array([0, 0]), np.array([0, 0])) == 0.5


@pytest.mark.data
@pytest.mark.parametrize(
    ("dataset", "task", "published"),
    [
        ("office_caltech10_surf", "C-A", 44.57),
        ("office_caltech10_surf", "C-W", 40.34),
        ("mnist_usps_mat", "U-M", 59.90),
    ],
)
def test_the_estimated_balance_gives_the_published_accuracies(dataset, task, published):
    """BDA's row in W. Zhang and D. Wu, "Discriminative joint probability maximum mean discrepancy", IJCNN 2020."""
    assert accuracy("dda", dataset, task) == pytest.approx(published, abs=1)
