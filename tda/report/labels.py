"""What a row of a table is called: its method, and the parameters that tell it from other rows of that method."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

NOT_A_SETTING = {"task", "method.seed", "trainer.seed", "finetuning.seed", "dataset.cache"} | {
    f"validation.{said}" for said in ("scores", "candidates", "labelled")
}
IMPLIED = {"selection": "last", "extractor": "pretrained"}  # where a configuration does not say


def row_labels(firsts: pd.DataFrame) -> dict[str, str]:
    """Return each setting's label, with the parameters that tell it from others of the same method and backbone.

    `firsts` holds one record of each setting, indexed by setting.
    """
    labels = {}
    for _, alike in firsts.groupby(["method", "backbone"], sort=False):
        flat = {setting: dict(leaves(IMPLIED | config)) for setting, config in alike["config"].items()}
        values: dict[str, set[str | None]] = {key: set() for leaf in flat.values() for key in leaf}
        for leaf in flat.values():
            for key, seen in values.items():
                if key in leaf or not key.startswith("finetuning."):
                    seen.add(leaf.get(key))
        differing = [key for key, seen in values.items() if key not in NOT_A_SETTING and len(seen) > 1]
        parts = [key.removesuffix("._target_") for key in differing if key.endswith("._target_")]
        plain = [key for key in differing if not any(belongs(key, part, flat.values()) for part in parts)]
        for setting, label in alike["label"].items():
            one = flat[setting]
            chosen = {part: json.loads(one.get(f"{part}._target_", '""')).rpartition(".")[2] for part in parts}
            chosen |= {key: one[key] for key in plain if key in one}
            told = ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in chosen.items() if value)
            labels[str(setting)] = f"{label} ({told})" if told else label
    return labels


def belongs(key: str, part: str, flat: Iterable[Mapping[str, str]]) -> bool:
    """Return whether what differs in `key` is said by the class of `part` above it: equal wherever that is."""
    said: dict[str | None, set[str | None]] = {}
    for leaf in flat:
        said.setdefault(leaf.get(f"{part}._target_"), set()).add(leaf.get(key))
    return key.startswith(f"{part}.") and all(len(values) == 1 for values in said.values())


def leaves(node: Any, path: str = "") -> Iterable[tuple[str, str]]:
    """Yield every leaf of a nested configuration with its dotted path."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path, json.dumps(node)
