"""Ours beside reported: differences and spreads by hand, and no verdict where the two are not comparable."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tda import compare, reported
from tda.__main__ import main
from tda.backbones.given import Given
from tda.cache import digest
from tda.config import Sweep, identity
from tda.resources import folder
from tda.store import Record, Store
from tda.written import listed_tasks
from tests.conftest import names
from tests.test_reported import ROW, write
from tests.test_store import record

FROZEN = {"backbone": {"frozen": True}, "trainer": {"steps": 10}}
RESNET = ("backbone=resnet50", "backbone.weights=none")
TRAINED = {"backbone": {"frozen": False}, "trainer": {"steps": 10}}


def ours(task: str, accuracy: float | None, seed: int | None = None, **changes: Any) -> Record:
    fields = {
        "key": f"{task}{seed}", "dataset": "office31", "backbone": "resnet50", "method": "tca", "label": "TCA",
        "scored": 500, "config": {"backbone": {}, "trainer": None},
    }  # fmt: skip
    return record(**(fields | {"task": task, "accuracy": accuracy, "seed": seed} | changes))


def store(results: Path) -> None:
    """Put a cell that is reported, to the digit, and one that nobody reports."""
    for method in ("jda", "hafn"):
        config = {"backbone": {}, "method": {"name": method}, "trainer": None}
        surf = ours("C-A", 44.78, dataset="office_caltech10_surf", method=method, backbone="given", config=config)
        Store(results).put(replace(surf, label=method.upper(), setting=method, key=digest(config)))


def rows(folder: Path, *changes: dict[str, str]) -> pd.DataFrame:
    return reported.load(write(folder, *({**ROW, **change} for change in changes)))


def only(made: list[compare.Comparison]) -> compare.Comparison:
    (one,) = made
    return one


def run_with(*overrides: str) -> list[compare.Comparison]:
    """Compare records of shallow methods, as their configurations make them, with what is reported."""
    made = []
    for cell in Sweep(["dataset=office_caltech10_surf", "task=C-A", *overrides]).cells:
        dataset, method, task, key = cell.address
        said = {"dataset": dataset, "method": method, "setting": key, "config": identity(cell.config)}
        made.append(ours(task, 50.0, backbone="given", **said))
    return compare.compare(made)


def test_another_classifier_is_not_compared_and_other_parameters_are_told() -> None:
    for typed, said in (
        ("classifier=linear_svm", "LinearSVM (C=1.0)"),
        ("classifier.standardise=domain", "OneNN (standardise=domain)"),
    ):
        made = run_with("method=jda", typed)
        assert made
        assert all(one.unlike == (f"our classifier is {said}",) for one in made)
    for one in run_with("method=tca", "method.dim=5"):
        assert "our method.dim=5, its config 100" in one.caveats


def trained_with(*overrides: str, dataset: str = "office31", task: str = "A-W") -> list[str]:
    """Return what is told of a deep method's settings beside the reported numbers, once each."""
    said: list[str] = []
    for cell in Sweep([f"dataset={dataset}", f"task={task}", *overrides]).cells:
        network = str(cell.config.backbone.name)
        mine = ours(task, 50.0, dataset=dataset, method=cell.address[1], backbone=network, config=identity(cell.config))
        one, *_ = compare.compare([mine])
        said += [text for text in (*one.unlike, *one.caveats) if text.startswith("our ")]
    return said


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["method=dann", "method.weight=0.5"], ["our method.weight=0.5, its config 1.0"]),
        (["method=dann", "trainer.steps=500"], ["our trainer.steps=500, its config (fair) 2000"]),
        (["method=dann", "selection=scores"], ["our training kept 0.2 of each source class back for validators"]),
        (["method=dann", "trainer=tllib"], []),
        (["method=dann", "trainer=tllib", "method.gamma=10"], ["our method.gamma=10, its config 20"]),
        (["method=dann", "backbone.views=flip"], ["our backbone.views=flip, its config centre"]),
        (["method=dann", "backbone.bottleneck=null"], ["our backbone.bottleneck=none, its config 256"]),
        (["method=dann", "dataset.resize=squash"], ["our dataset.resize=squash, its config shorter"]),
        (["method=coral", "backbone.views=flip"], ["our backbone.views=flip, its config centre"]),
    ],
)
def test_settings_of_a_network_that_are_not_its_config_s_are_told(typed: list[str], said: list[str]) -> None:
    assert trained_with(*typed, *RESNET) == said


def test_digits_that_were_split_anew_are_told() -> None:
    said = trained_with("method=dann", "dataset.resplit={U: 7438}", dataset="mnist_usps", task="M-U")
    assert said == ["our dataset.resplit={'U': 7438}, its config none"]


@pytest.mark.parametrize("trainer", ["fair", "deepda", "tllib"])
def test_no_deep_method_differs_from_its_own_configuration(trainer: str) -> None:
    known = set(reported.load().query("dataset == 'office31'")["method"])
    tuned = {path.stem for path in (folder("conf") / "tuned" / "trainer" / trainer).glob("*.yaml")}
    written = {name: (folder("conf") / "method" / f"{name}.yaml").read_text() for name in tuned or names("method")}
    deep = [name for name, text in written.items() if "/kind/deep" in text and name in known]
    assert trained_with("method=" + ",".join(deep), f"trainer={trainer}", *RESNET) == []


def test_a_parameter_that_ours_does_not_have_yet_is_told() -> None:
    (cell,) = Sweep(["dataset=office_caltech10_surf", "task=C-A", "method=jda"]).cells
    config = identity(cell.config)
    del config["method"]["dim"]
    said = {"dataset": cell.address[0], "method": "jda", "backbone": "given", "config": config}
    for one in compare.compare([ours("C-A", 50.0, **said)]):
        assert "our method has no dim: it is of an earlier version" in one.caveats


def test_no_method_differs_from_its_own_configuration() -> None:
    written = {name: (folder("conf") / "method" / f"{name}.yaml").read_text() for name in names("method")}
    for one in run_with("method=" + ",".join(name for name, text in written.items() if "/kind/shallow" in text)):
        assert not [said for said in (*one.unlike, *one.caveats) if said.startswith("our")]


@pytest.mark.parametrize(
    ("accuracy", "verdict"),
    [(60.0, "within"), (60.24, "within"), (59.76, "within"), (60.26, "above"), (59.74, "below")],
)
def test_without_seeds_the_spread_is_one_scored_sample_and_the_rounding(
    tmp_path: Path, accuracy: float, verdict: str
) -> None:
    one = only(compare.compare([ours("A-W", accuracy)], rows(tmp_path, {"accuracy": "60.0"})))
    (cell,) = one.cells
    assert cell.spread == pytest.approx(100 / 500 + 0.05)
    assert cell.difference == pytest.approx(accuracy - 60)
    assert cell.verdict == verdict
    assert one.unlike == one.caveats == ()


@pytest.mark.parametrize(("std", "spread"), [("", 2 * 2**0.5 + 0.05), ("1.0", 2 * 3**0.5 + 0.05)])
def test_the_spread_is_two_deviations_of_the_difference(tmp_path: Path, std: str, spread: float) -> None:
    made = compare.compare(
        [ours("A-W", 61.0, 0), ours("A-W", 63.0, 1)], rows(tmp_path, {"accuracy": "60.0", "std": std})
    )
    (cell,) = only(made).cells
    assert (cell.ours, cell.std) == (62.0, pytest.approx(2**0.5))
    assert cell.difference == pytest.approx(2.0)
    assert cell.spread == pytest.approx(spread)
    assert only(made).caveats == ("1 run, ours 2 seeds",)


def test_one_seed_has_a_difference_and_no_verdict(tmp_path: Path) -> None:
    (cell,) = only(compare.compare([ours("A-W", 40.0, 0)], rows(tmp_path, {"accuracy": "60.0"}))).cells
    assert (cell.difference, cell.spread, cell.verdict) == (-20.0, None, "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features": "alexnet_fc6"}, "features alexnet_fc6 fixed, ours resnet50 fixed"),
        ({"features": "resnet50 end to end"}, "features resnet50 end to end, ours resnet50 fixed"),
        ({"features": ""}, "features not said by the publication"),
        ({"protocol": "oracle"}, "protocol best on the target, ours last iterate"),
        ({"differs": "a fifth of the target"}, "a fifth of the target"),
    ],
)
def test_what_is_not_comparable_has_neither_difference_nor_verdict(
    tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    one = only(compare.compare([ours("A-W", 40.0)], rows(tmp_path, changes)))
    assert one.unlike == (said,)
    assert [(cell.difference, cell.verdict) for cell in one.cells] == [(None, "")]
    shown = compare.render([one], "text")
    assert "not comparable:\n  TCA 68.1 (A-W): " in shown
    assert "-28" not in shown
    assert "40.0" not in shown


@pytest.mark.parametrize(
    ("config", "backbone", "seen"),
    [
        (FROZEN, "resnet50", "resnet50"),
        (TRAINED, "resnet50", "resnet50 end to end"),
        (TRAINED | {"backbone": {"weights": "none"}}, "resnet50", "resnet50 end to end from scratch"),
        (FROZEN | {"extractor": "finetuned", "finetuning": {"steps": 10}}, "resnet50", "resnet50 fine-tuned"),
        ({"backbone": {}, "trainer": None, "extractor": "finetuned"}, "lenet", "lenet fine-tuned"),
        ({"backbone": {"weights": "none"}, "trainer": None}, "resnet50", "resnet50 untrained"),
        ({"backbone": {}, "trainer": {"steps": 10}}, "given", "given"),
        ({"backbone": {}, "trainer": None}, "given", "given"),
        ({"backbone": {"_target_": f"{Given.__module__}.{Given.__qualname__}"}, "trainer": {}}, "resnet50", "resnet50"),
    ],
)
def test_a_trained_network_is_told_from_its_fixed_features(
    tmp_path: Path, config: dict[str, Any], backbone: str, seen: str
) -> None:
    record = ours("A-W", 60.0, config=config, backbone=backbone)
    assert only(compare.compare([record], rows(tmp_path, {}))).ours.features == seen


def test_data_that_were_prepared_otherwise_are_not_comparable(tmp_path: Path) -> None:
    table = rows(tmp_path, {"dataset": "office_caltech10_surf", "task": "C-A", "features": "given"})
    for columns, unlike in (("standard", ()), ("none", ("our data have dataset.columns=none, its config standard",))):
        config = {"backbone": {}, "dataset": {"rows": "l1", "columns": columns}, "trainer": None}
        mine = ours("C-A", 60.0, dataset="office_caltech10_surf", backbone="given", config=config)
        assert only(compare.compare([mine], table)).unlike == unlike


def test_features_as_they_are_are_prepared_as_a_config_without_preparation_says(tmp_path: Path) -> None:
    dataset = {"rows": "none", "columns": "none", "sample": None}
    config = {"backbone": {}, "dataset": dataset, "trainer": None}
    assert only(compare.compare([ours("A-W", 60.0, config=config)], rows(tmp_path, {}))).unlike == ()
    config["dataset"] = dataset | {"rows": "l2"}
    (unlike,) = only(compare.compare([ours("A-W", 60.0, config=config)], rows(tmp_path, {}))).unlike
    assert unlike == "our data have dataset.rows=l2, its config none"


def test_the_best_on_the_target_is_compared_with_the_best_on_the_target(tmp_path: Path) -> None:
    watched = [ours("A-W", 50.0 + seed, seed, oracle_best=58.0 + seed) for seed in range(2)]
    last, oracle = compare.compare(watched, rows(tmp_path, {}, {"protocol": "oracle", "accuracy": "58.0"}))
    assert (last.ours.protocol, last.cells[0].ours) == ("last", 50.5)
    assert (oracle.ours.protocol, oracle.cells[0].ours) == ("oracle", 58.5)
    assert oracle.unlike == ()
    assert oracle.cells[0].difference == pytest.approx(0.5)
    assert (last.ours.oracle, oracle.ours.oracle) == (False, True)


@pytest.mark.parametrize(("selection", "said"), [("oracle", "best on the target"), ("trcv", "chosen by trcv")])
@pytest.mark.parametrize(("protocol", "theirs"), [("last", "last iterate"), ("unknown", "not said")])
def test_what_was_chosen_by_target_labels_is_not_comparable(
    tmp_path: Path, selection: str, said: str, protocol: str, theirs: str
) -> None:
    chosen = ours("A-W", 60.0, selection=selection, protocol="oracle")
    one = only(compare.compare([chosen], rows(tmp_path, {"protocol": protocol})))
    assert one.unlike == (f"protocol {theirs}, ours {said}",)
    assert one.caveats == ()
    assert [(cell.difference, cell.verdict) for cell in one.cells] == [(None, "")]


def test_what_trcv_chose_is_not_the_best_on_the_target(tmp_path: Path) -> None:
    table = rows(tmp_path, {"protocol": "oracle"})
    chosen = ours("A-W", 60.0, selection="trcv", protocol="oracle")
    assert only(compare.compare([chosen], table)).unlike == ("protocol best on the target, ours chosen by trcv",)
    watched = only(compare.compare([replace(chosen, oracle_best=68.1)], table))
    assert (watched.unlike, watched.cells[0].difference) == ((), 0.0)


@pytest.mark.parametrize("protocol", ["last", "unknown"])
def test_what_is_trained_on_the_target_is_compared_with_what_is_so_too(tmp_path: Path, protocol: str) -> None:
    mine = ours("A-W", 90.0, method="target_only", protocol="oracle")
    table = rows(tmp_path, {"method": "target_only", "accuracy": "89.0", "protocol": protocol})
    one = only(compare.compare([mine], table))
    assert one.unlike == ()
    assert one.cells[0].difference == pytest.approx(1.0)


def test_a_validator_is_named_where_the_publication_took_the_last_iterate(tmp_path: Path) -> None:
    one = only(compare.compare([ours("A-W", 60.0, selection="dev")], rows(tmp_path, {})))
    assert one.unlike == ()
    assert one.caveats == ("protocol last iterate, ours chosen by dev",)


def test_a_misprint_has_no_difference_and_its_neighbours_have(tmp_path: Path) -> None:
    printed = [{"task": "A-W", "accuracy": "60.0"}, {"task": "W-A", "accuracy": "50.0"},
               {"task": "avg", "accuracy": "57.0", "erratum": "printed 57.0, the mean is 55.0"}]  # fmt: skip
    one = only(compare.compare([ours("A-W", 60.0), ours("W-A", 50.0)], rows(tmp_path, *printed)))
    assert [(cell.task, cell.difference) for cell in one.cells] == [("A-W", 0.0), ("W-A", 0.0), ("avg", None)]
    assert "misprint: printed 57.0, the mean is 55.0" in one.caveats
    assert "misprint" in compare.render([one], "text").splitlines()[5]


def test_an_average_is_over_the_tasks_that_the_publication_averages(tmp_path: Path) -> None:
    some = [
        {"task": "A-W", "accuracy": "60.0"},
        {"task": "W-A", "accuracy": "50.0"},
        {"task": "avg", "accuracy": "55.0"},
    ]
    mine = [ours(task, accuracy) for task, accuracy in (("A-W", 61.0), ("W-A", 51.0), ("D-W", 99.0))]
    one = only(compare.compare(mine, rows(tmp_path, *some)))
    assert one.averaged == "over 2 of 6 tasks"
    average = one.cells[-1]
    assert (average.task, average.ours) == ("avg", 56.0)
    assert average.spread == pytest.approx(100 / 500 / 2 + 0.05)


def test_a_sample_of_an_average_is_one_of_the_smallest_task(tmp_path: Path) -> None:
    table = rows(tmp_path, {"task": "A-W", "accuracy": "60.0"}, {"task": "W-A", "accuracy": "50.0"})
    average = only(compare.compare([ours("A-W", 60.0, scored=500), ours("W-A", 50.0, scored=100)], table)).cells[-1]
    assert average.spread == pytest.approx(100 / 100 / 2 + 0.05)


@pytest.mark.parametrize("dataset", ["image_folder", "image_lists", "features"])
def test_the_tasks_of_one_s_own_domains_are_not_listed(dataset: str) -> None:
    assert listed_tasks(dataset) == ()


def test_ours_is_shown_once_for_each_protocol(tmp_path: Path) -> None:
    sources = [{"protocol": protocol, "source": f"{i} paper"} for i, protocol in enumerate(("oracle", "last") * 2)]
    table = rows(tmp_path, *({"task": "A-W", "accuracy": "60.0", **source} for source in sources))
    mine = ours("A-W", 60.0, seed=0, curve=[(1, 65.0), (2, 60.0)], oracle_best=65.0)
    (block,) = compare.blocks(compare.compare([mine, replace(mine, seed=1)], table))
    assert [line[:2] for line in block.lines if line[0].startswith("ours,")] == [
        ["ours, last iterate", "60.0±0.0"],
        ["ours, best on the target", "65.0±0.0"],
    ]


def test_an_average_alone_is_over_all_tasks_and_needs_them_all(tmp_path: Path) -> None:
    table = rows(tmp_path, {"task": "avg", "accuracy": "70.0"})
    tasks = listed_tasks("office31")
    (average,) = only(compare.compare([ours(task, 60.0 + i) for i, task in enumerate(tasks)], table)).cells
    assert average.ours == pytest.approx(62.5)
    assert compare.compare([ours(task, 60.0) for task in tasks[1:]], table) == []


def test_our_line_has_the_average_over_all_tasks_and_a_source_that_over_its_own(tmp_path: Path) -> None:
    tasks = listed_tasks("office31")
    part = [{"task": task, "accuracy": "50.0", "source": "B paper"} for task in tasks[:2]]
    table = rows(tmp_path, *({"task": task, "accuracy": "60.0", "source": "A paper"} for task in tasks), *part)
    mine = [ours(task, 60.0 + i) for i, task in enumerate(tasks)]
    for had, average in ((mine, "62.5"), (mine[:2], "")):
        (block,) = compare.blocks(compare.compare(had, table))
        assert block.lines[0][-1] == average
        assert block.lines[-1][-1].startswith("+10.5")
        assert "average over 2 of 6 tasks, made from its tasks, ours 60.5" in block.sources[1]
        assert "ours" not in block.sources[0]


def test_an_average_that_is_not_printed_is_made(tmp_path: Path) -> None:
    table = rows(tmp_path, {"task": "A-W", "accuracy": "60.0"}, {"task": "W-A", "accuracy": "50.0"})
    one = only(compare.compare([ours("A-W", 61.0), ours("W-A", 51.0)], table))
    assert one.averaged == "over 2 of 6 tasks, made from its tasks"
    assert (one.cells[-1].reported, one.cells[-1].difference) == (55.0, pytest.approx(1.0))


def test_the_spread_of_an_average_is_that_of_each_seed_s_average(tmp_path: Path) -> None:
    table = rows(tmp_path, {"task": "A-W", "accuracy": "60.0"}, {"task": "W-A", "accuracy": "50.0"})
    mine = [ours("A-W", 60.0, 0), ours("A-W", 64.0, 1), ours("W-A", 54.0, 0), ours("W-A", 50.0, 1)]
    average = only(compare.compare(mine, table)).cells[-1]
    assert (average.ours, average.std) == (57.0, 0.0)
    assert average.spread == pytest.approx(100 / 500 / 2 + 0.05)


def test_a_failed_cell_is_left_out_with_the_average_over_it(tmp_path: Path) -> None:
    table = rows(tmp_path, {"task": "A-W", "accuracy": "60.0"}, {"task": "W-A", "accuracy": "50.0"})
    made = compare.compare([ours("A-W", 60.0), ours("W-A", None, status="failed")], table)
    assert [cell.task for cell in only(made).cells] == ["A-W"]


def test_each_setting_and_each_source_stands_for_itself(tmp_path: Path) -> None:
    table = rows(tmp_path, {}, {"source": "Another paper", "accuracy": "40.0"}, {"method": "coral"})
    settings = [ours("A-W", 60.0, setting=str(dim), key=str(dim), config={"method": {"dim": dim}}) for dim in (10, 30)]
    made = compare.compare(settings, table)
    assert {(one.ours.label, one.source) for one in made} == {
        (label, source)
        for label in ("TCA (dim=10)", "TCA (dim=30)")
        for source in ("A paper, Table 1", "Another paper")
    }
    assert len(compare.blocks(made)) == 2


def test_the_forms_say_the_same(tmp_path: Path) -> None:
    table = rows(
        tmp_path,
        {"accuracy": "60.0", "note": "as | printed"},
        {"source": "AlexNet paper", "features": "alexnet end to end"},
    )
    made = compare.compare([ours("A-W", 62.0)], table)
    text, markdown = compare.render(made, "text"), compare.render(made, "markdown")
    assert text.splitlines()[4:6] == ["[1] TCA              60.0", "    ours - reported  +2.0 ↑"]
    assert "| ours - reported | +2.0 ↑ |" in markdown
    for shown in (text, markdown):
        assert "A paper, Table 1; as | printed" in shown
        assert "features alexnet end to end, ours resnet50 fixed; AlexNet paper" in shown
    lines = list(csv.DictReader(io.StringIO(compare.render(made, "csv"))))
    assert [(line["difference"], line["verdict"]) for line in lines] == [("2.0000", "above"), ("", "")]


def test_the_books_values_and_its_companion_s_stand_beside_each_other_and_get_no_verdict() -> None:
    made = compare.compare([ours("A-W", 71.6, method="tca")])
    shown = {one.cells[0].reported: one for one in made if "book" in one.source}
    assert set(shown) == {68.1, 76.10}
    assert all("features resnet50_unknown" in one.unlike[0] for one in shown.values())


def test_the_command_compares_a_results_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path)
    assert main(["compare", "--results", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "+0.00 ≈" in printed.out
    assert printed.err == "tda: no published accuracy for hafn on office_caltech10_surf\n"
    file = tmp_path / "compared.md"
    assert main(["compare", "--results", str(tmp_path), "--format", "markdown", "--output", str(file)]) == 0
    assert "| [2] JDA | 44.78 |" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "jad"], "'jad' is not a method in these records; did you mean 'jda'?"),
        (["--method", "mine"], "'mine' is not a method in these records. Choose from"),
        (["--method", "hafn"], "none of these records has a reported accuracy beside it"),
        (["--output", "/proc/none/file"], "cannot write '/proc/none/file'"),
    ],
)
def test_a_mistake_gets_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    store(tmp_path)
    assert main(["compare", "--results", str(tmp_path), *arguments]) == 2
    assert f"tda: {said}" in capsys.readouterr().err.splitlines()[-1]


def test_a_method_that_another_dataset_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path)
    config = {"backbone": {}, "method": {"name": "coral"}, "trainer": None}
    other = ours("A-W", 70.0, dataset="office31", method="coral", backbone="resnet50", config=config)
    Store(tmp_path).put(replace(other, key=digest(config)))
    chosen = ["--dataset", "office_caltech10_surf", "--method", "jda", "coral"]
    assert main(["compare", "--results", str(tmp_path), *chosen]) == 2
    said = "'coral' is not a method in these records of dataset office_caltech10_surf. Choose from: hafn, jda"
    assert capsys.readouterr().err == f"tda: {said}\n"


@pytest.mark.parametrize("arguments", [[], ["--method", "tca"]])
@pytest.mark.parametrize("command", ["compare", "report", "selection"])
def test_a_folder_without_a_record_is_said_to_have_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, arguments: list[str]
) -> None:
    (tmp_path / "records").mkdir()
    assert main([command, "--results", str(tmp_path), *arguments]) == 2
    assert "tda: no record matches; `tda run` makes records" in capsys.readouterr().err


def test_no_results_folder_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--results", str(tmp_path / "none")]) == 2
    assert "--results PATH says where they are" in capsys.readouterr().err


def test_the_audit_needs_no_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--audit", "--results", str(tmp_path / "none")]) == 0
    assert "## 10 misprints" in capsys.readouterr().out
