"""From the command line to what runs: the typed root config, the cells of a sweep, and the objects they name."""

from tda.config.cell import Cell, address, check, complete, identity, on_features, selected, setting
from tda.config.mistakes import one_line, usage_errors
from tda.config.objects import build, resolved, validate
from tda.config.overrides import composer, expanded, parsed, without
from tda.config.schema import Runtime, user_cache
from tda.config.sweep import Loader, Sweep, composed, part_of, separate

__all__ = [
    "Cell",
    "Loader",
    "Runtime",
    "Sweep",
    "address",
    "build",
    "check",
    "complete",
    "composed",
    "composer",
    "expanded",
    "identity",
    "on_features",
    "one_line",
    "parsed",
    "part_of",
    "resolved",
    "selected",
    "separate",
    "setting",
    "usage_errors",
    "user_cache",
    "validate",
    "without",
]
