"""MNIST, real where $NUMVAE_DATA has it, and its four files with other contents."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct

import numpy as np
import pytest

from numvae.datasets import load_mnist, mnist
from numvae.datasets.mnist import FILES, load_mnist_like
from numvae.errors import InputError

needs_mnist = pytest.mark.skipif(
    not os.environ.get("NUMVAE_DATA"), reason="needs MNIST: set NUMVAE_DATA to the folder that holds mnist/"
)


@pytest.fixture
def four_files(tmp_path):
    """A folder with four small files named like MNIST's: 6 and 3 images of 2x3 pixels, plain and gzipped."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    for number, (name, count) in enumerate(zip(FILES, (6, 6, 3, 3), strict=True)):
        shape = (count, 2, 3) if "images" in name else (count,)
        values = np.arange(np.prod(shape), dtype=np.uint8)
        data = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values.tobytes()
        if number % 2:
            (folder / name).write_bytes(data)
        else:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
    return folder


@needs_mnist
def test_mnist_is_the_published_one():
    data = load_mnist()
    assert (data.train.shape, data.test.shape, data.image_shape) == ((60_000, 784), (10_000, 784), (28, 28))
    assert data.train.dtype == np.uint8
    assert data.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(data.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.train.mean() / 255 == pytest.approx(0.1307, abs=5e-5)


def test_other_contents_under_mnists_names_are_refused_as_mnist(four_files, monkeypatch):
    monkeypatch.setenv("NUMVAE_DATA", str(four_files.parent))
    with pytest.raises(
        InputError, match=r"train-images-idx3-ubyte\.gz: its unpacked content has SHA-256 .* not ba891046"
    ):
        load_mnist()


@pytest.fixture
def published(four_files, monkeypatch):
    """The packed files as bytes by their published names, whose checksums are taken for MNIST's."""
    contents = {}
    for name in FILES:
        plain = four_files / name
        data = plain.read_bytes() if plain.exists() else plain.with_suffix(".gz").read_bytes()
        contents[name] = data if plain.exists() else gzip.decompress(data)
    packed = {name: gzip.compress(content) for name, content in contents.items()}
    for table, files in (("CONTENT_SHA256", contents), ("PUBLISHED_SHA256", packed)):
        monkeypatch.setattr(mnist, table, {name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
    return {f"{name}.gz": data for name, data in packed.items()}


def test_a_copy_packed_by_another_gzip_passes(four_files, published, monkeypatch):
    monkeypatch.setenv("NUMVAE_DATA", str(four_files.parent))
    first = load_mnist()
    for name, data in published.items():
        (four_files / name).write_bytes(gzip.compress(gzip.decompress(data), compresslevel=1))
    np.testing.assert_array_equal(first.train, load_mnist().train)


def test_the_four_files_are_fetched_once(published, mirror, nobody, cache, monkeypatch):
    monkeypatch.setattr(mnist, "MIRRORS", (nobody, mirror(published)))
    assert load_mnist().train.shape == (6, 6)
    assert sorted(path.name for path in (cache / "mnist").iterdir()) == sorted(published)
    monkeypatch.setattr(mnist, "MIRRORS", (nobody,))
    assert load_mnist().test.shape == (3, 6)


def test_without_files_and_mirrors_the_way_out_is_said(cache, nobody, monkeypatch):
    monkeypatch.setattr(mnist, "MIRRORS", (nobody + "a/", nobody + "b/"))
    with pytest.raises(InputError, match=r":9/a/ .* nor from .*:9/b/ .* into a folder mnist/ and set NUMVAE_DATA"):
        load_mnist()


def test_a_folder_with_four_such_files_is_a_data_set(four_files):
    data = load_mnist_like(four_files)
    assert (data.train.shape, data.test.shape, data.image_shape) == ((6, 6), (3, 6), (2, 3))
    assert data.test_labels.tolist() == [0, 1, 2]


def test_a_missing_file_of_the_four_is_named(four_files):
    (four_files / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte .* is missing"):
        load_mnist_like(four_files)
