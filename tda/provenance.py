"""What made a record: the versions of the packages, and the commit of this source."""

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from tda.cache import digest

COMPUTING = ("torch", "numpy", "scipy", "scikit-learn", "hydra-core", "tda")


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute."""
    return {"python": platform.python_version()} | {name: version(name) for name in COMPUTING}


@cache
def commit() -> str | None:
    """Return the commit of this source, and ``+`` and a hash of what was changed since; None outside its repository."""
    here = Path(__file__).resolve().parent

    def git(*command: str) -> str:
        done = subprocess.run(["git", "-C", str(here.parent), *command], capture_output=True, check=True)
        return done.stdout.decode(errors="replace").strip()

    try:
        git("ls-files", "--error-unmatch", "tda/provenance.py", "conf/config.yaml")
        head, changed = git("rev-parse", "--short=12", "HEAD"), git("status", "--porcelain", "tda", "conf")
        changes = [changed, git("diff", "HEAD", "--", "tda", "conf")] if changed else []
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}+{digest(changes)[:8]}" if changes else head
