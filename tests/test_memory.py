import numpy as np
import pytest

from tda import memory
from tda.memory import fingerprint, forget, remembered
from tda.methods.shallow.bda import BDA
from tda.methods.shallow.jda import JDA
from tda.methods.shallow.one_nn import OneNN
from tests.test_jda import clusters


@pytest.fixture
def doubled():
    forget()
    calls = []

    @remembered
    def doubled(X, power=1):
        calls.append(power)
        return (X * 2**power,)

    yield doubled, calls
    forget()


def test_the_same_content_is_computed_once(doubled):
    function, calls = doubled
    X = np.arange(6.0)
    first, again = function(X), function(X.copy())
    assert again[0] is first[0]
    function(X, 2)
    function(X, power=2)
    function(X.reshape(2, 3))
    function(X.astype(np.float32))
    function(X + 1)
    assert len(calls) == 6
    long = np.arange(2000.0)
    function(X=long)
    long[1000] = 0  # where numpy's print of it has dots
    function(X=long)
    assert len(calls) == 8
    forget()
    function(X)
    assert len(calls) == 9


def test_values_in_a_row_are_told_apart():
    assert fingerprint(1, 23) != fingerprint(12, 3)
    assert fingerprint("a", "b") == fingerprint("a", "b")


def test_what_is_given_out_cannot_be_written_to(doubled):
    function, _ = doubled
    with pytest.raises(ValueError, match="read-only"):
        function(np.ones(3))[0][0] = 7


def test_the_oldest_results_make_room(doubled, monkeypatch):
    function, calls = doubled
    monkeypatch.setattr(memory, "LIMIT", 2 * 8 * 10)
    a, b, c = (np.full(10, float(value)) for value in range(3))
    for X in (a, b, a, c, a, b):
        function(X)
    assert len(calls) == 4  # c takes the place of b, which was asked for longer ago than a
    function(np.zeros(21))
    assert not memory.kept


def test_nothing_is_asked_of_another_c_library(monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "win32")
    memory.glibc.cache_clear()
    with memory.reused():
        assert memory.glibc() is None
    monkeypatch.undo()
    memory.glibc.cache_clear()


def test_relatives_share_the_axes_and_find_what_each_finds_alone():
    Xs, ys, Xt, _ = clusters()
    settings = {"classifier": OneNN(), "dim": 4}
    alone = []
    for method in (JDA, BDA):
        forget()
        alone.append(method(**settings).align(Xs, ys, Xt))
    before = dict(memory.kept)
    together = [method(**settings).align(Xs, ys, Xt) for method in (JDA, BDA)]
    assert dict(memory.kept).keys() == before.keys()
    np.testing.assert_array_equal(*(np.concatenate([*map(np.concatenate, found)]) for found in (together, alone)))
