"""The distances that a table may show beside accuracies, and where they are measured."""

from pathlib import Path

import numpy as np
import pytest

from tda import report
from tda.__main__ import main
from tda.distances import MEASURES, measured
from tda.store import Store


def draw(shift: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(120, 4)), rng.normal(size=(90, 4)) * [1 + shift, 1, 1, 1] + [shift, 0, 0, 0]


@pytest.mark.parametrize("name", sorted(set(MEASURES) - {"angle"}))
def test_a_greater_shift_is_a_greater_distance(name: str) -> None:
    small, great = (measured([name], *draw(shift))[name] for shift in (0.05, 3.0))
    assert small < great


def test_the_angle_is_between_the_leading_subspaces() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(60, 2)) @ [[1, 0, 0], [0, 0.9, 0]]
    turned = plane @ [[1, 0, 0], [0, np.cos(0.3), np.sin(0.3)], [0, -np.sin(0.3), np.cos(0.3)]]
    assert measured(["angle"], plane, turned)["angle"] == pytest.approx(np.degrees(0.3) / 2)


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


def test_records_without_and_with_distances_are_different_cells(tmp_path: Path) -> None:
    for typed in ([], ["distances=[coral]"], []):
        assert main(["run", "task=O-P", f"results={tmp_path}", *typed]) == 0
    assert sorted(len(record.distances) for record in Store(tmp_path).all()) == [0, 1]


def test_an_unknown_distance_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "task=O-P", f"results={tmp_path}", "distances=[mmd]"]) == 2
    assert "'mmd' is not a distance; did you mean 'mmd2'?" in capsys.readouterr().err
