import numpy as np
import pytest

from tda.methods.shallow.jda import JDA
from tda.methods.shallow.one_nn import OneNN
from tda.methods.shallow.target_selection_jda import TargetSelectionJDA, consistent
from tests.test_jda import clusters, same_up_to_sign, textbook

SETTINGS = {"dim": 4, "lam": 0.3, "iterations": 4, "unit_rows": True, "unit_mmd": True}


def plain(neighbours):
    def matrix(ys, guesses, e0, Z):
        ns = len(ys)
        M = np.outer(e0, e0) * len(np.unique(ys))
        if guesses is None:
            return M
        Zt = Z[ns:]
        kept = np.zeros(len(Zt), dtype=bool)
        for i in range(len(Zt)):
            distances = np.linalg.norm(Zt - Zt[i], axis=1)
            distances[i] = np.inf
            votes = np.bincount(guesses[np.argsort(distances)[:neighbours]], minlength=10)
            kept[i] = votes[guesses[i]] == votes.max()
        for c in np.unique(guesses[kept]):
            e = np.zeros(len(e0))
            e[:ns][ys == c] = 1 / np.sum(ys == c)
            e[ns:][kept & (guesses == c)] = -1 / np.sum(kept & (guesses == c))
            M += np.outer(e, e)
        return M

    return matrix


@pytest.mark.parametrize(("neighbours", "nt"), [(1, 45), (3, 45), (5, 45), (5, 10)])  # of ten, a class is left without
def test_it_does_what_the_plain_algorithm_does(neighbours, nt):
    Xs, ys, Xt, _ = clusters(nt=nt, apart=0.5)
    Z, guesses = textbook(Xs, ys, Xt, matrix=plain(neighbours), **SETTINGS)
    model = TargetSelectionJDA(classifier=OneNN(), neighbours=neighbours, **SETTINGS).fit(Xs, ys, Xt)
    same_up_to_sign(model.align(Xs, ys, Xt), Z)
    np.testing.assert_array_equal(model.predict(Xt), guesses)
    assert 0 < np.sum(model.selected_) < len(Xt)


def test_without_neighbours_it_is_jda():
    Xs, ys, Xt, _ = clusters()
    expected = np.concatenate(JDA(classifier=OneNN(), **SETTINGS).align(Xs, ys, Xt))
    same_up_to_sign(TargetSelectionJDA(classifier=OneNN(), neighbours=0, **SETTINGS).align(Xs, ys, Xt), expected)


def test_a_stranger_among_its_neighbours_is_not_selected():
    Z = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    guesses = np.array([0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(consistent(Z, guesses, 2), [True, True, False, True, True, True])


def test_a_lone_sample_is_selected():
    np.testing.assert_array_equal(consistent(np.zeros((1, 2)), np.array([3]), 5), [True])
