"""The IDX reader: round trips, and no file, however broken, gets past it as anything but one clear line."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numvae.datasets import read_idx
from numvae.datasets.idx import CODES
from numvae.errors import InputError
from numvae.reading import LIMIT


def header(code, shape):
    return bytes([0, 0, code, len(shape)]) + b"".join(struct.pack(">I", length) for length in shape)


def idx_bytes(array):
    code = next(code for code, name in CODES.items() if np.dtype(name).newbyteorder("=") == array.dtype)
    return header(code, array.shape) + array.astype(CODES[code]).tobytes()


def written(folder, data):
    path = folder / "values-idx"
    path.write_bytes(data)
    return path


def error_of(folder, data):
    with pytest.raises(InputError) as caught:
        read_idx(written(folder, data))
    text = str(caught.value)
    assert "\n" not in text
    assert "values-idx" in text
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("idx")


arrays = st.sampled_from([np.dtype(name).newbyteorder("=") for name in CODES.values()]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=4, max_side=5, min_side=0))
)


@given(array=arrays, packed=st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_was_written_is_read(folder, array, packed):
    data = idx_bytes(array)
    seen = read_idx(written(folder, gzip.compress(data) if packed else data))
    assert (seen.dtype, seen.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(seen, array)
    assert seen.flags.writeable


GOOD = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@given(st.binary(max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_an_array_or_one_line(folder, data):
    for variant in (data, b"\0\0\x08" + data, b"\x1f\x8b" + data, gzip.compress(data)):
        read_or_refuse(folder, variant)


@given(
    place=st.integers(0, len(GOOD) - 1),
    value=st.integers(0, 255),
    end=st.integers(0, len(GOOD) + 8),
    packed=st.sampled_from(["plain", "damaged before packing", "damaged after packing"]),
)
@settings(max_examples=300, deadline=None)
def test_any_damage_gives_an_array_or_one_line(folder, place, value, end, packed):
    data = gzip.compress(GOOD, mtime=0) if packed == "damaged after packing" else GOOD
    damaged = bytearray(data.ljust(end, b"\0")[:end] if end > len(data) else data[:end])
    if place < len(damaged):
        damaged[place] = value
    read_or_refuse(folder, gzip.compress(damaged) if packed == "damaged before packing" else bytes(damaged))


def read_or_refuse(folder, data):
    path = written(folder, data)
    with contextlib.suppress(InputError):
        array = read_idx(path)
        assert array.nbytes == len(array.tobytes())
        assert array.dtype.kind in "iuf"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "shape", [(60_000, 28, 29), (2**32 - 1,), (2**32 - 1,) * 5, (2**31, 2**31, 4), (2, 3, 5), (2, 3, 3)]
)
def test_a_lying_header_is_refused_without_the_memory_it_promises(folder, shape, packed):
    data = header(0x08, shape) + bytes(24)
    tracemalloc.start()
    text = error_of(folder, gzip.compress(data) if packed else data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22
    assert "header promises" in text


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(folder):
    zeros = gzip.compress(bytes(2**24), compresslevel=9)  # 16 KiB that unpack to 16 MiB
    tracemalloc.start()
    too_long = error_of(folder, gzip.compress(header(0x08, (2, 3))) + zeros)
    too_much = error_of(folder, gzip.compress(header(0x08, (LIMIT + 1,))) + zeros * 140)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more bytes follow" in too_long
    assert str(LIMIT) in too_much
    assert peak < 2**23


def test_a_truncated_file_says_how_much_is_there(folder):
    assert "promises 24 bytes of values, but 20 are there" in error_of(folder, GOOD[:-4])
    assert "inside its header" in error_of(folder, GOOD[:10])
    assert "end-of-stream" in error_of(folder, gzip.compress(GOOD)[:-3])
    assert "CRC" in error_of(folder, gzip.compress(GOOD)[:-8] + bytes(8))


def test_a_file_that_is_no_idx_says_what_it_starts_with(folder):
    assert "b'1,2,'" in error_of(folder, b"1,2,3\n")
    assert "b''" in error_of(folder, b"")
    assert "not an IDX file" in error_of(folder, b"\0\0\x07\x01\0\0\0\0")


def test_the_digest_is_that_of_the_unpacked_content(folder):
    digest = hashlib.sha256(GOOD).hexdigest()
    for data in (GOOD, gzip.compress(GOOD, compresslevel=1), gzip.compress(GOOD, compresslevel=9)):
        np.testing.assert_array_equal(read_idx(written(folder, data), sha256=digest).ravel(), np.arange(24))
    with pytest.raises(InputError, match=f"not {digest}"):
        read_idx(written(folder, GOOD[:-1] + b"\0"), sha256=digest)


def test_a_file_that_is_missing_is_one_line(folder):
    with pytest.raises(InputError, match="missing-idx"):
        read_idx(folder / "missing-idx")
