"""Features are extracted once for each domain, backbone and weights; datasets without code; frozen backbones."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tda.__main__ import main
from tda.backbones.base import Backbone
from tda.backbones.features import features
from tda.store import Store
from tda.task import Domain
from tda.vision import torchvision

CPU = torch.device("cpu")
NODE = {"name": "mean", "_target_": "x", "weights": "imagenet", "unit_rows": False, "bottleneck": 4, "views": "centre"}


class Mean(Backbone):
    """Channel means, and a count of the batches that it saw."""

    pretrained = True
    width = 3
    seen = 0

    def __init__(self) -> None:
        super().__init__(size=8, bottleneck=None, hidden=[], discriminator=[])

    def extract(self, x: torch.Tensor) -> torch.Tensor:
        Mean.seen += 1
        return x.mean((2, 3))


@pytest.fixture(autouse=True)
def _none_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mean, "seen", 0)


def domain(**changes: Any) -> Domain:
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    return replace(Domain("A", x, np.zeros(40, dtype=np.int64), "print"), **changes)


def test_features_are_the_backbones_batch_by_batch(tmp_path: Path) -> None:
    x = features(domain(), NODE, Mean, CPU, tmp_path)
    np.testing.assert_allclose(x, domain().x.mean(axis=(1, 2)) / 255, atol=1e-6)
    assert (x.dtype, Mean.seen) == (np.float32, 2)


def test_a_second_time_nothing_is_extracted_nor_built(tmp_path: Path) -> None:
    once = features(domain(), NODE, Mean, CPU, tmp_path)
    again = features(domain(), NODE | {"bottleneck": 9}, None, CPU, tmp_path)  # type: ignore[arg-type]
    np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize(
    ("images", "node"),
    [
        (domain(fingerprint="other"), NODE),
        (domain(), NODE | {"views": "flip"}),
        (domain(), NODE | {"weights": __file__}),
    ],
)
def test_what_features_depend_on_is_in_their_name(tmp_path: Path, images: Domain, node: dict[str, Any]) -> None:
    features(domain(), NODE, Mean, CPU, tmp_path)
    features(images, node, Mean, CPU, tmp_path)
    assert Mean.seen == 4


def test_unit_rows_are_scaled_after_the_cache(tmp_path: Path) -> None:
    raw = features(domain(), NODE, Mean, CPU, tmp_path)
    unit = features(domain(), NODE | {"unit_rows": True}, Mean, CPU, tmp_path)
    np.testing.assert_allclose(unit, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6)
    assert Mean.seen == 2


def test_unit_rows_are_scaled_where_nothing_is_kept(tmp_path: Path) -> None:
    unit = features(domain(fingerprint=""), NODE | {"unit_rows": True}, Mean, CPU, tmp_path)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-6)
    assert not [*tmp_path.iterdir()]


def test_features_of_features_are_themselves(tmp_path: Path) -> None:
    given = domain(x=np.ones((40, 5)))
    assert features(given, NODE, Mean, CPU, tmp_path) is given.x


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for d, name in enumerate(("day", "night", "rain")):
        for label in ("bike", "mug"):
            folder = tmp_path / "photographs" / name / label
            folder.mkdir(parents=True)
            for i in range(8):
                image = draw.integers(0, 60, (24, 20, 3)) + 20 * d
                image[4:12, (2 if label == "bike" else 12) :][:, :6] += 120
                Image.fromarray(image.astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "photographs"


def test_a_folder_of_images_is_a_dataset_with_every_pair_as_a_task(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photographs / "rain" / "mug" / "3.png").write_bytes(b"broken")
    store = Store(tmp_path / "results")
    command = ["run", "dataset=image_folder", f"dataset.root={photographs}", "dataset.name=weather", "dataset.size=16"]
    command += ["backbone=pixels", "backbone.size=16", "method=one_nn", f"results={store.results}"]
    command += [f"runtime.cache={tmp_path / 'cache'}"]
    assert main(command) == 0
    records = {record.task: record for record in store.all()}
    assert set(records) == {"day-night", "day-rain", "night-day", "night-rain", "rain-day", "rain-night"}
    assert records["day-rain"].skipped == ["rain/mug/3.png"]
    assert records["day-rain"].scored == 15
    assert set(records["day-rain"].data) == {"day", "rain"}
    assert all(record.accuracy and record.accuracy > 90 for record in records.values())
    assert "weather: accuracy" in capsys.readouterr().out


def test_a_folder_of_feature_files_is_a_dataset(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for name in ("one", "two"):
        y = np.arange(30) % 3
        (tmp_path / "files").mkdir(exist_ok=True)
        np.savez(tmp_path / "files" / f"{name}.npz", x=np.eye(3)[y] + 0.1 * draw.normal(size=(30, 3)), y=y)
    store = Store(tmp_path / "results")
    command = ["run", "dataset=features", f"dataset.root={tmp_path / 'files'}", f"results={store.results}"]
    assert main([*command, "method=one_nn,source_only", "trainer.steps=30"]) == 0
    assert {(record.task, record.method) for record in store.all() if record.accuracy and record.accuracy > 90} == {
        (task, method) for task in ("one-two", "two-one") for method in ("one_nn", "source_only")
    }


@pytest.mark.parametrize("method", ["one_nn", "dann"])
def test_no_backbone_sees_features_or_lends_them_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    for name in ("one", "two"):
        np.savez(tmp_path / f"{name}.npz", x=np.eye(6), y=np.arange(6) % 3)
    command = ["run", "dataset=features", f"dataset.root={tmp_path}", f"results={tmp_path / 'r'}", "task=one-two"]
    command += [f"method={method}", "trainer.steps=2"]
    assert main([*command, "backbone=resnet50"]) == 2
    assert "holds features, which resnet50 cannot see" in capsys.readouterr().err
    assert main([*command, "backbone=given", "backbone.name=resnet50"]) == 0
    assert "resnet50" in capsys.readouterr().out


def test_a_deep_method_trains_on_the_features_of_a_frozen_backbone(
    photographs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = tmp_path / "resnet18.safetensors"
    save_file(torchvision.models.resnet18(weights=None).state_dict(), weights)
    command = ["run", "dataset=image_folder", f"dataset.root={photographs}", "task=day-night", "backbone=resnet18"]
    command += [f"backbone.weights={weights}", "backbone.size=32", "dataset.size=32", "backbone.frozen=true"]
    command += ["backbone.bottleneck=[8,relu]", "runtime.checkpoint=1e-9"]
    command += ["method=dann", "trainer.steps=3", f"results={tmp_path / 'r'}", f"runtime.cache={tmp_path / 'cache'}"]
    assert main(command) == 0
    assert "cannot be kept in a checkpoint" not in caplog.text
    assert len(list((tmp_path / "cache" / "features").glob("*.safetensors"))) == 2


def test_random_weights_give_no_features(photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "dataset=image_folder", f"dataset.root={photographs}", "backbone=resnet18"]
    command += ["backbone.weights=none", "backbone.size=32", "dataset.size=32"]
    assert main([*command, f"results={tmp_path / 'r'}", f"runtime.cache={tmp_path / 'cache'}"]) == 2
    assert "features of random weights mean nothing" in capsys.readouterr().err


def test_domains_that_cannot_be_typed_are_to_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(0)
    for name in ("猫", "狗"):
        np.savez(tmp_path / f"{name}.npz", x=draw.normal(size=(8, 3)), y=np.arange(8) % 2)
    (tmp_path / "README.md").write_text("no features")
    command = ["run", "dataset=features", f"dataset.root={tmp_path}", f"results={tmp_path / 'r'}"]
    assert main(command) == 2
    assert "'狗' names a domain; expected letters a to z" in capsys.readouterr().err
    assert main([*command, 'dataset.domains={A: "猫.npz", B: "狗.npz"}', "task=A-B"]) == 0


def test_two_files_of_one_domain_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.csv", "a.npz", "b.npz"):
        (tmp_path / name).touch()
    command = ["run", "dataset=features", f"dataset.root={tmp_path}", f"results={tmp_path / 'r'}"]
    assert main(command) == 2
    assert "a.csv and a.npz are both domain a; leave one there, or name the domains" in capsys.readouterr().err
    assert main([*command, "dataset.domains={A: a.npz, B: b.npz}"]) == 2
    assert "cannot read features from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset=image_folder"], "dataset.root"),
        (["dataset=image_folder", "dataset.root=/nowhere"], "no such folder"),
        (
            ["dataset=image_folder", "dataset.root=EMPTY"],
            r": no folders there; expected one for each domain, <domain>/<class>",
        ),
        (["dataset=features", "dataset.root=EMPTY"], r": no features there; expected one of \.mat, .* for each domain"),
        (
            ["dataset=image_folder", "dataset.root=EMPTY", "dataset.domains={a-b: x, c: y}"],
            "'a-b' names a domain; expected",
        ),
        (["dataset=office31", "runtime.data=/nowhere"], "office31: no folder '/nowhere/office31/\\w+'"),
        (["dataset=office31", "backbone.weights=none"], "backbone=auto has no settings; name the backbone too"),
    ],
)
def test_mistakes_get_one_line(
    overrides: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [o.replace("EMPTY", str(tmp_path)) for o in overrides]
    assert main(["run", *typed, f"results={tmp_path / 'r'}", f"runtime.cache={tmp_path / 'c'}"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(message, error)
