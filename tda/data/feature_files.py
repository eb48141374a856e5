"""Features and labels of one domain, from any file that holds arrays."""

import csv
import hashlib
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import NamedTuple
from zipfile import BadZipFile

import h5py
import numpy as np
from safetensors import SafetensorError, safe_open

from tda.data.base import cause
from tda.data.comma_separated import NUMBER, read_csv
from tda.data.matlab import read_v5
from tda.errors import UsageError, unknown

Arrays = Mapping[str, np.ndarray]
UNREADABLE = (  # what the libraries below raise on a damaged file
    OSError, ValueError, LookupError, TypeError, EOFError, SyntaxError, RuntimeError, MemoryError, BadZipFile,
    SafetensorError, TokenError, zlib.error, struct.error, csv.Error,
)  # fmt: skip
GREATEST = 2**53  # from which a number with a point is no exact whole number
ARGMAX = "save the number of each sample's class in its place, its argmax"


class Samples(NamedTuple):
    """What a file holds."""

    x: np.ndarray  # (n, d)
    y: np.ndarray  # (n,) int64, as in the file
    fingerprint: str


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
