"""Data sets from arrays: what is taken, what is refused and with which words, and how a single array is split."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numvae.datasets import Dataset, from_arrays
from numvae.errors import InputError

RAMP = np.linspace(0, 1, 60).reshape(20, 3)


def rows_of(dataset):
    return np.concatenate([dataset.train, dataset.test])


@pytest.mark.parametrize("count", [2, 5, 19, 20, 25, 100])
def test_a_single_array_gives_its_last_shuffled_tenth_to_testing(count):
    values = np.arange(count, dtype=np.uint8)[:, None].repeat(2, axis=1)
    data = from_arrays("ramp", values, train_labels=np.arange(count))
    assert len(data.test) == max(1, count // 10)
    assert sorted(rows_of(data)[:, 0]) == sorted(values[:, 0] * (255 if count == 2 else 1))
    if count > 2:
        np.testing.assert_array_equal(data.train[:, 0], data.train_labels)
        np.testing.assert_array_equal(data.test[:, 0], data.test_labels)


def test_the_split_follows_the_seed():
    same, again, other = (from_arrays("ramp", RAMP, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(same.test, again.test)
    assert (same.test != other.test).any()


def test_two_parts_stay_as_they_are():
    data = from_arrays("ramp", RAMP[:15], RAMP[15:], train_labels=np.zeros(15, np.uint8), test_labels=np.ones(5, bool))
    np.testing.assert_array_equal(data.train, RAMP[:15])
    np.testing.assert_array_equal(data.test, RAMP[15:])
    assert (data.train_labels.dtype, data.test_labels.dtype) == (np.int64, np.int64)


def test_images_become_rows_that_know_their_shape():
    images = np.arange(4 * 5 * 7, dtype=np.uint8).reshape(4, 5, 7)
    data = from_arrays("images", images[:3], images[3:])
    assert (data.image_shape, data.features) == ((5, 7), 35)
    np.testing.assert_array_equal(data.test.reshape(5, 7), images[3])


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        ("u1", "u1"),
        ("i2", "u1"),
        ("<i8", "u1"),
        (">u4", "u1"),
        ("f2", "f4"),
        ("f4", "f4"),
        (">f4", "f4"),
        (">f8", "f8"),
    ],
)
def test_numeric_types_become_uint8_float32_or_float64(dtype, kept):
    values = np.array([[0, 1], [1, 0], [1, 1]]) if kept[0] == "f" else np.array([[0, 3], [255, 0], [1, 1]])
    data = from_arrays("values", values.astype(dtype))
    assert data.train.dtype == np.dtype(kept)
    assert data.train.dtype.isnative
    assert sorted(rows_of(data).ravel()) == sorted(values.ravel())


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_bits_become_0_and_255(dtype):
    data = from_arrays("bits", np.array([[0, 1], [1, 0], [1, 1]], dtype))
    assert data.train.dtype == np.uint8
    assert sorted(rows_of(data).ravel()) == [0, 0, 255, 255, 255, 255]


def test_dark_uint8_images_beside_bright_ones_are_no_bits():
    data = from_arrays("dark", np.array([[0, 200]], np.uint8), np.array([[0, 1]], np.uint8))
    np.testing.assert_array_equal(data.test, [[0, 1]])


@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 3), (np.uint8, 127), (np.int64, 128), (np.int64, 1)])
def test_integers_whose_white_is_beyond_doubt_are_taken(dtype, value):
    assert from_arrays("values", with_value(value, dtype)).train.dtype == np.uint8


def test_a_part_of_dark_integers_is_measured_by_the_bright_part():
    dark, bright = np.array([[0, 3]]), np.array([[0, 200]])
    np.testing.assert_array_equal(from_arrays("values", bright, dark).test, dark)
    with pytest.raises(InputError, match="largest here is 3"):
        from_arrays("values", dark, dark)


def test_data_for_testing_are_all_rows_unless_they_have_a_test_part():
    labels = np.arange(20)
    split = from_arrays("ramp", RAMP, train_labels=labels)
    whole = split.for_testing()
    np.testing.assert_array_equal(whole.test, RAMP[whole.test_labels])
    np.testing.assert_array_equal(np.sort(whole.test_labels), labels)
    parts = from_arrays("ramp", RAMP[:15], RAMP[15:])
    assert parts.for_testing() is parts
    assert from_arrays("ramp", RAMP).for_testing().test_labels is None


def test_the_fingerprint_tells_training_rows_apart():
    found = from_arrays("ramp", RAMP[:15], RAMP[15:])
    same = from_arrays("other", np.asfortranarray(RAMP[:15]), RAMP[:1])
    assert found.fingerprint == same.fingerprint == (15, same.fingerprint[1])
    for other in (RAMP[:14], RAMP[:15][::-1], RAMP[:15] / 2, RAMP[:15].astype(np.float32)):
        assert from_arrays("ramp", other, RAMP[15:].astype(other.dtype)).fingerprint != found.fingerprint


def with_value(value, dtype=np.float64):
    values = np.zeros((12, 3), dtype)
    values[7, 1] = value
    return values


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (with_value(np.nan), ["finite", "nan", "row 7"]),
        (with_value(np.inf), ["finite", "inf", "row 7"]),
        (with_value(-3.25), ["[0, 1]", "min -3.25", "max 0", "row 7", "(x - x.min()) / (x.max() - x.min())"]),
        (with_value(12.0), ["[0, 1]", "max 12", "row 7", "x / x.max()"]),
        (with_value(128.0), ["[0, 1]", "max 128", "row 7", "x / 255"]),
        (with_value(256.0), ["[0, 1]", "max 256", "row 7", "(x - x.min()) / (x.max() - x.min())"]),
        (with_value(3, np.int64), ["largest here is 3", "x / x.max()", "x.astype(np.uint8)"]),
        (with_value(16, np.int32), ["largest here is 16"]),
        (with_value(127, np.int8), ["largest here is 127"]),
        (with_value(256, np.int64), ["0..255", "max 256", "row 7"]),
        (with_value(-1, np.int8), ["min -1", "row 7"]),
        (with_value(1j, np.complex128), ["complex128", "numbers"]),
        (np.array([["a", "b"], ["c", "d"]]), ["<U1", "numbers"]),
        (np.array([[{}], [{}]], dtype=object), ["object", "numbers"]),
        (np.zeros((0, 3)), ["(0, 3)"]),
        (np.zeros((3, 0)), ["(3, 0)"]),
        (np.zeros(5), ["(5,)", "reshape"]),
        (np.zeros((2, 3, 4, 1)), ["(2, 3, 4, 1)", "reshape"]),
        (np.zeros(()), ["()"]),
        (np.zeros((1, 3)), ["1 row", "at least 2"]),
    ],
)
def test_unfit_values_get_one_line_that_says_what_was_seen(values, words):
    with pytest.raises(InputError) as caught:
        from_arrays("values.npy", values)
    text = str(caught.value)
    assert text.startswith("values.npy: ")
    assert "\n" not in text
    for word in words:
        assert word in text


def test_the_part_that_is_wrong_is_named():
    with pytest.raises(InputError, match=r"values \(test\): values must be finite"):
        from_arrays("values", RAMP, with_value(np.nan))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"test": np.zeros((2, 4))}, "one shape"),
        ({"test": np.zeros((2, 3), np.float32)}, "float64 and float32"),
        ({"test": np.full((2, 3), 9, np.uint8)}, "float64 and uint8"),
        ({"train_labels": np.zeros(19, int)}, "19 labels"),
        ({"train_labels": np.zeros(20)}, "integers"),
        ({"train_labels": np.zeros((20, 10), int)}, "integers of shape"),
        ({"test": RAMP, "test_labels": np.zeros(4, int)}, "test_labels"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        from_arrays("values", RAMP, **arguments)


def test_a_dataset_checks_its_image_shape():
    with pytest.raises(InputError, match="3 features"):
        Dataset("values", RAMP, RAMP, image_shape=(2, 2))
    with pytest.raises(InputError, match="uint8"):
        Dataset("values", RAMP.astype(int), RAMP.astype(int))


def test_a_dataset_is_frozen_and_says_what_it_is():
    data = Dataset("noise", np.zeros((9, 6), np.uint8), np.zeros((2, 6), np.uint8), np.arange(9), None, (2, 3))
    assert (
        repr(data) == "Dataset 'noise': 9 train + 2 test rows of 6 features, uint8, images of 2x3 pixels, labels 0 to 8"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.name = "other"


@given(st.lists(st.lists(st.floats(width=32), min_size=2, max_size=2), min_size=2, max_size=5))
def test_floats_are_taken_as_they_are_or_refused(values):
    array = np.array(values, np.float32)
    if ((array >= 0) & (array <= 1)).all():
        assert sorted(map(tuple, rows_of(from_arrays("values", array)))) == sorted(map(tuple, array))
    else:
        with pytest.raises(InputError):
            from_arrays("values", array)


@pytest.mark.parametrize("dtype", [bool, "u1", "i2", "<i8", ">u4", "f2", "f4", ">f8"])
def test_counts_of_any_type_become_float32_as_they_are(dtype):
    values = np.array([[0, 1], [1, 0], [1, 1]] if dtype is bool else [[0, 3], [100, 0], [1, 1]])
    data = from_arrays("counts", values.astype(dtype), counts=True)
    assert data.counts
    assert data.train.dtype == data.test.dtype == np.float32
    assert sorted(rows_of(data).ravel()) == sorted(values.ravel())
    assert "float32 counts" in repr(data)
    assert data.for_testing().counts


def test_counts_go_up_to_where_float32_skips_some():
    values = np.array([[2**24, 2**24 - 1], [0, 7]])
    np.testing.assert_array_equal(from_arrays("counts", values[:1], values[1:], counts=True).train, values[:1])
    images = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    assert from_arrays("counts", images, counts=True).image_shape == (3, 4)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (with_value(np.nan), ["finite", "nan", "row 7"]),
        (with_value(-np.inf), ["finite", "-inf", "row 7"]),
        (with_value(-3, np.int64), ["not be negative", "saw -3 at row 7"]),
        (with_value(-0.5), ["not be negative", "-0.5", "row 7"]),
        (with_value(0.25, np.float32), ["whole numbers", "saw 0.25 at row 7"]),
        (with_value(2**24 + 1, np.int64), ["2^24 = 16777216", "saw 16777217 at row 7"]),
        (with_value(1e30), ["2^24 = 16777216", "saw 1e+30 at row 7"]),
        (with_value(1j, np.complex128), ["complex128", "numbers"]),
    ],
)
def test_what_is_no_count_gets_one_line_that_says_what_was_seen(values, words):
    with pytest.raises(InputError) as caught:
        from_arrays("values.npy", values, counts=True)
    text = str(caught.value)
    assert text.startswith("values.npy: ")
    assert "\n" not in text
    for word in words:
        assert word in text


def test_bytes_cannot_be_called_counts():
    with pytest.raises(InputError, match="counts must be floating, saw uint8"):
        Dataset("values", np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), counts=True)
