"""Data of one's own, file by file."""

from __future__ import annotations

import gzip
import os
import struct
import sys

import numpy as np
import pytest

from numvae.datasets import load, load_file
from numvae.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, size=(30, 4, 5)).astype(np.uint8)
IDX = bytes([0, 0, 8, 3]) + struct.pack(">3I", *IMAGES.shape) + IMAGES.tobytes()


def all_rows(data):
    return sorted(map(bytes, np.concatenate([data.train, data.test])))


def error_of(path):
    with pytest.raises(InputError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


def write_npy(folder):
    np.save(folder / "images.npy", IMAGES)
    return folder / "images.npy"


def write_npz(folder):
    np.savez_compressed(folder / "images.npz", anything=IMAGES)
    return folder / "images.npz"


def write_idx(folder):
    (folder / "images-idx3-ubyte").write_bytes(IDX)
    return folder / "images-idx3-ubyte"


def write_gz(folder):
    (folder / "images.gz").write_bytes(gzip.compress(IDX))
    return folder / "images.gz"


def write_folder(folder):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    for number, pixels in enumerate(IMAGES):
        image.fromarray(pixels).save(folder / f"{number:02d}.png")
    (folder / "README.txt").write_text("thirty images")
    return folder


@pytest.mark.parametrize("write", [write_npy, write_npz, write_idx, write_gz, write_folder])
def test_a_single_array_is_read_and_split(tmp_path, write):
    path = write(tmp_path)
    data = load(str(path), seed=3)
    assert (data.name, data.image_shape) == (path.name, (4, 5))
    assert (len(data.train), len(data.test)) == (27, 3)
    assert all_rows(data) == sorted(map(bytes, IMAGES))
    np.testing.assert_array_equal(data.test, load_file(path, seed=3).test)
    assert (data.test != load_file(path, seed=4).test).any()


@pytest.mark.parametrize(
    "names", [("train", "test", "train_labels", "test_labels"), ("x_train", "x_test", "y_train", "y_test")]
)
@pytest.mark.parametrize("with_labels", [True, False])
def test_an_npz_of_two_parts_is_read(tmp_path, names, with_labels):
    values = [IMAGES[:20], IMAGES[20:], np.arange(20, dtype=np.uint8), np.arange(10)]
    count = 4 if with_labels else 2
    np.savez(tmp_path / "parts.npz", **dict(zip(names[:count], values[:count], strict=True)))
    data = load(tmp_path / "parts.npz")
    np.testing.assert_array_equal(data.train, IMAGES[:20].reshape(20, 20))
    np.testing.assert_array_equal(data.test, IMAGES[20:].reshape(10, 20))
    assert (data.test_labels is not None) == with_labels


@pytest.mark.parametrize(
    "names", [("a", "b"), ("train", "test", "x_test"), ("x_train", "test"), ("train", "labels"), ()]
)
def test_other_names_in_an_npz_are_listed(tmp_path, names):
    np.savez(tmp_path / "parts.npz", **dict.fromkeys(names, IMAGES))
    text = error_of(tmp_path / "parts.npz")
    assert ", ".join(names) in text
    assert "x_train, x_test, y_train, y_test" in text


def test_many_names_in_an_npz_are_cut_short(tmp_path):
    np.savez(tmp_path / "many.npz", **{f"name{number}": np.zeros(1) for number in range(50)})
    assert "name5 and 44 more" in error_of(tmp_path / "many.npz")


def test_paths_that_cannot_be_used_say_why(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no images" in error_of(tmp_path / "empty")
    (tmp_path / "table.csv").write_text("1,2,3\n")
    assert "it reads .npy, .npz, IDX" in error_of(tmp_path / "table.csv")
    (tmp_path / "one.png").write_bytes(b"\x89PNG")
    assert "folder that holds the images" in error_of(tmp_path / "one.png")
    (tmp_path / "nothing.npy").touch()
    error_of(tmp_path / "nothing.npy")
    (tmp_path / "nothing.npz").touch()
    error_of(tmp_path / "nothing.npz")
    with pytest.raises(InputError, match="no such file"):
        load_file(tmp_path / "missing.npy")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    assert "neither a file nor a folder" in error_of(tmp_path / "pipe.npy")


def test_images_become_grey_in_the_order_of_their_names(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    from numvae.datasets.images import read_images

    image.new("RGB", (3, 2), (255, 0, 0)).save(tmp_path / "b.png")
    image.new("L", (3, 2), 7).save(tmp_path / "a.PNG")
    image.new("1", (3, 2), 1).save(tmp_path / "c.bmp")
    assert read_images(tmp_path)[:, 0, 0].tolist() == [7, 76, 255]


def test_images_that_differ_are_refused(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    image.new("L", (3, 2)).save(tmp_path / "a.png")
    image.new("L", (2, 3)).save(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"b\.png: has 2x3 pixels, but a\.png has 3x2"):
        load(tmp_path)
    image.fromarray(np.full((2, 3), 40_000, np.uint16)).save(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"b\.png: has more than 8 bits"):
        load(tmp_path)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(InputError, match=r"b\.png: cannot be read"):
        load(tmp_path)


def test_an_image_that_promises_too_many_pixels_is_not_unpacked(tmp_path):
    pytest.importorskip("PIL.Image", reason="needs Pillow")
    (tmp_path / "a.pgm").write_bytes(b"P5 9000 9000 255\n")
    with pytest.raises(InputError, match=r"a\.pgm: has 9000x9000 pixels"):
        load(tmp_path)
    (tmp_path / "a.pgm").write_bytes(b"P5 90000 90000 255\n")
    with pytest.raises(InputError, match=r"a\.pgm: cannot be read"):
        load(tmp_path)


def test_without_pillow_a_folder_of_images_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.png").touch()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match="pip install pillow"):
        load(tmp_path)


@pytest.mark.parametrize("write", [write_npy, write_npz, write_idx, write_gz, write_folder])
def test_the_numbers_of_a_file_are_counts_where_they_are_said_to_be(tmp_path, write):
    data = load(str(write(tmp_path)), seed=3, counts=True)
    assert data.counts
    assert data.train.dtype == np.float32
    assert all_rows(data) == sorted(map(bytes, IMAGES.reshape(30, 20).astype(np.float32)))


def test_counts_of_two_parts_and_counts_of_any_size_are_read(tmp_path):
    reads = np.array([[0, 70_000], [12, 5], [3, 0]])
    np.savez(tmp_path / "reads.npz", train=reads[:2], test=reads[2:], train_labels=np.arange(2), test_labels=[1])
    data = load(tmp_path / "reads.npz", counts=True)
    assert (data.counts, data.train.dtype, data.test_labels.tolist()) == (True, np.float32, [1])
    np.testing.assert_array_equal(data.train, reads[:2])
    np.save(tmp_path / "reads.npy", reads)
    assert "0..255" in error_of(tmp_path / "reads.npy")
    assert load(tmp_path / "reads.npy", counts=True).features == 2


def test_four_idx_files_are_counts_where_they_are_said_to_be(tmp_path):
    labels = bytes([0, 0, 8, 1]) + struct.pack(">I", 30) + bytes(30)
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(IDX)
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    data = load(tmp_path, counts=True)
    assert data.counts
    np.testing.assert_array_equal(data.train, IMAGES.reshape(30, 20))


def test_a_file_that_holds_no_counts_says_so(tmp_path):
    np.save(tmp_path / "greys.npy", IMAGES / 255)
    with pytest.raises(InputError, match=r"greys\.npy: counts must be whole numbers"):
        load(tmp_path / "greys.npy", counts=True)
    (tmp_path / "frey_rawface.mat").write_bytes(b"MATLAB")
    with pytest.raises(InputError, match=r"frey_rawface\.mat: holds grey values .* binarize 'photons'"):
        load(tmp_path / "frey_rawface.mat", counts=True)
