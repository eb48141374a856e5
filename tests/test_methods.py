"""The contract of every method: the classes and the configs are discovered, none is listed by hand."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from hydra import compose
from omegaconf import DictConfig, OmegaConf

import tda.methods
from tda.backbones.ganin import LeNet
from tda.backbones.pixels import Pixels
from tda.config import build, check, composer
from tda.learner import Learner
from tda.methods import Estimator
from tda.methods.deep.base import DeepMethod
from tda.methods.shallow.base import Reweighter, ShallowMethod
from tda.methods.shallow.linear_svm import LinearSVM
from tda.resources import folder
from tests.conftest import names

METHODS = names("method")
SOURCE_ONLY = {
    "one_nn": "a baseline: the target is not used",
    "linear_svm": "a baseline: the target is not used",
    "logistic_regression": "a baseline: the target is not used",
    "knn": "a baseline: the target is not used",
    "knn_weighted": "a baseline: the target is not used",
    "nearest_prototype": "a baseline: the target is not used",
    "nearest_prototype_cosine": "a baseline: the target is not used",
    "rbf_svm": "a baseline: the target is not used",
    "source_only": "a baseline: the target is not used",
    "source_only_listing": "a baseline: the target is not used",
    "ddc_listing": "as printed: what it aligns is a side branch, and its classifier reads the given features",
    "deep_coral_listing": "as printed: what it aligns is a side branch, and its classifier reads the given features",
    "dann_listing": "as printed: what it aligns is a side branch, and its classifier reads the given features",
    "target_only": "an oracle: what it is given as source is the target",
}
CLASSES = 3
PROBE = np.random.default_rng(1).uniform(-1, 1.5, (3000, 40))


class Data(NamedTuple):
    Xs: np.ndarray
    ys: np.ndarray
    Xt: np.ndarray
    yt: np.ndarray


def easy_shift(dtype: Any = np.float64, seed: int = 0, offset: float = 0.15) -> Data:
    """Three classes in forty dimensions; the target is moved by less than the classes are apart, and smaller."""
    draw = np.random.default_rng(seed)
    centres = 0.5 * np.repeat(np.eye(CLASSES, 4), 10, axis=1)
    ys, yt = np.arange(90) % CLASSES, np.arange(66) % CLASSES
    Xs = centres[ys] + 0.15 * draw.standard_normal((len(ys), 40))
    Xt = centres[yt] + 0.15 * draw.standard_normal((len(yt), 40)) + offset
    return Data(Xs.astype(dtype), ys, Xt.astype(dtype), yt)


def easy_images(seed: int = 0) -> Data:
    """Three bright squares at three places of a 16 x 16 image; the target has a lighter background."""
    draw = np.random.default_rng(seed)

    def images(labels: np.ndarray, background: int) -> np.ndarray:
        x = background + draw.integers(0, 40, (len(labels), 16, 16, 3))
        for image, label in zip(x, labels, strict=True):
            image[4:10, 5 * label : 5 * label + 5] += 150
        return x.astype(np.uint8)

    ys, yt = np.arange(48) % CLASSES, np.arange(36) % CLASSES
    return Data(images(ys, 0), ys, images(yt, 30), yt)


@cache
def configured(name: str) -> DictConfig:
    with composer():
        return compose("config", [f"method={name}", "task=O-P"])


@cache
def fitted(name: str) -> tuple[Estimator, np.ndarray]:
    """Return the method, fitted on the easy shift, and what it says of `PROBE`."""
    data = easy_shift()
    made = estimator(configured(name)).fit(data.Xs, data.ys, data.Xt)
    return made, made.predict(PROBE)


def estimator(config: DictConfig, images: bool = False, **trainer: Any) -> Estimator:
    if config.method.run.trainer is None:
        return build(config.method, "method")
    settings = OmegaConf.merge(
        config.method.run.trainer, {"augment": None, "steps": 60, "batch": 24, "seed": 0, **trainer}
    )
    sizes: dict[str, Any] = {
        "size": 16,
        "bottleneck": None if images else 16,
        "hidden": [16],
        "discriminator": [16],
    }
    return Learner(
        method=partial(build, config.method, "method"),
        trainer=build(settings, "trainer"),
        backbone=partial(LeNet if images else Pixels, **sizes),
        device="cpu",
    )


def implementations() -> Iterator[type]:
    for module in pkgutil.walk_packages(tda.methods.__path__, "tda.methods."):
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if (
                issubclass(found, ShallowMethod | DeepMethod)
                and not inspect.isabstract(found)
                and found.__module__ == module.name
                and found is not DeepMethod
            ):
                yield found


def test_every_implementation_has_a_config() -> None:
    written = [yaml.safe_load((folder("conf") / "method" / f"{name}.yaml").read_text()) for name in METHODS]
    named = {config["_target_"] for config in written if "_target_" in config}
    found = {f"{cls.__module__}.{cls.__name__}" for cls in implementations()}
    assert len(found) >= 8
    assert found == named


@pytest.mark.parametrize("cls", [*implementations()], ids=lambda cls: cls.__name__)
def test_docstring_gives_parameters_and_reference(cls: type) -> None:
    doc = inspect.getdoc(cls) or ""
    assert "References\n----------" in doc
    if inspect.signature(cls).parameters:
        assert "Parameters\n----------" in doc


@pytest.mark.parametrize("cls", [*implementations()], ids=lambda cls: cls.__name__)
def test_constructor_is_keyword_only(cls: type) -> None:
    kinds = {parameter.kind for parameter in inspect.signature(cls).parameters.values()}
    assert kinds <= {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in METHODS])
class TestContract:
    def test_config_and_signature_agree(self, name: str) -> None:
        config = deepcopy(configured(name))
        assert config.method.name == name
        config.backbone = {"name": "pixels", "_target_": "tda.backbones.pixels.Pixels", "size": 32,
                           "bottleneck": None, "hidden": [], "discriminator": [], "augment": None}  # fmt: skip
        check(config)

    def test_first_line_of_the_config_describes_it(self, name: str) -> None:
        first = (folder("conf") / "method" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# ")
        assert len(first) <= 110

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_beats_chance_predicts_known_classes_and_leaves_inputs_alone(self, name: str, dtype: Any) -> None:
        data, labels = easy_shift(dtype), np.array([4, 7, 9])
        given = data._replace(ys=labels[data.ys])
        before = [array.copy() for array in given]
        for array in given:
            array.setflags(write=False)
        predicted = estimator(configured(name)).fit(given.Xs, given.ys, given.Xt).predict(given.Xt)
        assert predicted.shape == data.yt.shape
        assert set(predicted) <= set(labels)
        assert np.mean(predicted == labels[data.yt]) > 0.7
        for array, copy in zip(given, before, strict=True):
            np.testing.assert_array_equal(array, copy)

    def test_same_seed_same_result_and_refitting_changes_nothing(self, name: str) -> None:
        data, (first, once) = easy_shift(), fitted(name)
        again = deepcopy(first).fit(data.Xs, data.ys, data.Xt).predict(PROBE)
        torch.manual_seed(99)
        np.random.seed(99)  # noqa: NPY002 - the global state must not matter
        other = estimator(configured(name)).fit(data.Xs, data.ys, data.Xt).predict(PROBE)
        np.testing.assert_array_equal(once, again)
        np.testing.assert_array_equal(once, other)

    def test_the_target_matters(self, name: str) -> None:
        data, other = easy_shift(), easy_shift(seed=5, offset=-0.4)
        moved = estimator(configured(name)).fit(data.Xs, data.ys, other.Xt).predict(PROBE)
        assert np.array_equal(fitted(name)[1], moved) == (name in SOURCE_ONLY)

    def test_deep_methods_train_on_images_too(self, name: str) -> None:
        if configured(name).method.run.trainer is None:
            pytest.skip("a shallow method sees features only")
        data = easy_images()
        learner = estimator(configured(name), images=True)
        predicted = learner.fit(data.Xs, data.ys, data.Xt).predict(data.Xt)
        assert np.mean(predicted == data.yt) > 0.6

    def test_saved_and_loaded_gives_the_same_logits(self, name: str, tmp_path: Path) -> None:
        if configured(name).method.run.trainer is None:
            pytest.skip("a shallow method has no logits")
        data, (trained, _) = easy_shift(), fitted(name)
        fresh = estimator(configured(name), steps=1, seed=7).fit(data.Xs, data.ys, data.Xt)
        assert isinstance(trained, Learner)
        assert isinstance(fresh, Learner)
        assert not np.array_equal(trained.logits(data.Xt), fresh.logits(data.Xt))
        safetensors.torch.save_model(trained.method_, str(tmp_path / "model.safetensors"))
        safetensors.torch.load_model(fresh.method_, str(tmp_path / "model.safetensors"))
        np.testing.assert_array_equal(trained.logits(data.Xt), fresh.logits(data.Xt))


class Weighing(Reweighter):
    """Weighs the source by what it is given."""

    def __init__(self, *, weights: object) -> None:
        super().__init__(classifier=LinearSVM())
        self.weights = weights

    def weigh(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> Any:
        return self.weights


NO_WEIGHTS: dict[str, tuple[object, str]] = {
    "none": (None, r"object of shape \(\)"),
    "too few": (np.ones(3), r"float64 of shape \(3,\)"),
    "a column": (np.ones((90, 1)), r"float64 of shape \(90, 1\)"),
    "words": (["a"] * 90, r"<U1 of shape \(90,\)"),
    "no number": (np.r_[np.nan, np.ones(89)], "1 that are infinite or no number"),
    "infinite": (np.r_[np.inf, np.ones(89)], "1 that are infinite or no number"),
    "negative": (-np.ones(90), "90 below 0"),
    "all 0": (np.zeros(90), "nothing but 0"),
}


@pytest.mark.parametrize("what", NO_WEIGHTS)
def test_what_a_reweighter_returns_that_is_no_weights_is_named(what: str) -> None:
    data, (weights, said) = easy_shift(), NO_WEIGHTS[what]
    with pytest.raises(ValueError, match=rf"Weighing\.weigh returned {said}; expected a weight of 0 or more for each"):
        Weighing(weights=weights).fit(data.Xs, data.ys, data.Xt)


@pytest.mark.parametrize("weights", [[1] * 90, np.arange(90) % 2 == 0, np.arange(90.0)], ids=["list", "bool", "float"])
def test_a_reweighter_may_leave_samples_out(weights: object) -> None:
    data = easy_shift()
    assert len(Weighing(weights=weights).fit(data.Xs, data.ys, data.Xt).predict(data.Xt)) == len(data.Xt)
