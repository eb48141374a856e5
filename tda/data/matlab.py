"""Numeric arrays of MATLAB v5 files, every length checked before it is believed.

SciPy's reader is compiled and believes the lengths that it reads: on a damaged file it can end the whole process.
"""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

HEADER = 128  # bytes
MATRIX, COMPRESSED = 14, 15
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CLASSES = range(6, 16)  # double, single, and integers of 8 to 64 bits
COMPLEX = 0x800


class Element(NamedTuple):
    """A data element: what its bytes are, and the bytes."""

    kind: int
    content: memoryview


def read_v5(content: bytes) -> dict[str, np.ndarray]:
    """Return the real numeric arrays of a file by name; text, cells, structures and sparse matrices are passed over.

    Numbers have the type that they are stored in, which MATLAB makes as short as it can.

    Parameters
    ----------
    content : bytes
        The whole file: a header of 128 bytes, then data elements, each a tag (its type and number of bytes) and its
        content; that of an array is itself elements: flags, sizes, name and numbers, the first index varying fastest.

    Raises
    ------
    ValueError
        The file is not MATLAB v5, or damaged.

    References
    ----------
    The MathWorks. MAT-file format, version 5.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:HEADER])
    if order is None:
        raise ValueError("not a MATLAB file of version 5 or 7.3; save it again with save(..., '-v7')")
    arrays: dict[str, np.ndarray] = {}
    for element in elements(memoryview(content)[HEADER:], order):
        if element.kind == COMPRESSED:
            element = next(elements(memoryview(inflated(element.content)), order))
        if element.kind == MATRIX:
            arrays |= named(element.content, order)
    return arrays


def elements(content: memoryview, order: str) -> Iterator[Element]:
    """Yield the data elements that lie one after another in `content`."""
    while len(content) >= 8:
        kind, size = (int(n) for n in np.frombuffer(content[:8], order + "u4"))
        start = 8
        if kind >> 16:  # a small element: its length is beside its type, its content in the rest of the tag
            kind, size, start = kind & 0xFFFF, kind >> 16, 4
        if start + size > len(content) or (start == 4 and size > 4):
            raise ValueError(f"damaged: {size} bytes expected where {len(content) - start} are left")
        yield Element(kind, content[start : start + size])
        whole = start + size
        content = content[whole if kind == COMPRESSED else whole + -whole % 8 :]


def inflated(content: memoryview) -> bytes:
    """Return compressed content as it was."""
    try:
        return zlib.decompress(content)
    except zlib.error as error:
        raise ValueError(f"damaged: {error}") from error


def named(content: memoryview, order: str) -> dict[str, np.ndarray]:
    """Return an array under its name; nothing if it is not of real numbers."""
    parts = elements(content, order)
    flags, sizes, name = (next(parts, Element(0, content[:0])) for _ in range(3))
    word = int(numbers(flags, order)[:1].sum())
    if word & 0xFF not in CLASSES or word & COMPLEX:
        return {}
    shape, values = numbers(sizes, order), numbers(next(parts, Element(0, content[:0])), order)
    if (shape < 0).any() or int(np.prod(shape, dtype=object)) != len(values):
        raise ValueError(f"damaged: {len(values)} numbers for an array of {' x '.join(map(str, shape))}")
    native = values.astype(values.dtype.newbyteorder("="))
    return {bytes(name.content).decode("latin-1"): native.reshape(shape, order="F")}


def numbers(element: Element, order: str) -> np.ndarray:
    """Return an element's content as numbers (n,), in the type that they are stored in."""
    if element.kind not in STORED:
        raise ValueError(f"damaged: {element.kind} is no type of numbers")
    return np.frombuffer(element.content, order + STORED[element.kind])
