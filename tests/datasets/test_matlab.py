"""MATLAB 5 files as scipy writes them, and damaged ones."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from numvae.datasets import matlab
from numvae.datasets.matlab import read_matlab
from numvae.errors import InputError

VALUES = np.arange(15, dtype=np.uint8).reshape(3, 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("matlab")


def saved(folder, **options):
    path = folder / "values.mat"
    savemat(path, {"before": np.eye(2), "ff": VALUES, "a_long_name": 3.0}, **options)
    return path


def error_of(path):
    with pytest.raises(InputError) as caught:
        read_matlab(path, "ff", (3, 5))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_what_scipy_saved_is_read(folder, packed):
    np.testing.assert_array_equal(read_matlab(saved(folder, do_compression=packed), "ff", (3, 5)), VALUES)


def file_of(order, values):
    """A file with one matrix ff, in either byte order."""

    def element(kind, content):
        return struct.pack(f"{order}II", kind, len(content)) + content + bytes(-len(content) % 8)

    name = struct.pack(f"{order}I", 2 << 16 | 1) + b"ff\0\0"
    matrix = element(6, struct.pack(f"{order}II", 9, 0)) + element(5, struct.pack(f"{order}2i", *values.shape)) + name
    matrix += element(2, values.tobytes(order="F"))
    return bytes(124) + struct.pack(f"{order}HH", 0x0100, 0x4D49) + element(14, matrix)


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read(folder, order):
    (folder / "values.mat").write_bytes(file_of(order, VALUES))
    np.testing.assert_array_equal(read_matlab(folder / "values.mat", "ff", (3, 5)), VALUES)


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        ({"ff": VALUES.T}, "saw ff (5, 3)"),
        ({"faces": VALUES}, "saw faces (3, 5)"),
        ({"ff": VALUES.astype(np.int16)}, "saw something else"),
        ({"ff": VALUES * 0.5}, "saw something else"),
        ({"ff": {"a": 1}}, "saw something else"),
        ({}, "saw nothing"),
    ],
)
def test_a_file_without_the_matrix_says_what_it_has(folder, content, seen):
    savemat(folder / "other.mat", content)
    text = error_of(folder / "other.mat")
    assert seen in text
    assert "matrix of bytes ff (3, 5)" in text


def test_a_page_of_html_is_no_matlab_file(folder):
    (folder / "page.mat").write_text("<html>403 Forbidden</html>" * 100)
    assert "is no MATLAB 5 file, it starts with b'<html>" in error_of(folder / "page.mat")


def test_a_large_file_is_not_opened(folder):
    with (folder / "large.mat").open("wb") as file:
        file.truncate(2**30)
    assert "1073741824 bytes" in error_of(folder / "large.mat")


def test_a_bomb_is_not_unpacked(folder, monkeypatch):
    monkeypatch.setattr(matlab, "MAX_BYTES", 2**20)
    bomb = zlib.compress(bytes(2**26))
    (folder / "bomb.mat").write_bytes(file_of("<", VALUES)[:128] + struct.pack("<II", 15, len(bomb)) + bomb)
    tracemalloc.start()
    assert "more than 1048576 bytes" in error_of(folder / "bomb.mat")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


@given(data=st.data(), packed=st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_damage_gives_the_matrix_or_one_line(folder, data, packed):
    damaged = bytearray(saved(folder, do_compression=packed).read_bytes())
    for place in data.draw(st.lists(st.integers(120, len(damaged) - 1), max_size=3)):
        damaged[place] = data.draw(st.integers(0, 255))
    path = folder / "damaged.mat"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))] if data.draw(st.booleans()) else damaged)
    with contextlib.suppress(InputError):
        assert read_matlab(path, "ff", (3, 5)).shape == (3, 5)
