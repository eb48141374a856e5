"""What a cell needs before it is run: its task as the method sees it, and the method as an estimator."""

from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Self

import numpy as np
import torch
import yaml
from omegaconf import DictConfig, OmegaConf

from tda.backbones.base import Backbone
from tda.backbones.features import features
from tda.backbones.given import Given
from tda.config import build, on_features, resolved, selected, validate
from tda.data.base import Dataset
from tda.errors import UsageError
from tda.finetuning import finetuned
from tda.learner import Learner
from tda.methods import Estimator
from tda.methods.deep.source_only import SourceOnly
from tda.selection import ORACLE, Judge, few_labels, split
from tda.task import GIVEN, Domain, Task
from tda.trainer import DivergenceError, Trainer


def prepared(config: DictConfig, device: str) -> tuple[Estimator, Task]:
    """Return the estimator and the task as it sees it.

    Raises
    ------
    UsageError
        If the configuration asks for what cannot be: a backbone for features that come as they are, say.
    """
    task = read(config)
    try:
        task = shown(config, task, device)
    except DivergenceError as failure:
        return Unusable(failure), task
    if config.method.run.trainer is None:
        return made(config.method, config.allow_external), task
    return learner(config, task, device)


def read(config: DictConfig) -> Task:
    """Return the task as its dataset holds it: images, or features that come as they are.

    Raises
    ------
    UsageError
        If the backbone is for the other of the two.
    """
    task = dataset(OmegaConf.to_yaml(config.dataset, resolve=True), config.allow_external).task(config.task)
    if task.source.x.ndim == 2 and config.backbone.get("_target_", GIVEN) != GIVEN:
        raise UsageError(
            f"{config.dataset.name} holds features, which {config.backbone.name} cannot see; leave backbone= and "
            f"backbone.name= out, or take backbone=given backbone.name={config.backbone.name} to have tables say that "
            "they are its features"
        )
    if task.source.x.ndim > 2 and config.backbone.get("_target_") == GIVEN:
        raise UsageError(
            f"backbone=given is for features, and {config.dataset.name} holds images; leave backbone= out, or take "
            f"backbone={config.dataset.features if on_features(config) else config.dataset.network}"
        )
    return task


def shown(config: DictConfig, task: Task, device: str) -> Task:
    """Return the task as the method sees it: a shallow one and a deep one on a frozen backbone see features.

    Raises
    ------
    DivergenceError
        If the backbone that extracts them was to be trained on the source first, and diverged.
    """
    external, runtime = config.allow_external, config.runtime
    if config.extractor.trainer is not None:
        nodes = (OmegaConf.to_yaml(node, resolve=True) for node in (config.backbone, config.extractor.trainer))
        found = tuned(task, *nodes, device, runtime.compile, runtime.cache, external)
        if isinstance(found, str):
            raise DivergenceError(found)
        return found
    if not on_features(config):
        return task
    node = OmegaConf.to_yaml(config.backbone, resolve=True)
    see = partial(seen, backbone=node, device=device, cache=runtime.cache, external=external)
    target = see(task.target)
    test = target if task.transductive else see(task.test)
    return replace(task, source=see(task.source), target=target, test=test)


def learner(config: DictConfig, task: Task, device: str) -> tuple[Learner, Task]:
    """Return a deep method as an estimator, and the task without what is held back for validators."""
    external = config.allow_external
    trainer: Trainer = build(config.method.run.trainer, "trainer", external)
    selection = selected(config)
    judge = None
    if selection.judging:
        trainer.watch_every = trainer.watch_every or max(1, trainer.steps // selection.candidates)
        source, held = split(task.source, selection.held, trainer.seed)
        task = replace(task, source=source)
        judge = Judge(
            selection,
            held,
            few=few_labels(task.target.y, selection.labelled, trainer.seed) if "trcv" in selection.validators else None,
            truth=task.test.y if selection.chooser == ORACLE else None,
        )
    extracted = task.source.x.ndim == 2 and config.backbone.get("weights", "none") != "none"
    estimator = Learner(
        method=partial(build, config.method, "method", external),
        trainer=trainer,
        backbone=partial(given if extracted else build, config.backbone, "backbone", external),
        device=device,
        compiled=config.runtime.compile,
        watched=task.test.x if config.method.run.trained_on == "source" else None,
        judge=judge,
    )
    return estimator, task


class Unusable:
    """In the place of a method that could not be made, or has no features to see: fitting it fails as that did."""

    def __init__(self, failure: BaseException) -> None:
        self.failure = failure

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> Self:
        """Raise the failure."""
        raise self.failure

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Raise the failure."""
        raise self.failure


def made(node: DictConfig, external: bool) -> Estimator:
    """Return the method that a config node names, or what says in its cell that it could not be constructed."""
    try:
        method: Estimator = build(node, "method", external)
    except UsageError:
        raise
    except (Exception, SystemExit) as failure:
        return Unusable(failure)
    return method


@lru_cache(maxsize=8)
def dataset(node: str, external: bool) -> Dataset:
    """Return the dataset that a config node, as YAML, names; built once in a process."""
    built: Dataset = build(yaml.safe_load(node), "dataset", external)
    return built


def given(node: DictConfig, where: str, external: bool) -> Backbone:
    """Return what stands for a pretrained backbone whose features are there: its weights are not read again."""
    validate(node, where, external)
    on_top = resolved(node)
    return Given(**{name: on_top[name] for name in ("bottleneck", "hidden", "discriminator")})


@lru_cache(maxsize=8)
def seen(domain: Domain, backbone: str, device: str, cache: str, external: bool) -> Domain:
    """Return a domain as a backbone shows it to a shallow method; computed once in a process."""
    node = yaml.safe_load(backbone)
    x = features(domain, node, partial(build, node, "backbone", external), torch.device(device), Path(cache))
    return replace(domain, x=x)


@lru_cache(maxsize=4)
def tuned(
    task: Task, backbone: str, trainer: str, device: str, compiled: bool, cache: str, external: bool
) -> Task | str:
    """Return a task as a backbone shows it that was trained on its source, or why not; computed once in a process."""
    made_of = {"backbone": yaml.safe_load(backbone), "trainer": yaml.safe_load(trainer)}
    learner = partial(
        Learner,
        method=SourceOnly,
        trainer=build(made_of["trainer"], "trainer", external),
        backbone=partial(build, made_of["backbone"], "backbone", external),
        device=device,
        compiled=compiled,
    )
    try:
        return finetuned(task, learner, made_of, Path(cache))
    except DivergenceError as problem:
        return str(problem)
