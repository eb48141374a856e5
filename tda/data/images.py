"""Any folder of images as a dataset, decoded once into an array on disk."""

import hashlib
import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from math import prod
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import PositiveInt

from tda.cache import atomic, built, reading
from tda.data.base import Dataset, cause, check_once
from tda.devices import available_cores
from tda.errors import UsageError, unknown, warn_once
from tda.task import Domain

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp", ".gif"))
LAYOUT = 1  # raised when a change below alters a pixel: old caches are not read
AHEAD = 64  # images decoded before they are written
MOST_OBLONG = 100  # sides' ratio beyond which an image is taken for broken
UNREADABLE = (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError)  # of Pillow
RANGELESS = ("I", "F")  # Pillow's modes of 32-bit integers and floats
Resize = Literal["shorter", "squash"]


class Listed(NamedTuple):
    """One image file and the name of its class; for a list file of integers, the integer as text."""

    path: Path
    label: str


class ImageFolder(Dataset):
    """Images in folders ``<root>/<domain>/<class>/*.jpg``, the domains' with an ``images`` below or not, or in lists.

    Each domain is decoded once, resized, and kept as one memory-mapped array of ``(size, size, 3)`` uint8 images in the
    cache; the array's name is a hash of the files' names, sizes and times, so that changed files are read again. Images
    of any mode (grey, palette, CMYK, alpha) become RGB; alpha and EXIF orientation are dropped, as torchvision does; of
    16 bits the upper eight are kept. Integers of 32 bits and floats, whose range no file says, are not read.

    Parameters
    ----------
    name : str
        Of the dataset.
    root : str
        Folder that holds the domains, or that the paths in list files are relative to.
    domains : mapping of str to str, or sequence of str
        Short name -> folder below `root`; names alone are their own folders.
    tasks : str
        The tasks that a sweep takes by default: ``A-D,A-W``.
    classes : sequence of str, optional
        The class folders in the order of their labels; None: the sorted folders of all domains together.
    counts : mapping, optional
        Published number of images of each domain, or of each class of each domain: ``{A: 2817}`` or
        ``{A: {bike: 82}}``. Other numbers are refused; None accepts what is there.
    lists : mapping of str to str, optional
        Short name -> list file below `root` with a line ``path label`` for each image of that domain, parted by its
        last tab or, without any, its last space; a label is the index of a class, or its name. An image that stands
        there twice counts twice, and is told.
    size : int
        Side of the kept images in pixels.
    resize : {"shorter", "squash"}
        ``shorter`` scales the shorter side to `size` and keeps the centre; ``squash`` scales both sides to `size`.
        Bilinear with antialiasing, as torchvision's ``Resize``.
    corrupt : {"skip", "strict"}
        Leave out a file that is no readable image, and name it in the record; or stop there.
    cache : str
        Folder of the arrays.

    Raises
    ------
    UsageError
        A folder, class or image is missing, a class or folder is named twice, or the counts are not the published ones;
        the message names which.
    """

    def __init__(
        self,
        *,
        name: str,
        root: str,
        domains: Mapping[str, str] | Sequence[str],
        tasks: str,
        classes: Sequence[str] | None,
        counts: Mapping[str, int | Mapping[str, int]] | None,
        lists: Mapping[str, str] | None = None,
        size: PositiveInt,
        resize: Resize,
        corrupt: Literal["skip", "strict"],
        cache: str,
    ) -> None:
        self.name = name
        self.root = Path(root).expanduser()
        self.domains = dict(domains) if isinstance(domains, Mapping) else {folder: folder for folder in domains}
        super().__init__(tasks=tasks)
        self.named_classes = classes
        self.counts = counts
        self.lists = lists
        self.size = size
        self.resize = resize
        self.corrupt = corrupt
        self.cache = Path(cache)
        self.listing = lru_cache(maxsize=None)(self._listed)
        check_once(name, "classes", classes or ())
        check_once(name, "domains", self.domains.values())
        for domain in counts or ():
            if domain not in self.domains:
                raise unknown(f"domain of {name}, as dataset.counts has", domain, self.domains)

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Class names in the order of the labels."""
        if self.named_classes is not None:
            return tuple(self.named_classes)
        found = {listed.label for name in self.domains for listed in self.listing(name)}
        return tuple(sorted(found, key=lambda label: (int(label) if label.isdecimal() else -1, label)))

    def load(self, name: str) -> Domain:
        """Read one domain, decoding its images first if the cache lacks them."""
        if name not in self.domains:
            raise unknown(f"domain of {self.name}", name, self.domains)
        listing = self.listing(name)
        if differences := list(self.differences(name)):
            more = " (and more)" * (len(differences) > 1)
            published = f"see `tda data verify {self.name}`, or set dataset.counts=null to run on what is there"
            own = "expected images of every class in every domain, under the same names"
            raise UsageError(f"{differences[0]}{more}; {own if self.counts is None else published}")
        print_of = self.content(name)
        array = self.cache / "images" / f"{self.name}-{name}-{print_of}.npy"
        built(array, lambda path: self._decode(listing, path, array.with_suffix(".json")))
        with reading(array):
            images = np.load(array, mmap_mode="r", allow_pickle=False)
        with reading(array.with_suffix(".json")):
            skipped = json.loads(array.with_suffix(".json").read_text(encoding="utf-8"))
        if skipped and self.corrupt == "strict":
            raise UsageError(f"{skipped[0]} is not a readable image; repair or remove it, or set dataset.corrupt=skip")
        index = {label: i for i, label in enumerate(self.classes)}
        out = set(skipped)
        y = np.array([index[listed.label] for listed in listing if self._short(listed.path) not in out])
        if not len(y):
            raise UsageError(f"{self.name} {name}: none of its {len(listing)} files is a readable image")
        y.setflags(write=False)
        return Domain(name, images[: len(y)], y, print_of, tuple(skipped))

    def _listed(self, name: str) -> list[Listed]:
        """Return every image file of a domain with its class, in a fixed order; `listing` does it once.

        Raises
        ------
        UsageError
            The folder or the list file is missing or empty, or a line of the list is none.
        """
        if self.lists is not None:
            return self._from_list(self.root / self.lists[name])
        folder = self.root / self.domains[name]
        inner = folder / "images" if (folder / "images").is_dir() else folder
        if not inner.is_dir():
            hint = "" if self.counts is None else f"; see `tda data fetch {self.name}`"
            raise UsageError(f"{self.name}: no folder {str(folder)!r}; expected {self.tree()}{hint}")
        classes = [entry for entry in sorted(inner.iterdir()) if entry.is_dir() and entry.name[0] != "."]
        if self.named_classes is not None:
            known = set(self.named_classes)
            classes = [entry for entry in classes if entry.name in known]
        found = [
            Listed(path, readable(entry.name))
            for entry in classes
            for path in sorted(entry.iterdir())
            if path.suffix.lower() in SUFFIXES and path.name[0] != "."
        ]
        if not found:
            raise UsageError(f"{self.name}: no images in {str(folder)!r}; expected {self.tree()}")
        return found

    def content(self, name: str) -> str:
        return fingerprint(self.listing(name), self.root, self.size, self.resize)

    def census(self, name: str) -> Counter[str]:
        return Counter(listed.label for listed in self.listing(name))

    def differences(self, name: str) -> Iterator[str]:
        for label in sorted(set(self.classes) - set(self.census(name))):
            if not isinstance((self.counts or {}).get(name), Mapping):
                yield f"{self.name} {name} ({self.domains[name]}) has no images of class {label!r}{self._had(label)}"
        yield from super().differences(name)

    def _had(self, label: str) -> str:
        """Return which domains have images of a class; nothing where the classes are named, not found."""
        if self.named_classes is not None:
            return ""
        return ", " + " and ".join(f"{name} has {n}" for name in self.domains if (n := self.census(name)[label]))

    def tree(self) -> str:
        """Return the expected files in words."""
        if self.lists is not None:
            return f"the list files {', '.join(self.lists.values())} in {str(self.root)!r}"
        return f"{self.root!s}/{{{','.join(self.domains.values())}}}/<class>/*.jpg (or .../images/<class>/*.jpg)"

    def _from_list(self, path: Path) -> list[Listed]:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{self.name}: cannot read the list file {str(path)!r}: {cause(error)}; expected {self.tree()}"
            ) from error
        found = []
        for number, line in enumerate(lines, start=1):
            if line.strip():
                image, _, label = line.strip().rpartition("\t" if "\t" in line.strip() else " ")
                if not image:
                    raise UsageError(f"{path}, line {number}: expected `path label`, given {line.strip()!r}")
                if self.named_classes is not None and label.isdecimal() and int(label) < len(self.named_classes):
                    label = self.named_classes[int(label)]
                elif self.named_classes is not None and label not in self.named_classes:
                    raise UsageError(
                        f"{path}, line {number}: {label!r} is neither a class of {self.name} nor an index of one"
                    )
                file = self.root / image
                if not file.is_file():
                    raise UsageError(
                        f"{path}, line {number}: no file {str(file)!r}; "
                        "paths are from dataset.root on, by default the folder of the lists"
                    )
                found.append(Listed(file, label))
        if not found:
            raise UsageError(f"{path} lists no images; expected a line `path label` for each")
        if twice := [file for file, times in Counter(listed.path for listed in found).items() if times > 1]:
            warn_once(
                f"{path} names {len(twice)} of its images more than once, {self._short(twice[0])!r} the first of them, "
                "and each counts as often; expected a line for each image: leave the others out"
            )
        return found

    def _short(self, path: Path) -> str:
        return readable(str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path))

    def _decode(self, listing: Sequence[Listed], path: Path, skipped_path: Path) -> None:
        """Write the readable images of a listing to `path`, and the names of the others beside it."""
        shape = len(listing), self.size, self.size, 3
        skipped = []
        with path.open("wb") as whole, warnings.catch_warnings(), ThreadPoolExecutor(available_cores()) as workers:
            warnings.simplefilter("ignore")
            np.lib.format.write_array_header_1_0(whole, {"descr": "|u1", "fortran_order": False, "shape": shape})
            end = whole.tell() + prod(shape)
            for start in range(0, len(listing), AHEAD):
                files = [listed.path for listed in listing[start : start + AHEAD]]
                for file, image in zip(files, workers.map(self._image, files), strict=True):
                    if image is None:
                        skipped.append(self._short(file))
                    else:
                        whole.write(image.tobytes())
            whole.truncate(end)
        with atomic(skipped_path) as names:
            names.write_text(json.dumps(skipped), encoding="utf-8")

    def _image(self, path: Path) -> np.ndarray | None:
        try:
            return decoded(path, self.size, self.resize)
        except UnreadableImageError:
            if self.corrupt == "strict":
                raise UsageError(
                    f"{path} is not a readable image; repair or remove it, or set dataset.corrupt=skip"
                ) from None
            return None


class UnreadableImageError(ValueError):
    """A file that is no image, or one that is broken off."""


def decoded(path: Path, size: int, resize: Resize) -> np.ndarray:
    """Read an image file as RGB, resized: (size, size, 3) uint8.

    Raises
    ------
    UnreadableImageError
        The file is missing, truncated or no image, its values have no known range, or one side is more than
        `MOST_OBLONG` times the other.
    """
    try:
        with Image.open(path) as file:
            if file.mode in RANGELESS:
                raise ValueError(f"values of mode {file.mode} have no known range")
            wide = file.mode.startswith("I;16")
            image = (Image.fromarray((np.asarray(file) >> 8).astype(np.uint8)) if wide else file).convert("RGB")
    except UNREADABLE as error:
        raise UnreadableImageError(f"{path}: {error}") from error
    if resize == "squash":
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    shorter = min(image.size)
    if max(image.size) > MOST_OBLONG * shorter:
        raise UnreadableImageError(f"{path}: {image.size[0]} x {image.size[1]} pixels is too oblong to be scaled")
    width, height = (size * side // shorter for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def fingerprint(listing: Sequence[Listed], root: Path, size: int, resize: Resize) -> str:
    """Return a hash of the files' names below `root`, classes, sizes and times, and of how they are resized."""
    parts = [f"{LAYOUT} {size} {resize}"]
    for path, label in listing:
        try:
            status = path.stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except (OSError, ValueError):  # the latter for a name that no file can have
            state = "missing"
        parts.append(f"{readable(os.path.relpath(path, root))} {label} {state}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def readable(name: str) -> str:
    r"""Return a file's name as text that can be written; bytes that are no UTF-8 stand escaped in it.

    Examples
    --------
    >>> print(readable("mug/é.jpg"), readable("mug/\udcff.jpg"))
    mug/é.jpg mug/\udcff.jpg
    """
    return name.encode(errors="backslashreplace").decode()
