"""One cell: build the task and the method, fit, predict, score, write the record."""

import logging
import shlex
import time
import traceback
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from safetensors import SafetensorError
from sklearn.metrics import accuracy_score, recall_score
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from tda import embedding
from tda.cache import digest
from tda.checkpoint import Checkpoint
from tda.config import complete, identity, selected, setting, without
from tda.devices import available_cores, torch_device
from tda.distances import measured
from tda.errors import UsageError, warn_once
from tda.learner import Learner
from tda.memory import reused
from tda.methods import Estimator
from tda.methods.shallow.base import Aligner
from tda.preparation import prepared
from tda.provenance import commit, own_code, versions
from tda.selection import Selection, aligner_scores
from tda.store import Record, Store
from tda.task import Task

ORACLE_FOLDS = 3
ELSEWHERE = ("results=", "name=", "shard=", "runtime.")  # of where and how, not of what
log = logging.getLogger(__name__)


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
            record, estimator, domains = compute(config, made_of, checkpoint)
        else:
            record = replace(twin, task=task, source=task.partition("-")[0])
        record = replace(record, command=command)
        store.put(record)
        if picture is not None and record.status == "ok":
            keep_features(estimator, domains, picture)
        checkpoint.close()
    return record


def compute(config: DictConfig, made_of: dict[str, Any], checkpoint: Checkpoint) -> tuple[Record, Estimator, Task]:
    """Build, fit, predict and score one cell; a deep method that is stopped goes on from its checkpoint.

    `made_of` is the cell's identity. Returned are its record, and what was fitted to which task.
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
    depended_on = (task.source, task.target) if made_of["task"] == task.name else (task.target,)
    data = {domain.name: domain.fingerprint for domain in depended_on if domain.fingerprint}
    several = oracle and task.transductive  # networks are trained, one a fold
    if isinstance(estimator, Learner) and not several:
        described = {"record": key, "commit": str(commit()), "device": estimator.device.type, "data": digest(data)}
        described |= {"code of one's own": own_code(made_of)}
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
        labels = range(len(task.classes))
        recall = recall_score(task.test.y, predicted, labels=labels, average=None, zero_division=np.nan)
        if isinstance(estimator, Learner) and estimator.trace_ and not oracle:
            curve = [(step, 100 * float(accuracy_score(task.test.y, guess))) for step, guess in estimator.trace_]
        per_class = {
            name: None if np.isnan(r) else 100 * float(r) for name, r in zip(task.classes, recall, strict=True)
        }
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
        skipped=[file for domain in depended_on for file in domain.skipped],
        seconds=round(checkpoint.spent + time.perf_counter() - started, 3),
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
    return record, estimator, task


def tell(config: DictConfig, estimator: Estimator, task: Task) -> None:
    """Say what is surprising of a cell that is to be computed, each thing once in a process."""
    for domain in (task.source, task.target):
        if domain.skipped:
            where = f"{config.dataset.name} {domain.name}"
            warn_once(f"{where}: unreadable files left out: {len(domain.skipped)}; its records name them")
    threads, cores = config.runtime.threads, available_cores()
    if threads and threads > cores:
        warn_once(f"runtime.threads={threads} on {cores} cores: more threads than cores take many times longer")
    source, target = len(task.source.y), len(task.target.y)
    if isinstance(estimator, Learner) and (batch := estimator.trainer.batch) // 2 > max(source, target):
        warn_once(f"trainer.batch={batch}: half of it is more than either domain has ({source} and {target} samples)")


def keep_features(estimator: Estimator, task: Task, picture: Path) -> None:
    """Keep a picture of the features before and after; that it cannot be drawn is no failure of the method."""
    try:
        labels = task.source.y, task.target.y
        embedding.keep(picture, (task.source.x, task.target.x), as_left(estimator, task), labels)
    except (ValueError, OSError, MemoryError) as problem:
        log.warning("%s cannot be written: %s", picture, str(problem) or type(problem).__name__)


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
