"""One cell: scoring, the oracle's cross-fitting, failures, and that the same seed gives the same record."""

import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig
from safetensors import SafetensorError

from tda import devices, memory, preparation, provenance, run
from tda.checkpoint import Checkpoint
from tda.config import Sweep, identity, user_cache
from tda.data import digits
from tda.errors import UsageError
from tda.learner import Learner
from tda.methods.shallow.coral import CORAL
from tda.methods.shallow.one_nn import OneNN
from tda.report.figures import class_means
from tda.store import Record, Store
from tda.task import Domain, Task


def cell(results: Path, *overrides: str) -> DictConfig:
    return Sweep([*overrides, f"results={results}"]).cells[0].config


class Spy:
    """An estimator that remembers what it was given and knows nothing."""

    def __init__(self) -> None:
        self.fitted: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> "Spy":
        self.fitted.append((Xs, ys, Xt))
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.zeros(len(X), dtype=np.int64)


def task(transductive: bool = True) -> Task:
    source = Domain("A", np.arange(10.0)[:, None], np.arange(10) % 2)
    target = Domain("B", np.arange(100.0, 112.0)[:, None], np.arange(12) % 2)
    test = target if transductive else Domain("B", np.arange(200.0, 205.0)[:, None], np.arange(5) % 2)
    return Task("toy", source, target, test, ("no", "yes"))


def test_a_method_never_sees_a_target_label() -> None:
    spy = Spy()
    labels_matter = replace(task(), target=(target := replace(task().target, y=np.full(12, 7))), test=target)
    run.adapted(spy, labels_matter)
    ((_, ys, Xt),) = spy.fitted
    assert ys.tolist() == task().source.y.tolist()
    assert Xt.tolist() == task().target.x.tolist()
    assert 7 not in ys


def test_the_oracle_never_predicts_a_sample_that_it_was_trained_on() -> None:
    spy = Spy()
    predicted = run.cross_fitted(spy, task())
    assert len(predicted) == 12
    assert len(spy.fitted) == run.ORACLE_FOLDS
    held_out = np.concatenate([Xt for _, _, Xt in spy.fitted]).ravel()
    assert sorted(held_out) == task().target.x.ravel().tolist()
    for train, labels, held in spy.fitted:
        assert not set(train.ravel()) & set(held.ravel())
        np.testing.assert_array_equal(labels, (train.ravel() - 100) % 2)


def test_the_oracle_trains_on_the_whole_target_where_the_test_set_is_another() -> None:
    spy = Spy()
    assert len(run.cross_fitted(spy, task(transductive=False))) == 5
    assert len(spy.fitted) == 1


@pytest.mark.parametrize("method", ["coral", "dann"])
def test_the_same_seed_gives_the_same_record_twice(method: str, tmp_path: Path) -> None:
    def record(folder: str) -> dict[str, Any]:
        made = asdict(run.run(cell(tmp_path / folder, f"method={method}", "task=P-O", "trainer.steps=6")))
        return {name: value for name, value in made.items() if name not in {"seconds", "created"}}

    assert record("one") == record("two")


def test_accuracies_are_those_of_the_predictions(tmp_path: Path) -> None:
    config = cell(tmp_path, "method=one_nn", "task=P-O")
    record = run.run(config)
    estimator, seen = preparation.prepared(config, "cpu")
    right = run.adapted(estimator, seen) == seen.test.y
    assert record.accuracy == pytest.approx(100 * right.mean())
    assert record.accuracy_per_class is not None
    for label, name in enumerate("0123456789"):
        assert record.accuracy_per_class[name] == pytest.approx(100 * right[seen.test.y == label].mean())
    assert record.scored == len(right)


def test_a_record_in_the_store_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = cell(tmp_path, "method=one_nn", "task=P-O")
    first = run.run(config)
    monkeypatch.setattr(run, "compute", lambda *_: pytest.fail("computed again"))
    assert run.run(config) == first


@pytest.mark.parametrize("dim", [5, 10**6], ids=["a cell", "a failed cell"])
def test_freed_memory_is_given_back_after_each_cell(dim: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise joblib takes it for a leak, and starts a new worker: seconds each time."""
    asked = []

    class Library:
        def mallopt(self, option: int, value: int) -> None:
            asked.append("keep")

        def malloc_trim(self, pad: int) -> None:
            asked.append("trim")

    monkeypatch.setattr(memory, "glibc", Library)
    record = run.main(cell(tmp_path, "method=pca", f"method.dim={dim}"))
    assert record.status == ("ok" if dim == 5 else "failed")
    assert asked == ["keep"] * len(memory.HEAP) + ["trim"]


def test_an_oracle_is_computed_once_for_each_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = Sweep(["method=target_only", "task=O-P,S-P", "trainer.steps=2", f"results={tmp_path}"]).cells
    first = run.run(cells[0].config)
    monkeypatch.setattr(run, "compute", lambda *_: pytest.fail("computed again"))
    second = run.run(cells[1].config)
    assert (second.task, second.source, second.target) == ("S-P", "S", "P")
    assert second.accuracy == first.accuracy
    assert Store(tmp_path).get(*cells[1].address) == second


def test_an_oracle_says_nothing_of_the_source_and_predicts_nothing_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for domain in ("a", "b"):
        np.savez(tmp_path / f"{domain}.npz", x=rng.normal(size=(12, 4)), y=np.arange(12) % 2)
    monkeypatch.setattr(Learner, "_look", lambda *_: pytest.fail("predicted on the way"))
    deep = ["method=target_only", "trainer.steps=2", "trainer.watch_every=1"]
    record = run.run(cell(tmp_path, "dataset=features", f"dataset.root={tmp_path}", *deep, "task=a-b"))
    assert record.error is None
    assert record.data.keys() == {"b"}


def test_divergence_is_a_failed_record_that_names_the_step(tmp_path: Path) -> None:
    record = run.run(cell(tmp_path, "method=source_only", "task=P-O", "trainer.lr=1e9", "trainer.steps=30"))
    assert record.status == "failed"
    assert record.accuracy is None
    assert record.error is not None
    assert "DivergenceError" in record.error
    assert " at step " in record.error
    assert Store(tmp_path).get("digits", "source_only", "P-O", record.key) == record


def test_the_commit_tells_changes_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [tmp_path / "tda" / "provenance.py", tmp_path / "conf" / "config.yaml"]
    for source in sources:
        source.parent.mkdir()
        source.write_text("first\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init"], ["add", "."], [*identity, "commit", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, capture_output=True)
    monkeypatch.setattr(provenance, "__file__", str(sources[0]))
    said = []
    new = tmp_path / "tda" / "mine of one's own.py"
    for path, change in ((sources[0], "first\n"), (new, "first\n"), (new, "second\n"), (sources[0], "second\n")):
        path.write_text(change)
        provenance.commit.cache_clear()
        said.append(str(provenance.commit()))
    provenance.commit.cache_clear()
    assert "+" not in said[0]
    assert all(one.startswith(f"{said[0]}+") for one in said[1:])
    assert len(set(said)) == len(said)


def test_more_than_the_machine_or_the_data_have_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run, "available_cores", lambda: 0)
    run.run(
        cell(
            tmp_path,
            "method=source_only",
            "task=P-O",
            "backbone=pixels",
            "trainer.steps=1",
            "trainer.batch=1800",
            "runtime.threads=1",
        )
    )
    assert "runtime.threads=1 on 0 cores" in caplog.text
    assert "trainer.batch=1800: half of it is more than either domain has (898 and 899 samples)" in caplog.text


def test_an_alignment_that_loses_samples_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CORAL, "align", lambda self, Xs, ys, Xt: (Xs[:5], Xt))
    record = run.run(cell(tmp_path, "method=coral", "task=P-O"))
    assert record.status == "failed"
    assert "CORAL.align returned 5 source and 899 target rows; expected a row for each of 898 and 899 samples" in str(
        record.error
    )


NO_CLASSES: dict[str, tuple[object, str]] = {
    "beyond the last": (np.full(899, 99), "99"),
    "below the first": (np.r_[np.full(898, 3), -1], "-1"),
    "floats": (np.full(899, 0.7), "float64 of shape (899,)"),
    "words": (["a"] * 899, "<U1 of shape (899,)"),
    "one for all": (0, "int64 of shape ()"),
    "too few": (np.zeros(898, int), "int64 of shape (898,)"),
    "a column": (np.zeros((899, 1), int), "int64 of shape (899, 1)"),
    "nothing": (None, "object of shape ()"),
}


@pytest.mark.parametrize("what", NO_CLASSES)
def test_predictions_that_are_no_classes_fail_and_are_named(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted, said = NO_CLASSES[what]
    monkeypatch.setattr(OneNN, "predict", lambda self, X: predicted)
    record = run.run(cell(tmp_path, "method=one_nn", "task=P-O"))
    contract = "expected a class, an integer from 0 to 9, for each of 899 samples"
    assert record.error == f"ValueError: OneNN.predict returned {said}; {contract}"
    assert (record.status, record.accuracy) == ("failed", None)


def test_an_oracle_that_predicts_no_classes_is_not_rounded_to_some() -> None:
    class Unsure(Spy):
        def predict(self, X: np.ndarray) -> np.ndarray:
            return np.full(len(X), 0.7)

    for transductive in (True, False):
        with pytest.raises(
            ValueError, match=r"Unsure\.predict returned float64 .*; expected a class, an integer from 0"
        ):
            run.cross_fitted(Unsure(), task(transductive))


def test_a_cache_on_a_full_disk_is_a_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(digits, "save_file", full)
    preparation.dataset.cache_clear()
    with pytest.raises(UsageError, match=r"cannot read or cache digits: No space .*; see runtime\.cache"):
        run.run(cell(tmp_path, "task=P-O", f"runtime.cache={tmp_path}"))


@pytest.mark.parametrize("collapsed", [True, False])
def test_a_collapse_is_said(
    collapsed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    given = np.full(899, 7)
    given[0] = 7 if collapsed else 1
    monkeypatch.setattr(run, "adapted", lambda *_: given)
    assert run.run(cell(tmp_path, "method=one_nn", "task=P-O")).status == "ok"
    said = "1-NN on P-O has collapsed: every sample is given the class '7'"
    assert [message for *_, message in caplog.record_tuples] == [said] * collapsed


def test_features_are_the_pixels_in_unit_range(tmp_path: Path) -> None:
    config = cell(tmp_path, "method=one_nn", "task=O-P")
    _, seen = preparation.prepared(config, "cpu")
    raw = preparation.prepared(cell(tmp_path, "method=dann", "task=O-P"), "cpu")[1]
    np.testing.assert_allclose(seen.source.x, raw.source.x.reshape(len(raw.source.x), -1) / 255, atol=1e-6)
    assert seen.target is seen.test


def test_an_empty_variable_is_none_and_a_tilde_is_ones_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOME": "/h", "TDA_CACHE": "", "XDG_CACHE_HOME": "/x"}.items():
        monkeypatch.setenv(name, value)
    assert user_cache() == "/x/tda"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert user_cache() == "/h/.cache/tda"
    assert Sweep(["method=one_nn", "task=O-P", "runtime.cache='~/y'"]).cells[0].config.runtime.cache == "/h/y"
    assert Store("~/y").records == Path("/h/y/records")


@pytest.mark.slow
def test_what_is_held_back_is_drawn_with_the_trainers_seed(tmp_path: Path) -> None:
    typed = ["method=source_only", "trainer.seed=5", "trainer.steps=5", "task=P-O", "selection=scores",
             "selection.scores=[source_risk]"]  # fmt: skip
    records = [run.run(cell(tmp_path / str(seed), *typed, f"seed={seed}")) for seed in (0, 1)]
    assert records[0].key == records[1].key
    assert records[0].scores == records[1].scores


def test_a_quota_of_cores_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert devices.available_cores() == 1


def test_devices() -> None:
    assert devices.torch_device("cpu") == "cpu"
    for name in ("gpu", "cuda:99", "cpu:1", "cuda:x", "cpu:"):
        with pytest.raises(UsageError, match="not a device of this machine; it has cpu:0"):
            devices.torch_device(name)


def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, kind: str = "shallow") -> list[str]:
    """Write a method of one's own, the class ``Mine``, and return the overrides that choose it."""
    name = f"own_{tmp_path.name}"
    (tmp_path / "method").mkdir()
    (tmp_path / f"{name}.py").write_text(
        "import sys\n"
        "from tda.methods.shallow.base import Aligner\n"
        "from tda.methods.shallow.one_nn import OneNN\n"
        f"from tda.methods.deep.source_only import SourceOnly\n\n{body}\n"
    )
    (tmp_path / "method" / "mine.yaml").write_text(
        f"# Mine\ndefaults: [/kind/{kind}@_here_, _self_]\nname: mine\nlabel: Mine\n_target_: {name}.Mine\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return ["method=mine", "task=P-O", "allow_external=true", f"hydra.searchpath=[{tmp_path}]", "trainer.steps=2"]


REFUSED = {
    "it lacks a method": (
        "class Mine(Aligner):\n    def align(self, Xs, ys, Xt): ...",
        "shallow",
        r"method\._target_ = 'own_\w+\.Mine' is not finished: it has to define transform",
    ),
    "its module raises": (
        "Mine = 1 / 0",
        "shallow",
        r"cannot be imported: ZeroDivisionError: .* \(own_\w+\.py, line 6\)",
    ),
    "its module exits": ("sys.exit('bye')", "shallow", r"cannot be imported: SystemExit: bye \(own_\w+\.py, line 6\)"),
    "a function": ("def Mine(): ...", "shallow", r"'own_\w+\.Mine' is no class, but of type function"),
    "a shallow one as deep": (
        "class Mine(OneNN): ...",
        "deep",
        r"Mine is no DeepMethod; .* \[/kind/shallow@_here_, _self_",
    ),
    "a deep one as shallow": (
        "class Mine(SourceOnly): ...",
        "shallow",
        r"Mine is a DeepMethod; .* \[/kind/deep@_here_, _sel",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_method_is_refused_before_the_first_cell(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, kind, said = REFUSED[what]
    with pytest.raises(UsageError, match=said):
        cell(tmp_path, *own(tmp_path, monkeypatch, body, kind))


RAISING = {
    "its constructor raises": (
        "class Mine(OneNN):\n    def __init__(self):\n        {}['rbf']",
        "shallow",
        "KeyError: 'rbf'",
    ),
    "its constructor exits": (
        "class Mine(OneNN):\n    def __init__(self):\n        sys.exit('bye')",
        "shallow",
        "SystemExit: bye; the method called sys.exit",
    ),
    "a deep one's constructor raises": (
        "class Mine(SourceOnly):\n    def __init__(self):\n        {}['rbf']",
        "deep",
        "KeyError: 'rbf'",
    ),
    "it exits": (
        "class Mine(OneNN):\n    def predict(self, X):\n        sys.exit()",
        "shallow",
        "SystemExit: the method called sys.exit",
    ),
}


@pytest.mark.parametrize("what", RAISING)
def test_a_method_that_cannot_be_made_or_exits_is_a_failed_record(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, kind, said = RAISING[what]
    record = run.run(cell(tmp_path, *own(tmp_path, monkeypatch, body, kind)))
    assert (record.status, record.error) == ("failed", said)
    assert "in __init__" in str(record.traceback) or "in predict" in str(record.traceback)


def test_a_mistake_that_shows_in_one_cell_says_in_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CORAL, "align", lambda self, Xs, ys, Xt: OneNN().fit(Xs, ys, Xt, np.ones(len(Xs))))
    with pytest.raises(UsageError, match=r"^CORAL on P-O: OneNN cannot weigh samples; choose a classifier that can"):
        run.run(cell(tmp_path, "method=coral", "task=P-O"))


@pytest.mark.parametrize(
    ("made", "what"),
    [(None, "NoneType"), (np.ones((2, 9)), "ndarray"), ((1, 2, 3), "3 parts")],
    ids=["nothing", "one array", "three things"],
)
def test_an_alignment_that_is_not_of_two_domains_is_named(
    made: object, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CORAL, "align", lambda self, Xs, ys, Xt: made)
    record = run.run(cell(tmp_path, "method=coral", "task=P-O"))
    said = f"TypeError: CORAL.align returned {what}; expected two, the aligned source and target"
    assert (record.status, record.error) == ("failed", said)


def test_a_picture_that_cannot_be_written_costs_no_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "features").touch()
    record = run.run(cell(tmp_path, "method=pca", "task=O-S", "keep_features=true"))
    assert list(Store(tmp_path).all()) == [record]
    assert record.status == "ok"
    assert "cannot be written" in caplog.text


def computed(config: DictConfig, folder: Path) -> tuple[Record, Checkpoint]:
    checkpoint = Checkpoint(folder / "state", every=0)
    record, *_ = run.compute(config, identity(config), checkpoint)
    return record, checkpoint


def test_a_class_without_samples_has_no_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_threes(config: DictConfig, device: str) -> tuple[Any, Task]:
        estimator, seen = preparation.prepared(config, device)
        there = seen.target.y != 3
        target = replace(seen.target, x=seen.target.x[there], y=seen.target.y[there])
        return estimator, replace(seen, target=target, test=target)

    monkeypatch.setattr(run, "prepared", without_threes)
    record, _ = computed(cell(tmp_path, "method=one_nn", "task=P-O"), tmp_path)
    said = record.accuracy_per_class or {}
    assert said["3"] is None
    assert all(accuracy is not None for name, accuracy in said.items() if name != "3")
    assert class_means([record], record.setting) == {name: said[name] for name in said if name != "3"}


@pytest.mark.parametrize("transductive", [True, False])
def test_only_a_network_that_is_trained_once_goes_on(
    transductive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def split(config: DictConfig, device: str) -> tuple[Any, Task]:
        estimator, seen = preparation.prepared(config, device)
        return estimator, seen if transductive else replace(seen, test=replace(seen.target))

    monkeypatch.setattr(run, "prepared", split)
    monkeypatch.setattr(run, "own_code", lambda made_of: "mine")
    _, checkpoint = computed(cell(tmp_path, "method=target_only", "task=P-O", "trainer.steps=2"), tmp_path)
    assert ("mine" in checkpoint.made_of.values()) is not transductive


def test_code_of_ones_own_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    node = {"method": {"parts": [1], "inner": {"_target_": "told_apart.Mine"}}, "trainer": {"_target_": "tda.x.Y"}}
    said = []
    for text in ("first = 1\n", "second = 2\n"):
        (tmp_path / "told_apart.py").write_text(text)
        said.append(provenance.own_code(node))
    assert said[0] != said[1]
    assert provenance.own_code({"method": {"_target_": "tda.methods.shallow.coral.CORAL"}}) == ""
