"""Which rows of a table bound another: its baseline without adaptation, and what was trained on the target."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd


class Kind(NamedTuple):
    """What two rows must share to be compared: samples, features, and how a network was trained, its seed aside."""

    features: str
    training: str


def counterparts(firsts: pd.DataFrame) -> tuple[dict[str, str | None], dict[str, str | None]]:
    """Return, for each setting, its baseline and its upper bound; None where there is not just one.

    Both have the same samples, backbone and training. What was trained on the target bounds every method; an iterate
    that was chosen by target labels bounds none, and is no baseline. A baseline is the very classifier that follows an
    alignment, else the method that the record names, unless another class of classifier follows; trained on as much of
    the source, its iterate chosen in the same way where there are several.

    Parameters
    ----------
    firsts : DataFrame
        One record of each setting, indexed by setting.
    """
    kinds = {one.Index: Kind(features(one.config), training(one.config)) for one in firsts.itertuples()}
    of_method: dict[tuple[Kind, str], list[str]] = {}
    alone: dict[tuple[Kind, str], list[str]] = {}
    bounds: dict[Kind, list[str]] = {}
    for one in firsts.itertuples():
        if one.config.get("trained_on") == "target":
            bounds.setdefault(kinds[one.Index], []).append(one.Index)
        elif one.protocol != "oracle":
            of_method.setdefault((kinds[one.Index], one.method), []).append(one.Index)
            alone.setdefault((kinds[one.Index], classifier_of(one.config.get("method"))), []).append(one.Index)
    lower = {}
    for one in firsts.itertuples():
        found = of_method.get((kinds[one.Index], one.baseline), [])
        follows = (one.config.get("method") or {}).get("classifier")
        if follows:
            named = [
                setting for setting in found if class_of(firsts["config"][setting].get("method")) == class_of(follows)
            ]
            found = alone.get((kinds[one.Index], classifier_of(follows)), named)
        found = [setting for setting in found if held_back(firsts["config"][setting]) == held_back(one.config)]
        alike = [setting for setting in found if judged(firsts["config"][setting]) == judged(one.config)]
        lower[one.Index] = only(alike or found)
    return lower, {setting: only(bounds.get(kind, [])) for setting, kind in kinds.items()}


def classifier_of(node: Any) -> str:
    """Return what a part of a configuration makes, as text: its class and parameters, not its name."""
    return (
        json.dumps({k: v for k, v in node.items() if k != "name"}, sort_keys=True) if isinstance(node, Mapping) else ""
    )


def class_of(node: Any) -> str:
    """Return the class that a part of a configuration names; nothing where it names none."""
    return str(node.get("_target_", "")) if isinstance(node, Mapping) else ""


def only(found: list[str]) -> str | None:
    """Return the one element, or None if there is not just one."""
    return found[0] if len(found) == 1 else None


def features(config: Mapping[str, Any]) -> str:
    """Return what the samples are and what shows them to a method: weights, views, sizes and all."""
    return json.dumps([config.get(key) for key in ("dataset", "backbone")], sort_keys=True)


def training(config: Mapping[str, Any]) -> str:
    """Return how a network was trained, seed and looks aside; the same for all shallow methods on the same features."""
    trainers = [config.get(key) or {} for key in ("trainer", "finetuning")]
    aside = ("seed", "watch_every")
    return json.dumps([{k: v for k, v in trainer.items() if k not in aside} for trainer in trainers], sort_keys=True)


def held_back(config: Mapping[str, Any]) -> float:
    """Return the share of each source class that a network was not trained on, for validators to judge it by."""
    return float((config.get("validation") or {}).get("held") or 0) if config.get("trainer") else 0.0


def judged(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return how the iterate was chosen, and what else was said of it."""
    return config.get("selection"), config.get("validation")
