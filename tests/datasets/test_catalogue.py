"""Data sets by name."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from numvae.datasets import DATASETS, load, load_drawn
from numvae.errors import InputError


def test_drawn_digits_are_a_data_set_of_the_sizes_asked_for():
    data = load_drawn(train=40, test=15, seed=3)
    assert (data.train.shape, data.test.shape, data.image_shape) == ((40, 784), (15, 784), (28, 28))
    assert (data.train.dtype, data.train_labels.dtype, len(data.test_labels)) == (np.uint8, np.int64, 15)
    np.testing.assert_array_equal(data.train, load_drawn(train=40, test=15, seed=3).train)
    assert (data.train != load_drawn(train=40, test=15, seed=4).train).any()
    with pytest.raises(InputError, match="at least 1"):
        load_drawn(train=0)


@pytest.mark.parametrize(
    ("wrong", "right"), [("drwan", "drawn"), ("minst", "mnist"), ("MNIST", "mnist"), ("fray", "frey")]
)
def test_an_unknown_name_gets_the_nearest_one(wrong, right):
    with pytest.raises(InputError, match=f"{wrong}: no such .* did you mean {right}"):
        load(wrong)


@pytest.mark.parametrize("name", ["", "something-else", "no/such/file.npy", "x" * 5000, "a\0b"])
def test_an_unknown_name_gets_the_list_of_what_there_is(name):
    with pytest.raises(InputError) as caught:
        load(name)
    for known in (*DATASETS, ".npy", "IDX", "folder"):
        assert known in str(caught.value)


@pytest.mark.parametrize("name", DATASETS)
def test_data_sets_of_grey_values_are_no_counts(name):
    with pytest.raises(InputError, match=f"{name}: holds grey values, not counts; use binarize 'photons'"):
        load(name, counts=True)


def test_a_path_may_start_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    np.save(tmp_path / "values.npy", np.eye(4))
    assert load("~/values.npy").features == 4


def test_the_home_of_nobody_is_no_path():
    with pytest.raises(InputError, match="no such data set, file or folder"):
        load("~nobody-of-that-name/values.npy")


def test_importing_the_data_sets_loads_nothing_heavy():
    heavy = "{'pooch', 'requests', 'PIL', 'scipy.io', 'scipy.stats', 'matplotlib.pyplot'}"
    code = f"import sys, numvae.datasets; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
