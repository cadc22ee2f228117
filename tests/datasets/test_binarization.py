"""Bits, photons and codes from grey values: the laws of derivations/binarization.md."""

from __future__ import annotations

import os

import numpy as np
import pytest
from scipy.stats import chisquare, poisson

from numvae.datasets import (
    BINARIZATIONS,
    Dataset,
    binarize_once,
    fixed,
    fresh,
    from_arrays,
    grey,
    load_mnist,
    threshold,
)
from numvae.datasets.binarization import EXPOSURE, _bytes_below_255, codes, counts, inside, photons
from numvae.datasets.binarization import LEVELS as CODES
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


def test_photons_follow_poissons_law():
    """(binarization.5): mean and variance of every level, chi-squared of three of them."""
    drawn = drawn_many_times(photons, LEVELS, 20_000, seed=9)
    rate = EXPOSURE * LEVELS[0] / 255
    assert (drawn[:, 0] == 0).all()
    error = np.sqrt(rate[1:] / len(drawn))
    assert (np.abs(drawn[:, 1:].mean(axis=0, dtype=np.float64) - rate[1:]) / error).max() < 5
    spread = drawn[:, 1:].var(axis=0, dtype=np.float64) / rate[1:]
    assert (np.abs(spread - 1) / np.sqrt((2 + 1 / rate[1:]) / len(drawn))).max() < 5
    for level in (26, 128, 255):
        last = int(poisson(rate[level]).isf(1e-3))
        seen = np.bincount(np.minimum(drawn[:, level], last + 1).astype(int), minlength=last + 2)
        law = poisson(rate[level])
        assert chisquare(seen, len(drawn) * np.append(law.pmf(np.arange(last + 1)), law.sf(last))).pvalue > 1e-4


def test_photons_of_floats_are_those_of_bytes_and_differ_between_calls():
    """(binarization.5)"""
    rows = np.full((6, 20), 255, np.uint8)
    rng = np.random.default_rng(10)
    first, second = photons(rows, rng, np.float32), photons(rows, rng, np.float32)
    assert (first != second).any()
    np.testing.assert_array_equal(first, photons(rows / 255, np.random.default_rng(10), np.float32))


def test_rounded_grey_values_are_no_photons():
    """(binarization.5): the negative control, counts that do not scatter."""
    rounded = np.rint(EXPOSURE * np.full(1000, 128) / 255)
    assert rounded.var() < 0.1 * EXPOSURE * 128 / 255


def test_the_inside_is_inside_and_keeps_the_order():
    """(binarization.6)"""
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        x = inside(LEVELS, rng, dtype)
        assert 0 < x.min() == 1 / 512
        assert x.max() == 1 - 1 / 512 < 1
        np.testing.assert_allclose(np.diff(x), 1 / 256, rtol=1e-4)
        np.testing.assert_allclose(inside(LEVELS / 255.0, rng, dtype), x, rtol=1e-6)


def test_codes_are_steps_of_one_width():
    """(binarization.7)"""
    rng = np.random.default_rng(0)
    found = codes(LEVELS, rng, np.float32)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0], np.repeat(np.arange(CODES), 256 // CODES))
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(codes((LEVELS / 255).astype(dtype), rng, np.float32), found)
        np.testing.assert_array_equal(codes(np.array([[0.0, 0.1249, 0.125, 1.0]], dtype), rng, dtype), [[0, 0, 1, 7]])


def test_codes_by_255_are_rejected():
    """(binarization.7): the negative control, a ninth code for white."""
    ninth = np.floor(CODES * (LEVELS / 255))
    assert ninth.max() == CODES
    assert codes(LEVELS, np.random.default_rng(0), np.float64).max() == CODES - 1


def test_counts_stay_what_they_are():
    rows = from_arrays("counts", np.array([[0, 70_000], [3, 1]]), counts=True).train
    x = counts(rows, np.random.default_rng(0), np.float64)
    assert x.dtype == np.float64
    np.testing.assert_array_equal(x, rows)
    np.testing.assert_array_equal(counts(LEVELS, np.random.default_rng(0), np.float32), LEVELS)


@pytest.mark.parametrize("name", ["photons", "inside", "codes", "counts"])
@pytest.mark.parametrize("of", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_other_views_keep_shape_and_dtype_and_leave_rows_untouched(name, of, dtype):
    for shape in ((3, 7), (0, 5)):
        rows = np.ones(shape, of)
        rows.flags.writeable = False
        x = BINARIZATIONS[name](rows, np.random.default_rng(0), dtype)
        assert (x.shape, x.dtype) == (shape, dtype)


def test_no_bits_are_made_of_counts():
    with pytest.raises(InputError, match="reads: holds counts"):
        binarize_once(from_arrays("reads", np.array([[0, 70_000], [3, 1]]), counts=True), seed=0)
