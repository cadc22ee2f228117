"""A matrix of bytes from a MATLAB 5 file.

`scipy.io.loadmat` says itself that it is not hardened: one changed byte can crash the interpreter, and a compressed
part may unpack to any size.  What the Frey faces need of the format fits on this page.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from numvae.errors import InputError
from numvae.reading import reading

HEADER, BYTE_ORDER = 128, {b"IM": "<", b"MI": ">"}
INT8, UINT8, INT32, MATRIX, COMPRESSED = 1, 2, 5, 14, 15
MAX_BYTES = 2**24
"""Bytes of one file, and of what one variable may unpack to."""


def read_matlab(path: str | Path, name: str, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The matrix called `name` of that shape in a MATLAB 5 file (version 5 to 7.2), whose values are stored as bytes.

    Raises `InputError` where there is none: it lists what was seen.

    Source: MathWorks, "MAT-File Format", chapter 1, "Level 5 MAT-Files".
    """
    path = Path(path)
    with reading(path):
        if path.stat().st_size > MAX_BYTES:
            raise InputError(
                f"{path}: has {path.stat().st_size} bytes, at most {MAX_BYTES} are read; is it another file?"
            )
        data = path.read_bytes()
        order = BYTE_ORDER.get(data[HEADER - 2 : HEADER])
        if order is None:
            raise InputError(f"{path}: is no MATLAB 5 file, it starts with {data[:16]!r}; fetch or save it anew")
        seen = []
        for kind, content in _elements(data[HEADER:], order):
            if kind == COMPRESSED:
                [(kind, content)] = _elements(_unpacked(content), order)
            found_name, found_shape, values = _matrix(kind, content, order)
            if (found_name, found_shape, len(values)) == (name, shape, shape[0] * shape[1]):
                return np.frombuffer(values, np.uint8).reshape(shape, order="F")
            seen.append(f"{found_name} {found_shape}")
    listing = ", ".join(seen[:4]) if seen else "nothing"
    raise InputError(
        f"{path}: must hold a matrix of bytes {name} {shape}, saw {listing}; save values of your own by np.save"
    )


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """The elements in a stretch of the file: a tag of type and size, the content, and padding to 8 bytes."""
    start = 0
    while start < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, start)
        if kind >> 16:  # up to 4 bytes are packed into the tag itself
            kind, size, begin, end = kind & 0xFFFF, kind >> 16, start + 4, start + 8
        else:
            begin, end = start + 8, start + 8 + size
            end += 0 if kind == COMPRESSED else -size % 8
        if begin + size > min(end, len(data)):
            raise ValueError(f"an element promises {size} bytes, {len(data) - begin} are there")
        yield kind, data[begin : begin + size]
        start = end


def _unpacked(content: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(content, MAX_BYTES)
    if not unpacker.eof:
        raise ValueError(f"a compressed element is cut short, or unpacks to more than {MAX_BYTES} bytes")
    return data


def _matrix(kind: int, content: bytes, order: str) -> tuple[str, tuple[int, ...], bytes]:
    """Name, shape and values of a matrix; no values where it is not stored as bytes."""
    parts = list(_elements(content, order)) if kind == MATRIX else []
    if [part for part, _ in parts[1:4]] != [INT32, INT8, UINT8]:
        return "something else", (), b""
    (_, lengths), (_, name), (_, values) = parts[1:4]
    return name.decode("ascii"), struct.unpack(f"{order}{len(lengths) // 4}i", lengths), values
