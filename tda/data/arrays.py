"""Any file of features and labels as a domain."""

import csv
import hashlib
import logging
import struct
import zlib
from collections import Counter
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from tokenize import TokenError
from typing import Literal, NamedTuple
from zipfile import BadZipFile

import h5py
import numpy as np
from safetensors import SafetensorError, safe_open
from sklearn.preprocessing import normalize

from tda.data.base import Dataset, cause, check_once
from tda.data.matlab import read_v5
from tda.errors import UsageError, unknown
from tda.task import Domain

log = logging.getLogger(__name__)

Arrays = Mapping[str, np.ndarray]
UNREADABLE = (  # what the libraries below raise on a damaged file
    OSError, ValueError, LookupError, TypeError, EOFError, SyntaxError, RuntimeError, MemoryError, BadZipFile,
    SafetensorError, TokenError, zlib.error, struct.error, csv.Error,
)  # fmt: skip
LABEL_NAMES = {"label", "labels", "class", "target", "y"}  # of a column that can only be the labels, in small letters
INDEX = "an index is no feature; leave it out where the file is written (to_csv(index=False), row.names=FALSE)"
COUNTED = 10  # cells from which a first line 0,1,2,... is no sample, even among whole numbers
GREATEST = 2**53  # from which a number with a point is no exact whole number
ARGMAX = "save the number of each sample's class in its place, its argmax"
NUMBER = "number the classes, and name them in dataset.classes"


class Features(Dataset):
    """Features that were computed before, one file for each domain.

    A file is MATLAB (v5 or v7.3), ``.npz`` or ``.safetensors`` with a matrix of features, samples in rows or in
    columns, and a vector of labels, whole numbers, found by their shapes or named after a ``#``: ``both.mat#Xs,Ys``.
    ``.csv`` has a sample in each line, the label last; a first line without any number, or without one in the place of
    the label only, or that counts 0,1,2,... names the columns. ``.npy`` files come in two: ``features.npy#labels.npy``.

    Parameters
    ----------
    name : str
        Of the dataset.
    root : str
        Folder of the files.
    domains : mapping of str to str
        Short name -> ``FILE`` or ``FILE#FEATURES,LABELS``.
    tasks : str
        The tasks that a sweep takes by default: ``A-C,A-D``.
    classes : sequence of str, optional
        Class names in the order of the sorted labels; None: the labels themselves.
    counts : mapping, optional
        Published number of samples of each domain, or of each class of each domain; other numbers are refused. None
        accepts what is there.
    rows : {"none", "l1", "l2"}
        Divide each sample by the sum of its magnitudes, or by its 2-norm.
    columns : {"none", "standard"}
        Then scale each feature of each domain to mean 0 and variance 1 (n in the denominator, as the authors do); a
        constant feature becomes 0. This uses each domain's own statistics, so that it already aligns them.

    Raises
    ------
    UsageError
        A file is missing, broken or ambiguous, a class or file is named twice, or there are other numbers of samples
        than published.
    """

    def __init__(
        self,
        *,
        name: str,
        root: str,
        domains: Mapping[str, str],
        tasks: str,
        classes: list[str] | None,
        counts: Mapping[str, int | Mapping[str, int]] | None,
        rows: Literal["none", "l1", "l2"],
        columns: Literal["none", "standard"],
    ) -> None:
        self.name = name
        self.root = Path(root).expanduser()
        self.domains = dict(domains)
        super().__init__(tasks=tasks)
        self.named_classes = classes
        self.counts = counts
        self.rows = rows
        self.columns = columns
        self._read: dict[str, Samples] = {}
        check_once(name, "classes", classes or ())
        check_once(name, "domains", self.domains.values())

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Class names in the order of the labels."""
        return tuple(self.named_classes or map(str, self._labels))

    def load(self, name: str) -> Domain:
        """Read one domain."""
        labels = self._labels
        if self.named_classes is not None and len(labels) != len(self.named_classes):
            raise UsageError(
                f"{self.name} has {len(labels)} labels ({', '.join(map(str, labels))}) for "
                f"{len(self.named_classes)} class names; give as many in dataset.classes"
            )
        samples = self._samples(name)
        for difference in self.differences(name):
            raise UsageError(f"{difference}; set dataset.counts=null to run on what is there")
        widths = {domain: self._samples(domain).x.shape[1] for domain in self.domains}
        if len(set(widths.values())) > 1:
            said = ", ".join(f"{domain} {width}" for domain, width in widths.items())
            raise UsageError(f"{self.name}: expected domains of the same features; their numbers are {said}")
        x = scaled(samples.x, self.rows, self.columns)
        y = np.searchsorted(labels, samples.y)
        x.setflags(write=False)
        y.setflags(write=False)
        return Domain(name, x, y, samples.fingerprint)

    def content(self, name: str) -> str:
        return hashed(self.root, self.domains[name])

    def census(self, name: str) -> Counter[str]:
        return Counter(self.classes[label] for label in np.searchsorted(self._labels, self._samples(name).y))

    @cached_property
    def _labels(self) -> np.ndarray:
        return np.unique(np.concatenate([self._samples(name).y for name in self.domains]))

    def _samples(self, name: str) -> "Samples":
        if name not in self.domains:
            raise unknown(f"domain of {self.name}", name, self.domains)
        if name not in self._read:
            self._read[name] = read(self.root, self.domains[name])
        return self._read[name]


class Samples(NamedTuple):
    """What a file holds."""

    x: np.ndarray  # (n, d)
    y: np.ndarray  # (n,) int64, as in the file
    fingerprint: str


def scaled(x: np.ndarray, rows: Literal["none", "l1", "l2"], columns: Literal["none", "standard"]) -> np.ndarray:
    """Return features (n, d) with rows of norm 1 and then, where wanted, columns of mean 0 and variance 1."""
    if rows != "none":
        x = normalize(x.astype(np.float64, copy=False), norm=rows)
    if columns == "standard":
        x = x.astype(np.float64, copy=False)
        centred, deviation = x - x.mean(axis=0), x.std(axis=0)
        x = np.divide(centred, deviation, out=np.zeros_like(x), where=np.ptp(x, axis=0) > 0)
    return x.copy()


def read(root: Path, place: str) -> Samples:
    """Read the features and labels that `place`, ``FILE`` or ``FILE#FEATURES,LABELS``, names below `root`.

    Raises
    ------
    UsageError
        There is no such file or key, or what it holds is not one matrix and one vector of labels.
    """
    file, _, keys = place.partition("#")
    path = root / file
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path}: expected one of {', '.join(READERS)}; convert it, or name another file")
    try:
        fingerprint = hashed(root, place)
        arrays = reader(path, root / keys)
    except UNREADABLE as error:
        why = cause(error)
        why = "it is damaged, or holds Python objects, which are never read" if "pickle" in why else why
        raise UsageError(f"cannot read features from {str(path)!r}: {why}") from error
    x, y = chosen(arrays, "" if reader is read_npy else keys, path)
    return Samples(*samples(x, y, path), fingerprint)


def hashed(root: Path, place: str) -> str:
    """Return what tells the content of a `place`, ``FILE``, ``FILE#FEATURES,LABELS`` or ``FILE.npy#LABELS.npy``."""
    file, _, keys = place.partition("#")
    if READERS.get((root / file).suffix.lower()) is read_npy and (root / keys).is_file():
        return hashed(root, file) + hashed(root, keys)
    with (root / file).open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16] + keys


def chosen(arrays: Arrays, keys: str, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pick features and labels from named arrays: by `keys` ``FEATURES,LABELS``, or the only matrix and vector."""
    if keys:
        wanted = [key.strip() for key in keys.split(",")]
        for key in wanted:
            if key not in arrays:
                raise unknown(f"key of {path.name}", key, arrays)
        if len(wanted) != 2:
            raise UsageError(f"{path}#{keys}: expected two keys, #FEATURES,LABELS; given {len(wanted)}")
        return arrays[wanted[0]], arrays[wanted[1]]
    known = {key: np.asarray(a) for key, a in arrays.items()}
    numeric = {key: a for key, a in known.items() if a.dtype.kind in "biuf"}
    matrices = [key for key, a in numeric.items() if a.ndim == 2 and 1 not in a.shape]
    matrices = matrices or [key for key, a in numeric.items() if a.ndim == 2]  # a single sample or feature
    vectors = [key for key, a in numeric.items() if a.ndim == 1 or (a.ndim == 2 and 1 in a.shape)]
    vectors = [key for key in vectors if key not in matrices] or [key for key, a in known.items() if is_text(a)]
    if len(vectors) != 1 or len(matrices) != 1:
        shapes = ", ".join(f"{key} {a.shape}" for key, a in numeric.items()) or "no numbers"
        todo = remedy(numeric, coded=not vectors) or f"name the two: {path.name}#KEY,KEY"
        raise UsageError(f"{path}: expected one matrix of features and one vector of labels, found {shapes}; {todo}")
    return known[matrices[0]], known[vectors[0]]


def remedy(numeric: Arrays, *, coded: bool) -> str:
    """Return what to do about arrays of which none is the features or none the labels, which may be `coded` one-hot."""
    for key, array in numeric.items():
        if array.ndim > 2 and len(numeric) == 2:
            return f"flatten each sample of {key} to a row"
        if coded and is_one_hot(array):
            return f"{key} is one-hot: {ARGMAX}"
    if len(numeric) < 2:
        return f"text, cells, structures, complex and sparse arrays are not read: save real and full numbers; {NUMBER}"
    return ""


def is_one_hot(array: np.ndarray) -> bool:
    """Return whether each row, or each column, of a matrix has a single 1 and otherwise zeros."""
    return bool(np.isin(array, (0, 1)).all()) and any((array.sum(axis=axis) == 1).all() for axis in range(array.ndim))


def is_text(array: np.ndarray) -> bool:
    """Return whether an array is a vector of text, as class names are."""
    return array.ndim == 1 and array.dtype.kind in "US"


def samples(x: np.ndarray, y: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return features (n, d), samples in rows, and integer labels (n,)."""
    if y.ndim > 1 and y.size != max(y.shape):
        todo = ARGMAX if y.ndim == 2 and is_one_hot(y) else "save a vector"
        raise UsageError(f"{path}: expected one label for each sample, found an array of shape {y.shape}; {todo}")
    y = np.ravel(y)
    if x.ndim != 2 or len(y) not in x.shape:
        raise UsageError(f"{path}: {len(y)} labels do not fit features of shape {x.shape}")
    if len(x) != len(y):
        x = x.T
    if not x.size:
        raise UsageError(f"{path}: expected samples, found none (features of shape {x.shape})")
    if x.dtype.kind not in "biuf":
        raise UsageError(f"{path}: expected numbers as features, given {x.flat[0]!s}")
    if not (finite := np.isfinite(x)).all():
        row, column = np.argwhere(~finite)[0]
        raise UsageError(
            f"{path}: feature {column + 1} of sample {row + 1}, counted from 1, is {x[row, column]}; "
            "expected finite numbers: fill it in, or leave the sample out"
        )
    numbers = y.dtype.kind in "biuf"
    odd = y[~np.isfinite(y) | (y != np.rint(y)) | (abs(y) >= GREATEST)] if numbers else y
    if len(odd):
        of_csv = " (the last column is the label)" * (path.suffix.lower() == ".csv")
        todo = f"; {NUMBER}" * (not numbers)
        raise UsageError(f"{path}: expected whole numbers as labels{of_csv}, given {odd[0]!s}{todo}")
    precise = x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)
    return np.ascontiguousarray(precise), y.astype(np.int64)


def read_mat(path: Path, _: Path) -> Arrays:
    """Read a MATLAB file, v5 or v7.3 (HDF5, whose arrays lie transposed)."""
    if h5py.is_hdf5(path):
        with h5py.File(path) as file:
            return {key: file[key][()].T for key in file if isinstance(file[key], h5py.Dataset)}
    return read_v5(path.read_bytes())


def read_npz(path: Path, _: Path) -> Arrays:
    """Read a NumPy archive, never unpickling."""
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        return dict(file)


def read_npy(path: Path, labels: Path) -> Arrays:
    """Read a NumPy file of features and one of labels."""
    if not labels.is_file():
        missing = "" if labels.is_dir() else f"no file {str(labels)!r}; "
        both = f"'dataset.domains={{A: \"{path.name}#{path.stem}_labels.npy\", ...}}'"
        raise ValueError(f"{missing}its labels are in another file; name both: {both}")
    return {
        "features": np.load(path, allow_pickle=False),
        "labels": np.load(labels, allow_pickle=False),
    }


def read_csv(path: Path, _: Path) -> Arrays:
    """Read comma-separated lines, the label last; the first may name the columns."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = ((n, cells) for n, cells in enumerate(csv.reader(file)) if cells and not cells[0].startswith("#"))
        blank, first = next(lines, (0, []))
        second = next(lines, (0, []))[1]
        header = is_header(first, second)
        if not first or (header and not second):
            raise ValueError("it holds no samples")
    if header:
        check_header(first, len(second))
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=blank + header, ndmin=2, encoding="utf-8-sig", quotechar='"')
    except ValueError as error:
        raise ValueError(fault(path, blank + header) or cause(error)) from error
    if table.shape[1] < 2:
        raise ValueError("expected features and a label in each line, separated by commas, given one cell")
    if len(table) > 2 and (np.diff(table[:, 0]) == 1).all():
        tell_of_index(path)
    return {"features": table[:, :-1], "labels": table[:, -1]}


@cache
def tell_of_index(path: Path) -> None:
    """Say once in a process that the first feature of a file only counts its lines."""
    log.warning("%s: the first column counts the lines, and is taken as a feature; %s", path, INDEX)


def is_header(first: list[str], second: list[str]) -> bool:
    """Return whether the first line names the columns.

    It does if it has no number, or none where the second has the label, or counts the columns from 0 or 1.

    Raises
    ------
    ValueError
        It counts, and may be a sample as well: it is short, and there are whole numbers in the second, too.

    Examples
    --------
    >>> is_header(["0", "kind"], ["3", "1"]), is_header(["0", "1"], ["3.5", "1.0"]), is_header(["NA", "1"], ["3", "1"])
    (True, True, False)
    """
    if not any(map(is_number, first)) or (not is_number(first[-1]) and is_number(second[-1] if second else "")):
        return True
    numbers = [str(number) for number in range(len(first) + 1)]
    if len(first) < 2 or [cell.strip() for cell in first] not in (numbers[:-1], numbers[1:]):
        return False
    if len(first) < COUNTED and any(cell.strip().lstrip("+-").isdecimal() for cell in second or first):
        raise ValueError(
            f"its first line, {','.join(first)}, may be a sample or the columns' numbers; put a line of names "
            "(f0,...,label) before a sample, and in place of numbers, or leave these out (to_csv(header=False))"
        )
    return True


def check_header(names: list[str], cells: int) -> None:
    """Raise `ValueError` where the names say that a column is an index, or that the labels are not in the last.

    `cells` is how many the next line has.
    """
    if not names[0].strip() or len(names) == cells - 1:
        raise ValueError(f"its first column has no name: {INDEX}")
    if len(names) != cells:
        raise ValueError(f"its first line names {len(names)} columns, and the next has {cells} cells; give as many")
    *others, last = (name.strip() for name in names)
    taken = LABEL_NAMES - ({"y"} if "x" in map(str.lower, others) else set())  # beside x, y is a coordinate
    label = next((name for name in others if name.lower() in taken), None)
    if label is not None and last.lower() not in LABEL_NAMES:
        raise ValueError(f"the last column is the label, and that is {last!r}; move {label!r} there, or rename it")


def fault(path: Path, skipped: int) -> str | None:
    """Say where the lines after the first `skipped` hold anything but a table of comma-separated numbers."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        width = 0
        lines = csv.reader((line.partition("#")[0] for line in file), quoting=csv.QUOTE_NONE)
        for cells in lines:
            if not cells or lines.line_num <= skipped:
                continue
            for column, cell in enumerate(cells, start=1):
                if not is_number(cell):
                    where = f"line {lines.line_num}, column {column}: {cell!r} is not a number"
                    return where + advice(cell, first=column == 1, last=column == len(cells))
            width = width or len(cells)
            if len(cells) != width:
                return f"line {lines.line_num}: expected {width} cells, as in the lines before, given {len(cells)}"
    return None


def advice(cell: str, *, first: bool, last: bool) -> str:
    """Return what to do about a cell that is not a number, in the first or last column of its line or between them."""
    if ";" in cell or "\t" in cell or " " in cell.strip():
        return "; separate the cells by commas"
    if first and not cell.strip():
        return f"; {INDEX}"
    if last and not cell.strip():
        return "; leave out the comma at the end of the line, or fill in the label"
    if last:
        return f"; the last column is the label, a whole number: {NUMBER}"
    return "; fill it in, or leave the sample out"


def is_number(cell: str) -> bool:
    """Return whether a cell of text is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def read_safetensors(path: Path, _: Path) -> Arrays:
    """Read a safetensors file."""
    with safe_open(path, framework="numpy") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - the file itself is no mapping


READERS = {
    ".mat": read_mat,
    ".npz": read_npz,
    ".npy": read_npy,
    ".csv": read_csv,
    ".safetensors": read_safetensors,
}
