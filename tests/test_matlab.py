"""Our reader of MATLAB files against SciPy's."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from scipy.sparse import eye_array

from tda.data.matlab import read_v5

DRAW = np.random.default_rng(0)
HELD: dict[str, Any] = {
    "double": DRAW.standard_normal((4, 3)), "single": DRAW.standard_normal((2, 5)).astype(np.float32),
    "cube": DRAW.standard_normal((2, 3, 4)), "tiny": np.array([[7]], dtype=np.uint8), "none": np.zeros((0, 3)),
    "logical": np.array([[True, False]]), "a_rather_long_name_of_an_array": np.arange(5.0)[None],
    **{f"of_{kind}": np.arange(6).reshape(2, 3).astype(kind) for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")},
}  # fmt: skip
PASSED_OVER = {"text": "amazon", "complex": np.ones((2, 2)) * 1j, "cell": np.array(["a", 1], dtype=object),
               "struct": {"a": 1.0}, "sparse": eye_array(3, format="csc")}  # fmt: skip


@pytest.mark.parametrize("compressed", [False, True])
def test_numeric_arrays_are_read_as_scipy_reads_them(compressed: bool, tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", HELD | PASSED_OVER, do_compression=compressed)
    ours, theirs = read_v5((tmp_path / "x.mat").read_bytes()), loadmat(tmp_path / "x.mat")
    assert set(ours) == set(HELD)
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name])
        assert array.dtype == theirs[name].dtype


def test_big_endian_files_and_numbers_stored_shorter_than_they_are() -> None:
    """A double array whose numbers lie as uint8, as MATLAB does it, written by a machine of the other byte order."""
    values = bytes([1, 2, 3, 4, 5, 6])
    parts = struct.pack(">IIII", 6, 8, 6, 0) + struct.pack(">IIii", 5, 8, 2, 3)
    parts += struct.pack(">HH4s", 1, 1, b"x\0\0\0") + struct.pack(">II8s", 2, 6, values)
    content = bytes(124) + b"\x01\x00MI" + struct.pack(">II", 14, len(parts)) + parts
    assert read_v5(content)["x"].tolist() == [[1, 3, 5], [2, 4, 6]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a MATLAB file of version 5"),
        (bytes(200), "not a MATLAB file of version 5"),
        (bytes(126) + b"IM" + struct.pack("<II", 14, 10**9), "damaged: 1000000000 bytes expected where 0 are left"),
        (bytes(126) + b"IM" + struct.pack("<II4s", 15, 4, b"zlib"), "damaged: Error -3"),
        (bytes(126) + b"IM" + struct.pack("<II8s", 14, 8, bytes(8)), "damaged: 0 is no type of numbers"),
    ],
)
def test_what_is_damaged_is_told(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_v5(content)
