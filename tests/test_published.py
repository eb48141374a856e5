"""Published accuracies on the classic feature files, through the runner and the configuration."""

import pytest

from tests.test_jda import accuracy

SURF = ["C-A", "C-W", "C-D", "A-C", "A-W", "A-D", "W-C", "W-A", "W-D", "D-C", "D-A", "D-W"]
NEAREST = [23.70, 25.76, 25.48, 26.00, 29.83, 25.48, 19.86, 22.96, 59.24, 26.27, 28.50, 63.39]


@pytest.mark.data
@pytest.mark.parametrize(("task", "published"), [*zip(SURF, NEAREST, strict=True)])
def test_nearest_neighbour_on_surf(task: str, published: float) -> None:
    assert accuracy("one_nn", "office_caltech10_surf", task) == pytest.approx(published, abs=0.005)


@pytest.mark.data
@pytest.mark.parametrize(("task", "published"), [("M-U", 65.94), ("U-M", 44.70)])
def test_nearest_neighbour_on_the_digit_files(task: str, published: float) -> None:
    assert accuracy("one_nn", "mnist_usps_mat", task) == pytest.approx(published, abs=0.005)


@pytest.mark.data
@pytest.mark.parametrize(
    ("method", "dataset", "published", "tolerance"),
    [
        ("coral_svm", "office_caltech10_surf", 48.8, 1.5),
        ("tca", "office_caltech10_surf", 43.61, 0.35),
        ("gfk", "mnist_usps_mat", 53.85, 1.5),
        ("tca", "mnist_usps_mat", 53.75, 1.5),
    ],
)
def test_averages_are_near_the_published_ones_or_above(
    method: str, dataset: str, published: float, tolerance: float
) -> None:
    tasks = SURF if "surf" in dataset else ["M-U", "U-M"]
    assert sum(accuracy(method, dataset, task) for task in tasks) / len(tasks) > published - tolerance
