"""NumPy's own files, .npy and .npz, read without trusting their headers and without unpickling anything."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.errors import InputError
from numvae.reading import Stream, check_present, check_promise, read_at_most, reading

HEADER = 2**16
"""Bytes in which the header must end; NumPy writes 128 for any plain array."""


def read_npy(path: str | Path) -> npt.NDArray[Any]:
    """The array in a .npy file.  Raises `InputError` where the header and the file disagree, or it holds no numbers."""
    path = Path(path)
    with reading(path), path.open("rb") as file:
        return _read_array(str(path), file, path.stat().st_size, packed=None)


def npz_names(path: str | Path) -> list[str]:
    """The names of the arrays in a .npz file, in its order; nothing is unpacked."""
    with reading(path), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def read_npz(path: str | Path, names: list[str]) -> dict[str, npt.NDArray[Any]]:
    """The arrays called `names` in a .npz file, compressed or not, as a dict.  Raises `InputError` like `read_npy`."""
    with reading(path), zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        check_promise(path, sum(members[name].file_size for name in names))
        return {name: _read_member(f"{path}[{name}]", archive, members[name]) for name in names}


def _read_member(source: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{source}: packed by zip method {member.compress_type}; save it by np.savez_compressed")
    with archive.open(member) as stream:
        return _read_array(source, stream, member.file_size, packed=member.compress_size)


def _read_array(source: str, stream: Stream, size: int, packed: int | None) -> npt.NDArray[Any]:
    """The array in a stream that says it holds `size` bytes; `packed` is its compressed size, None for a plain file."""
    check_promise(source, size, packed)
    head = read_at_most(stream, min(HEADER, size))
    text = io.BytesIO(head)
    version = np.lib.format.read_magic(text)
    if version == (1, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(text)
    else:
        shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(text)
    if dtype.kind not in "biuf":
        raise InputError(f"{source}: holds values of dtype {dtype}, not numbers; save an array of uint8 or float32")
    if any(length < 0 for length in shape):
        raise InputError(f"{source}: its header gives the shape {shape}; save it anew")

    values = head[text.tell() :]
    promised = math.prod(shape) * dtype.itemsize
    check_present(source, promised, size - text.tell())
    values += read_at_most(stream, promised - len(values))
    check_present(source, promised, len(values))
    stream.read(1)  # at its end a zip member checks its own checksum
    array = np.frombuffer(values, dtype).reshape(shape, order="F" if fortran_order else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)
