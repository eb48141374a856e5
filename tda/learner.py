"""A deep method as an estimator: its network built, trained, and asked for classes, logits and features."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import partial
from typing import Any, Self, cast

import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor

from tda.backbones.base import Backbone, Network, portions, resident
from tda.backbones.given import Given
from tda.checkpoint import Checkpoint
from tda.devices import require_compiler
from tda.errors import UsageError
from tda.methods.deep.base import DeepMethod, DomainName
from tda.selection import Judge
from tda.trainer import DivergenceError, Trainer
from tda.validators import Candidate

log = logging.getLogger(__name__)


class Learner:
    """A deep method as an estimator: builds the network, has it trained, predicts with it.

    Parameters
    ----------
    method : callable returning a DeepMethod
        Builds the method, not yet prepared.
    trainer : Trainer
        How it is trained.
    backbone : callable returning a Backbone
        Builds the backbone anew, so that the seed fixes its weights too.
    device : str
        Where to train: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    compiled : bool
        Have `torch.compile` translate every backbone that trains on images, for the steps of training. Predictions
        differ as they do between two numbers of threads: by what rounding makes of them.
    watched : ndarray, optional
        Target samples to predict along the way (see `Trainer`), without labels.
    checkpoint : Checkpoint, optional
        Keeps the state of training, and has it go on from there.
    judge : Judge, optional
        Scores the iterates along the way and the last; where it chooses, the best of them is what predicts afterwards.

    Attributes
    ----------
    trace_ : list of (int, ndarray)
        Steps done, and the classes of the watched samples then.
    scores_ : dict of str to list of (int, float)
        Steps done, and what each validator said then.
    """

    def __init__(
        self,
        *,
        method: Callable[[], DeepMethod],
        trainer: Trainer,
        backbone: Callable[[], Backbone],
        device: str,
        compiled: bool = False,
        watched: np.ndarray | None = None,
        checkpoint: Checkpoint | None = None,
        judge: Judge | None = None,
    ) -> None:
        self.watched = watched
        self.checkpoint = checkpoint
        self.judge = judge
        self.method = method
        self.trainer = trainer
        self.backbone = backbone
        self.device = torch.device(device)
        self.compiled = compiled

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> Self:
        """Train on source samples and labels and on target samples, images or features of a frozen backbone.

        Raises
        ------
        UsageError
            If the samples of the two domains differ in size, or `torch.compile` is asked for and does not work.
        """
        self.classes_, encoded = np.unique(ys, return_inverse=True)
        if Xs.shape[1:] != Xt.shape[1:]:
            raise UsageError(
                f"source samples have shape {Xs.shape[1:]} and target samples {Xt.shape[1:]}; expected the same shape"
            )
        xs, xt = resident(Xs, self.device), resident(Xt, self.device)
        labels = torch.tensor(encoded, device=self.device)
        waiting = nullcontext() if self.checkpoint is None else self.checkpoint.listening()
        with waiting, forked(self.device):
            torch.manual_seed(self.trainer.seed)
            np.random.seed(self.trainer.seed)  # noqa: NPY002 - what a method of one's own may draw from
            self.method_ = self._prepared(xs, xt).to(self.device)
            self._sees_watched = self.watched is Xt
            self._seen: list[Any] = []  # of (step, predicted classes, scores, value, weights of the best so far)
            self.trainer.train(self.method_, xs, labels, xt, partial(self._watch, xs, xt), self._seen, self.checkpoint)
            self._finish(self.method_, xs, xt)
        self.method_.eval()
        looking = self.judge is not None or self.trainer.watch_every
        if looking and self.watched is not None and self.trainer.steps not in {step for step, *_ in self._seen}:
            self._look(self.method_, self.watched, xs, xt, self.trainer.steps)
        if self.judge is not None and self.watched is not None:
            chosen = [weights for *_, weights in self._seen if weights is not None]
            if chosen:
                self.method_.load_state_dict(chosen[-1])
            elif self.judge.chooses:
                log.warning("selection: what was to choose says nothing of any iterate; the last one is scored")
        return self

    def _watch(self, xs: Tensor, xt: Tensor, step: int) -> None:
        if self.watched is None:
            return
        with forked(self.device):
            method = self.method_
            if type(method).finish is not DeepMethod.finish:
                method = deepcopy(method, {id(samples): samples for samples in (xs, xt)})
                self._finish(method, xs, xt)
            self._look(method.eval(), self.watched, xs, xt, step)

    def _finish(self, method: DeepMethod, xs: Tensor, xt: Tensor) -> None:
        with self.untranslated():
            method.finish(xs, xt)

    def _look(self, method: DeepMethod, watched: np.ndarray, xs: Tensor, xt: Tensor, step: int) -> None:
        """Note what `method` predicts after `step` steps, what is said of it, and its weights if it is the best."""
        logits = self._mapped(method.classify, watched)
        predicted = self._decided(logits)
        if self.judge is None:
            self._seen.append((step, predicted, {}, None, None))
            return
        scores = self.judge.scores(self._candidate(method, self.judge, xs, xt, logits if self._sees_watched else None))
        value = self.judge.value(scores, predicted)
        best = self.judge.chooses and value > max((before for *_, before, _ in self._seen), default=-np.inf)
        if best:
            self._seen[:] = [(*rest, None) for *rest, _ in self._seen]
        self._seen.append((step, predicted, scores, value, deepcopy(method.state_dict()) if best else None))

    def _candidate(
        self, method: DeepMethod, judge: Judge, xs: Tensor, xt: Tensor, logits: np.ndarray | None
    ) -> Candidate:
        """Return what the validators see of `method`; source samples go the way of the target's.

        A ratio of densities, and a loss that it weighs, are those of one map of both domains. `logits` are those of the
        target, where they are known already.
        """

        def features(X: np.ndarray | Tensor) -> np.ndarray:
            return self._mapped(partial(method.embed, domain="target"), X)

        def log_probabilities(logits: np.ndarray) -> np.ndarray:
            likelihood: np.ndarray = log_softmax(logits.astype(np.float64), axis=1)
            return likelihood

        held = judge.held
        own = np.searchsorted(self.classes_, held.y)
        return Candidate(
            source=features(xs),
            held=features(held.x),
            held_y=held.y,
            losses=-log_probabilities(self._mapped(method.classify, held.x))[np.arange(len(own)), own],
            target=features(xt),
            P=np.exp(log_probabilities(self._mapped(method.classify, xt) if logits is None else logits)),
            few=judge.few,
        )

    @property
    def trace_(self) -> list[tuple[int, np.ndarray]]:
        """Steps done, and the classes of the watched samples then."""
        return [(step, predicted) for step, predicted, *_ in self._seen]

    @property
    def scores_(self) -> dict[str, list[tuple[int, float]]]:
        """Steps done, and what each validator said then."""
        names = dict.fromkeys(name for _, _, scores, *_ in self._seen for name in scores)
        return {name: [(step, said[name]) for step, _, said, *_ in self._seen if name in said] for name in names}

    def logits(self, X: np.ndarray) -> np.ndarray:
        """Return the method's logits (n, classes) on samples of the target."""
        return self._mapped(self.method_.classify, X)

    def features(self, X: np.ndarray, domain: DomainName) -> np.ndarray:
        """Return the features (n, width) where the domains are aligned, of samples of one of them."""
        return self._mapped(partial(self.method_.embed, domain=domain), X)

    def untranslated(self) -> AbstractContextManager[object]:
        """Let no new kind of call be compiled while a block lasts: a pass or two is not worth a minute each."""
        return torch.compiler.set_stance("force_eager") if self.compiled else nullcontext()

    def _mapped(self, function: Callable[[Tensor], Tensor], X: np.ndarray | Tensor) -> np.ndarray:
        with torch.no_grad(), self.untranslated():
            batches = portions(X if isinstance(X, Tensor) else resident(X, self.device))
            return torch.cat([row_by_row(function, batch).float().cpu() for batch in batches]).numpy()

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the class of each sample."""
        return self._decided(self.logits(X))

    def _decided(self, logits: np.ndarray) -> np.ndarray:
        called = f"{type(self.method_).__name__}.classify"
        if logits.shape[1:] != self.classes_.shape:
            shape = f"(samples, {len(self.classes_)})"
            raise ValueError(f"{called} returned logits of shape {logits.shape}; expected {shape}")
        if unlike := np.count_nonzero(~np.isfinite(logits.max(1))):  # a class that is ruled out may have minus infinity
            raise DivergenceError(f"{called} gives {unlike} of {len(logits)} samples logits that are no finite numbers")
        predicted: np.ndarray = self.classes_[logits.argmax(1)]
        return predicted

    def _prepared(self, xs: Tensor, xt: Tensor) -> DeepMethod:
        backbone = self.backbone()
        if xs.ndim == 2:
            backbone = Given.instead_of(backbone, xs.shape[1])
        elif backbone.channel_means is None:
            backbone.mean.copy_(channel_means(xs, xt))
        method = self.method()
        method.prepare(Network(backbone, classes=len(self.classes_)))
        if self.compiled and xs.ndim == 4:
            require_compiler(str(self.device))
            torch.compiler.reset()  # of the networks before this one, which count against what is kept translated
            for module in method.modules():
                if isinstance(module, Backbone):
                    module.compile(options={"fallback_random": True})  # dropout as it is without
        return cast(DeepMethod, method.to(memory_format=torch.channels_last))  # type: ignore[call-overload]


@contextmanager
def forked(device: torch.device) -> Iterator[None]:
    """Put back what PyTorch and NumPy draw random numbers from after a block."""
    before = np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def row_by_row(function: Callable[[Tensor], Tensor], samples: Tensor) -> Tensor:
    """Return what a method's function makes of samples, or raise a TypeError if that is no row for each."""
    said = function(samples)
    if isinstance(said, Tensor) and said.shape[:1] == samples.shape[:1]:
        return said
    called = getattr(function, "func", function).__qualname__
    what = f"of shape {tuple(said.shape)}" if isinstance(said, Tensor) else type(said).__name__
    raise TypeError(f"{called} returned {what} for {len(samples)} samples; expected a tensor with a row for each")


def channel_means(*domains: Tensor) -> Tensor:
    """Return the channel means (3,), in [0, 1], over all pixels of uint8 images (n, h, w, 3) of all domains."""
    total = torch.stack([images.sum((0, 1, 2), dtype=torch.int64) for images in domains]).sum(0).cpu()
    pixels = sum(images[..., 0].numel() for images in domains)
    return (total.double() / (255 * pixels)).float()
