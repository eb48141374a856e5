"""The one training loop, and the estimator that it makes of a deep method."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import cache, partial
from itertools import islice
from math import isfinite
from typing import Annotated, Any, Literal, Self, cast

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from scipy.special import log_softmax
from torch import Tensor

from tda.augment import Affine, CropFlip
from tda.backbones.base import Backbone, Network, portions, resident
from tda.backbones.given import Given
from tda.checkpoint import Checkpoint, Training
from tda.devices import require_compiler
from tda.errors import UsageError
from tda.methods.deep.base import Batch, DeepMethod, DomainName, Objective
from tda.selection import Judge
from tda.validators import Candidate

log = logging.getLogger(__name__)


class DivergenceError(RuntimeError):
    """A loss that is no longer a number; training stops at once."""


class Trainer:
    r"""Gradient descent on batches for a fixed number of steps; the last iterate is what is scored.

    The learning rate is annealed with the progress p of training, from 0 to 1:

    .. math:: \mu_p = \frac{\mu_0}{(1 + \alpha p)^\beta}

    Parameters
    ----------
    steps : int
        Number of batches.
    batch : int
        Samples in a batch: one half source, one half target. Each domain is gone through in a random order, over and
        over; a domain smaller than its half is drawn from more than once.
    lr : float
        :math:`\mu_0`, the learning rate at the start.
    alpha, beta : float
        Of the annealing.
    optimiser : {"sgd", "adam"}
        The rule of the steps.
    momentum : float
        Of the gradient's running mean: SGD's momentum, Adam's first beta (its second is 0.999).
    nesterov : bool
        Nesterov's momentum; SGD's only.
    weight_decay : float
        Added to the gradient, times the weights.
    augment : Affine, CropFlip or None
        Applied to the images of both halves of every batch; features of a frozen backbone are left as they are.
    precision : {"fp32", "bf16"}
        ``bf16`` computes the forward pass in bfloat16 by autocast; weights stay float32.
    balanced : bool
        Draw the source half with as many samples of each class as its size allows, instead of in a random order.
    watch_every : int
        Predict the samples that will be scored every so many steps and after the last, for a curve that nothing is
        chosen by; 0: never.
    seed : int
        Fixes initial weights, dropout, the order of the samples, and what a method draws from NumPy's global state.

    Raises
    ------
    UsageError
        If `nesterov` is asked of another optimiser than SGD, or without momentum.

    References
    ----------
    Y. Ganin, V. Lempitsky. Unsupervised domain adaptation by backpropagation. ICML 2015, section 4.
    """

    def __init__(
        self,
        *,
        steps: PositiveInt,
        batch: Annotated[int, Field(ge=4, multiple_of=2)],
        lr: PositiveFloat,
        alpha: NonNegativeFloat,
        beta: NonNegativeFloat,
        optimiser: Literal["sgd", "adam"],
        momentum: Annotated[float, Field(ge=0, lt=1)],
        nesterov: bool,
        weight_decay: NonNegativeFloat,
        augment: Affine | CropFlip | None,
        precision: Literal["fp32", "bf16"],
        balanced: bool,
        watch_every: NonNegativeInt,
        seed: Annotated[int, Field(ge=0, lt=2**32)],
    ) -> None:
        if nesterov and optimiser != "sgd":
            raise UsageError(f"trainer.nesterov is of sgd, not of {optimiser}; add trainer.nesterov=false")
        if nesterov and not momentum:
            raise UsageError("trainer.nesterov needs a trainer.momentum above 0; add trainer.nesterov=false")
        self.steps = steps
        self.batch = batch
        self.lr = lr
        self.alpha = alpha
        self.beta = beta
        self.optimiser = optimiser
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.augment = augment
        self.precision = precision
        self.balanced = balanced
        self.watch_every = watch_every
        self.seed = seed

    def train(
        self,
        method: DeepMethod,
        xs: Tensor,
        ys: Tensor,
        xt: Tensor,
        watch: Callable[[int], None] = lambda step: None,
        watched: list[Any] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Train `method`, prepared and on its device, on samples that are resident there.

        `watch` is called with the number of steps done, every `watch_every` steps; what it adds to `watched` is kept in
        the `checkpoint`, as is all else that a run which was stopped needs to go on from there.

        Raises
        ------
        DivergenceError
            At the first step whose loss is infinite or not a number.
        ValueError
            If the first step has no objective: what is not trained is not worth a score.
        """
        optimiser = self._optimiser(method)
        rates = [group["lr"] for group in optimiser.param_groups]
        half = self.batch // 2
        source = balanced(ys, half, self.seed) if self.balanced else indices(len(xs), half, self.seed)
        draws = zip(source, indices(len(xt), half, self.seed + 1), strict=True)
        method.train()
        method.begin(xs, ys, xt)
        training = Training(method, optimiser, (xs, ys, xt), [] if watched is None else watched)
        done = 0 if checkpoint is None else checkpoint.resume(training)
        trained = cache(trainable)
        for step, drawn in enumerate(islice(draws, done, self.steps), start=done):
            i, j = (index.to(xs.device) for index in drawn)
            x = gathered((xs, i), (xt, j))
            if self.augment is not None and x.ndim == 4:
                x = self.augment(x)
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * (1 + self.alpha * step / self.steps) ** -self.beta
            batch = Batch(x, ys.index_select(0, i), j, step / self.steps)
            taken = False
            for objective in self._objectives(method, batch):
                if not isfinite(objective.loss.item()):
                    raise DivergenceError(diverged(objective, step, self.steps))
                parameters = trained(objective.train)
                objective.loss.backward(inputs=parameters)
                optimiser.step()
                for parameter in parameters:
                    parameter.grad = None
                taken = True
            if step == 0 and not taken:
                raise ValueError(
                    f"{type(method).__name__}.objectives yielded nothing at the first step; expected an Objective for "
                    "each step of the optimiser"
                )
            if self.watch_every and (step + 1) % self.watch_every == 0:
                watch(step + 1)
                method.train()
            if checkpoint is not None:
                checkpoint.after(step + 1, training)

    def _optimiser(self, method: DeepMethod) -> torch.optim.Optimizer:
        own = {"params": own_parameters(method), "lr": self.lr}
        groups = [group for group in (*method.network.parameter_groups(self.lr), own) if group["params"]]
        if self.optimiser == "adam":
            betas = (self.momentum, 0.999)
            return torch.optim.Adam(groups, betas=betas, weight_decay=self.weight_decay, fused=True)
        return torch.optim.SGD(
            groups, momentum=self.momentum, nesterov=self.nesterov, weight_decay=self.weight_decay, fused=True
        )

    def _objectives(self, method: DeepMethod, batch: Batch) -> Iterator[Objective]:
        """Yield a method's objectives on a batch, each computed in the precision of training."""
        objectives: Iterator[object] = method.objectives(batch)
        while True:
            with bfloat16(batch.x.device) if self.precision == "bf16" else nullcontext():
                objective = next(objectives, None)
            if objective is None:
                return
            if not isinstance(objective, Objective):
                called, what = f"{type(method).__name__}.objectives", type(objective).__name__
                raise TypeError(f"{called} yielded {what}; expected an Objective: a loss and the modules it trains")
            yield objective


class Learner:
    """A deep method as an estimator: builds the network, has it trained, predicts with it.

    Parameters
    ----------
    method : DeepMethod
        Not yet prepared.
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
                f"source samples of {Xs.shape[1:]} and target samples of {Xt.shape[1:]} make no batch; "
                "expected one size"
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


def bfloat16(device: torch.device) -> torch.autocast:
    """Return autocast to bfloat16 that casts weights anew for each pass.

    A copy that it kept of a pass without gradients would, with older releases of PyTorch, let none through in the next.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)


def own_parameters(method: DeepMethod) -> list[torch.nn.Parameter]:
    """Return what a method trains besides its network, a domain classifier say."""
    shared = {id(p) for p in method.network.parameters()}
    return [p for p in method.parameters() if id(p) not in shared]


def trainable(modules: tuple[torch.nn.Module, ...]) -> list[torch.nn.Parameter]:
    """Return the parameters of modules that a gradient may change, each once."""
    return [*{p: None for module in modules for p in module.parameters() if p.requires_grad}]


def row_by_row(function: Callable[[Tensor], Tensor], samples: Tensor) -> Tensor:
    """Return what a method's function makes of samples, or raise a TypeError if that is no row for each."""
    said = function(samples)
    if isinstance(said, Tensor) and said.shape[:1] == samples.shape[:1]:
        return said
    called = getattr(function, "func", function).__qualname__
    what = f"of shape {tuple(said.shape)}" if isinstance(said, Tensor) else type(said).__name__
    raise TypeError(f"{called} returned {what} for {len(samples)} samples; expected a tensor with a row for each")


def gathered(*drawn: tuple[Tensor, Tensor]) -> Tensor:
    """Return these rows of each of several tensors, one after the other, copied once."""
    first = drawn[0][0]
    sizes = [len(index) for _, index in drawn]
    x = first.new_empty(sum(sizes), *first.shape[1:])
    for part, (samples, index) in zip(x.split(sizes), drawn, strict=True):
        torch.index_select(samples, 0, index, out=part)
    return x


def indices(samples: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Yield `batch` indices at a time, without end, from one random order of all samples after another."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.empty(0, dtype=torch.int64)
    while True:
        rounds = -(-(batch - len(left)) // samples)
        pool = torch.cat([left, *(torch.randperm(samples, generator=generator) for _ in range(rounds))])
        whole = len(pool) - len(pool) % batch
        yield from pool[:whole].split(batch)
        left = pool[whole:]


def balanced(classes: Tensor, batch: int, seed: int) -> Iterator[Tensor]:
    """Yield `batch` indices at a time, without end, of equally many samples of each class, or of as many classes.

    The classes take turns in a random order, drawn anew each round, and each gives its samples in one random order
    after another.
    """
    generator = torch.Generator().manual_seed(seed)
    members = [torch.nonzero(classes.cpu() == c).squeeze(1).tolist() for c in classes.unique().tolist()]
    streams = [orders(len(own), seed + 1 + c) for c, own in enumerate(members)]
    turns = orders(len(members), int(torch.randint(2**31, (), generator=generator)))
    while True:
        yield torch.tensor([members[c][next(streams[c])] for c in islice(turns, batch)])


def orders(samples: int, seed: int) -> Iterator[int]:
    """Yield one index at a time, without end, from one random order of all samples after another."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(samples, generator=generator).tolist()


def diverged(objective: Objective, step: int, steps: int) -> str:
    """Say which term of a loss is no number, and when."""
    term = next((name for name, value in objective.terms.items() if not torch.isfinite(value)), None)
    what = "the loss" if term is None else f"the {term} loss"
    value = objective.loss if term is None else objective.terms[term]
    cause = "look at its formula and at the samples: nothing was trained yet" if step == 0 else "lower trainer.lr"
    return f"{what} is {value.item()} at step {step} of {steps}; {cause}"


def channel_means(*domains: Tensor) -> Tensor:
    """Return the channel means (3,), in [0, 1], over all pixels of uint8 images (n, h, w, 3) of all domains."""
    total = torch.stack([images.sum((0, 1, 2), dtype=torch.int64) for images in domains]).sum(0).cpu()
    pixels = sum(images[..., 0].numel() for images in domains)
    return (total.double() / (255 * pixels)).float()
