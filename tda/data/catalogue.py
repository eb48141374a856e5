"""Where datasets come from, whether they are here, and whether they are what was published."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import yaml
from PIL import Image

from tda.data.base import Dataset
from tda.data.download import FetchError, check, fetch, gunzip, unpack
from tda.data.images import UNREADABLE, ImageFolder
from tda.errors import UsageError
from tda.resources import folder


class File(NamedTuple):
    """One file of a source."""

    path: str  # below the source's folder; a .gz is unpacked beside itself
    hash: str  # ALGORITHM:HEX
    url: str | None = None  # None: it is only checked

    @property
    def kept(self) -> str:
        """What is left of it below the source's folder."""
        return self.path.removesuffix(".gz")


@dataclass(frozen=True)
class Source:
    """What is fetched in one go: a file of ``conf/download``.

    Attributes
    ----------
    name : str
        Of the file.
    about : str
        Its first line.
    page : str
        Where the owners publish it.
    licence, size : str
        In words.
    folder : str
        Where it lies below the data folder; several sources may share one.
    tree : tuple of str
        What lies there: paths, in which ``<class>``, ``*`` and ``[images/]`` stand for more.
    archive : str or None
        Name of the archive that the owners publish, if `tda data fetch NAME --from ARCHIVE` unpacks it.
    files : tuple of File
        Files with a known hash; those with an address are downloaded.
    """

    name: str
    about: str
    page: str
    licence: str
    size: str
    folder: str
    tree: tuple[str, ...]
    archive: str | None
    files: tuple[File, ...]

    @property
    def automatic(self) -> bool:
        """Whether it can be fetched without hands."""
        return bool(self.files) and all(file.url for file in self.files)

    def missing(self, data: Path) -> list[str]:
        """Return what of `tree` is not below the data folder."""
        return [entry for entry in self.tree if not (data / self.folder / fixed(entry)).exists()]

    def state(self, data: Path) -> str:
        """Say in one word whether it is below the data folder."""
        absent = len(self.missing(data))
        return "absent" if absent == len(self.tree) else "partly" if absent else "present"

    def by_hand(self, data: Path) -> str:
        """Return what to do where nothing may be downloaded: owners, licence, the expected tree."""
        lines = [
            f"{self.name} ({self.about}) is not downloaded automatically; licence: {self.licence}.",
            f"1. Get it ({self.size}) where its owners publish it: {self.page}",
            f"2. Put it here, so that these are below {data / self.folder}:",
            *(f"     {entry}" for entry in self.tree),
        ]
        if self.archive:
            lines.append(f"   or let tda unpack what you got: tda data fetch {self.name} --from {self.archive}")
        return "\n".join([*lines, f"3. tda data verify {self.name}"])


def fixed(entry: str) -> str:
    """Return the part of a line of a tree before what stands for more.

    Examples
    --------
    >>> fixed("amazon/[images/]<class>/*.jpg"), fixed("list/cList.txt")
    ('amazon/', 'list/cList.txt')
    """
    return entry[: min((entry.find(mark) for mark in "[<*" if mark in entry), default=len(entry))]


def source(name: str) -> Source:
    """Read a source from ``conf/download``."""
    text = (folder("conf") / "download" / f"{name}.yaml").read_text(encoding="utf-8")
    plain: dict[str, Any] = yaml.safe_load(text)
    about = text.partition("\n")[0].removeprefix("# ")
    files = tuple(File(**file) for file in plain.pop("files"))
    return Source(name=name, about=about, tree=tuple(plain.pop("tree")), files=files, **plain)


def catalogue() -> Iterator[tuple[str, list[Source]]]:
    """Yield each dataset of ``conf/dataset`` with the sources that it needs."""
    for path in sorted((folder("conf") / "dataset").glob("*.yaml")):
        config: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        yield path.stem, [source(name) for name in config.get("download", [])]


def obtain(wanted: Source, data: Path, archives: Sequence[Path] = ()) -> Path:
    """Bring a source below the data folder, from the web or from archives that the user has got.

    Parameters
    ----------
    wanted : Source
        What to bring.
    data : Path
        The data folder.
    archives : sequence of Path
        Archives to unpack instead of downloading.

    Returns
    -------
    Path
        Its folder.

    Raises
    ------
    FetchError
        It may not be downloaded (the message says what to do instead), or a download or an archive failed.
    UsageError
        There are archives for what consists of single files.
    """
    home = data / wanted.folder
    if archives and (wanted.files or wanted.archive is None):
        raise UsageError(
            f"{wanted.name} is not an archive; put its files below {str(home)!r}: {', '.join(wanted.tree)}"
        )
    if not wanted.missing(data):
        return home
    if archives:
        return unpack(archives, home, [fixed(entry).partition("/")[0] for entry in wanted.tree])
    if not wanted.automatic:
        raise FetchError(wanted.by_hand(data))
    for file in wanted.files:
        if file.url is not None and not (home / file.kept).exists():
            got = fetch(file.url, home / file.path, file.hash)
            if got.name != Path(file.kept).name:
                gunzip(got, home / file.kept)
    return home


def verify(dataset: Dataset, needed: Sequence[Source], data: Path) -> list[str]:
    """Say, as one line each, how a dataset differs from what was published: files, classes, counts.

    Parameters
    ----------
    dataset : Dataset
        What to check; only the domains that its tasks name.
    needed : sequence of Source
        What it comes from.
    data : Path
        The data folder.
    """
    problems = []
    for one in needed:
        for file in one.files:
            path = data / one.folder / file.path
            if file.url is None and path.exists():
                try:
                    check(path, file.hash)
                except FetchError as error:
                    problems.append(f"{dataset.name}: {error}")
    return problems + [line for name in used(dataset) for line in dataset.differences(name)]


def used(dataset: Dataset) -> list[str]:
    """Return the domains that the tasks of a dataset name, in their order."""
    return list(dict.fromkeys(name for task in dataset.tasks for name in dataset.pair(task)))


class Statistics(NamedTuple):
    """What a domain holds."""

    name: str
    what: str
    samples: int
    classes: int
    smallest: tuple[str, int]  # class and its number of samples
    largest: tuple[str, int]
    shape: str


def statistics(dataset: Dataset) -> Iterator[Statistics]:
    """Yield what each domain holds."""
    for name in used(dataset):
        census = dataset.census(name)
        ordered = sorted(census.items(), key=lambda item: item[1])
        shape = sizes(dataset, name) if isinstance(dataset, ImageFolder) else of_array(dataset.domain(name).x.shape[1:])
        yield Statistics(name, dataset.domains[name], census.total(), len(census), ordered[0], ordered[-1], shape)


def of_array(shape: tuple[int, ...]) -> str:
    """Say what samples of one shape are."""
    return f"{shape[0]} features" if len(shape) == 1 else f"{shape[1]} x {shape[0]} pixels"


def sizes(dataset: ImageFolder, name: str) -> str:
    """Return the least, median and greatest width and height of a domain's image files, read from their headers."""
    found, unreadable = [], 0
    for path, _ in dataset.listing(name):
        try:
            with Image.open(path) as image:
                found.append(image.size)
        except UNREADABLE:
            unreadable += 1
    if not found:
        return "none of them a readable image"
    spans = [f"{min(side)}/{median(side):.0f}/{max(side)}" for side in zip(*found, strict=True)]
    return " x ".join(spans) + " pixels (least/median/greatest)" + f", {unreadable} unreadable" * bool(unreadable)
