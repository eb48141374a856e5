"""The objects that config nodes name: found, checked against their signatures, built."""

import inspect
from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from traceback import walk_tb
from typing import Any, cast, get_type_hints

from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, TypeAdapter, ValidationError

from tda.config.mistakes import one_line
from tda.errors import UsageError, unknown
from tda.resources import config_names

ANY_CLASS = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
# Keys that describe a choice: a class is given one only if it asks for it.
DESCRIBING = {"_target_", "name", "label", "run", "features", "network", "frozen", "download", "augment"}


def resolved(node: DictConfig, without: Collection[str] = ()) -> dict[str, Any]:
    """Return a config node as plain values, its interpolations resolved, some of its keys left out."""
    if not without:
        return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
    kept = {str(key): node[key] for key in node if key not in without}
    return {key: resolved(value) if OmegaConf.is_config(value) else value for key, value in kept.items()}


def parameters(node: Mapping[str, Any], found: type) -> dict[str, Any]:
    """Return what a config node passes to the constructor of the class that it names."""
    plain = resolved(node) if isinstance(node, DictConfig) else node
    left_out = DESCRIBING - set(inspect.signature(found).parameters)
    return {str(k): v for k, v in plain.items() if k not in left_out}


def locate(node: Mapping[str, Any], where: str, allow_external: bool) -> type:
    """Return the class that ``_target_`` names, refusing what is not tda's own unless that is allowed.

    Raises
    ------
    UsageError
        If there is no such class, or it lies outside tda.
    """
    path = str(node["_target_"])
    module, _, name = path.rpartition(".")
    if not path.startswith("tda.") and not allow_external:
        raise UsageError(f"{where}._target_ = {path!r} lies outside tda; add allow_external=true if you trust it")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, SyntaxError, AttributeError, ValueError) as error:
        way = "the folder of an own module has to be on PYTHONPATH"
        if path.startswith("tda."):
            own = ".".join(path.split(".")[-2:])
            way = f"name a module of one's own without tda., _target_: {own} say, where {way}"
        way = f"; {way}" if isinstance(error, ModuleNotFoundError) or not path.startswith("tda.") else ""
        raise UsageError(f"{where}._target_ = {path!r} cannot be imported: {error}{way}") from error
    except (Exception, SystemExit) as error:
        *_, (frame, line) = walk_tb(error.__traceback__)
        at = f"{Path(frame.f_code.co_filename).name}, line {line}"
        said = f"{type(error).__name__}: {one_line(error)}"
        raise UsageError(f"{where}._target_ = {path!r} cannot be imported: {said} ({at})") from error
    if not allow_external and not (isinstance(found, type) and found.__module__.startswith("tda.")):
        raise UsageError(f"{where}._target_ = {path!r} is not a class of tda")
    if not isinstance(found, type):
        raise UsageError(f"{where}._target_ = {path!r} is no class, but of type {type(found).__name__}")
    return found


def validate(node: Any, where: str, allow_external: bool = False) -> type:
    """Check a node's parameters against the signature of its class, and return the class.

    Raises
    ------
    UsageError
        For an unknown, missing, ill-typed or out-of-range parameter, and for a class that lacks methods.
    """
    if not isinstance(node, Mapping | DictConfig) or "_target_" not in node:
        raise UsageError(f"{where}={node}: expected the name of a config in conf/{where}, which names a class")
    found = locate(node, where, allow_external)
    if inspect.isabstract(found):
        lacking = ", ".join(sorted(vars(found)["__abstractmethods__"]))
        raise UsageError(f"{where}._target_ = {str(node['_target_'])!r} is not finished: it has to define {lacking}")
    given = parameters(node, found)
    hints = get_type_hints(inspect.unwrap(found.__init__), include_extras=True)  # type: ignore[misc]
    signature = inspect.signature(found).parameters
    for name in given:
        if name not in signature:
            raise unknown(f"parameter of {found.__name__}", name, signature)
    for name, parameter in signature.items():
        if name not in given:
            if parameter.default is parameter.empty:
                raise UsageError(f"{where}.{name} is missing; {found.__name__} needs it")
        elif isinstance(given[name], dict) and "_target_" in given[name]:
            validate(given[name], f"{where}.{name}", allow_external)
        else:
            try:
                TypeAdapter(hints.get(name, Any), config=ANY_CLASS).validate_python(given[name], strict=True)
            except ValidationError as error:
                raise UsageError(f"{where}.{name}={given[name]}: {expected(error, name, given[name])}") from None
    return found


def expected(error: ValidationError, name: str, given: object) -> str:
    """Say what a parameter should have been; what is a choice of a group of its name is typed there."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if first["type"] != "is_instance_of":
        return first["msg"][0].lower() + first["msg"][1:]
    if first["ctx"]["class"] == "Sequence":
        return f"expected a list, {[] if given is None else [given]} for one"
    group = f"; did you mean {name}={given}?" if given in config_names(name) else ""
    return f"expected a mapping with the _target_ of a class of tda, {first['ctx']['class']} for one{group}"


def build(node: Mapping[str, Any], where: str, allow_external: bool = False) -> Any:
    """Construct what a config node names, and what its parameters name in turn."""
    found = validate(node, where, allow_external)
    arguments = parameters(node, found)
    for name, value in arguments.items():
        if isinstance(value, dict) and "_target_" in value:
            arguments[name] = build(value, f"{where}.{name}", allow_external)
    return found(**arguments)
