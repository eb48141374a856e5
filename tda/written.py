"""What the configs say as they are written, read without Hydra."""

from functools import cache
from itertools import permutations
from typing import Any, NamedTuple

import yaml

from tda.errors import unknown
from tda.resources import config_names, folder


class Training(NamedTuple):
    """The settings of a trainer, and those of a method that is trained with it."""

    trainer: dict[str, Any]
    method: dict[str, Any]


@cache
def configured(dataset: str) -> dict[str, Any]:
    """Return a dataset's config as it is written, what it takes from another one included.

    Raises
    ------
    UsageError
        No dataset has that name.
    """
    if dataset not in (known := names("dataset")):
        raise unknown("dataset", dataset, known)
    return _written("dataset", dataset)


@cache
def configured_method(dataset: str, method: str) -> dict[str, Any]:
    """Return a method's config as it is written, with what is written for the dataset; empty for one of the user's."""
    own = _known("method", method)
    return own and own | _known(f"tuned/{dataset}", method)


@cache
def configured_trainings(dataset: str, method: str) -> dict[str, Training]:
    """Return, by the trainer's name, how the configs as they are written have a method trained on a dataset."""
    made = {}
    for name in sorted(names("trainer")):
        tuned = _known(f"tuned/trainer/{name}", method)
        parts = tuned if tuned.keys() <= set(Training._fields) else {"method": tuned}
        made[name] = Training(
            _written("kind", "trainer") | _written("trainer", name) | parts.get("trainer", {}),
            configured_method(dataset, method) | parts.get("method", {}),
        )
    return made


@cache
def configured_backbone(name: str) -> dict[str, Any]:
    """Return a backbone's config as it is written; empty for one of the user's."""
    return _known("backbone", name)


@cache
def usual_classifier() -> dict[str, Any]:
    """Return the config of what classifies after an alignment where nothing else is asked for."""
    return _written("classifier", "one_nn")


def listed_tasks(dataset: str) -> tuple[str, ...]:
    """Return the tasks of a dataset's config; none where they depend on the user's files.

    Raises
    ------
    UsageError
        No dataset has that name.
    """
    tasks = str(configured(dataset).get("tasks"))
    if tasks.startswith("${every_pair"):
        domains = configured(dataset).get("domains")
        pairs = permutations(domains, 2) if isinstance(domains, dict) else ()
        return tuple(f"{source}-{target}" for source, target in pairs)
    return () if "$" in tasks else tuple(tasks.split(","))


def _known(group: str, name: str) -> dict[str, Any]:
    """Return what a config says, nothing where there is none of that name."""
    return _written(group, name) if name in names(group) else {}


def _written(group: str, name: str) -> dict[str, Any]:
    """Return what a config says, and what those of its group say that it takes from; its defaults are not told."""
    path = folder("conf") / group / f"{name}.yaml"
    node: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    parents = [parent for parent in node.pop("defaults", []) if parent != "_self_" and not parent.startswith("/")]
    return {key: value for parent in parents for key, value in _written(group, parent).items()} | node


@cache
def names(group: str) -> frozenset[str]:
    """Return the names of a group's configs."""
    return frozenset(config_names(group))
