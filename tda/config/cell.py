"""One job of a sweep: its configuration, all that its result depends on, and whether it can be run."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from tda import distances
from tda.backbones.weights import fingerprint
from tda.cache import digest
from tda.config.objects import build, locate, resolved, validate
from tda.config.overrides import set_values
from tda.config.schema import Root, Runtime
from tda.errors import UsageError, unknown
from tda.methods.deep.base import DeepMethod
from tda.methods.shallow.base import Aligner
from tda.resources import config_names, folder
from tda.selection import LAST, Selection

PLAIN_NAME = re.compile(r"[\w+][\w.+-]*")
NOT_OF_AN_IDENTITY = {
    "dataset": {"tasks", "features", "network", "counts", "download"},
    "backbone": {"augment"},
    "method": {"label"},
}
NOWHERE = {f"runtime.{key}": value for key, value in asdict(Runtime(device="", cache="", data="")).items()}


@dataclass(frozen=True, slots=True)
class Cell:
    """One job of a sweep.

    Attributes
    ----------
    overrides : tuple of str
        What was typed for it.
    address : tuple of str
        Where its record is: dataset, method, task, and the hash of all that the result depends on.
    label, baseline : str
        Of its method, as tables print it now.
    composed : DictConfig
        What its groups make, shared with the cells that differ from it by values of the same keys.
    """

    overrides: tuple[str, ...]
    address: tuple[str, str, str, str]
    label: str
    baseline: str | None
    composed: DictConfig = field(repr=False, compare=False)

    @property
    def config(self) -> DictConfig:
        """Its configuration; a new copy every time."""
        return complete(set_values(without_hydra(self.composed), self.overrides))


@contextmanager
def changed(config: DictConfig, values: Mapping[str, Any]) -> Iterator[DictConfig]:
    """Put other values (of ``key`` or ``group.key``) in a configuration while the block lasts; a copy takes longer."""
    before = []
    try:
        for key, value in values.items():
            parent, _, name = key.rpartition(".")
            node = config[parent] if parent else config
            before.append((node, name, deepcopy(node._get_node(name))))
            node[name] = value
        yield config
    finally:
        for node, name, value in before:
            node[name] = value


def identity(config: DictConfig, **other: Any) -> dict[str, Any]:
    """Return all that a cell's result depends on: dataset, task, backbone, method and, where used, trainer and seed.

    Runtime, labels and what only concerns the table are left out; the seed is in where a method or its trainer names
    it, so a deterministic method has one cell however many seeds are swept. An oracle depends on the target alone,
    unless its features were trained on a source, or its distances are measured to one. A file of weights stands for its
    content, wherever it is. `other` are values to take instead of the config's own.
    """
    with changed(config, NOWHERE | other):
        plain = {group: resolved(config[group], without) for group, without in NOT_OF_AN_IDENTITY.items()}
        tuned = config.extractor.trainer is not None
        seen = {"extractor": config.extractor.name, "finetuning": resolved(config.extractor.trainer)} if tuned else {}
    if (weights := plain["backbone"].get("weights", "none")) != "none":
        plain["backbone"]["weights"] = fingerprint(weights)
    run = plain["method"].pop("run")
    measured = {"distances": list(config.distances)} if config.distances else {}
    trained = {"trainer": run["trainer"], "trained_on": run["trained_on"]}
    return on_task(plain | seen | measured | selected(config).identity() | trained, config.task)


def on_features(config: DictConfig) -> bool:
    """Return whether a cell's method is given features: a shallow one, or a deep one on a frozen backbone."""
    return config.method.run.trainer is None or bool(config.backbone.get("frozen"))


def on_task(made_of: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Return an identity with another task; an oracle's is its target, unless features or distances are of a source."""
    whole = made_of["trained_on"] == "source" or not made_of.keys().isdisjoint({"finetuning", "distances"})
    return {**made_of, "task": task if whole else task.rpartition("-")[2]}


def selected(config: DictConfig) -> Selection:
    """Return how the iterate that is scored is chosen; of a network that is trained on the target it is the last.

    A shallow method has no other, and only of an aligner do validators say anything.
    """
    asked = cast(Selection, OmegaConf.to_object(config.selection))
    if config.method.run.trained_on == "target":
        return Selection()
    if config.method.run.trainer is not None:
        return asked
    scored = asked.scores and issubclass(locate(config.method, "method", config.allow_external), Aligner)
    return replace(asked, chooser=LAST) if scored else Selection()


def address(config: DictConfig) -> tuple[str, str, str, str]:
    """Return where a cell's record is in the store: dataset, method, task, key."""
    return config.dataset.name, config.method.name, config.task, digest(identity(config))


def setting(config: DictConfig, made_of: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return what a cell has in common with the others of its row in a table, and whether the seed matters to it.

    Parameters
    ----------
    config : DictConfig
        The cell's.
    made_of : mapping
        Its identity.

    Returns
    -------
    dict
        The identity without task and seed.
    bool
        Whether another seed gives another identity.
    """
    first = made_of if config.seed == 0 else identity(config, seed=0)
    other = identity(config, seed=1) if config.seed == 0 else made_of
    return {**first, "task": None}, first != other


def chosen(config: DictConfig) -> dict[str, DictConfig]:
    """Return the dataset's own choice where the configuration says ``backbone: auto``, otherwise nothing."""
    return {} if "_target_" in config.backbone else {"backbone": backbone(config.backbone.name)}


@lru_cache
def backbone(name: str) -> DictConfig:
    """Return tda's configuration of the backbone called `name`.

    Raises
    ------
    UsageError
        If there is none.
    """
    choice = folder("conf") / "backbone" / f"{name}.yaml"
    if not choice.is_file():
        raise unknown("backbone of tda's own (name another with backbone=)", name, config_names("backbone"))
    return cast(DictConfig, OmegaConf.load(choice))


def complete(config: DictConfig) -> DictConfig:
    """Return the configuration with the dataset's own choice for ``backbone: auto``, its cache's ``~`` written out."""
    config.update(chosen(config))
    config.runtime.cache = str(Path(config.runtime.cache).expanduser())
    return config


def without_hydra(config: DictConfig) -> DictConfig:
    """Return a copy of a configuration, Hydra's own part left out."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def check(config: DictConfig) -> None:
    """Check the parameters of everything that a cell is made of, without making it."""
    external = config.allow_external
    known = [part.name for part in fields(Root)]
    for key in config:
        if key not in (*known, "hydra"):
            raise unknown("key of the configuration", key, known)
    for name in (config.name, config.dataset.name, config.backbone.name, config.method.name):
        if not PLAIN_NAME.fullmatch(str(name)):
            raise UsageError(
                f"{name!r} is a part of file names; expected letters, digits and . _ + -, not . or - first"
            )
    label = config.method.get("label")
    if not isinstance(label, str) or not label.strip():
        raise UsageError(f"method {config.method.name}: its config has no label, which tables print; add one")
    distances.check(config.distances)
    if config.method.run.trained_on not in ("source", "target"):
        raise unknown("choice of method.run.trained_on", config.method.run.trained_on, ("source", "target"))
    if config.runtime.threads is not None and config.runtime.threads < 1:
        raise UsageError(f"runtime.threads={config.runtime.threads}: expected at least 1, or null for all cores")
    if config.runtime.per_gpu < 1:
        raise UsageError(f"runtime.per_gpu={config.runtime.per_gpu}: expected the number of workers that share a GPU")
    if not config.runtime.checkpoint >= 0:
        raise UsageError(f"runtime.checkpoint={config.runtime.checkpoint}: expected seconds, 0 or more")
    cast(Selection, OmegaConf.to_object(config.selection)).check()
    validate(config.dataset, "dataset", external)
    method, deep = validate(config.method, "method", external), config.method.run.trainer is not None
    if issubclass(method, DeepMethod) != deep:
        is_one, kind = ("is no DeepMethod", "shallow") if deep else ("is a DeepMethod", "deep")
        raise UsageError(
            f"method {config.method.name}: {method.__name__} {is_one}; its config's defaults should be "
            f"[/kind/{kind}@_here_, _self_]"
        )
    backbone = validate(config.backbone, "backbone", external)
    if config.extractor.trainer is not None:
        build(config.extractor.trainer, "trainer", external)
        if not on_features(config):
            raise UsageError(
                f"extractor=finetuned is for what is given features, and {config.method.name} trains on images; "
                f"leave it out, or freeze the backbone: backbone={config.backbone.name} "
                f"{'' if 'frozen' in config.backbone else '+'}backbone.frozen=true"
            )
    if config.method.run.trainer is not None:
        build(config.method.run.trainer, "trainer", external)
    elif config.extractor.trainer is None and not getattr(backbone, "pretrained", False):
        raise UsageError(
            f"method {config.method.name} needs features, and backbone {config.backbone.name} has none before it is "
            f"trained; choose a pretrained backbone, backbone={config.dataset.features} or extractor=finetuned"
        )
