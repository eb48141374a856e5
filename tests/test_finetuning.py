"""A backbone trained on the source first, whose features a method is then given."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tda.__main__ import main
from tda.backbones.ganin import LeNet
from tda.backbones.pixels import Pixels
from tda.config import Sweep
from tda.errors import UsageError
from tda.finetuning import finetuned
from tda.learner import Learner
from tda.methods.deep.source_only import SourceOnly
from tda.store import Store
from tda.task import Domain, Task
from tda.trainer import DivergenceError, Trainer
from tests.test_trainer import SETTINGS

NODE: dict[str, Any] = {"name": "lenet", "hidden": [9]}
MADE_OF = {"backbone": NODE, "trainer": {"steps": 3}}
SHORT = ["backbone=lenet", "extractor=finetuned", "trainer.steps=3", "trainer.batch=8", "runtime.threads=1"]


def lenet() -> LeNet:
    return LeNet(size=32, bottleneck=None, hidden=[9], discriminator=[9])


def learner(**changes: Any) -> Learner:
    return Learner(
        method=SourceOnly, trainer=Trainer(**SETTINGS | {"steps": 3} | changes), backbone=lenet, device="cpu"
    )


def task(fingerprint: str = "", transductive: bool = True) -> Task:
    draw = np.random.default_rng(0)
    source, target, test = (
        Domain(name, draw.integers(256, size=(n, 32, 32, 3), dtype=np.uint8), np.arange(n) % 3, fingerprint and name)
        for name, n in (("A", 20), ("B", 15), ("B", 10))
    )
    return Task("toy", source, target, target if transductive else test, ("a", "b", "c"))


def never() -> Learner:
    raise AssertionError("trained again")


@pytest.mark.parametrize("transductive", [True, False])
def test_features_are_those_of_a_source_only_networks_backbone(transductive: bool, tmp_path: Path) -> None:
    images = task(transductive=transductive)
    seen = finetuned(images, learner, MADE_OF, tmp_path)
    trained = learner().fit(images.source.x, images.source.y, images.target.x)
    backbone = trained.method_.network.backbone.eval()
    for domain, image in zip(
        (seen.source, seen.target, seen.test), (images.source, images.target, images.test), strict=True
    ):
        with torch.no_grad():
            np.testing.assert_allclose(domain.x, backbone(torch.from_numpy(image.x)).numpy(), atol=1e-5)
        assert domain.y is image.y
    assert seen.transductive == transductive
    unlike = lenet().eval()
    assert not np.allclose(seen.source.x, unlike(torch.from_numpy(images.source.x)).detach().numpy(), atol=1e-2)


def test_labels_of_the_target_change_nothing_and_the_sources_do(tmp_path: Path) -> None:
    images = task()
    target = replace(images.target, y=images.target.y[::-1])
    source = replace(images.source, y=images.source.y[::-1])
    plain, unlabelled, other = (
        finetuned(t, learner, MADE_OF, tmp_path).target.x
        for t in (images, replace(images, target=target, test=target), replace(images, source=source))
    )
    np.testing.assert_array_equal(plain, unlabelled)
    assert not np.array_equal(plain, other)


def test_a_backbone_is_trained_once_for_a_task_a_trainer_and_its_own_shape(tmp_path: Path) -> None:
    once = finetuned(task("x"), learner, MADE_OF, tmp_path)
    again = finetuned(task("x"), never, MADE_OF, tmp_path)
    np.testing.assert_array_equal(once.target.x, again.target.x)
    (kept,) = (tmp_path / "features").glob("lenet-A-B-*.safetensors")
    assert load_file(kept).keys() == {"source", "target"}
    scaled = finetuned(task("x"), never, {**MADE_OF, "backbone": {**NODE, "unit_rows": True}}, tmp_path)
    np.testing.assert_allclose(np.linalg.norm(scaled.source.x, axis=1), 1, rtol=1e-5)
    for other in ({"trainer": {"steps": 4}}, {"backbone": {**NODE, "hidden": [8]}}):
        with pytest.raises(AssertionError, match="trained again"):
            finetuned(task("x"), never, {**MADE_OF, **other}, tmp_path)


def pixels() -> Learner:
    backbone = Pixels(size=16, bottleneck=None, hidden=[], discriminator=[])
    return Learner(method=SourceOnly, trainer=Trainer(**SETTINGS), backbone=lambda: backbone, device="cpu")


@pytest.mark.parametrize(
    ("images", "made", "message"),
    [
        (task(), pixels, "backbone lenet has no weights to train"),
        (replace(task(), source=Domain("A", np.zeros((3, 2)), np.arange(3))), never, "toy has features, no images"),
    ],
)
def test_what_cannot_be_trained_is_said(
    images: Task, made: Callable[[], Learner], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Learner, "fit", never)
    with pytest.raises(UsageError, match=message):
        finetuned(images, made, MADE_OF, tmp_path)


def test_a_training_that_diverges_says_of_what(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match="extractor=finetuned, training on A: the loss is"):
        finetuned(task(), lambda: learner(lr=1e9, steps=50), MADE_OF, tmp_path)


def test_a_training_that_diverges_fails_its_cells_once_and_the_sweep_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    fit = Learner.fit

    def counted(self: Learner, *data: np.ndarray) -> Learner:
        trained.append("once")
        return fit(self, *data)

    monkeypatch.setattr(Learner, "fit", counted)
    typed = ["run", "method=one_nn,coral", "task=O-P", f"results={tmp_path}", *SHORT, "trainer.lr=1e12"]
    assert main(typed) == 1
    why = [str(record.error) for record in Store(tmp_path).all() if record.status == "failed"]
    assert [line.partition(": the loss is")[0] for line in why] == [
        "DivergenceError: extractor=finetuned, training on O"
    ] * 2
    assert trained == ["once"]
    assert capsys.readouterr().err.count("failed: O-P") == 2


@pytest.mark.slow
def test_a_shallow_method_is_run_on_the_features_and_its_record_is_another(tmp_path: Path) -> None:
    common = ["run", "method=one_nn", "task=O-P", f"results={tmp_path}"]
    assert main([*common, *SHORT]) == 0
    assert main([*common, *SHORT, "seed=1"]) == 0
    assert main(common) == 0
    records = list(Store(tmp_path).all())
    assert len({record.accuracy for record in records}) == 3
    assert sorted(record.seed for record in records if "extractor" in record.config) == [0, 1]
    assert [record.seed for record in records if "extractor" not in record.config] == [None]


def test_an_oracle_on_such_features_depends_on_the_source_too() -> None:
    def keys(*extractor: str) -> set[str]:
        typed = ["method=target_only", "backbone=lenet", "+backbone.frozen=true", "task=O-P,S-P", *extractor]
        return {cell.address[-1] for cell in Sweep(typed).cells}

    assert len(keys()) == 1
    assert len(keys("extractor=finetuned")) == 2


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["method=dann", *SHORT], "dann trains on images"),
        (["method=one_nn", "backbone=lenet"], "extractor=finetuned"),
        (["method=one_nn", *SHORT, "trainer.steps=0"], "steps"),
        (["method=one_nn", "extractor=tuned"], "finetuned"),
    ],
)
def test_mistakes_are_one_line(
    typed: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "task=O-P", f"results={tmp_path}", *typed]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
