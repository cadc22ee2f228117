"""The data sets by name, as the command line and the parameter file call them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path

from numvae.datasets.dataset import Dataset
from numvae.datasets.drawn import draw_digits
from numvae.datasets.files import READABLE, load_file
from numvae.datasets.frey import load_frey
from numvae.datasets.mnist import load_mnist
from numvae.errors import InputError


def load_drawn(*, train: int = 20_000, test: int = 2_000, seed: int = 0) -> Dataset:
    """Drawn digits: `train` + `test` images of 28x28 pixels, uint8, with labels 0 to 9; no download.

    One call of `draw_digits` from `seed` draws them all; the last `test` of them are the test set.

    >>> load_drawn(train=30, test=10)
    Dataset 'drawn': 30 train + 10 test rows of 784 features, uint8, images of 28x28 pixels, labels 0 to 9
    """
    if train < 1 or test < 1:
        raise InputError(f"drawn: train and test must be at least 1, saw {train} and {test}")
    digits = draw_digits(train + test, seed=seed)
    images, labels = digits.images, digits.labels
    return Dataset("drawn", images[:train], images[train:], labels[:train], labels[train:], image_shape=(28, 28))


DATASETS: dict[str, Callable[[int], Dataset]] = {
    "drawn": lambda seed: load_drawn(seed=seed),
    "mnist": lambda seed: load_mnist(),
    "frey": lambda seed: load_frey(),
}
"""Name -> function of a seed.  The seed draws the digits of "drawn"; the other two are the same for every seed."""


def load(name_or_path: str | Path, *, seed: int = 0, counts: bool = False) -> Dataset:
    """The data set called `drawn`, `mnist` or `frey`, or the one in a file or folder of your own (see `load_file`).

    A name goes before a file of that name; write `./mnist` for a folder called mnist.

    With `counts` a file of your own holds counts (see `from_arrays`); the three named ones hold grey values.

    Raises `InputError` where there is neither, with the nearest name.

    >>> load("drwan")
    Traceback (most recent call last):
    numvae.errors.InputError: drwan: no such data set, file or folder; did you mean drawn? There are drawn, mnist, \
frey, or the path of a file of your own: .npy, .npz, IDX (plain or .gz), a folder of images, or a folder of four IDX \
files named like MNIST's
    """
    if isinstance(name_or_path, str) and name_or_path in DATASETS:
        if counts:
            raise InputError(
                f"{name_or_path}: holds grey values, not counts; use binarize 'photons', which makes counts"
            )
        return DATASETS[name_or_path](seed)
    path = Path(os.path.expanduser(name_or_path))  # unlike Path.expanduser, it leaves an unknown ~name alone
    if str(name_or_path) and _exists(path):
        return load_file(path, seed=seed, counts=counts)
    near = difflib.get_close_matches(str(name_or_path).lower(), DATASETS, n=1)
    raise InputError(
        f"{name_or_path}: no such data set, file or folder; {f'did you mean {near[0]}? ' if near else ''}"
        f"There are {', '.join(DATASETS)}, or the path of a file of your own: {READABLE}"
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or with a null character
        return False
