"""Bits from grey values: the laws of derivations/binarization.md."""

from __future__ import annotations

import os

import numpy as np
import pytest
from scipy.stats import chisquare

from numvae.datasets import BINARIZATIONS, Dataset, binarize_once, fixed, fresh, grey, load_mnist, threshold
from numvae.datasets.binarization import _bytes_below_255
from numvae.errors import InputError

LEVELS = np.arange(256, dtype=np.uint8)[None]


def worst_z(draws, probability):
    """Largest distance of a mean from its probability, in standard errors; where there is no spread, any distance."""
    count = len(draws)
    error = np.sqrt(probability * (1 - probability) / count)
    distance = np.abs(draws.mean(axis=0, dtype=np.float64) - probability)
    certain = error == 0
    assert (distance[certain] == 0).all(), "a black or white pixel was turned"
    return (distance[~certain] / error[~certain]).max()


def drawn_many_times(binarize, rows, count, seed):
    return binarize(np.repeat(rows, count, axis=0), np.random.default_rng(seed), np.float32)


def test_grey_is_the_byte_over_255():
    """(binarization.1)"""
    np.testing.assert_allclose(grey(LEVELS, np.random.default_rng(0), np.float64), LEVELS / 255.0, rtol=1e-15)


def test_threshold_turns_at_one_half():
    """(binarization.2)"""
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(threshold(LEVELS, rng, np.float64), LEVELS / 255.0 >= 0.5)
    np.testing.assert_array_equal(threshold(np.array([[0.0, 0.4999, 0.5, 1.0]]), rng, np.float32), [[0, 0, 1, 1]])


def test_fresh_bits_average_to_grey():
    """(binarization.3): all 256 levels at once; five standard errors would be passed by one seed in 7000."""
    assert worst_z(drawn_many_times(fresh, LEVELS, 40_000, seed=1), LEVELS[0] / 255) < 5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fresh_bits_of_floats_average_to_grey(dtype):
    """(binarization.3)"""
    rows = np.linspace(0, 1, 33, dtype=dtype)[None]
    assert worst_z(drawn_many_times(fresh, rows, 20_000, seed=2), rows[0].astype(np.float64)) < 5


def test_a_byte_of_256_values_is_rejected():
    """(binarization.4): the negative control, P = v/256 instead of v/255."""

    def of_256_values(rows, rng, dtype):
        return (rng.integers(0, 256, size=rows.shape, dtype=np.uint8) < rows).astype(dtype)

    with pytest.raises(AssertionError, match="white pixel"):
        worst_z(drawn_many_times(of_256_values, LEVELS, 20_000, seed=1), LEVELS[0] / 255)
    inner = np.full((1, 64), 250, np.uint8)
    wrong = drawn_many_times(of_256_values, inner, 20_000, seed=1).reshape(-1, 1)
    right = drawn_many_times(fresh, inner, 20_000, seed=1).reshape(-1, 1)
    assert worst_z(right, np.array([250 / 255])) < 4
    assert worst_z(wrong, np.array([250 / 255])) > 20


def is_uniform(noise):
    return chisquare(np.bincount(noise, minlength=255)).pvalue > 1e-4


def test_the_noise_is_uniform_on_0_to_254():
    """(binarization.4)"""
    noise = _bytes_below_255(300_000, np.random.default_rng(3))
    assert noise.max() == 254
    assert is_uniform(noise)


def test_noise_that_puts_255_at_one_place_is_rejected():
    """(binarization.4): the negative control."""
    folded = np.random.default_rng(3).integers(0, 256, size=300_000) % 255
    assert not is_uniform(folded)


def test_fresh_bits_are_independent_between_pixels_and_rows():
    rows = np.full((4000, 24), 128, np.uint8)
    bits = fresh(rows, np.random.default_rng(4), np.float64)
    for a, b in ((bits[:, :-1], bits[:, 1:]), (bits[:-1], bits[1:]), (bits[:, :-8], bits[:, 8:])):
        correlation = np.corrcoef(a.ravel(), b.ravel())[0, 1]
        assert abs(correlation) < 4 / np.sqrt(a.size)


def test_the_expected_log_likelihood_of_bits_is_that_of_grey():
    """(binarization.4a)"""
    rows, logit = LEVELS, np.linspace(-3, 3, 256)
    bits = drawn_many_times(fresh, rows, 20_000, seed=5)
    difference = ((bits - rows / 255.0) * logit).sum(axis=1)
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(difference))


@pytest.mark.skipif(not os.environ.get("NUMVAE_DATA"), reason="needs MNIST: set NUMVAE_DATA to the folder with mnist/")
def test_the_floor_of_fresh_mnist_is_what_the_derivation_says():
    """(binarization.4b)"""
    x = np.arange(1, 255) / 255
    entropies = np.concatenate([[0.0], -x * np.log(x) - (1 - x) * np.log(1 - x), [0.0]])
    assert entropies[load_mnist().test].sum(axis=1).mean() == pytest.approx(45.5, abs=0.05)


def test_fresh_bits_differ_between_calls_and_repeat_with_the_seed():
    rows = np.full((5, 9), 128, np.uint8)
    rng = np.random.default_rng(6)
    first, second = fresh(rows, rng, np.float32), fresh(rows, rng, np.float32)
    assert (first != second).any()
    np.testing.assert_array_equal(first, fresh(rows, np.random.default_rng(6), np.float32))


@pytest.mark.parametrize(
    ("name", "of"),
    [
        *(("none", np.uint8), ("threshold", np.uint8), ("fresh", np.uint8), ("fixed", np.uint8)),
        *(("none", np.float32), ("threshold", np.float32), ("fresh", np.float32)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shape_and_dtype_are_kept_and_rows_untouched(name, of, dtype):
    rows = np.zeros((3, 7), of)
    rows[:, ::2] = 255 if of is np.uint8 else 1
    rows.flags.writeable = False
    x = BINARIZATIONS[name](rows, np.random.default_rng(0), dtype)
    assert (x.shape, x.dtype) == ((3, 7), dtype)
    np.testing.assert_array_equal(x, rows != 0)


def test_rows_of_odd_sizes_and_none_at_all_are_drawn():
    for shape in ((0, 5), (1, 1), (3, 7), (1, 9)):
        assert fresh(np.full(shape, 255, np.uint8), np.random.default_rng(0), np.float32).sum() == np.prod(shape)


def small(dtype=np.uint8):
    values = np.random.default_rng(7).integers(0, 256, size=(60, 11)).astype(np.uint8)
    values = values if dtype == np.uint8 else (values / 255).astype(dtype)
    return Dataset("small", values[:50], values[50:], np.arange(50), np.arange(10))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_binarize_once_gives_bits_that_stay(dtype):
    once, again, other = (binarize_once(small(dtype), seed) for seed in (0, 0, 1))
    assert once.train.dtype == np.uint8
    assert set(np.unique(once.train)) <= {0, 255}
    np.testing.assert_array_equal(once.train, again.train)
    np.testing.assert_array_equal(once.test, again.test)
    assert (once.train != other.train).any()
    assert once.train_labels is not None
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(fixed(once.train, rng, np.float32), fresh(once.train, rng, np.float32))


def test_binarize_once_draws_from_the_grey_values():
    rows = np.repeat(LEVELS, 9000, axis=0)  # more than two blocks
    once = binarize_once(Dataset("ramp", rows, LEVELS), seed=8)
    assert worst_z(once.train / 255, LEVELS[0] / 255) < 5


def test_fixed_refuses_rows_that_are_not_bits():
    with pytest.raises(InputError, match="binarize_once"):
        fixed(np.array([[0, 254, 255]], np.uint8), np.random.default_rng(0), np.float32)
