"""The Frey faces: the real ones where $NUMVAE_DATA has them, and files that are not them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from scipy.io import savemat

from numvae.datasets import frey, load_frey
from numvae.datasets.frey import read_frey, split_frames
from numvae.errors import InputError

FRAMES = (np.arange(1965)[:, None] // 8 + np.arange(560)).astype(np.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("frey") / "frey_rawface.mat"
    savemat(path, {"ff": FRAMES.T}, do_compression=True)
    return path


@pytest.mark.skipif(
    not os.environ.get("NUMVAE_DATA"), reason="needs the Frey faces: set NUMVAE_DATA to the folder of frey/"
)
def test_the_frey_faces_are_faces():
    data = load_frey()
    assert (data.train.shape, data.test.shape, data.image_shape) == ((1800, 560), (165, 560), (28, 20))
    assert (data.train.dtype, data.train_labels) == (np.uint8, None)
    images = data.train.reshape(-1, 28, 20).astype(float)
    across = np.abs(np.diff(images, axis=2)).mean()
    scrambled = np.abs(np.diff(data.train.reshape(-1, 20, 28).astype(float), axis=2)).mean()
    assert across < scrambled / 1.05, "pixels beside each other should be alike"


def test_columns_become_rows(saved):
    np.testing.assert_array_equal(read_frey(saved), FRAMES)


def test_test_frames_are_spread_evenly_and_their_neighbours_trained_on():
    frames = np.zeros((1965, 560), np.uint8)
    frames[:, 0], frames[:, 1] = np.arange(1965) % 256, np.arange(1965) // 256
    data = split_frames(frames)
    number = {
        part: rows[:, 0] + 256 * rows[:, 1].astype(int)
        for part, rows in vars(data).items()
        if part in ("train", "test")
    }
    assert set(np.diff(number["test"])) == {11, 12}
    assert sorted([*number["train"], *number["test"]]) == list(range(1965))
    assert (np.diff(number["train"]) > 0).all()
    assert {*(number["test"] - 1), *(number["test"] + 1)} <= set(number["train"])


def test_a_picture_of_one_grey_is_no_face(tmp_path):
    savemat(tmp_path / "grey.mat", {"ff": np.full((560, 1965), 7, np.uint8)})
    with pytest.raises(InputError, match="every value of ff is 7"):
        read_frey(tmp_path / "grey.mat")


def test_the_faces_are_fetched_from_a_mirror(saved, mirror, cache, monkeypatch):
    monkeypatch.setattr(frey, "MIRRORS", (mirror({}), mirror({frey.FILE: saved.read_bytes()})))
    assert load_frey().train.shape == (1800, 560)
    assert (cache / "frey" / frey.FILE).read_bytes() == saved.read_bytes()


def test_a_download_that_is_not_the_faces_is_not_kept(mirror, cache, monkeypatch):
    monkeypatch.setattr(frey, "MIRRORS", (mirror({frey.FILE: b"<html>403 Forbidden</html>" * 100}),))
    with pytest.raises(
        InputError, match=r"frey_rawface\.mat: could not be downloaded from http.* \(is no MATLAB 5 file"
    ) as caught:
        load_frey()
    assert "\n" not in str(caught.value)
    assert [path for path in cache.rglob("*") if path.is_file()] == []
