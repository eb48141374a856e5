"""Any file of features and labels as a domain."""

import csv
import hashlib
import struct
import zlib
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from tokenize import TokenError
from typing import Literal, NamedTuple
from zipfile import BadZipFile

import h5py
import numpy as np
from safetensors import SafetensorError, safe_open
from sklearn.preprocessing import normalize

from tda.data.base import Dataset
from tda.data.matlab import read_v5
from tda.errors import UsageError, unknown
from tda.task import Domain

Arrays = Mapping[str, np.ndarray]
UNREADABLE = (  # what the libraries below raise on a damaged file
    OSError, ValueError, LookupError, TypeError, EOFError, SyntaxError, RuntimeError, MemoryError, BadZipFile,
    SafetensorError, TokenError, zlib.error, struct.error,
)  # fmt: skip


class Features(Dataset):
    """Features that were computed before, one file for each domain.

    A file is MATLAB (v5 or v7.3), ``.npz`` or ``.safetensors`` with a matrix of features, samples in rows or in
    columns, and a vector of labels, found by their shapes or named after a ``#``: ``both.mat#Xs,Ys``. ``.csv`` has a
    sample in each line, the label last, a line of names or none. ``.npy`` files come in two:
    ``features.npy#labels.npy``.

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
        A file is missing, broken or ambiguous, or holds other numbers of samples than published.
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
        for other in self.domains:
            if not np.isin(samples.y, self._samples(other).y).any():
                raise UsageError(f"{self.name}: {name} and {other} have no label in common; label both alike")
        widths = {domain: self._samples(domain).x.shape[1] for domain in self.domains}
        if len(set(widths.values())) > 1:
            said = ", ".join(f"{domain} {width}" for domain, width in widths.items())
            raise UsageError(f"{self.name}: expected domains of the same features; their numbers are {said}")
        x = scaled(samples.x, self.rows, self.columns)
        y = np.searchsorted(labels, samples.y)
        x.setflags(write=False)
        y.setflags(write=False)
        return Domain(name, x, y, samples.fingerprint)

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
        arrays = reader(path, root / keys)
        content = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except UNREADABLE as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        why = "it is damaged, or holds Python objects, which are never read" if "pickle" in why else why
        raise UsageError(f"cannot read features from {str(path)!r}: {why}") from error
    x, y = chosen(arrays, keys if "," in keys else "", path)
    return Samples(*samples(x, y, path), content + keys)


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
    numeric = {key: np.asarray(a) for key, a in arrays.items() if np.asarray(a).dtype.kind in "biuf"}
    vectors = [key for key, a in numeric.items() if a.ndim == 1 or (a.ndim == 2 and 1 in a.shape)]
    matrices = [key for key, a in numeric.items() if a.ndim == 2 and 1 not in a.shape]
    if len(vectors) != 1 or len(matrices) != 1:
        shapes = ", ".join(f"{key} {a.shape}" for key, a in numeric.items()) or "no numbers"
        raise UsageError(f"{path}: expected one matrix and one vector, found {shapes}; name them: {path.name}#KEY,KEY")
    return numeric[matrices[0]], numeric[vectors[0]]


def samples(x: np.ndarray, y: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return features (n, d), samples in rows, and integer labels (n,)."""
    y = np.ravel(y)
    if x.ndim != 2 or len(y) not in x.shape:
        raise UsageError(f"{path}: {len(y)} labels do not fit features of shape {x.shape}")
    if len(x) != len(y):
        x = x.T
    if not x.size:
        raise UsageError(f"{path}: expected samples, found none (features of shape {x.shape})")
    for what, values in (("feature", x), ("label", y)):
        if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
            raise UsageError(f"{path}: a {what} is not a finite number")
    if not np.array_equal(y, np.rint(y)):
        raise UsageError(f"{path}: expected whole numbers as labels, given {y[y != np.rint(y)][0]}")
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
        raise ValueError(f"its labels are in another file; name it after a #: {path.name}#labels.npy")
    return {
        "features": np.load(path, allow_pickle=False),
        "labels": np.load(labels, allow_pickle=False),
    }


def read_csv(path: Path, _: Path) -> Arrays:
    """Read comma-separated lines, the label last; a first line that holds no numbers names the columns."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = ((number, cells) for number, cells in enumerate(csv.reader(file)) if cells)
        blank, first = next(lines, (0, []))
        names = any(not is_number(cell) for cell in first)
        if not first or (names and not next(lines, None)):
            raise ValueError("it holds no samples")
    table = np.loadtxt(path, delimiter=",", skiprows=blank + names, ndmin=2, encoding="utf-8-sig")
    return {"features": table[:, :-1], "labels": table[:, -1]}


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
