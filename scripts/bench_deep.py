"""What a training step of each deep method costs beside the bare step of the network that it trains.

On features (72 of 2048 numbers, 31 classes, Office-31's size): the bare step is forward, backward and SGD of bottleneck
and head on samples at hand. On images (16 + 16, a ResNet-50 without pretrained weights): forward and backward of the
backbone on a tensor at hand. A method's step is the trainer's own, with its sampling, annealing and checks; bare steps
take turns with it, so that a busy machine slows both alike. Passes of a batch through the network are counted, and the
ratio is also given for one pass. Bare steps are in fp32 and not compiled, whatever the method's are.

    python scripts/bench_deep.py --threads 2
    python scripts/bench_deep.py --images --methods source_only dan dann cdan_e mcd mcc --threads 2
    python scripts/bench_deep.py --images --methods source_only --precision bf16 --compile
"""

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from hydra import compose
from measuring import Compared, machine
from omegaconf import OmegaConf
from torch.optim.optimizer import register_optimizer_step_post_hook

from tda.backbones.base import Backbone, Network
from tda.backbones.given import Given
from tda.config import build, composer, resolved
from tda.learner import Learner
from tda.resources import folder

CLASSES = 31
WARM = 2  # steps before the timed ones, which make the optimiser's state and choose convolutions
SIZES: dict[str, Any] = {"bottleneck": 256, "hidden": [], "discriminator": [1024, 1024]}


def deep_methods() -> list[str]:
    """Return the names of the deep methods that train on the source, in alphabetical order."""
    with composer():
        found = {path.stem: compose("config", [f"method={path.stem}", "task=O-P"]) for path in
                 sorted((folder("conf") / "method").glob("*.yaml"))}  # fmt: skip
    runs = {name: config.method.run for name, config in found.items()}
    return [name for name, run in runs.items() if run.trainer is not None and run.trained_on == "source"]


def samples(images: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw source samples, their classes, and target samples."""
    draw = np.random.default_rng(0)
    n, shape = (64, (256, 256, 3)) if images else (795, (2048,))
    xs, xt = (draw.random((n, *shape), dtype=np.float32) for _ in range(2))
    y = np.arange(n) % CLASSES
    return ((255 * xs).astype(np.uint8), y, (255 * xt).astype(np.uint8)) if images else (xs, y, xt)


def backbone(images: bool) -> Backbone:
    """Return what a method's network starts with."""
    if images:
        with composer():
            node = resolved(compose("config", ["backbone=resnet50", "backbone.weights=none", "task=O-P"]).backbone)
        made: Backbone = build(node, "backbone")
        return made
    given = Given(**SIZES)
    given.width = 2048
    return given


def bare(batch: int, images: bool, steps: int) -> Callable[[], float]:
    """Return a function that times the bare step, in seconds."""
    torch.manual_seed(0)
    base = backbone(images)
    network = Network(base, classes=CLASSES)
    y = torch.arange(batch) % CLASSES
    if images:
        x = torch.randn(batch, 3, 224, 224).to(memory_format=torch.channels_last)
        network = network.to(memory_format=torch.channels_last)

        def step() -> None:
            base.extract(x).sum().backward()
            base.zero_grad()
    else:
        x = torch.randn(batch, 2048)
        optimiser = torch.optim.SGD(
            network.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True
        )

        def step() -> None:
            optimiser.zero_grad()
            F.cross_entropy(network(x).logits, y).backward()
            optimiser.step()

    def timed() -> float:
        for _ in range(WARM):
            step()
        start = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - start) / steps

    return timed


def product(
    name: str, batch: int, images: bool, steps: int, precision: str, compiled: bool
) -> Callable[[], tuple[float, float]]:
    """Return a function that times a method's step, in seconds, and counts how often it passes a batch through it."""
    with composer():
        overrides = [f"method={name}", "task=O-P", "trainer=frozen", f"trainer.batch={batch}"]
        overrides.append(f"trainer.precision={precision}")
        overrides += ["backbone=resnet50", "backbone.weights=none", "backbone.frozen=true"]
        config = compose("config", overrides)
    settings = resolved(OmegaConf.merge(config.method.run.trainer, {"augment": None, "steps": WARM + steps}))
    xs, ys, xt = samples(images)
    kind = type(backbone(images))
    forward = kind.forward

    def timed() -> tuple[float, float]:
        updates, passed = [], []
        learner = Learner(
            method=partial(build, config.method, "method"),
            trainer=build(settings, "trainer"),
            backbone=partial(backbone, images),
            device="cpu",
            compiled=compiled,
        )

        def counted(self: Backbone, x: torch.Tensor) -> torch.Tensor:
            passed.append(time.perf_counter())
            return forward(self, x)

        hook = register_optimizer_step_post_hook(lambda *_: updates.append(time.perf_counter()))
        with patch.object(kind, "forward", counted):
            learner.fit(xs, ys, xt)
        hook.remove()
        start = updates[round(len(updates) * WARM / (WARM + steps)) - 1]
        return (updates[-1] - start) / steps, sum(start < when < updates[-1] for when in passed) / steps

    return timed


def run(options: argparse.Namespace) -> list[Compared]:
    """Measure what the options ask for, and print it."""
    torch.set_num_threads(options.threads)
    batch = options.batch or (32 if options.images else 72)
    steps = options.steps or (2 if options.images else 100)
    names = options.methods or deep_methods()
    kind = "ResNet-50, 224 pixels" if options.images else "2048 features"
    kind += f", {options.precision}{', compiled' * options.compile}"
    print(machine())
    print(f"batch {batch}, {kind}, {options.threads} threads")
    print(f"{'method':24}{'ms a step':>10}{'bare':>10}{'ratio':>7}{'passes':>8}{'ratio a pass':>14}")
    floor = bare(batch, options.images, steps)
    rows = []
    for name in names:
        timed = product(name, batch, options.images, steps, options.precision, options.compile)
        own, base, passes = (
            float(np.median(column)) for column in zip(*(turn(timed, floor) for _ in range(options.turns)), strict=True)
        )
        ratio = own / base
        line = f"{name:24}{1e3 * own:10.2f}{1e3 * base:10.2f}{ratio:7.2f}{passes:8.1f}{ratio / max(1, passes):14.2f}"
        print(line, flush=True)
        what = f"a step of {name}, {'images' if options.images else 'features'}"
        rows.append(Compared(what, 1e3 * own, f"bare step ({passes:.1f} passes in ours)", 1e3 * base, "ms"))
    return rows


def turn(timed: Callable[[], tuple[float, float]], floor: Callable[[], float]) -> tuple[float, float, float]:
    """Return the seconds of a method's step and of the bare step, one after the other, and the method's passes."""
    seconds, passes = timed()
    return seconds, floor(), passes


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--images", action="store_true", help="ResNet-50 on 16 + 16 images instead of features")
    parser.add_argument("--batch", type=int, help="samples of both domains; default: 32 images, 72 features")
    parser.add_argument("--methods", nargs="+", help="default: all")
    parser.add_argument("--steps", type=int, help="timed steps of each method")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--compile", action="store_true", help="the backbone, by torch.compile")
    parser.add_argument("--turns", type=int, default=3, help="of a method and the bare step; their median counts")
    return parser


if __name__ == "__main__":
    run(arguments().parse_args())
