"""Frey faces: 1,965 frames of one man's face in a short video, 28x20 grey pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from numvae.datasets.dataset import Dataset
from numvae.datasets.matlab import read_matlab
from numvae.datasets.store import download, find
from numvae.errors import InputError

FILE = "frey_rawface.mat"
MIRRORS = ("https://cs.nyu.edu/~roweis/data/",)
FRAMES, HEIGHT, WIDTH = 1965, 28, 20
TEST_FRAMES = 165


def load_frey() -> Dataset:
    """The Frey faces: 1,800 training and 165 test frames of 28x20 pixels, uint8, without labels.

    The frames are consecutive, so the test frames are spread evenly over the video, every 11th or 12th.  Their
    neighbours are trained on: the test bound says how well a model fills in between frames it has seen.  The last 165
    frames instead would be another distribution, since the man changes his face as the video goes on.

    Read from $NUMVAE_DATA/frey/, else from the user's cache, else downloaded there (1 MB).  No checksum was published;
    the name, shape, type and range of the values are checked.

    Raises `InputError` where the file is not that, or cannot be had.

    Source: Brendan Frey and Sam Roweis, https://cs.nyu.edu/~roweis/data.html.
    """
    return split_frames(read_frey(find("frey", (FILE,)) or download("frey", FILE, MIRRORS, _check)))


def read_frey(path: str | Path) -> npt.NDArray[np.uint8]:
    """The 1,965 faces in a MATLAB file as rows, uint8 of shape (1965, 560); the file stores them as columns of `ff`."""
    columns = read_matlab(path, "ff", (HEIGHT * WIDTH, FRAMES))
    if columns.min() == columns.max():
        raise InputError(f"{path}: every value of ff is {columns.min()}, which shows no face; fetch it anew")
    return columns.T.copy()


def split_frames(frames: npt.NDArray[np.uint8]) -> Dataset:
    """Frame floor((k + 1/2)·1965/165) is for testing, k = 0..164; all others, in their order, for training."""
    for_test = np.zeros(FRAMES, bool)
    for_test[(2 * np.arange(TEST_FRAMES) + 1) * FRAMES // (2 * TEST_FRAMES)] = True
    return Dataset("frey", frames[~for_test], frames[for_test], image_shape=(HEIGHT, WIDTH))


def _check(path: Path) -> None:
    read_frey(path)
