"""Where the files that are data rather than code lie, in a checkout and in an installed wheel."""

from pathlib import Path

_CHECKOUT = {"reported": "results/reported"}


def folder(name: str) -> Path:
    """Return the folder of packaged files called `name`.

    Parameters
    ----------
    name : str
        ``conf`` (the configuration) or ``reported`` (the numbers of the book and the papers).

    Returns
    -------
    Path
        ``tda/<name>`` where it exists, as in an installed wheel; otherwise the folder of the checkout,
        ``conf`` or ``results/reported``.

    Raises
    ------
    FileNotFoundError
        Neither folder exists.
    """
    package = Path(__file__).resolve().parent
    packaged = package / name
    checkout = package.parent / _CHECKOUT.get(name, name)
    for candidate in (packaged, checkout):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(
        f"the folder {name!r} is neither at {packaged} nor at {checkout}; install tda again, or run it from a checkout"
    )


def config_names(group: str, own: Path | None = None) -> list[str]:
    """Return the names of the configurations of a group, ``method`` say, here or in a folder of one's own, sorted."""
    return sorted(path.stem for path in ((own or folder("conf")) / group).glob("*.yaml"))
