"""MNIST: 70,000 handwritten digits, 28x28 grey pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from numvae.datasets.dataset import Dataset, from_arrays
from numvae.datasets.idx import read_idx
from numvae.datasets.store import download, find, has_sha256
from numvae.errors import InputError

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

CONTENT_SHA256 = {
    TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Digests of the unpacked files, which a copy packed by another gzip shares."""

PUBLISHED_SHA256 = {
    TRAIN_IMAGES: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    TRAIN_LABELS: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    TEST_IMAGES: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    TEST_LABELS: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
"""Digests of the .gz files on the mirrors."""


def load_mnist() -> Dataset:
    """MNIST: 60,000 training and 10,000 test images of 28x28 pixels, uint8, with labels 0 to 9, in the published order.

    Read from $NUMVAE_DATA/mnist/, else from the user's cache, else downloaded there (11 MB).  The unpacked content must
    have the published SHA-256.

    Raises `InputError` where a file is damaged or cannot be had.

    Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", 1998; CC BY-SA 3.0.
    """
    arrays = [read_idx(_path(name), sha256=CONTENT_SHA256[name]) for name in FILES]
    return _dataset("mnist", arrays)


def _path(name: str) -> Path:
    archive = name + ".gz"
    return find("mnist", (archive, name)) or download("mnist", archive, MIRRORS, has_sha256(PUBLISHED_SHA256[name]))


def is_mnist_like(folder: Path) -> bool:
    """Whether a folder holds a file named like one of MNIST's four."""
    return any((folder / name).is_file() or (folder / f"{name}.gz").is_file() for name in FILES)


def load_mnist_like(folder: Path, *, counts: bool = False) -> Dataset:
    """Any data set in four IDX files named like MNIST's (Fashion-MNIST, KMNIST, ...), plain or gzipped.

    With `counts` the values are counts (see `from_arrays`).

    Raises `InputError` where one of them is missing or broken.
    """
    paths = []
    for name in FILES:
        present = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        if not present:
            raise InputError(f"{folder}: {name} (or {name}.gz) is missing; the four files are {', '.join(FILES)}")
        paths.append(present[0])
    return _dataset(folder.name, [read_idx(path) for path in paths], counts)


def _dataset(name: str, arrays: list[npt.NDArray[Any]], counts: bool = False) -> Dataset:
    train, train_labels, test, test_labels = arrays
    return from_arrays(name, train, test, train_labels=train_labels, test_labels=test_labels, counts=counts)
