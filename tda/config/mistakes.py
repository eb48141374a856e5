"""One clear line for each mistake in what is typed, and in what it composes."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import product
from traceback import walk_tb
from typing import Any

import yaml
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tda.config.overrides import composer, expanded, is_value
from tda.config.schema import Root
from tda.errors import UsageError, unknown
from tda.resources import config_names, folder

EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray", "ray_aws": "ray"}
WRAPPING = re.compile(r"^\w+ (raised )?while resolving interpolation: ")
NOT_CONVERTED = re.compile(r"^Error merging override (.+?); (.+?); full_key: .*$")
MEANT = {  # by what OmegaConf says of a config of one's own
    re.compile(r"^Interpolation key 'method\.run\..*"): (
        "the method's config does not say of which kind it is; "
        "begin it with defaults: [/kind/shallow@_here_, _self_], or with /kind/deep where it trains a network"
    ),
    re.compile(r"^Key 'name' is not in struct; full_key: (\w+)\..*"): r"this \1's config has no name; add name: NAME",
}
OF_OMEGACONF = ("object_type=", "reference_type=")
ONE_VALUE = {part.name for part in fields(Root) if part.type in (str, int, bool)}
NEVER_SWEPT = ("results", "name", "keep_features", "runtime", "shard", "allow_external", "trainer.seed")
SWEPT_AS = {"dataset.tasks": "task", "hydra.sweeper.params.task": "task"}


@contextmanager
def usage_errors(overrides: Sequence[str]) -> Iterator[None]:
    """Turn what Hydra says of a mistake in `overrides` into one clear line."""
    try:
        yield
    except UsageError:
        raise
    except yaml.YAMLError as error:
        raise UsageError(f"a config is not valid YAML: {' '.join(str(error).split())}") from None
    except MissingConfigException as error:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        if group == "hydra/launcher" and name in EXTRAS:
            raise UsageError(
                f"{group}={name} needs more than is installed: pip install -e '.[{EXTRAS[name]}]' where tda's source is"
            ) from None
        raise unknown(group, name, error.options or config_names(group)) from None
    except OverrideParseException as error:
        raise UsageError(
            f"{error.override!r} is not understood; expected KEY=VALUE, and a value with other characters than letters "
            "a to z, digits and / - + . _ : % @ ? | $ * in quotes of its own: \"KEY='VALUE'\""
        ) from None
    except (HydraException, OmegaConfBaseException) as error:
        if isinstance(error.__cause__, UsageError):
            raise error.__cause__ from None
        line = NOT_CONVERTED.sub(r"\1: \2", one_line(error))
        told = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
        if isinstance(told, OmegaConfBaseException) and "is not a ListConfig" in line:
            line = f"{told.full_key}: expected a list, {told.full_key}=[...]"
        for what, meant in MEANT.items():
            line = what.sub(meant, line)
        known_keys(overrides)
        raise UsageError(line) from None
    except (ValueError, TypeError) as error:
        *_, (frame, _) = walk_tb(error.__traceback__)
        if not frame.f_globals["__name__"].startswith("hydra."):
            raise
        raise UsageError(f"{' '.join(overrides)!r} is not understood: {one_line(error)}") from None


def one_line(error: BaseException) -> str:
    """Return an error's message and its cause's as one line."""
    lines = [*str(error).splitlines(), *(str(error.__cause__).splitlines() if error.__cause__ else [])]
    where = "full_key:" if any(WRAPPING.match(line) for line in lines) else "full_key: hydra."
    kept = [WRAPPING.sub("", line.strip()) for line in lines if not line.strip().startswith((*OF_OMEGACONF, where))]
    said = "; ".join(dict.fromkeys(filter(None, kept)))
    missing = re.match(r"Missing mandatory value: ([\w.]+)", said)
    return f"{missing[1]} is missing; give {missing[1]}=..." if missing else said


def check_choice(override: Override) -> None:
    """Raise `UsageError` for a config group that is given no name: deleted, null, empty or a list."""
    group = override.key_or_group
    grouped = (folder("conf") / group).is_dir() and "/" not in group and group != "experiment"
    if not grouped or override.is_sweep_override():
        return
    value = None if override.is_delete() else override.value()
    if not value or isinstance(value, list):
        known = ", ".join(config_names(group))
        raise UsageError(f"{override.input_line}: expected a name, {group}=NAME. Choose from: {known}")


def check_list(override: Override) -> None:
    """Raise `UsageError` for a list where one value is expected; those of a sweep stand without brackets."""
    key = override.key_or_group
    swept = SWEPT_AS.get(key, key)
    if swept != key and override.is_sweep_override():
        values = ",".join(one.partition("=")[2] for one in expanded(override))
        raise UsageError(f"{override.input_line}: {key} is one list for the whole sweep; to sweep, {swept}={values}")
    if swept not in ONE_VALUE or override.is_sweep_override() or not isinstance(override.value(), list):
        return
    values = override.get_value_element_as_str()[1:-1]
    meant = "" if swept in NEVER_SWEPT or not values else f"; without brackets, {swept}={values}, each has its cells"
    raise UsageError(f"{override.input_line}: expected one value, given a list{meant}")


def known_keys(overrides: Sequence[str]) -> None:
    """Raise for the first override whose key is not in the configuration, with the nearest key that is.

    Raises
    ------
    UsageError
        If there is such an override. None is raised where the groups themselves cannot be composed.
    """
    with composer():
        try:
            typed = OverridesParser.create().parse_overrides(list(overrides))
            values = [o for o in typed if is_value(str(o.input_line)) or str(o.input_line).startswith("hydra.")]
            keys = [str(o.input_line).partition("=")[0] for o in values]
            choices = [expanded(o) for o in typed if o not in values]
            added = [str(o.input_line) for o in typed if o.key_or_group == "hydra.searchpath"]
            roots = [compose("config", [*choice, *added], return_hydra_config=True) for choice in product(*choices)]
        except (HydraException, ValueError, TypeError):
            return
        for key in keys:
            errors = [unknown_key(root, key) for root in roots]
            refused = next((error for error in errors if error), None)
            if refused is None:
                continue
            group = key.partition(".")[0]
            fitting = [root for root, one in zip(roots, errors, strict=True) if one is None and group != "hydra"]
            if fitting:
                names = ", ".join(sorted({root[group].name for root in fitting}))
                raise UsageError(f"{refused}. Of those named only {names} can take {key}: run it apart")
            raise refused


def unknown_key(root: DictConfig, key: str) -> UsageError | None:
    """Say that a composed config has no such key, with the nearest that it has; None if it has the key."""
    if key.startswith("backbone.") and "_target_" not in root.backbone:
        return UsageError(f"{key}: backbone=auto has no settings; name the backbone too: backbone={root.backbone.name}")
    node: Any = root
    for depth, part in enumerate(key.split(".")):
        there = [str(k) for k in node] if isinstance(node, DictConfig) else []
        if part not in there:
            if key.startswith("hydra.launcher.") and root.hydra.runtime.choices["hydra/launcher"] == "basic":
                return UsageError(f"{key}: name the launcher that it is for too: hydra/launcher=joblib")
            where = ".".join(key.split(".")[:depth]) or "the configuration"
            where += f" {node.name}" if depth and "name" in there else ""
            return unknown(f"key of {where}", part, [k for k in there if k[0] != "_"])
        node = None if OmegaConf.is_missing(node, part) else node[part]
    return None
