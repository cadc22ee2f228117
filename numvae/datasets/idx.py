"""IDX, the format of the MNIST files: two zero bytes, a type code, the number of axes, their lengths, the values."""

from __future__ import annotations

import gzip
import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.errors import InputError
from numvae.reading import check_present, check_promise, read_at_most, reading

CODES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""Type code in the third byte -> NumPy type; everything in IDX is big-endian."""

MAX_AXES = 32
GZIP = b"\x1f\x8b"


def starts_like_idx(path: Path) -> bool:
    """Whether a file starts with two zero bytes, as IDX does, or is gzipped."""
    with path.open("rb") as file:
        return file.read(2) in (b"\0\0", GZIP)


def read_idx(path: str | Path, *, sha256: str | None = None) -> npt.NDArray[Any]:
    """The array in an IDX file, plain or gzipped, in the machine's byte order.

    `sha256` is the wanted digest of the *unpacked* file, so that a copy packed by another gzip passes too.

    Raises `InputError` where the file is no IDX file, holds fewer or more bytes than its header promises, promises more
    than `reading.LIMIT`, or has another digest.

    Source: http://yann.lecun.com/exdb/mnist/, "The IDX file format".
    """
    path = Path(path)
    with reading(path), path.open("rb") as file:
        size = path.stat().st_size
        packed = file.read(2) == GZIP
        file.seek(0)
        stream = gzip.GzipFile(fileobj=file) if packed else file

        start = stream.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in CODES or not 1 <= start[3] <= MAX_AXES:
            raise InputError(
                f"{path}: not an IDX file: it starts with {start!r}, an IDX file with two zero bytes, "
                f"a type code ({', '.join(f'0x{code:02x}' for code in CODES)}) and 1 to {MAX_AXES} axes"
            )
        dtype, axes = np.dtype(CODES[start[2]]), start[3]
        lengths = stream.read(4 * axes)
        if len(lengths) < 4 * axes:
            raise InputError(f"{path}: ends inside its header of {axes} axis lengths; fetch or save it anew")
        shape = tuple(int.from_bytes(lengths[4 * axis : 4 * axis + 4], "big") for axis in range(axes))

        promised = math.prod(shape) * dtype.itemsize
        check_promise(path, promised, packed=size if packed else None)
        values = read_at_most(stream, promised)
        if len(values) < promised:
            check_present(path, promised, len(values))
        if stream.read(1):  # at its end a gzip stream checks its own checksum
            raise InputError(f"{path}: more bytes follow the {promised} that its header promises; save it anew")
        if sha256 is not None:
            _check_digest(path, hashlib.sha256(start + lengths), values, sha256)
        return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _check_digest(path: Path, digest: Any, values: bytearray, wanted: str) -> None:
    digest.update(values)
    if digest.hexdigest() != wanted:
        raise InputError(
            f"{path}: its unpacked content has SHA-256 {digest.hexdigest()}, not {wanted}; "
            "it is damaged or another data set: delete it to have it fetched anew, or load it by its path"
        )
