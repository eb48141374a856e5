"""A training run that can be stopped and gone on with: its state in one file, and signals that wait for a step."""

import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import isroutine
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tda.cache import atomic
from tda.errors import Terminated

FORMAT = "2"
MODULES_OWN = set(vars(nn.Module())) - {"training"}
NUMBERS = {np.dtype(name) for name in ("?", "u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8")}
log = logging.getLogger(__name__)


class Training(NamedTuple):
    """All that changes while a method is trained.

    What draws the samples is not here: it depends on the seed and the number of steps alone, and is gone through again.
    Neither is the learning rate, which the step gives.
    """

    method: nn.Module
    optimiser: torch.optim.Optimizer
    given: Sequence[Tensor]  # the training samples, which a method may hold on to
    watched: list[Any]  # what was seen along the way

    def state(self) -> dict[str, Any]:
        """Return all of it as containers of numbers, words and tensors."""
        device = self.given[0].device
        _, key, *position = np.random.get_state()  # noqa: NPY002
        return {
            "tensors": self.method.state_dict(),
            "attributes": {name: self._attributes(module) for name, module in self.method.named_modules()},
            "optimiser": self.optimiser.state_dict(),
            "watched": self.watched,
            "random": torch.get_rng_state(),
            "random of NumPy": [np.asarray(key, np.int64), *position],
            "random on the device": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        device = self.given[0].device
        self.method.load_state_dict(state["tensors"])
        for name, module in self.method.named_modules():
            for attribute, value in moved(state["attributes"][name], device).items():
                setattr(module, attribute, value)
        self.optimiser.load_state_dict(state["optimiser"])
        for parameter, kept in self.optimiser.state.items():
            for name, value in kept.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    kept[name] = torch.empty_like(parameter).copy_(value)  # a fused step reads both in one order
        self.watched[:] = state["watched"]
        torch.set_rng_state(state["random"])
        np.random.set_state(("MT19937", *state["random of NumPy"]))  # noqa: NPY002
        if state["random on the device"] is not None:
            torch.cuda.set_rng_state(state["random on the device"], device)

    def lost(self) -> str | None:
        """Name something of the method that may change while it is trained and that `state` cannot hold, if any."""
        modules = set(self.method.modules())
        for module in modules:
            for name, value in self._own(module).items():
                if not is_plain(value) and not is_fixed(value, modules):
                    return f"{type(module).__name__}.{name}, of type {type(value).__name__},"
        return None

    def _attributes(self, module: nn.Module) -> dict[str, Any]:
        return {name: value for name, value in self._own(module).items() if is_plain(value)}

    def _own(self, module: nn.Module) -> dict[str, Any]:
        """Return what a module holds beside its state dict and the training samples."""
        samples = {id(tensor) for tensor in self.given}
        held = vars(module) | {name: getattr(module, name) for name in module._non_persistent_buffers_set}
        return {name: value for name, value in held.items() if name not in MODULES_OWN and id(value) not in samples}


class Checkpoint:
    """The file of a run's state: when it is written, and whether it is of this very run.

    Parameters
    ----------
    path : Path
        The file. Safetensors, with what is no tensor as JSON in its metadata: nothing in it is ever run.
    every : float
        Seconds from one save to the next; 0: only when the process is told to stop.

    Attributes
    ----------
    made_of : mapping of str to str
        All that the state depends on; a file of anything else is not gone on with.
    spent : float
        Seconds that the processes before this one took to get as far as the state that is gone on with.
    """

    def __init__(self, path: Path, every: float) -> None:
        self.path = path
        self.every = every
        self.made_of: Mapping[str, str] = {}
        self.spent = 0.0
        self._started = time.perf_counter()
        self._refused = False
        self._told: int | None = None
        self._saved = time.monotonic()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let SIGTERM and Ctrl-C wait for the end of a step; when they come again, they act at once.

        One that is ignored, as in a script's background, stays so.
        """
        self._started = time.perf_counter()
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def told(number: int, _: FrameType | None) -> None:
            self._told = number
            signal.signal(number, before[number])

        handlers: dict[int, Any] = {n: signal.getsignal(n) or signal.SIG_DFL for n in (signal.SIGTERM, signal.SIGINT)}
        before = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}
        for number in before:
            signal.signal(number, told)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def resume(self, training: Training) -> int:
        """Restore the state that was saved, and return the number of steps done; 0 where there is none of this run."""
        if not self.path.exists():
            return 0
        try:
            with safe_open(self.path, framework="pt") as file:
                said = file.metadata() or {}
                if said.get("format") != FORMAT:
                    raise ValueError(f"not a checkpoint of format {FORMAT}")
                differing = unlike(json.loads(said["made_of"]), self.made_of)
                if differing:
                    raise ValueError(f"made with another {differing}")
                state = unpacked(json.loads(said["state"]), file.get_tensor)
                spent = float(said["seconds"])
        except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
            log.warning("%s cannot be resumed, training starts over: %s", self.path, error)
            return 0
        training.restore(state)
        self.spent = spent
        steps = int(said["steps"])
        log.warning("%s: training goes on from step %d", self.path, steps)
        return steps

    def after(self, step: int, training: Training) -> None:
        """Save the state after `step` steps if it is time to, or if the process is told to stop, which it then does.

        A state that cannot be held in full is not saved: what went on from a part of it would end elsewhere.

        Raises
        ------
        Terminated, KeyboardInterrupt
            After SIGTERM; after Ctrl-C.
        """
        if self._told is None and not 0 < self.every <= time.monotonic() - self._saved:
            return
        self._saved = time.monotonic()
        if lost := training.lost():
            self._refuse(lost)
        else:
            self._save(step, training)
        self._stop_if_told()

    def _refuse(self, lost: str) -> None:
        if not self._refused:
            log.warning(
                "%s cannot be kept in a checkpoint: training, once interrupted, starts anew; "
                "keep it as numbers, words, tensors, arrays, lists, tuples or dicts",
                lost,
            )
        self._refused = True

    def _save(self, step: int, training: Training) -> None:
        tensors: dict[str, Tensor] = {}
        state = packed(training.state(), tensors)
        seconds = self.spent + time.perf_counter() - self._started
        said = {"format": FORMAT, "steps": str(step), "seconds": str(seconds), "made_of": json.dumps(self.made_of)}
        said["state"] = json.dumps(state)
        try:
            with atomic(self.path) as path:
                save_file(tensors, path, said)
        except (OSError, SafetensorError) as error:
            log.warning("%s cannot be written: %s", self.path, error)

    def close(self) -> None:
        """Remove the file once it is not needed any more, and stop if the process was told to after the last step."""
        self.path.unlink(missing_ok=True)
        self._stop_if_told()

    def _stop_if_told(self) -> None:
        if self._told is not None:
            raise Terminated if self._told == signal.SIGTERM else KeyboardInterrupt


def unlike(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    """Return the names of what differs, separated by commas."""
    return ", ".join(key for key in sorted({*one, *other}) if one.get(key) != other.get(key))


def is_plain(value: Any) -> bool:
    """Return whether a value is a tensor, an array, a number, a word or None, or a container of such."""
    if type(value) in (list, tuple):
        return all(map(is_plain, value))
    if type(value) is dict:
        return all(is_plain(key) and is_plain(part) for key, part in value.items())
    if type(value) is np.ndarray or isinstance(value, np.generic):
        return value.dtype in NUMBERS
    if isinstance(value, Tensor):
        return value.layout is torch.strided
    return value is None or type(value) in (bool, int, float, str)


def is_fixed(value: Any, modules: Collection[nn.Module]) -> bool:
    """Return whether a value is the same at every step: a function, a class, what tda made, or one of these modules."""
    if type(value) in (list, tuple):
        return all(is_fixed(part, modules) for part in value)
    if isinstance(value, nn.Module):
        return value in modules
    fixed = isroutine(value) or isinstance(value, type | torch.dtype | torch.device)
    return fixed or type(value).__module__.startswith("tda.")


def packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return a plain value as JSON has it, its tensors put into `tensors` under the numbers that stand for them.

    Examples
    --------
    >>> tensors = {}
    >>> packed({0: (1.5, torch.ones(2))}, tensors)
    {'dict': [[0, {'tuple': [1.5, {'tensor': '0'}]}]]}
    >>> tensors
    {'0': tensor([1., 1.])}
    """
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, np.ndarray | np.generic):
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {kind: packed(torch.from_numpy(np.array(value, order="C")), tensors)["tensor"]}
    if isinstance(value, dict):
        return {"dict": [[packed(key, tensors), packed(part, tensors)] for key, part in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [packed(part, tensors) for part in value]}
    if isinstance(value, list):
        return [packed(part, tensors) for part in value]
    return value


def unpacked(value: Any, tensor: Callable[[str], Tensor]) -> Any:
    """Return the plain value that `packed` was given; ``tensor(name)`` returns its tensors."""
    if isinstance(value, list):
        return [unpacked(part, tensor) for part in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {unpacked(key, tensor): unpacked(part, tensor) for key, part in content}
    if kind == "tuple":
        return tuple(unpacked(part, tensor) for part in content)
    if kind == "tensor":
        return tensor(content)
    array = tensor(content).numpy()
    return array[()] if kind == "scalar" else array


def moved(value: Any, device: torch.device) -> Any:
    """Return a plain value with its tensors on a device."""
    if isinstance(value, dict):
        return {key: moved(part, device) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(moved(part, device) for part in value)
    return value.to(device) if isinstance(value, Tensor) else value
