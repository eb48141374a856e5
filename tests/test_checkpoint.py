"""A run that is stopped and gone on with ends as one that was never stopped, to the last bit."""

import json
import os
import signal
from collections import Counter, OrderedDict, UserList, defaultdict, deque, namedtuple
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose
from omegaconf import DictConfig
from safetensors import safe_open
from safetensors.torch import save_file

from tda.augment import Affine
from tda.backbones.base import Network, Output
from tda.checkpoint import Checkpoint, Training, packed, unpacked
from tda.config import composer
from tda.errors import Terminated
from tda.learner import Learner
from tda.methods.deep.base import Batch, DeepMethod
from tests.test_methods import METHODS, easy_shift, estimator

STEPS, STOPS = 14, (4, 9)  # the stops lie in both phases of the methods that have two


@cache
def deep_configs() -> dict[str, DictConfig]:
    with composer():
        configs = {name: compose("config", [f"method={name}", "task=O-P"]) for name in METHODS}
    return {name: config for name, config in configs.items() if config.method.run.trainer is not None}


class Stopped(Checkpoint):
    """Gets a signal during the first of some steps that it comes to."""

    def __init__(self, path: Path, at: tuple[int, ...] = (), number: signal.Signals = signal.SIGTERM) -> None:
        super().__init__(path, every=0)
        self.made_of = {"record": "one"}
        self.at = at
        self.number = number

    def after(self, step: int, training: Training) -> None:
        if step in self.at:
            os.kill(os.getpid(), self.number)
        super().after(step, training)


def fitted(name: str, checkpoint: Checkpoint | None, **trainer: Any) -> Learner:
    data = easy_shift()
    learner = estimator(deep_configs()[name], **({"steps": STEPS, "watch_every": 3} | trainer))
    assert isinstance(learner, Learner)
    learner.checkpoint = checkpoint
    learner.watched = data.Xt
    return learner.fit(data.Xs, data.ys, data.Xt)


@pytest.mark.parametrize("name", deep_configs())
def test_a_run_that_is_stopped_twice_ends_as_one_that_is_not(name: str, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    for stop in STOPS:
        with pytest.raises(Terminated):
            fitted(name, Stopped(path, at=(stop,)))
        with safe_open(path, framework="pt") as file:
            assert file.metadata()["steps"] == str(stop)
    resumed, whole = fitted(name, Stopped(path)), fitted(name, None)
    np.testing.assert_array_equal(resumed.logits(easy_shift().Xt), whole.logits(easy_shift().Xt))
    assert [step for step, _ in resumed.trace_] == [3, 6, 9, 12, 14]
    for (_, ours), (_, theirs) in zip(resumed.trace_, whole.trace_, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_checkpoint_is_what_resumes_it(tmp_path: Path) -> None:
    """Were the file not read, the tests above would pass too."""
    path = tmp_path / "state.safetensors"
    with pytest.raises(Terminated):
        fitted("dann", Stopped(path, at=(9,)))
    with safe_open(path, framework="pt") as file:
        tensors, said = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    floats = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
    save_file(tensors | {name: tensors[name] + 1 for name in floats}, path, said)
    moved, whole = fitted("dann", Stopped(path)), fitted("dann", None)
    assert not np.array_equal(moved.logits(easy_shift().Xt), whole.logits(easy_shift().Xt))


def test_the_seconds_of_all_processes_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(Terminated):
        fitted("dann", Stopped(path, at=(9,)))
    with safe_open(path, framework="pt") as file:
        before = float(file.metadata()["seconds"])
    assert before > 0
    again = Stopped(path)
    assert again.spent == 0
    fitted("dann", again)
    assert again.spent == before


def test_images_of_a_network_in_channels_last_order(tmp_path: Path) -> None:
    from tests.test_methods import easy_images

    data, path = easy_images(), tmp_path / "state.safetensors"

    def run(checkpoint: Checkpoint | None) -> np.ndarray:
        learner = estimator(deep_configs()["dann"], images=True, steps=6)
        assert isinstance(learner, Learner)
        learner.checkpoint = checkpoint
        return learner.fit(data.Xs, data.ys, data.Xt).logits(data.Xt)

    with pytest.raises(Terminated):
        run(Stopped(path, at=(3,)))
    np.testing.assert_array_equal(run(Stopped(path)), run(None))


def test_ctrl_c_waits_for_the_end_of_a_step_and_handlers_are_put_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        fitted("source_only", Stopped(tmp_path / "state", at=(2,), number=signal.SIGINT))
    assert (tmp_path / "state").exists()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_ctrl_c_acts_at_once(tmp_path: Path) -> None:
    checkpoint = Stopped(tmp_path / "state")
    with checkpoint.listening():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Stopped(tmp_path / "state").listening():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_after_the_last_step_stops_once_the_record_is_written(tmp_path: Path) -> None:
    checkpoint = Stopped(tmp_path / "state")
    checkpoint.path.touch()
    with checkpoint.listening():
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Terminated):
        checkpoint.close()
    assert not checkpoint.path.exists()


def test_the_state_is_saved_every_so_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("tda.checkpoint.time.monotonic", lambda: float(next(clock)))
    saved: list[str] = []
    monkeypatch.setattr("tda.checkpoint.save_file", lambda tensors, path, said: saved.append(said["steps"]))
    fitted("source_only", Checkpoint(tmp_path / "state", every=4))
    assert len(saved) == 3
    saved.clear()
    fitted("source_only", Checkpoint(tmp_path / "state", every=0))
    assert saved == []


def full_disk(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_does_not_end_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tda.checkpoint.save_file", full_disk)
    fitted("source_only", Checkpoint(tmp_path / "state", every=1e-9))
    assert "cannot be written: [Errno 28] No space left on device" in caplog.text
    assert list(tmp_path.iterdir()) == []


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def rewritten(**changes: str) -> Callable[[Path], None]:
    def rewrite(path: Path) -> None:
        with safe_open(path, framework="pt") as file:
            tensors, said = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
        save_file(tensors, path, said | changes)

    return rewrite


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "training starts over: "),
    "truncated": (truncated, "training starts over: "),
    "a pickle": (lambda path: torch.save({"state": 1}, path), "training starts over: "),
    "no checkpoint": (lambda path: save_file({"x": torch.ones(1)}, path), "not a checkpoint of format 2"),
    "a later format": (rewritten(format="3"), "not a checkpoint of format 2"),
    "another cell": (rewritten(made_of='{"record": "two"}'), "made with another record"),
    "another version": (rewritten(made_of='{"record": "one", "torch": "1.0"}'), "made with another torch"),
    "no JSON": (rewritten(state="{"), "training starts over: "),
    "no tensor": (rewritten(state='{"tensor": "none"}'), "training starts over: "),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_checkpoint_of_this_run_is_named_and_training_starts_anew(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(Terminated):
        fitted("source_only", Stopped(path, at=(9,)))
    broken, message = REFUSED[what]
    broken(path)
    again = fitted("source_only", Stopped(path))
    assert message in caplog.text
    assert str(path) in caplog.text
    np.testing.assert_array_equal(again.logits(easy_shift().Xt), fitted("source_only", None).logits(easy_shift().Xt))


class Remembering(DeepMethod):
    """Draws the target towards a mean of the source that each step adds to, and holds `held` besides."""

    mean: torch.Tensor

    def __init__(self, held: Callable[[], Any]) -> None:
        super().__init__(weight=3.0)
        self.held = held()
        self.steps = np.float32(0)

    def prepare(self, network: Network) -> None:
        super().prepare(network)
        self.parts = network.backbone, [network.head]
        self.register_buffer("mean", torch.zeros(network.width), persistent=False)

    def alignment(self, source: Output, target: Output, batch: Batch) -> torch.Tensor:
        self.steps = self.steps + np.float32(0.1)
        self.mean = self.mean.lerp(source.features.detach().mean(0), 0.01)
        weight = float(self.steps) * np.random.rand()  # noqa: NPY002
        return weight * (self.mean - target.features.mean(0)).pow(2).sum()


def remembering(checkpoint: Checkpoint | None, held: Callable[[], Any]) -> np.ndarray:
    data, learner = easy_shift(), estimator(deep_configs()["ddc"], steps=STEPS)
    assert isinstance(learner, Learner)
    learner.method, learner.checkpoint = partial(Remembering, held), checkpoint
    return learner.fit(data.Xs, data.ys, data.Xt).logits(data.Xt)


HELD: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "a function": lambda: easy_shift,
    "a class": lambda: Affine,
    "what is tda's": lambda: Affine(rotation=1, scale=0.1, shift=0.1),
    "an array of an odd order": lambda: np.arange(6.0)[::-2],
}


@pytest.mark.parametrize("what", HELD)
def test_an_own_method_goes_on_with_scalars_of_numpy_and_buffers_that_are_not_saved(what: str, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(Terminated):
        remembering(Stopped(path, at=(9,)), HELD[what])
    assert path.exists()
    np.testing.assert_array_equal(remembering(Stopped(path), HELD[what]), remembering(None, HELD[what]))


NOT_HELD: dict[str, Callable[[], Any]] = {
    "deque": lambda: deque([1.0]),
    "UserList": lambda: UserList([1.0]),
    "Generator": lambda: np.random.default_rng(0),
    "defaultdict": lambda: defaultdict(float),
    "OrderedDict": lambda: OrderedDict(a=1),
    "Counter": lambda: Counter("a"),
    "Point": lambda: namedtuple("Point", "x")(1),
    "ndarray": lambda: np.array(["a"]),
    "list": lambda: [torch.nn.Linear(1, 1)],
    "Tensor": lambda: torch.eye(2).to_sparse(),
}


@pytest.mark.parametrize("kind", NOT_HELD)
def test_a_run_whose_state_cannot_be_kept_starts_anew_and_says_so(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(Terminated):
        remembering(Stopped(path, at=(9,)), NOT_HELD[kind])
    assert f"Remembering.held, of type {kind}, cannot be kept in a checkpoint: training, once inter" in caplog.text
    assert not path.exists()


def test_that_a_state_cannot_be_kept_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    remembering(Checkpoint(tmp_path / "state", every=1e-9), NOT_HELD["deque"])
    assert caplog.text.count("cannot be kept") == 1


def test_plain_values_come_back_as_they_were() -> None:
    tensors: dict[str, torch.Tensor] = {}
    value = {1: (None, True, 0.1, "é"), "list": [torch.arange(3), np.arange(2.0)], "empty": {}, "nan": float("inf")}
    back = unpacked(json.loads(json.dumps(packed(value, tensors))), tensors.__getitem__)
    assert list(back) == list(value)
    assert back[1] == value[1]
    assert type(back["list"][1]) is np.ndarray
    assert torch.equal(back["list"][0], torch.arange(3))
    assert (back["empty"], back["nan"]) == ({}, float("inf"))
    scalar = unpacked(packed(np.float32(0.1), tensors), tensors.__getitem__)
    assert (type(scalar), scalar) == (np.float32, np.float32(0.1))
