"""What differs between our accuracies and reported ones, in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from tda import reported
from tda.compare.measured import FIXED, Measured, Side
from tda.report.baselines import held_back
from tda.report.formats import plural
from tda.task import GIVEN
from tda.written import (
    Training,
    configured,
    configured_backbone,
    configured_method,
    configured_trainings,
    usual_classifier,
)

PREPARED = ("rows", "columns", "sample")
RESHAPED = ("resplit", "size", "resize")
UNTOLD = ("label", "run", "cache", "weights", "frozen", "watch_every")  # told elsewhere, or no part of what is made


def unlikeness(ours: Side, theirs: Side, differs: str) -> Iterator[str]:
    """Yield what makes the difference of two accuracies meaningless."""
    if not theirs.features:
        yield "features not said by the publication"
    elif ours.features != theirs.features:
        yield f"features {described(theirs.features)}, ours {described(ours.features)}"
    if (ours.oracle or theirs.oracle) and ours.protocol != theirs.protocol:
        yield f"protocol {spelled(theirs.protocol)}, ours {spelled(ours.protocol)}"
    if differs:
        yield differs


def reprepared(ours: Measured) -> Iterator[str]:
    """Yield what our samples were prepared with other than the dataset's config, which is that of the tables, says."""
    usual = configured(ours.dataset)
    for key, mine, told in differing(ours.config.get("dataset"), {key: usual.get(key) for key in PREPARED}):
        yield f"our data have dataset.{key}={mine}, its config {told}"


def reclassified(ours: Measured) -> Iterator[str]:
    """Yield the classifier that follows our alignment, where it is not 1-NN as the method's config leaves it to be."""
    left_open = configured_method(ours.dataset, ours.method).get("classifier") == "${classifier}"
    classifier = (ours.config.get("method") or {}).get("classifier")
    if left_open and classifier and classifier != usual_classifier():
        yield f"our classifier is {in_words(classifier)}"


def reset(ours: Measured) -> Iterator[str]:
    """Yield what of our data, network, training and method is not as its config has it.

    A record does not name its trainer's config: it is taken to be the one that training differs least from.
    """
    data, config = configured(ours.dataset), ours.config
    backbone, trainer, method = (config.get(part) or {} for part in ("backbone", "trainer", "method"))
    network = {} if backbone.get("_target_") == GIVEN else configured_backbone(backbone.get("name", ""))
    name, written = "", Training({}, configured_method(ours.dataset, ours.method))
    if trainer:
        trainings = configured_trainings(ours.dataset, ours.method)
        name, written = min(trainings.items(), key=lambda one: distance(Training(trainer, method), one[1]))
    for part, mine, usual, named in (
        ("dataset", config.get("dataset"), {key: data.get(key) for key in RESHAPED}, ""),
        ("backbone", backbone, network, ""),
        ("trainer", trainer, written.trainer, f" ({name})"),
        ("method", method, written.method, ""),
    ):
        for key, here, there in differing(mine, usual):
            yield f"our {part}.{key}={here}, its config{named} {there}"
    if held := held_back(config):
        yield f"our training kept {held:g} of each source class back for validators"
    for key in said(written.method) if method else ():
        if key not in method:
            yield f"our method has no {key}: it is of an earlier version"


def distance(ours: Training, usual: Training) -> int:
    """Return the number of settings that training has otherwise than configs say."""
    return sum(len(list(differing(*pair))) for pair in zip(ours, usual, strict=True))


def differing(ours: Mapping[str, Any] | None, usual: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield each setting that ours has otherwise than a written config says, with both values in words.

    Examples
    --------
    >>> list(differing({"steps": 9, "seed": 1, "rows": None}, {"steps": 5, "seed": "${seed}", "rows": "none"}))
    [('steps', 9, 5)]
    """
    for key, value in said(usual).items():
        if ours and key in ours and in_words(ours[key]) != in_words(value):
            yield key, in_words(ours[key]), in_words(value)


def said(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a written config says itself, and that are told."""
    return {key: value for key, value in config.items() if key not in UNTOLD and "${" not in str(value)}


def in_words(value: Any) -> Any:
    """Return a setting as it is told: of a part of its own the class and what it is given."""
    if isinstance(value, Mapping) and "_target_" in value:
        told = ", ".join(f"{key}={given}" for key, given in value.items() if key != "_target_")
        return f"{value['_target_'].rpartition('.')[2]} ({told})"
    return "none" if value is None else value


def described(features: str) -> str:
    """Return features in words: that a network is fixed, and what is known of one without a config.

    Examples
    --------
    >>> described("resnet50"), described("resnet50 end to end")
    ('resnet50 fixed', 'resnet50 end to end')
    """
    network, _, regime = features.partition(" ")
    meaning = reported.elsewhere().networks.get(network)
    if meaning:
        return f"{features} ({meaning})"
    return features if regime or network in FIXED else f"{network} fixed"


def caution(ours: Side, theirs: Side) -> Iterator[str]:
    """Yield what differs, or is not known, without making the difference meaningless."""
    if theirs.protocol != ours.protocol and not (ours.oracle or theirs.oracle):
        yield f"protocol {spelled(theirs.protocol)}, ours {spelled(ours.protocol)}"
    if ours.runs and theirs.runs != ours.runs:
        said = "an unstated number of runs" if theirs.runs is None else plural(theirs.runs, "run")
        yield f"{said}, ours {plural(ours.runs, 'seed')}"


def spelled(protocol: str) -> str:
    """Return what chose the iterate in words."""
    words = {"last": "last iterate", "oracle": "best on the target", "unknown": "not said"}
    return words.get(protocol, f"chosen by {protocol}")
