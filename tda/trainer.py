"""The one training loop."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from itertools import chain, islice
from math import isfinite
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from tda.augment import Affine, CropFlip
from tda.batches import balanced, gathered, indices
from tda.checkpoint import Checkpoint, Training
from tda.errors import UsageError
from tda.methods.deep.base import Batch, DeepMethod, Objective
from tda.ranges import BelowOne


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
        momentum: BelowOne,
        nesterov: bool,
        weight_decay: NonNegativeFloat,
        augment: Affine | CropFlip | None,
        precision: Literal["fp32", "bf16"],
        balanced: bool,
        watch_every: NonNegativeInt,
        seed: Annotated[int, Field(ge=0, lt=2**32)],
    ) -> None:
        if nesterov and optimiser != "sgd":
            raise UsageError(f"trainer.nesterov works with sgd alone, not with {optimiser}; add trainer.nesterov=false")
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
        optimiser = torch.optim.SGD(
            groups, momentum=self.momentum, nesterov=self.nesterov, weight_decay=self.weight_decay, fused=True
        )
        if self.momentum:  # a fused step cannot begin the momentum of some parameters and go on with that of others
            for parameter in chain.from_iterable(group["params"] for group in groups):
                optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimiser

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


def diverged(objective: Objective, step: int, steps: int) -> str:
    """Say which term of a loss is no number, and when."""
    term = next((name for name, value in objective.terms.items() if not torch.isfinite(value)), None)
    what = "the loss" if term is None else f"the {term} loss"
    value = objective.loss if term is None else objective.terms[term]
    cause = "look at its formula and at the samples: nothing was trained yet" if step == 0 else "lower trainer.lr"
    return f"{what} is {value.item()} at step {step} of {steps}; {cause}"
