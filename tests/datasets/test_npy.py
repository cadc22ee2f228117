"""NumPy's files: round trips, and headers that lie."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numvae.datasets.npy import npz_names, read_npy, read_npz
from numvae.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("npy")


def npy_bytes(array, **options):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


def npy_header(text):
    text = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def npz_bytes(members, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def error_of(folder, data, names=None):
    path = folder / ("values.npz" if names else "values.npy")
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_npz(path, names) if names else read_npy(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


arrays = st.sampled_from(["u1", "?", "<i4", ">i2", "<f4", ">f8", "f2"]).flatmap(
    lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(max_dims=3, max_side=6, min_side=0))
)


@given(array=arrays, version=st.sampled_from([(1, 0), (2, 0), (3, 0)]), fortran=st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_was_saved_is_read(folder, array, version, fortran):
    array = np.asfortranarray(array) if fortran else array
    data = npy_bytes(array, version=version)
    (folder / "values.npy").write_bytes(data)
    (folder / "values.npz").write_bytes(npz_bytes({"a.npy": data}))
    for seen in (read_npy(folder / "values.npy"), read_npz(folder / "values.npz", ["a"])["a"]):
        assert (seen.dtype, seen.shape) == (array.dtype.newbyteorder("="), array.shape)
        np.testing.assert_array_equal(seen, array)


def test_an_npz_is_read_as_numpy_wrote_it(folder):
    train, test = np.arange(70_000.0).reshape(700, 100), np.ones((3, 100), np.uint8)
    for save in (np.savez, np.savez_compressed):
        save(folder / "both.npz", train=train, test=test)
        assert npz_names(folder / "both.npz") == ["train", "test"]
        seen = read_npz(folder / "both.npz", ["train", "test"])
        np.testing.assert_array_equal(seen["train"], train)
        np.testing.assert_array_equal(seen["test"], test)


GOOD = npy_bytes(np.arange(24, dtype=np.uint8).reshape(4, 6))
GOOD_NPZ = npz_bytes({"a.npy": GOOD})


@given(
    place=st.integers(0, 400), value=st.integers(0, 255), end=st.integers(0, 400), kind=st.sampled_from(["npy", "npz"])
)
@settings(max_examples=400, deadline=None)
def test_any_damage_gives_an_array_or_one_line(folder, place, value, end, kind):
    damaged = bytearray((GOOD if kind == "npy" else GOOD_NPZ)[:end])
    if place < len(damaged):
        damaged[place] = value
    path = folder / f"damaged.{kind}"
    path.write_bytes(damaged)
    with contextlib.suppress(InputError):
        for array in [read_npy(path)] if kind == "npy" else read_npz(path, npz_names(path)).values():
            assert array.dtype.kind in "biuf"


@pytest.mark.parametrize(
    "shape", ["(100000, 784)", "(4, 7)", "(4, 5)", f"({2**62}, {2**62})", f"({2**40},)", "(-4, -6)", f"({2**31}, 2)"]
)
def test_a_lying_header_is_refused_without_the_memory_it_promises(folder, shape):
    data = npy_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}") + bytes(24)
    tracemalloc.start()
    error_of(folder, data)
    error_of(folder, npz_bytes({"a.npy": data}), names=["a"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


def test_a_zip_that_lies_about_a_members_size_is_refused(folder):
    promised = 2**30
    data = npy_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({promised},)}}") + bytes(24)
    size = promised + len(data) - 24
    lie = npz_bytes({"a.npy": data}).replace(len(data).to_bytes(4, "little"), size.to_bytes(4, "little"))
    tracemalloc.start()
    assert "compressed bytes cannot hold" in error_of(folder, lie, names=["a"])
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_zip_of_more_than_the_limit_is_refused(folder, monkeypatch):
    monkeypatch.setattr("numvae.reading.LIMIT", 2**20)
    data = npz_bytes({"a.npy": npy_bytes(np.zeros(2**21, np.uint8))})
    assert "more than the 1048576" in error_of(folder, data, names=["a"])


def test_nothing_is_unpickled(folder):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    data = npy_bytes(np.array([Bomb()], dtype=object), allow_pickle=True)
    assert "dtype object" in error_of(folder, data)
    assert "dtype object" in error_of(folder, npz_bytes({"a.npy": data}), names=["a"])


def test_what_is_no_number_is_refused(folder):
    assert "<U3" in error_of(folder, npy_bytes(np.array(["one", "two"])))
    assert "complex" in error_of(folder, npy_bytes(np.array([1j])))
    error_of(folder, b"")
    error_of(folder, b"\x93NUMPY")
    error_of(folder, npy_header("(" * 200))
    error_of(folder, npy_header("__import__('os').getcwd()"))


def test_other_compressions_are_refused(folder):
    assert "savez_compressed" in error_of(folder, npz_bytes({"a.npy": GOOD}, zipfile.ZIP_BZIP2), names=["a"])
    assert "savez_compressed" in error_of(folder, npz_bytes({"a.npy": GOOD}, zipfile.ZIP_LZMA), names=["a"])
