"""The distances that a table may show beside accuracies, and where they are measured."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from tda import report
from tda.__main__ import main
from tda.distances import MEASURES, measured
from tda.divergences.hsic import hsic
from tda.divergences.information import gaussian_js, gaussian_kl
from tda.divergences.mmd import mk_mmd2, mmd2
from tda.divergences.moments import cmd, coral_distance
from tda.divergences.proxy import a_distance
from tda.divergences.transport import sliced_wasserstein, wasserstein
from tda.store import Store

FUNCTIONS = {
    "a_distance": a_distance, "mmd2": mmd2, "mk_mmd2": mk_mmd2, "coral": coral_distance, "cmd": cmd, "kl": gaussian_kl,
    "js": gaussian_js, "wasserstein": wasserstein, "sliced_wasserstein": sliced_wasserstein,
}  # fmt: skip


def draw(shift: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(120, 4)), rng.normal(size=(90, 4)) * [1 + shift, 1, 1, 1] + [shift, 0, 0, 0]


@pytest.mark.parametrize(("name", "function"), FUNCTIONS.items())
def test_a_name_stands_for_its_function(name: str, function: Callable[..., float]) -> None:
    assert measured([name], *draw(0.7)) == {name: pytest.approx(function(*draw(0.7)))}


def test_no_measure_is_forgotten() -> None:
    assert set(MEASURES) - set(FUNCTIONS) == {"hsic", "angle"}


def test_dependence_on_the_domain_is_the_discrepancy_in_another_unit() -> None:
    Xs, Xt = draw(0.7)
    domain = np.repeat([0.0, 1.0], [120, 90])[:, None]
    assert measured(["hsic"], Xs, Xt)["hsic"] == pytest.approx(hsic(np.concatenate([Xs, Xt]), domain, gamma_y=1.0))


def test_the_angle_is_between_the_leading_subspaces() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(60, 2)) @ [[1, 0, 0], [0, 0.9, 0]]
    turned = plane @ [[1, 0, 0], [0, np.cos(0.3), np.sin(0.3)], [0, -np.sin(0.3), np.cos(0.3)]]
    assert measured(["angle"], plane, turned)["angle"] == pytest.approx(np.degrees(0.3) / 2)


def test_the_angle_is_of_ten_directions_of_each() -> None:
    rng = np.random.default_rng(0)
    Xs, Xt = rng.normal(size=(2, 200, 12)) * np.linspace(3, 1, 12)
    leading = (PCA(10).fit(X).components_.T for X in (Xs, Xt))
    expected = np.degrees(subspace_angles(*leading).mean())
    assert measured(["angle"], Xs, Xt)["angle"] == pytest.approx(expected)


@pytest.mark.slow
def test_they_are_measured_where_the_method_leaves_the_domains(tmp_path: Path) -> None:
    store = Store(tmp_path)
    command = ["run", "method=one_nn,tca,source_only", "task=O-P,P-O", "trainer.steps=2", f"results={tmp_path}"]
    assert main([*command, "distances=[a_distance]"]) == 0
    by_method = {record.method: record.distances["a_distance"] for record in store.all() if record.task == "O-P"}
    assert by_method["tca"] < 0.5 < 1.5 < by_method["one_nn"]
    assert by_method["source_only"] > 1
    (table,) = report.tables(store.all())
    assert table.distances == ("a_distance",)
    assert report.heading(table)[-1] == "a_distance"
    for form in report.FORMATS:
        assert "distance" in report.render([table], form)


@pytest.mark.slow
def test_records_without_and_with_distances_are_different_cells(tmp_path: Path) -> None:
    for typed in ([], ["distances=[coral]"], []):
        assert main(["run", "task=O-P", f"results={tmp_path}", *typed]) == 0
    assert sorted(len(record.distances) for record in Store(tmp_path).all()) == [0, 1]


@pytest.mark.slow
def test_those_of_an_oracle_are_of_each_source(tmp_path: Path) -> None:
    command = ["run", "method=target_only", "task=O-P,S-P", "trainer.steps=2", f"results={tmp_path}"]
    assert main([*command, "distances=[mmd2]"]) == 0
    first, second = Store(tmp_path).all()
    assert first.accuracy == second.accuracy
    assert first.distances != second.distances


def test_an_unknown_distance_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "task=O-P", f"results={tmp_path}", "distances=[mmd]"]) == 2
    assert "'mmd' is not a distance; did you mean 'mmd2'?" in capsys.readouterr().err


def test_a_distance_that_samples_do_not_have_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Of collapsed features, which have no median distance and no principal subspace."""
    alike = np.zeros((30, 4))
    assert set(measured([*MEASURES], alike, alike + 1)) >= {"a_distance", "coral", "wasserstein"}
    assert measured(["mmd2", "angle", "coral"], alike, alike) == {"coral": 0}
    assert "distance angle is left out: the samples of a domain are all alike" in caplog.text


def test_equal_samples_are_equal_whatever_their_numbers_round_to() -> None:
    """Of a row whose mean is not itself to the bit, and of more features than Lanczos iterations take."""
    row = np.random.default_rng(0).normal(size=(1, 700))
    for alike in (np.repeat(row, 600, axis=0), np.repeat(row.astype(np.float32), 600, axis=0)):
        assert measured(["mmd2", "angle", "kl"], alike, alike) == {}


def test_the_angle_is_of_the_directions_that_there_are() -> None:
    """Rank 3 but for noise at the edge of what is counted."""
    rng = np.random.default_rng(0)
    Xs = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 8))
    noisy = Xs + 1e-9 * rng.normal(size=Xs.shape)
    assert measured(["angle"], Xs, noisy)["angle"] < 1e-3
