"""What is typed: overrides in Hydra's grammar, what each stands for, and which of them only set a value."""

from collections.abc import Sequence
from functools import cache

from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from tda.resources import folder


def composer() -> initialize_config_dir:
    """Return the context in which Hydra's `compose` reads tda's configuration."""
    return initialize_config_dir(str(folder("conf")), job_name="tda", version_base=None)


def without(overrides: Sequence[str], *keys: str) -> tuple[str, ...]:
    """Return the overrides of other keys than these."""
    return tuple(o for o in overrides if not o.startswith(keys))


def expanded(override: Override) -> list[str]:
    """Return the ``key=value`` strings that an override stands for, more than one if it sweeps."""
    sweep = override.is_sweep_override()
    values = override.sweep_string_iterator() if sweep else [override.get_value_element_as_str()]
    return [f"{override.get_key_element()}={value}" for value in values]


@cache
def is_value(override: str) -> bool:
    """Return whether an override sets one value of a composed config, rather than choosing, adding or merging."""
    key, _, value = override.partition("=")
    composes = key[:1] in "+~" or "@" in key or key.startswith("hydra") or value[:1] == "{"
    return not composes and not (folder("conf") / key).is_dir()


@cache
def parsed(override: str) -> Override:
    """Return what an override means: its key, its value or values."""
    (one,) = OverridesParser.create().parse_overrides([override])
    return one


def set_values(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Set the plain values among `overrides` in a composed config, and return it."""
    for override in overrides:
        if is_value(override):
            meant = parsed(override)
            OmegaConf.update(config, meant.key_or_group, meant.value())
    return config
