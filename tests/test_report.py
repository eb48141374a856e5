"""The table: its numbers against plain arithmetic, its marks, its four forms."""

import csv
import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tda import report
from tda.errors import UsageError
from tda.store import Record
from tests.test_store import record

ACCURACIES = {  # method -> task -> one accuracy per seed
    "source_only": {"A-B": [50.0, 54.0], "B-A": [60.0, 62.0]},
    "dann": {"A-B": [70.0, 74.0], "B-A": [59.0, 59.0]},
    "target_only": {"A-B": [90.0, 92.0], "B-A": [95.0, 95.0]},
}


def records() -> list[Record]:
    return [
        record(
            key=f"{method}{task}{seed}", setting=method, method=method, label=method, task=task, seed=seed,
            accuracy=accuracy, baseline=None if method == "source_only" else "source_only", backbone="lenet",
            protocol="oracle" if method == "target_only" else "last",
            config={"method": {"name": method}, "trained_on": "target" if method == "target_only" else "source"},
        )
        for method, tasks in ACCURACIES.items()
        for task, accuracies in tasks.items()
        for seed, accuracy in enumerate(accuracies)
    ]  # fmt: skip


def row(table: report.Table, label: str) -> report.Row:
    return next(row for row in table.rows if row.label == label)


def test_means_deviations_and_averages() -> None:
    (table,) = report.tables(records())
    assert table.tasks == ("A-B", "B-A")
    for method, tasks in ACCURACIES.items():
        entries = row(table, method).entries
        for task, accuracies in tasks.items():
            assert entries[task].mean == pytest.approx(np.mean(accuracies))
            assert entries[task].std == pytest.approx(np.std(accuracies, ddof=1))
        by_seed = np.mean(list(tasks.values()), axis=0)
        assert entries["Avg"].mean == pytest.approx(by_seed.mean())
        assert entries["Avg"].std == pytest.approx(by_seed.std(ddof=1))
        assert row(table, method).entries["Avg"].seeds == 2


def test_marks_and_gap() -> None:
    (table,) = report.tables(records())
    source, dann, target = (row(table, name) for name in ACCURACIES)
    assert dann.entries["A-B"].best
    assert not source.entries["A-B"].best
    assert source.entries["B-A"].best
    assert dann.entries["B-A"].negative
    assert not dann.entries["A-B"].negative
    assert not any(entry.best for entry in target.entries.values())
    assert target.oracle
    assert dann.gap == pytest.approx(100 * (65.5 - 56.5) / (93 - 56.5))
    assert target.gap is None
    assert table.rows[-1] is target


@pytest.mark.parametrize("chooser", ["oracle", "trcv"])
def test_an_iterate_that_target_labels_chose_is_no_upper_bound(chooser: str) -> None:
    chosen = [
        replace(one, key=one.key + chooser, setting=chooser, label=chooser, selection=chooser, protocol="oracle",
                config=one.config | {"selection": chooser})
        for one in records() if one.method == "dann"
    ]  # fmt: skip
    (table,) = report.tables([*records(), *chosen])
    assert {row.setting: row.gap for row in table.rows}["dann"] == pytest.approx(100 * (65.5 - 56.5) / (93 - 56.5))
    (table,) = report.tables([*(one for one in records() if one.method != "target_only"), *chosen])
    assert [row.gap for row in table.rows] == [None] * 3


def others(**lower: float) -> list[Record]:
    """Return methods with the accuracies of DANN, each lowered by so much."""
    return [
        replace(one, setting=name, method=name, label=name, key=one.key + name, accuracy=(one.accuracy or 0) - by)
        for name, by in lower.items()
        for one in records()
        if one.method == "dann"
    ]


def test_the_second_is_the_best_but_one_of_those_that_compete() -> None:
    as_good = [replace(one, accuracy=71.0) if one.key.startswith("target_onlyA-B") else one for one in records()]
    (table,) = report.tables([*as_good, *others(coral=1.0, tca=5.0)])
    assert row(table, "target_only").entries["A-B"].mean == row(table, "coral").entries["A-B"].mean
    assert [made.label for made in table.rows if made.entries["A-B"].second] == ["coral"]


def test_a_failed_or_missing_cell_leaves_no_average() -> None:
    failed = [r for r in records() if not (r.method == "dann" and r.task == "A-B")]
    failed.append(record(setting="dann", method="dann", label="dann", task="A-B", status="failed", accuracy=None,
                         backbone="lenet", key="x", seed=0))  # fmt: skip
    (table,) = report.tables(failed)
    assert row(table, "dann").entries["A-B"].failed
    assert row(table, "dann").entries["Avg"].mean is None
    assert " failed" in report.text(table)
    (table,) = report.tables([r for r in records() if not (r.method == "dann" and r.task == "A-B")])
    assert row(table, "dann").entries["A-B"].mean is None
    assert not row(table, "dann").entries["A-B"].failed


def test_a_task_of_which_one_seed_failed_is_failed_altogether() -> None:
    one = [replace(r, status="failed", accuracy=None) if r.key == "dannA-B0" else r for r in records()]
    (table,) = report.tables(one)
    entry = row(table, "dann").entries["A-B"]
    assert entry.failed
    assert entry.mean is None
    assert not entry.best
    assert row(table, "dann").entries["Avg"].mean is None


def test_the_average_is_over_the_seeds_that_have_every_task() -> None:
    (table,) = report.tables([r for r in records() if r.key != "dannB-A1"])
    assert row(table, "dann").entries["Avg"].mean == pytest.approx((70 + 59) / 2)
    assert row(table, "dann").entries["Avg"].std is None


def test_the_seeds_are_those_behind_each_place() -> None:
    (table,) = report.tables([r for r in records() if r.key != "dannB-A1"])
    entries = row(table, "dann").entries
    assert (entries["A-B"].seeds, entries["B-A"].seeds, entries["Avg"].seeds) == (2, 1, 1)
    assert "1 or 2 seeds" in report.render([table], "text")


def test_transfer_is_measured_against_the_baseline_that_was_trained_the_same_way() -> None:
    def trained(steps: int, method: str, accuracy: float) -> Record:
        return record(
            key=f"{method}{steps}", setting=f"{method}{steps}", method=method, label=method, accuracy=accuracy,
            baseline=None if method == "source_only" else "source_only", config={"trainer": {"steps": steps}},
        )  # fmt: skip

    made = [trained(5, "source_only", 40.0), trained(2000, "source_only", 80.0), trained(2000, "dann", 75.0)]
    for order in (made, made[::-1]):
        (table,) = report.tables(order)
        assert row(table, "dann").entries["O-P"].negative
    (table,) = report.tables([made[0], made[2]])
    assert not row(table, "dann").entries["O-P"].negative


@pytest.mark.parametrize("other", [{"backbone": {"weights": "b"}}, {"dataset": {"resize": "squash"}}])
def test_transfer_is_not_measured_against_a_baseline_on_other_features(other: dict[str, Any]) -> None:
    def on(config: dict[str, Any], method: str, accuracy: float) -> Record:
        config = {"backbone": {"weights": "a"}, "dataset": {"resize": "shorter"}, **config}
        setting = f"{method}{config}"
        below = None if method == "source_only" else "source_only"
        return record(key=setting, setting=setting, method=method, label=method, accuracy=accuracy, baseline=below,
                      config=config)  # fmt: skip

    (table,) = report.tables([on({}, "source_only", 80.0), on(other, "dann", 75.0)])
    assert not row(table, "dann").entries["O-P"].negative
    (table,) = report.tables([on({}, "source_only", 80.0), on(other, "source_only", 70.0), on(other, "dann", 75.0)])
    assert not row(table, "dann").entries["O-P"].negative
    (table,) = report.tables([on({}, "source_only", 80.0), on(other, "source_only", 90.0), on(other, "dann", 75.0)])
    assert row(table, "dann").entries["O-P"].negative


def test_transfer_is_measured_against_the_classifier_that_follows_an_alignment() -> None:
    def made(method: str, accuracy: float, target: str, classifier: str | None = None) -> Record:
        config: dict[str, Any] = {"method": {"_target_": target}}
        if classifier:
            config["method"]["classifier"] = {"_target_": classifier}
        below = "one_nn" if classifier else None
        return record(key=method, setting=method, method=method, label=method, accuracy=accuracy, baseline=below,
                      config=config)  # fmt: skip

    rows = [made("one_nn", 90.0, "OneNN"), made("svm", 20.0, "SVM"), made("coral", 30.0, "CORAL", "SVM")]
    (table,) = report.tables(rows)
    assert not row(table, "coral").entries["O-P"].negative
    assert row(table, "coral").baseline == "svm"
    (table,) = report.tables([*rows[:2], made("coral", 30.0, "CORAL", "OneNN")])
    assert row(table, "coral").entries["O-P"].negative
    (table,) = report.tables([rows[0], rows[2]])
    assert row(table, "coral").baseline is None
    other = replace(
        rows[0], method="other", setting="other", key="other", config={"method": {"_target_": "OneNN", "k": 2}}
    )
    coral = made("coral", 30.0, "CORAL", "OneNN")
    (table,) = report.tables([replace(other, label="other"), rows[0], coral])
    assert row(table, "coral").baseline == "one_nn"


def test_looking_along_the_way_is_no_other_training() -> None:
    def watched(every: int, method: str) -> Record:
        return record(key=method, setting=method, method=method, label=method, config={"trainer": {"watch_every": every}},
                      baseline=None if method == "source_only" else "source_only")  # fmt: skip

    (table,) = report.tables([watched(0, "source_only"), watched(10, "dann")])
    assert row(table, "dann").baseline == "source_only"


def test_a_network_that_saw_less_of_the_source_has_the_baseline_that_saw_as_much() -> None:
    def trained(held: float | None, method: str) -> Record:
        kept = {} if held is None else {"validation": {"held": held}}
        return record(key=f"{method} {held}", setting=f"{method} {held}", method=method, label=method,
                      config={"trainer": {"steps": 5}, "selection": "last", **kept},
                      baseline=None if method == "source_only" else "source_only")  # fmt: skip

    (table,) = report.tables([trained(None, "source_only"), trained(0.2, "dann")])
    assert row(table, "dann").baseline is None
    (table,) = report.tables([trained(None, "source_only"), trained(0.2, "source_only"), trained(0.2, "dann")])
    assert row(table, "dann").baseline == "source_only 0.2"


def test_transfer_is_measured_against_the_baseline_whose_iterate_was_chosen_in_the_same_way() -> None:
    def chosen(chooser: str, method: str, accuracy: float) -> Record:
        return record(
            key=f"{method}{chooser}", setting=f"{method}{chooser}", method=method, label=method, accuracy=accuracy,
            baseline=None if method == "source_only" else "source_only", selection=chooser,
            config={"selection": chooser},
        )  # fmt: skip

    (table,) = report.tables(
        [chosen("last", "source_only", 40.0), chosen("dev", "source_only", 80.0), chosen("dev", "dann", 75.0)]
    )
    assert row(table, "dann").entries["O-P"].negative


def test_settings_of_one_method_are_told_apart() -> None:
    two = [record(key=str(dim), setting=str(dim), config={"method": {"dim": dim, "mu": 1}}) for dim in (10, 30)]
    (table,) = report.tables(two)
    assert {row.label for row in table.rows} == {"TCA (dim=10)", "TCA (dim=30)"}


def drawn(method: str, accuracies: dict[int, float], draw: int | None = None, **config: Any) -> list[Record]:
    """Return a record for each seed, on samples that are drawn with it, or all on those of one draw."""
    setting = f"{method}{draw}{config}"
    return [
        record(
            key=f"{setting}{seed}", setting=setting, method=method, label=method, seed=seed, accuracy=accuracy,
            baseline="one_nn", config={"dataset": {"draw": seed if draw is None else draw}, "method": config},
        )
        for seed, accuracy in accuracies.items()
    ]  # fmt: skip


def test_samples_that_are_drawn_with_the_seed_are_no_setting() -> None:
    (table,) = report.tables(
        [
            *drawn("one_nn", {0: 60.0, 1: 62.0}),
            *drawn("tca", {1: 50.0, 0: 52.0}, dim=5),
            *drawn("tca", {2: 70.0}, dim=9),
        ]
    )
    assert {row.label for row in table.rows} == {"one_nn", "tca (dim=5)", "tca (dim=9)"}
    assert {row.label: row.entries["O-P"].negative for row in table.rows}["tca (dim=5)"]
    assert {row.baseline for row in table.rows} == {row(table, "one_nn").setting}


def test_samples_that_are_drawn_whatever_the_seed_are_a_setting() -> None:
    seeds = {0: 60.0, 1: 62.0}
    (table,) = report.tables(
        [*drawn("one_nn", seeds, draw=3), *drawn("tca", seeds, draw=3), *drawn("tca", seeds, draw=4)]
    )
    assert {row.label: row.baseline for row in table.rows if row.method == "tca"} == {
        "tca (draw=3)": row(table, "one_nn").setting, "tca (draw=4)": None
    }  # fmt: skip


def test_a_part_of_another_class_is_told_by_its_class() -> None:
    parts: list[dict[str, Any]] = [
        {"_target_": "tda.one_nn.OneNN", "standardise": "no"},
        {"_target_": "tda.svm.LinearSVM", "C": 1.0},
        {"_target_": "tda.svm.LinearSVM", "C": 2.0},
    ]
    for count, labels in ((2, {"OneNN", "LinearSVM"}), (3, {"OneNN", "LinearSVM, C=1.0", "LinearSVM, C=2.0"})):
        made = [
            record(key=str(i), setting=str(i), config={"method": {"classifier": part}})
            for i, part in enumerate(parts[:count])
        ]
        (table,) = report.tables(made)
        assert {row.label for row in table.rows} == {f"TCA (classifier={label})" for label in labels}


def test_features_of_a_finetuned_backbone_are_told_apart_and_have_their_own_baseline() -> None:
    def on(method: str, accuracy: float, **finetuning: Any) -> Record:
        seen = {"extractor": "finetuned", "finetuning": finetuning} if finetuning else {}
        key = f"{method}{finetuning}"
        return record(
            key=key, setting=key, method=method, label=method, task="A-B", seed=0, accuracy=accuracy,
            baseline="one_nn", backbone="resnet50", config={"method": {"name": method}, **seen},
        )  # fmt: skip

    tuned = {"steps": 9, "lr": 0.1, "seed": 0}
    made = [on("one_nn", 50.0), on("coral", 60.0), on("one_nn", 70.0, **tuned), on("coral", 65.0, **tuned)]
    (table,) = report.tables(made)
    assert not row(table, 'coral (extractor="pretrained")').entries["A-B"].negative
    assert row(table, 'coral (extractor="finetuned")').entries["A-B"].negative
    (table,) = report.tables([*made, on("coral", 66.0, **tuned | {"steps": 8})])
    assert row(table, 'coral (extractor="finetuned", steps=8)').entries["A-B"].mean == 66.0


def test_csv_is_what_the_table_says() -> None:
    (table,) = report.tables(records())
    lines = list(csv.DictReader(io.StringIO(report.csv(table))))
    assert len(lines) == 9
    line = next(line for line in lines if line["method"] == "dann" and line["task"] == "B-A")
    assert float(line["accuracy"]) == 59.0
    assert line["negative_transfer"] == "True"


def test_markdown_has_as_many_places_in_every_line() -> None:
    (table,) = report.tables(records())
    first, empty, *lines = report.markdown(table).splitlines()
    assert (first, empty) == ("digits: accuracy in per cent, 2 seeds, selection: last", "")
    assert len({line.count("|") for line in lines}) == 1
    assert "**72.0 ± 2.8**" in report.markdown(table)
    assert "*59.0 ± 0.0* ↓" in report.markdown(table)


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_distances_have_three_digits_and_are_told_below(form: str) -> None:
    far = [replace(one, distances={"mmd2": 0.17, "angle": 31.25 if one.method == "dann" else 2}) for one in records()]
    shown = report.render(report.tables(far), form)
    (dann,) = (line.replace("|", " ").split() for line in shown.splitlines() if " dann" in f" {line}")
    assert "0.170" in dann
    assert "31.2" in dann
    assert "2.00" in shown
    assert shown.endswith(
        "mmd2, angle: how far apart the method leaves the two domains, mean over tasks and seeds; less is nearer."
    )
    assert "how far apart" not in report.render(report.tables(records()), form)


def test_latex_escapes_and_balances() -> None:
    (table,) = report.tables(records())
    made = report.latex(table)
    assert r"source\_only" in made
    assert made.count("{") == made.count("}")
    assert len({line.count("&") for line in made.splitlines() if line.endswith(r"\\")}) == 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(tmp_path: Path) -> None:
    (table,) = report.tables(records())
    document = (
        rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{report.latex(table)}\end{{document}}"
    )
    (tmp_path / "t.tex").write_text(document, encoding="utf-8")
    subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("dataset", "tasks", "shown"),
    [
        ("office_caltech10_surf", ("A-C", "W-C", "C-D", "C-A", "A-C"), ("C-A", "C-D", "A-C", "W-C")),
        ("my_own", ("B-A", "A-C", "A-B"), ("A-B", "A-C", "B-A")),
    ],
)
def test_tasks_are_in_the_order_of_the_dataset(dataset: str, tasks: tuple[str, ...], shown: tuple[str, ...]) -> None:
    made = [record(key=str(i), seed=i, dataset=dataset, task=task) for i, task in enumerate(tasks)]
    for order in (made, made[::-1]):
        assert report.tables(order)[0].tasks == shown


def test_a_table_of_some_of_the_tasks_says_so() -> None:
    six = [record(key=task, task=task) for task in ("O-P", "O-S", "P-O", "P-S", "S-O", "S-P")]
    assert "digits: accuracy in per cent on 2 of 6 tasks, 1 seed" in report.render(report.tables(six[:2]), "text")
    for whole in (six, [record(dataset="my_own")], records()):
        assert "per cent, " in report.render(report.tables(whole), "text")


def test_one_table_per_dataset_and_none_for_nothing() -> None:
    assert [t.dataset for t in report.tables([record(), record(dataset="office31")])] == [
        "digits",
        "office31",
    ]
    assert len(report.render(report.tables([record(), record(dataset="office31")]), "csv").splitlines()) == 5
    with pytest.raises(UsageError, match="no record matches"):
        report.render([], "text")


def test_written_tables_name_the_command(tmp_path: Path) -> None:
    paths = report.write(records(), tmp_path, "demo", "tda run experiment=demo")
    assert [path.name for path in paths] == ["demo.csv", "demo.md", "demo.tex", "demo.records.csv"]
    assert "Made by `tda run experiment=demo`" in (tmp_path / "demo.md").read_text(encoding="utf-8")
    cells = list(csv.DictReader((tmp_path / "demo.records.csv").read_text(encoding="utf-8").splitlines()))
    assert len(cells) == len(records())
