"""The benches: that their parts accept what `make bench` tells them, and that both sides of a ratio are of one answer."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tda.data.digits import enlarge


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "scripts"))

    def load(name: str) -> ModuleType:
        return sys.modules.get(name) or importlib.import_module(name)

    return load


def test_a_ratio_says_which_side_is_faster(script) -> None:
    Compared = script("measuring").Compared
    assert Compared("TCA", 0.5, "the textbook's", 20).ratio == "40.0x faster"
    assert Compared("DAN", 2.1, "bare", 2.0, "ms").ratio == "1.05x the time"


def test_a_table_has_a_line_for_each_row(script) -> None:
    measuring = script("measuring")
    rows = [measuring.Compared("TCA", 0.5, "the textbook's", 20), measuring.Compared("DAN", 2.1, "bare", 2.0, "ms")]
    head, *lines = measuring.table(rows).splitlines()
    assert [line.split() for line in lines] == [
        ["TCA", "0.50", "s", "20.00", "s", "40.0x", "faster", "the", "textbook's"],
        ["DAN", "2.10", "ms", "2.00", "ms", "1.05x", "the", "time", "bare"],
    ]
    assert all(line[head.index("ratio") - 2 :].startswith("  ") for line in lines)


@pytest.mark.parametrize("real", [False, True])
def test_every_part_takes_what_it_is_told(script, real: bool) -> None:
    bench = script("bench")
    given = ("DATA", "FILE") if real else (None, None)
    parsed = [part.arguments().parse_args([*part.given]) for part in bench.parts(2, *given, bench.Sizes())]
    assert {options.threads for options in parsed if "threads" in options} == {2}
    assert [options.data for options in parsed if "data" in options] == [given[0]] * 2


def test_the_parts_run_and_their_rows_are_returned(script, capsys: pytest.CaptureFixture[str]) -> None:
    bench = script("bench")
    sizes = bench.Sizes(on_features=["dan"], steps=2, cells=200, run=2)
    _, deep, _, _, sweep = bench.parts(1, None, None, sizes)
    rows = bench.measure([deep, sweep])
    assert [(row.what, row.unit) for row in rows] == [("a step of dan, features", "ms"), ("a cell of 200", "ms")]
    assert np.isfinite([(row.ours, row.other) for row in rows]).all()
    assert "batch 72, 2048 features, fp32, 1 threads" in capsys.readouterr().out


def test_a_profile_knows_the_parts_of_a_deep_sweep(script) -> None:
    clocks, _ = script("profile_sweep").profiled(
        ["method=dann", "task=O-P", "seed=0", "trainer.steps=3", "runtime.threads=1"]
    )
    found = {"gathering a batch": 3, "augmentation": 3, "backward": 3, "the loss of a method": 6, "optimiser: step": 3}
    assert {part: clocks.calls[part] for part in found} == found


def test_ours_and_pot_give_one_answer(script) -> None:
    bench = script("bench_shallow")
    data = bench.draw(77, 120, 20)  # fewer than of the target: no two are moved to one place
    ours, theirs = (bench.beside("POT", "OT", side, data) for side in ("ours", "theirs"))
    np.testing.assert_array_equal(ours, theirs)


def test_matched_features_have_the_moments_of_the_source(script) -> None:
    draw = np.random.default_rng(0)
    Zs, Zt = draw.normal(size=(400, 3)) * [1, 2, 3] + 5, draw.normal(size=(300, 3)) * [3, 1, 2]
    given = script("moments").matched(Zs, Zt)
    np.testing.assert_array_equal(given.pop("as they are"), Zt)
    for Z in given.values():
        np.testing.assert_allclose(Z.mean(axis=0), Zs.mean(axis=0))
    np.testing.assert_allclose(given["means, variances"].std(axis=0), Zs.std(axis=0))
    np.testing.assert_allclose(np.cov(given["means, covariances"].T), np.cov(Zs.T), rtol=0.1, atol=0.05)


def test_a_coarse_digit_is_enlarged_from_its_cells(script) -> None:
    small = np.random.default_rng(0).integers(0, 17, (8, 8))
    small[0, 0] = 16
    digit = np.kron(15 * small, np.ones((4, 4))).astype(np.uint8)
    np.testing.assert_array_equal(script("resolution").coarse(digit), enlarge(small))
