"""The accuracy check: its verdicts, and that it catches methods that were broken on purpose."""

from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from tda import check
from tda.__main__ import main
from tda.commands.run import computed
from tda.methods.deep import dann
from tda.methods.shallow import coral
from tda.resources import folder
from tests.test_store import record

BASELINES = Path(__file__).parents[1] / "results" / "baselines"
CELL = ("digits", "dann", "O-P")


def baseline(**values: Any) -> pd.DataFrame:
    row = {
        "dataset": "digits", "backbone": "lenet", "method": "dann", "label": "DANN", "task": "O-P",
        "accuracy": 60.0, "std": 2.0, "seeds": 10, "one_sample": 0.1,
    }  # fmt: skip
    return pd.DataFrame([row | values], columns=check.COLUMNS)


def state(expected: pd.DataFrame, now: pd.DataFrame) -> check.Verdict:
    (found,) = check.verdicts(expected, now, {CELL})
    return found


def test_a_verdict_takes_three_standard_errors_of_the_difference() -> None:
    edge = 3 * 2.0 * sqrt(1 + 1 / 10)
    for by, said in ((-edge - 0.01, "fell"), (0.01 - edge, "as expected"), (edge + 0.01, "rose")):
        assert state(baseline(), baseline(accuracy=60 + by, seeds=1)).state == said
    many = 3 * 2.0 * sqrt(1 / 10 + 1 / 10)
    assert state(baseline(), baseline(accuracy=60 - many - 0.01)).state == "fell"


def test_a_method_without_a_seed_may_differ_by_three_samples() -> None:
    fixed = baseline(std=0.0, seeds=1, one_sample=0.5)
    assert state(fixed, baseline(accuracy=58.5)).state == "as expected"
    assert state(fixed, baseline(accuracy=58.4)).state == "fell"


def test_a_draw_of_the_seed_is_no_part_of_a_label() -> None:
    records = [
        record(
            key=f"{dim}{seed}", setting=str(dim), seed=seed, config={"dataset": {"draw": seed}, "method": {"dim": dim}}
        )
        for dim, seeds in ((5, (0, 1)), (9, (1, 2)))
        for seed in seeds
    ]
    assert {label.partition(" ")[2] for label in check.measured(records)["label"]} == {"(dim=5)", "(dim=9)"}


def test_of_no_record_nothing_is_measured() -> None:
    assert check.measured([]).empty


def test_a_label_may_have_the_sign_of_a_comment(tmp_path: Path) -> None:
    for label in ("C# net", "#1"):
        made = baseline(label=label)
        check.write(tmp_path / "mine.csv", made, "tda check mine --update")
        pd.testing.assert_frame_equal(check.read(tmp_path / "mine.csv"), made)


def test_what_cannot_be_judged_is_said_and_is_not_fine() -> None:
    nothing = baseline().iloc[:0]
    assert state(baseline(), nothing).state == "not measured"
    assert state(nothing, baseline()).state == "not expected"
    for found in ([state(baseline(), nothing)], [state(nothing, baseline())], []):
        assert check.exit_code(found) == 2


def test_the_worst_verdict_decides_the_exit_code() -> None:
    fine, low, high = (state(baseline(), baseline(accuracy=a)) for a in (60.0, 20.0, 90.0))
    unknown = state(baseline(), baseline().iloc[:0])
    assert [check.exit_code(f) for f in ([fine], [fine, high], [high, low], [low, unknown])] == [0, 0, 1, 1]


def test_an_average_is_judged_only_with_all_its_tasks() -> None:
    expected = pd.concat([baseline(), baseline(task="P-O"), baseline(task="Avg")])
    found = check.verdicts(expected, baseline(), {CELL})
    assert [verdict.place[4] for verdict in found] == ["O-P"]
    found = check.verdicts(expected, expected, {CELL, ("digits", "dann", "P-O")})
    assert [verdict.place[4] for verdict in found] == ["O-P", "P-O", "Avg"]


def test_where_an_experiment_has_lost_a_task_the_average_is_not_judged() -> None:
    expected = pd.concat([baseline(), baseline(task="P-O"), baseline(task="Avg")])
    now = pd.concat([baseline(), baseline(task="Avg", accuracy=10.0)])
    found = check.verdicts(expected, now, {CELL}, lost={("digits", "dann", "P-O")})
    assert {verdict.place[4]: verdict.state for verdict in found} == {"O-P": "as expected", "P-O": "not measured"}


def test_an_average_is_not_judged_by_one_over_fewer_tasks() -> None:
    expected = pd.concat([baseline(), baseline(task="Avg")])
    now = pd.concat([baseline(), baseline(task="P-O", accuracy=10.0), baseline(task="Avg", accuracy=35.0)])
    found = check.verdicts(expected, now, {CELL, ("digits", "dann", "P-O")})
    assert {verdict.place[4]: verdict.state for verdict in found} == {"O-P": "as expected", "P-O": "not expected"}


def test_the_averages_of_each_of_several_datasets_are_judged() -> None:
    expected = pd.concat(
        [baseline(dataset=dataset, task=task) for dataset, one in (("a", "O-P"), ("b", "U-M")) for task in (one, "Avg")]
    )
    now = expected.assign(accuracy=[60.0, 20.0, 60.0, 20.0])
    found = check.verdicts(expected, now, {("a", "dann", "O-P"), ("b", "dann", "U-M")})
    assert [verdict.place[0] for verdict in found if verdict.state == "fell"] == ["a", "b"]


def test_a_method_that_the_experiment_has_lost_is_missed_unless_a_part_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["check", "few", "--config-dir", str(tmp_path), "--baselines", str(tmp_path)]
    experiment = tmp_path / "experiment" / "few.yaml"
    experiment.parent.mkdir()
    lines = "# @package _global_\nname: few\nhydra: {sweeper: {params: {task: O-P, method: %s}}}\n"
    experiment.write_text(lines % "'pca,one_nn'")
    assert main([*command, "--update"]) == 0
    experiment.write_text(lines % "one_nn")
    assert main(command) == 2
    assert "not measured  digits" in capsys.readouterr().out
    for narrowed in ("method=one_nn", "++shard=1/1", "dataset.tasks=O-P"):
        assert main([*command, narrowed]) == 0
    assert main([*command, "experiment=quick"]) == 2
    assert "tda check takes one experiment, and that is few" in capsys.readouterr().err
    assert main(["check", "fewer", *command[2:]]) == 2
    assert "did you mean 'few'?" in capsys.readouterr().err


@pytest.mark.slow
def test_baselines_are_measured_compared_and_updated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["check", "quick", "method=pca,one_nn", "task=O-P", "--baselines", str(tmp_path)]
    assert main(command) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main([*command, "--update"]) == 0
    assert main(command) == 0
    shown = capsys.readouterr()
    assert "\n2 cells and 2 averages as expected\n" in "\n" + shown.out
    assert "was not measured" not in shown.err
    main([*command, "classifier=linear_svm", "runtime.threads=1"])
    assert f"note: {tmp_path / 'quick.csv'} was not measured with classifier=linear_svm; its" in capsys.readouterr().err
    path = tmp_path / "quick.csv"
    written = check.read(path)
    assert path.read_text().startswith("# Measured by: tda check quick method=pca,one_nn task=O-P --update")
    check.write(path, written.assign(accuracy=written["accuracy"] + 1), "by hand")
    assert main(command) == 1
    assert "fell" in capsys.readouterr().out
    assert main([*command, "--update"]) == 0
    assert "fell" in capsys.readouterr().out
    assert main(command) == 0


def test_where_no_baseline_can_be_written_nothing_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tda.commands.check.computed", lambda *_: pytest.fail("measured"))
    file = tmp_path / "file"
    file.touch()
    assert main(["check", "quick", "method=pca", "--baselines", str(file), "--update"]) == 2
    assert f"cannot write to '{file}': File exists; see --baselines" in capsys.readouterr().err


def test_a_part_of_the_tasks_replaces_no_baseline_and_is_not_judged_by_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "quick.csv"
    whole = pd.concat([baseline(method="pca", task=task) for task in ("O-P", "P-O", "Avg")])
    check.write(path, whole, "by hand")
    before = path.read_text()
    command = ["check", "quick", "--baselines", str(tmp_path)]
    assert main([*command, "method=pca", "task=O-P", "--update"]) == 2
    assert f"this would lose 1 of the cells of '{path}', digits pca P-O for one; leave out" in capsys.readouterr().err
    assert main([*command, "method=tca", "task=O-P"]) == 2
    assert "has none of these cells" in capsys.readouterr().err
    assert path.read_text() == before


def test_a_method_is_measured_anew_among_the_others(tmp_path: Path) -> None:
    path = tmp_path / "quick.csv"
    rows = [baseline(method=method, task=task) for method in ("pca", "one_nn", "tca") for task in ("O-P", "Avg")]
    check.write(path, pd.concat(rows), "by hand")
    before = check.read(path)
    command = ["check", "quick", "method=one_nn", "task=O-P", "--baselines", str(tmp_path), "--update"]
    for _ in range(2):
        assert main(command) == 0
        assert path.read_text().startswith(
            "# Measured by: by hand\n# Measured by: tda check quick method=one_nn task=O-P --update\ndataset"
        )
        after = check.read(path)
        assert after.drop(index=[2, 3]).equals(before.drop(index=[2, 3]))
        assert [*after["method"]] == [*before["method"]]
        assert (after["accuracy"] != before["accuracy"]).to_list() == [False, False, True, True, False, False]
    assert main([*command[:2], "method=pca,one_nn,tca", *command[3:]]) == 0
    assert path.read_text().count("# Measured by: ") == 1


def test_records_that_are_there_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["check", "quick", "method=pca", "task=O-P", "--baselines", str(tmp_path), "--results", str(tmp_path)]
    assert main([*command, "--update"]) == 0
    assert main(command) == 0
    assert "1 done already, 0 to run" in capsys.readouterr().err


def test_a_baseline_of_what_depends_on_a_seed_takes_ten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["check", "quick", "method=bda_random", "task=O-P", "--baselines", str(tmp_path), "--update"]
    monkeypatch.setattr("tda.commands.check.computed", lambda *_: pytest.fail("measured"))
    for typed in ("seed=0,1", "++seed=0"):
        assert main([*command, typed]) == 2
        assert f"{typed}: a baseline takes 10 seeds; leave seed= to --update" in capsys.readouterr().err
    assert main([*command, "++results=x"]) == 2
    assert "tda check keeps its records apart" in capsys.readouterr().err
    seeds = [record(seed=seed, label="BDA", status="failed" if seed == 3 else "ok") for seed in range(10)]
    assert check.too_few_seeds(seeds) == ["BDA"]
    assert check.too_few_seeds([*seeds, record(seed=10, label="BDA")]) == []


def test_a_baseline_stays_where_a_cell_of_it_failed_or_left_no_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["check", "quick", "method=pca,one_nn", "task=O-P,P-O", "--baselines", str(tmp_path), "--update"]
    assert main(command) == 0
    path = tmp_path / "quick.csv"
    before = path.read_text()
    for spoilt in (lambda made: made[1:], lambda made: [replace(made[0], status="failed", accuracy=None), *made[1:]]):
        with monkeypatch.context() as patched:
            patched.setattr("tda.commands.check.computed", lambda *given, spoilt=spoilt: spoilt(computed(*given)))
            assert main(command) == 1
        assert f"{path} is left as it was" in capsys.readouterr().err
        assert path.read_text() == before


@pytest.mark.parametrize(
    "content", ["", "method,task\n1,2\n", "\0\xff", ",".join(check.COLUMNS) + "\na,b,c,d,e,f,g,h,i\n"]
)
def test_a_broken_baseline_is_one_line(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "quick.csv").write_text(content, encoding="latin-1")
    assert main(["check", "quick", "--baselines", str(tmp_path)]) == 2
    assert "is not a baseline" in capsys.readouterr().err


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains of three classes; the target lies where the source's second class would be taken for the first."""
    folder = tmp_path_factory.mktemp("shifted")
    draw = np.random.default_rng(0)
    turn = np.linalg.qr(draw.standard_normal((20, 20)))[0]
    for name, moved in (("S", 0.0), ("T", 1.0)):
        classes = np.arange(300) % 3
        x = 4 * np.eye(3, 20)[classes] + np.linspace(0.2, 1.4, 20) * draw.standard_normal((300, 20))
        x[:, 0] += 3 * moved
        x[:, 1] -= 3 * moved
        x[:, 6:12] += 4 * moved
        np.savez(folder / f"{name}.npz", x=x @ turn, y=classes)
    return folder


def without_the_minus(x: Tensor, scale: float) -> Tensor:
    return scale * x + (1 - scale) * x.detach()


def without_centring(how: str, Xs: np.ndarray, Xt: np.ndarray) -> tuple[StandardScaler, StandardScaler]:
    return StandardScaler(with_mean=False).fit(Xs), StandardScaler(with_mean=False).fit(Xt)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "module", "name", "broken"),
    [("dann", dann, "reverse_gradient", without_the_minus), ("coral", coral, "standardisers", without_centring)],
)
def test_a_method_that_is_broken_on_purpose_is_caught(
    method: str,
    module: Any,
    name: str,
    broken: Callable[..., Any],
    shifted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [
        "check", "quick", "dataset=features", f"dataset.root={shifted}", "task=S-T", f"method={method}", "backbone=given",
        "backbone.bottleneck=32", "backbone.discriminator=[64]", "trainer.steps=600", "trainer.batch=64",
        "runtime.threads=1", "--baselines", str(tmp_path),
    ]  # fmt: skip
    assert main([*command, "--update"]) == 0
    assert main([*command[:2], "seed=range(3)", *command[2:]]) == 0
    monkeypatch.setattr(module, name, broken)
    capsys.readouterr()
    assert main([*command[:2], "seed=range(3)", *command[2:]]) == 1
    assert capsys.readouterr().out.count("fell") == 3  # the task, the average, and how many


def test_the_committed_baselines_can_be_read() -> None:
    paths = sorted(BASELINES.glob("*.csv"))
    assert "quick.csv" in [path.name for path in paths]
    for path in paths:
        baseline = check.read(path)
        assert (folder("conf") / "experiment" / path.name).with_suffix(".yaml").is_file()
        assert len(baseline) >= 7 * 12
        assert len(baseline) > 100 or path.name != "quick.csv"
        assert set(baseline.groupby(["backbone", "label"]).size()) == {7}  # six tasks and their average
