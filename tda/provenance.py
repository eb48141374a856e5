"""What made a record: the versions of the packages, and the commit of this source."""

import platform
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tda.cache import digest

COMPUTING = ("torch", "numpy", "scipy", "scikit-learn", "hydra-core", "tda")


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute."""
    return {"python": platform.python_version()} | {name: version(name) for name in COMPUTING}


def own_code(made_of: Any) -> str:
    """Return what tells apart the code of the modules outside tda that an identity names; nothing where it names none.

    Parameters
    ----------
    made_of : mapping
        The identity, of which some part has a ``_target_``. Its classes are imported.
    """
    named = targets(made_of)
    modules = {import_module(path.rpartition(".")[0]) for path in named if not path.startswith("tda.")}
    files = sorted({module.__file__ for module in modules if module.__file__})
    return digest([Path(file).read_bytes().hex() for file in files]) if files else ""


def targets(node: Any) -> Iterator[str]:
    """Yield every class that a part of a configuration names.

    Examples
    --------
    >>> list(targets({"method": {"_target_": "own.Mine", "parts": {"_target_": "tda.augment.CropFlip", "size": 8}}}))
    ['own.Mine', 'tda.augment.CropFlip']
    """
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for part in node.values():
            yield from targets(part)


@cache
def commit() -> str | None:
    """Return the commit of this source, and ``+`` and a hash of what was changed since, new files included.

    Outside the source's repository there is none.
    """
    root = Path(__file__).resolve().parent.parent

    def git(*command: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *command], capture_output=True, check=True)
        return done.stdout.decode(errors="replace").strip()

    try:
        git("ls-files", "--error-unmatch", "tda/provenance.py", "conf/config.yaml")
        head, changed = git("rev-parse", "--short=12", "HEAD"), git("status", "--porcelain", "tda", "conf")
        changes = [changed, git("diff", "HEAD", "--", "tda", "conf")] if changed else []
        new = git("ls-files", "-z", "--others", "--exclude-standard", "tda", "conf").split("\0")
        changes += [(root / path).read_bytes().hex() for path in new if path]
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}+{digest(changes)[:8]}" if changes else head
