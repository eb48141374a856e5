"""One cell: build the task and the method, fit, predict, score, write the record."""

import logging
import platform
import shlex
import subprocess
import time
import traceback
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from safetensors import SafetensorError
from sklearn.metrics import accuracy_score, recall_score
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from tda import embedding
from tda.backbones.base import Backbone
from tda.backbones.features import features
from tda.backbones.given import Given
from tda.cache import digest
from tda.checkpoint import Checkpoint
from tda.config import build, complete, identity, on_features, resolved, selected, setting, validate, without
from tda.data.base import Dataset
from tda.devices import available_cores, torch_device
from tda.distances import measured
from tda.errors import UsageError
from tda.finetuning import finetuned
from tda.memory import reused
from tda.methods import Estimator
from tda.methods.deep.source_only import SourceOnly
from tda.methods.shallow.base import Aligner
from tda.selection import ORACLE, Judge, Selection, aligner_scores, few_labels, split
from tda.store import Record, Store
from tda.task import GIVEN, Domain, Task
from tda.trainer import DivergenceError, Learner, Trainer

ORACLE_FOLDS = 3
ELSEWHERE = ("results=", "name=", "shard=", "runtime.")  # of where and how, not of what
log = logging.getLogger(__name__)
COMPUTING = ("torch", "numpy", "scipy", "scikit-learn", "hydra-core", "tda")


def main(config: DictConfig) -> Record:
    """Run one job of a sweep; the task function that Hydra's launchers call."""
    with reused():
        return run(complete(config), typed_again())


def typed_again() -> str:
    """Return what runs the job that Hydra is at, alone, wherever results and data then lie."""
    typed = HydraConfig.get().overrides
    added = [override for override in typed.hydra if override.startswith("hydra.searchpath=")]
    return shlex.join(["tda", "run", *without(typed.task, *ELSEWHERE), *added])


def run(config: DictConfig, command: str | None = None) -> Record:
    """Return a cell's record, from the store if it is there, else by computing it.

    A method that raises or diverges becomes a record with status ``failed``. `command` is what the record says to have
    made it.

    Raises
    ------
    UsageError
        For a mistake in the configuration; nothing is stored.
    """
    store = Store(config.results)
    made_of = identity(config)
    dataset, method, task, key = config.dataset.name, config.method.name, config.task, digest(made_of)
    record = store.get(dataset, method, task, key)
    picture = store.embedding(dataset, method, task, key) if config.keep_features else None
    if record is None or record.status == "failed" or (picture is not None and not picture.exists()):
        oracle = config.method.run.trained_on == "target"
        twin = store.twin(dataset, method, key) if oracle and picture is None else None
        store.check_writable()
        checkpoint = Checkpoint(store.checkpoint(dataset, method, task, key), config.runtime.checkpoint)
        if twin is None:
            record = compute(config, made_of, checkpoint, picture)
        else:
            record = replace(twin, task=task, source=task.partition("-")[0])
        record = replace(record, command=command)
        store.put(record)
        checkpoint.close()
    return record


def compute(config: DictConfig, made_of: dict[str, Any], checkpoint: Checkpoint, picture: Path | None = None) -> Record:
    """Build, fit, predict and score one cell; a deep method that is stopped goes on from its checkpoint.

    `made_of` is the cell's identity, `picture` the file for a picture of the features, where one is wanted.
    """
    key = digest(made_of)
    if config.runtime.threads:
        torch.set_num_threads(config.runtime.threads)
    try:
        estimator, task = prepared(config, torch_device(config.runtime.device, config.runtime.per_gpu))
    except (OSError, SafetensorError) as problem:
        raise UsageError(f"cannot read or cache {config.dataset.name}: {problem}; see runtime.cache") from problem
    tell(config, estimator, task)
    oracle = config.method.run.trained_on == "target"
    selection = selected(config)
    data = {domain.name: domain.fingerprint for domain in (task.source, task.target) if domain.fingerprint}
    if isinstance(estimator, Learner) and not oracle:  # which is trained several times
        described = {"record": key, "commit": str(commit()), "device": estimator.device.type, "data": digest(data)}
        checkpoint.made_of = described | versions()
        estimator.checkpoint = checkpoint
    accuracy = per_class = confusion = curve = error = trace = None
    distances: dict[str, float] = {}
    scores: dict[str, list[tuple[int, float]]] = {}
    started = time.perf_counter()
    try:
        with limited(config.runtime.threads):
            predicted = cross_fitted(estimator, task) if oracle else adapted(estimator, task)
        accuracy = 100 * float(accuracy_score(task.test.y, predicted))
        confusion = confused(task.test.y, predicted)
        if (only := only_class(confusion)) is not None:
            what = config.method.label, task.name, task.classes[only]
            log.warning("%s on %s has collapsed: every sample is given the class %r", *what)
        recall = recall_score(task.test.y, predicted, labels=range(len(task.classes)), average=None, zero_division=0)
        if isinstance(estimator, Learner) and estimator.trace_ and not oracle:
            curve = [(step, 100 * float(accuracy_score(task.test.y, guess))) for step, guess in estimator.trace_]
        per_class = {name: 100 * float(r) for name, r in zip(task.classes, recall, strict=True)}
        with limited(config.runtime.threads):
            scores = said(estimator, task, selection)
            distances = measured(config.distances, *as_left(estimator, task)) if config.distances else {}
    except UsageError as mistake:
        raise UsageError(f"{config.method.label} on {task.name}: {mistake}") from mistake
    except (Exception, SystemExit) as failure:
        error, trace = reason(failure), traceback.format_exc()
    row, seeded = setting(config, made_of)
    record = Record(
        key=key,
        setting=digest(row),
        dataset=config.dataset.name,
        source=task.source.name,
        target=task.target.name,
        task=task.name,
        backbone=config.backbone.name,
        method=config.method.name,
        label=config.method.label,
        baseline=config.method.run.baseline,
        seed=config.seed if seeded else None,
        protocol="oracle" if oracle else selection.protocol if isinstance(estimator, Learner) else "last",
        status="ok" if error is None else "failed",
        accuracy=accuracy,
        accuracy_per_class=per_class,
        curve=curve,
        oracle_best=None if curve is None else max(value for _, value in curve),
        distances=distances,
        scored=len(task.test.y),
        data=data,
        skipped=[file for domain in (task.source, task.target) for file in domain.skipped],
        seconds=round(time.perf_counter() - started, 3),
        error=error,
        traceback=trace,
        config=made_of,
        versions=versions(),
        commit=commit(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        confusion=confusion,
        selection=selection.chooser if isinstance(estimator, Learner) else "last",
        scores=scores,
    )
    if picture is not None and error is None:
        keep_features(estimator, task, picture)
    return record


def tell(config: DictConfig, estimator: Estimator, task: Task) -> None:
    """Say what is surprising of a cell that is to be computed, each thing once in a process."""
    for domain in (task.source, task.target):
        if domain.skipped:
            tell_of_skipped(config.dataset.name, domain.name, len(domain.skipped))
    if config.runtime.threads and config.runtime.threads > available_cores():
        tell_of_threads(config.runtime.threads)
    samples = len(task.source.y), len(task.target.y)
    if isinstance(estimator, Learner) and estimator.trainer.batch // 2 > max(samples):
        tell_of_batch(estimator.trainer.batch, *samples)


@cache
def tell_of_threads(threads: int) -> None:
    """Say once that threads will be in each other's way."""
    what = threads, available_cores()
    log.warning("runtime.threads=%d on %d cores: more threads than cores take many times longer", *what)


@cache
def tell_of_batch(batch: int, source: int, target: int) -> None:
    """Say once that a step sees samples several times."""
    what = batch, source, target
    log.warning("trainer.batch=%d: half of it is more than either domain has (%d and %d samples)", *what)


@cache
def tell_of_skipped(dataset: str, domain: str, files: int) -> None:
    """Say once that files of a domain could not be read, and that what follows is without them."""
    log.warning("%s %s: unreadable files left out: %d; its records name them", dataset, domain, files)


def keep_features(estimator: Estimator, task: Task, picture: Path) -> None:
    """Keep a picture of the features before and after; that it cannot be drawn is no failure of the method."""
    try:
        labels = task.source.y, task.target.y
        embedding.keep(picture, (task.source.x, task.target.x), as_left(estimator, task), labels)
    except ValueError as problem:
        log.warning("%s cannot be written: %s", picture, problem)


def reason(failure: BaseException) -> str:
    """Say in one line why a method failed.

    Examples
    --------
    >>> reason(ZeroDivisionError("division by zero"))
    'ZeroDivisionError: division by zero'
    >>> reason(MemoryError())
    'MemoryError: the method needs more memory than there is'
    >>> reason(SystemExit(3))
    'SystemExit: 3; the method called sys.exit'
    """
    line = str(failure).strip().partition("\n")[0]
    starved = isinstance(failure, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in line
    hint = "the method needs more memory than there is" if starved else ""
    if isinstance(failure, SystemExit):
        hint = "the method called sys.exit"
    return f"{type(failure).__name__}: {'; '.join(filter(None, [line, hint]))}"


def confused(true: np.ndarray, predicted: np.ndarray) -> list[tuple[int, int, int]]:
    """Count the samples of each pair of true and predicted class that occurs.

    Examples
    --------
    >>> confused(np.array([0, 0, 1]), np.array([0, 1, 1]))
    [(0, 0, 1), (0, 1, 1), (1, 1, 1)]
    """
    pairs, counts = np.unique(np.stack([true, predicted], 1), axis=0, return_counts=True)
    return [(int(t), int(p), int(n)) for (t, p), n in zip(pairs, counts, strict=True)]


def only_class(confusion: list[tuple[int, int, int]]) -> int | None:
    """Return the class that all samples were given, if they are of several; None otherwise.

    Examples
    --------
    >>> only_class([(0, 1, 5), (1, 1, 3)])
    1
    """
    true, guessed = ({pair[side] for pair in confusion} for side in (0, 1))
    return guessed.pop() if len(guessed) == 1 < len(true) else None


def adapted(estimator: Estimator, task: Task) -> np.ndarray:
    """Fit on the labelled source and the unlabelled target, and predict what is scored."""
    estimator.fit(task.source.x, task.source.y, task.target.x)
    return decided(estimator, task.test.x, len(task.classes))


def decided(estimator: Estimator, X: np.ndarray, classes: int) -> np.ndarray:
    """Return the class of each sample that a fitted estimator predicts.

    Raises
    ------
    ValueError
        If that is anything else than an integer of [0, `classes`) for each.
    """
    predicted = np.asarray(estimator.predict(X))
    if predicted.shape != (len(X),) or predicted.dtype.kind not in "iu":
        what = f"{predicted.dtype} of shape {predicted.shape}"
    elif len(wrong := predicted[(predicted < 0) | (predicted >= classes)]):
        what = str(wrong[0])
    else:
        return predicted
    raise ValueError(
        f"{type(estimator).__name__}.predict returned {what}; expected a class, an integer from 0 to {classes - 1}, "
        f"for each of {len(X)} samples"
    )


def as_left(estimator: Estimator, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return source and target as a fitted method leaves them: aligned, in a network's features, or as they were."""
    if isinstance(estimator, Aligner):
        return estimator.aligned_
    if isinstance(estimator, Learner):
        return estimator.features(task.source.x, "source"), estimator.features(task.target.x, "target")
    return task.source.x, task.target.x


def said(estimator: Estimator, task: Task, selection: Selection) -> dict[str, list[tuple[int, float]]]:
    """Return what validators say: of a deep method at every step that was watched, of a fitted aligner once.

    Of other shallow methods nothing is said: they leave the features as they were, and give no probabilities.
    """
    if isinstance(estimator, Learner):
        return estimator.scores_
    if isinstance(estimator, Aligner) and selection.judging:
        said = aligner_scores(estimator, task.source.y, selection)
        return {name: [(0, score)] for name, score in said.items()}
    return {}


def limited(threads: int | None) -> AbstractContextManager[object]:
    """Keep linear algebra to that many threads while a block lasts; looking for its libraries takes milliseconds."""
    return threadpool_limits(threads) if threads else nullcontext()


def cross_fitted(estimator: Estimator, task: Task) -> np.ndarray:
    """Fit on the target's labels, never on a sample that is then predicted.

    Where the scored samples are the target itself, each of `ORACLE_FOLDS` folds is predicted by an estimator that was
    trained on the others.
    """
    target, test, classes = task.target, task.test, len(task.classes)
    if not task.transductive:
        estimator.fit(target.x, target.y, target.x)
        return decided(estimator, test.x, classes)
    predicted = np.empty_like(target.y)
    folds = StratifiedKFold(ORACLE_FOLDS, shuffle=True, random_state=0)
    for train, held_out in folds.split(target.y, target.y):
        estimator.fit(target.x[train], target.y[train], target.x[held_out])
        predicted[held_out] = decided(estimator, target.x[held_out], classes)
    return predicted


def prepared(config: DictConfig, device: str) -> tuple[Estimator, Task]:
    """Return the estimator and the task as it sees it.

    A shallow method and a deep one on a frozen backbone see features, a deep one otherwise images.

    Raises
    ------
    UsageError
        If the configuration asks for what cannot be: a backbone for features that come as they are, say.
    """
    external = config.allow_external
    task = dataset(OmegaConf.to_yaml(config.dataset, resolve=True), external).task(config.task)
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
    shallow = config.method.run.trainer is None
    if config.extractor.trainer is not None:
        nodes = (OmegaConf.to_yaml(node, resolve=True) for node in (config.backbone, config.extractor.trainer))
        found = tuned(task, *nodes, device, config.runtime.compile, config.runtime.cache, external)
        if isinstance(found, str):
            return Unusable(DivergenceError(found)), task
        task = found
    elif on_features(config):
        node = OmegaConf.to_yaml(config.backbone, resolve=True)
        see = partial(seen, backbone=node, device=device, cache=config.runtime.cache, external=external)
        target = see(task.target)
        test = target if task.transductive else see(task.test)
        task = replace(task, source=see(task.source), target=target, test=test)
    if shallow:
        return made(config.method, external), task
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
    learner = Learner(
        method=partial(build, config.method, "method", external),
        trainer=trainer,
        backbone=partial(given if extracted else build, config.backbone, "backbone", external),
        device=device,
        compiled=config.runtime.compile,
        watched=task.test.x,
        judge=judge,
    )
    return learner, task


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


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute."""
    return {"python": platform.python_version()} | {name: version(name) for name in COMPUTING}


@cache
def commit() -> str | None:
    """Return the commit of this source, and ``+`` and a hash of what was changed since; None outside its repository."""
    here = Path(__file__).resolve().parent

    def git(*command: str) -> str:
        done = subprocess.run(["git", "-C", str(here.parent), *command], capture_output=True, check=True)
        return done.stdout.decode(errors="replace").strip()

    try:
        git("ls-files", "--error-unmatch", "tda/run.py", "conf/config.yaml")
        head, changed = git("rev-parse", "--short=12", "HEAD"), git("status", "--porcelain", "tda", "conf")
        changes = [changed, git("diff", "HEAD", "--", "tda", "conf")] if changed else []
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}+{digest(changes)[:8]}" if changes else head
