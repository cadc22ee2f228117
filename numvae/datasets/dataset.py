"""What a data set is: rows to train on, rows to test on, and what is known about them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.errors import InputError
from numvae.randomness import generator

TEST_FRACTION = 10
"""Of a single array, one row in so many is kept for testing."""

LARGEST_COUNT = 2**24
"""Up to here float32 holds every whole number."""

HALF_WHITE = 127
"""Grey values of 0..255 that never exceed it are more likely of another range."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows to train on and rows to test on; images stay uint8 until they are batched.

    - `train`, `test`: (N, D) and (N', D), both uint8 in 0..255 (a grey value of v/255), or both floating in [0, 1].
    - `train_labels`, `test_labels`: int64 of shape (N,) and (N',), or None.
    - `image_shape`: (height, width) in pixels with height · width = D, or None where rows are not images.
    - `split`: whether train and test were cut from one array, for want of a test set of their own.
    - `counts`: whether the values are counts 0, 1, 2, ... of any size instead, as floats.

    Raises `InputError` where shapes, types and labels do not fit together.  `from_arrays` makes one from arrays of any
    numeric type and checks their values.

    >>> import numpy as np
    >>> Dataset("noise", np.zeros((90, 784), np.uint8), np.zeros((10, 784), np.uint8), image_shape=(28, 28))
    Dataset 'noise': 90 train + 10 test rows of 784 features, uint8, images of 28x28 pixels, no labels
    """

    name: str
    train: npt.NDArray[Any]
    test: npt.NDArray[Any]
    train_labels: npt.NDArray[np.int64] | None = None
    test_labels: npt.NDArray[np.int64] | None = None
    image_shape: tuple[int, int] | None = None
    split: bool = False
    counts: bool = False

    def __post_init__(self) -> None:
        train, test = self.train, self.test
        if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1] or 0 in train.shape + test.shape:
            raise InputError(
                f"{self.name}: train and test must have shapes (N, D) and (N', D), none of them 0, "
                f"saw {train.shape} and {test.shape}"
            )
        if train.dtype != test.dtype or not (train.dtype == np.uint8 or train.dtype.kind == "f"):
            raise InputError(
                f"{self.name}: train and test must both be uint8, or floating of one type, "
                f"saw {train.dtype} and {test.dtype}; store both the same way"
            )
        if self.counts and train.dtype == np.uint8:
            raise InputError(f"{self.name}: counts must be floating, saw uint8; use from_arrays(..., counts=True)")
        if self.image_shape is not None and self.image_shape[0] * self.image_shape[1] != self.features:
            raise InputError(f"{self.name}: images of {self.image_shape} pixels do not have {self.features} features")
        for part, labels, rows in (("train", self.train_labels, train), ("test", self.test_labels, test)):
            if labels is not None and (labels.shape != rows.shape[:1] or labels.dtype != np.int64):
                raise InputError(
                    f"{self.name}: {part}_labels must be int64 of shape {rows.shape[:1]}, one label per row, "
                    f"saw {labels.dtype} of shape {labels.shape}"
                )

    @property
    def features(self) -> int:
        """D, the number of features of a row."""
        return int(self.train.shape[1])

    @property
    def fingerprint(self) -> tuple[int, int]:
        """How many training rows there are, and the CRC-32 of their bytes: other rows, another fingerprint."""
        return len(self.train), zlib.crc32(np.ascontiguousarray(self.train).data)

    def for_testing(self) -> Dataset:
        """The same data for a model that was trained on others: what was `split` is put together again in `test`."""
        if not self.split:
            return self
        labels = None
        if self.train_labels is not None and self.test_labels is not None:
            labels = np.concatenate([self.train_labels, self.test_labels])
        return replace(self, test=np.concatenate([self.train, self.test]), test_labels=labels)

    def __repr__(self) -> str:
        images = f", images of {self.image_shape[0]}x{self.image_shape[1]} pixels" if self.image_shape else ""
        labels = "no labels"
        if self.train_labels is not None:
            labels = f"labels {self.train_labels.min()} to {self.train_labels.max()}"
        return (
            f"Dataset {self.name!r}: {len(self.train)} train + {len(self.test)} test rows of {self.features} features, "
            f"{self.train.dtype}{' counts' if self.counts else ''}{images}, {labels}"
        )


def from_arrays(
    name: str,
    train: npt.NDArray[Any],
    test: npt.NDArray[Any] | None = None,
    *,
    train_labels: npt.NDArray[Any] | None = None,
    test_labels: npt.NDArray[Any] | None = None,
    seed: int = 0,
    counts: bool = False,
) -> Dataset:
    """A `Dataset` from arrays of shape (N, D), or (N, H, W) for images, of any numeric type.

    - Floats must lie in [0, 1].  Integers must lie in 0..255 and become uint8.
    - Booleans, and integers that are all 0 or 1, are bits and become 0 and 255.
    - Integers of another type than uint8 whose largest is 2 to 127 are refused: 255 is hardly the white they mean.
    - With `counts`, values are counts instead: whole numbers from 0 to 2^24, of any type, that become float32.
    - Without `test`, the rows are shuffled from `seed` and the last tenth of them, at least one, becomes the test set;
      `train_labels` then are the labels of all rows.

    Raises `InputError` for NaN, infinity, values out of range, other types and shapes, and fewer than two rows.

    >>> from_arrays("ramp", np.linspace(0, 1, 60).reshape(20, 3))
    Dataset 'ramp': 18 train + 2 test rows of 3 features, float64, no labels
    """
    parts = [train] if test is None else [train, test]
    names = [name] if test is None else [f"{name} (train)", f"{name} (test)"]
    arrays = [np.asarray(part) for part in parts]
    for source, array in zip(names, arrays, strict=True):
        _check_shape(source, array)
        if counts:
            _check_counts(source, array)
        else:
            _check_values(source, array)
    if not counts:
        _check_white(name, arrays)
    image_shape = arrays[0].shape[1:] if arrays[0].ndim == 3 else None
    if test is not None and arrays[0].shape[1:] != arrays[1].shape[1:]:
        raise InputError(f"{name}: rows of train and test must have one shape, saw {train.shape} and {test.shape}")

    if counts:
        rows = [array.reshape(len(array), -1).astype(np.float32) for array in arrays]
    else:
        bits = all(array.dtype.kind in "biu" and array.max() <= 1 for array in arrays)
        rows = [_as_rows(array, bits) for array in arrays]
    labels = [None if part is None else _as_labels(name, part) for part in (train_labels, test_labels)]
    if test is None:
        rows, labels = _split(name, rows[0], labels[0], seed)
    return Dataset(name, rows[0], rows[1], labels[0], labels[1], image_shape, split=test is None, counts=counts)


def _check_shape(source: str, array: npt.NDArray[Any]) -> None:
    if array.dtype.kind not in "biuf":
        raise InputError(f"{source}: values must be numbers, saw dtype {array.dtype}; save uint8 or float32")
    if array.ndim not in (2, 3) or array.size == 0:
        raise InputError(
            f"{source}: must have shape (N, D), or (N, H, W) for images, none of them 0, saw {array.shape}; reshape it"
        )


def _check_values(source: str, array: npt.NDArray[Any]) -> None:
    low, high = array.min(), array.max()
    top = 1 if array.dtype.kind == "f" else 255
    if low >= 0 and high <= top:  # false for NaN
        return
    rows = array.reshape(len(array), -1)
    wrong = ~((rows >= 0) & (rows <= top)).all(axis=1)
    row = int(wrong.argmax())
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int((~np.isfinite(rows).all(axis=1)).argmax())
        value = rows[row][~np.isfinite(rows[row])][0]
        raise InputError(f"{source}: values must be finite, saw {value} at row {row}; replace it, or drop the row")
    remedy = "(x - x.min()) / (x.max() - x.min())"
    if low >= 0 and high <= 255:
        remedy = "x / 255" if high > HALF_WHITE else "x / x.max()"
    raise InputError(
        f"{source}: values must lie in [0, 1] (or be uint8 in 0..255), "
        f"saw min {low:.6g}, max {high:.6g}, first at row {row}; rescale: {remedy}"
    )


def _check_counts(source: str, array: npt.NDArray[Any]) -> None:
    """Whole numbers from 0 to LARGEST_COUNT."""
    rows = array.reshape(len(array), -1).astype(np.float64)  # float16 knows no LARGEST_COUNT
    for wrong, what, remedy in (
        (~np.isfinite(rows), "be finite", "replace it, or drop the row"),
        (rows < 0, "not be negative", "drop the row, or count from 0"),
        (
            rows > LARGEST_COUNT,
            f"not exceed 2^24 = {LARGEST_COUNT}, beyond which float32 skips some",
            "count in larger units",
        ),
        (rows != np.floor(rows), "be whole numbers", "round them; of grey values, binarize 'photons' makes counts"),
    ):
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise InputError(f"{source}: counts must {what}, saw {rows[row, column]:.9g} at row {row}; {remedy}")


def _check_white(name: str, arrays: list[npt.NDArray[Any]]) -> None:
    """Refuse integers that are nearly black as parts of 255, unless they are uint8 as grey values are."""
    brightest = max(int(array.max()) for array in arrays)
    if 1 < brightest <= HALF_WHITE and any(array.dtype.kind in "iu" and array.dtype != np.uint8 for array in arrays):
        raise InputError(
            f"{name}: white is 255 in integers, but the largest here is {brightest}; if that is white, save "
            "x / x.max(), if these are grey values of 0..255, save x.astype(np.uint8), if they are counts, take a "
            "poisson likelihood"
        )


def _as_rows(array: npt.NDArray[Any], bits: bool) -> npt.NDArray[Any]:
    """(N, D) in uint8, float32 or float64."""
    rows = array.reshape(len(array), -1)
    if rows.dtype.kind in "biu":
        rows = rows.astype(np.uint8, copy=False)
        return rows * np.uint8(255) if bits else rows
    if rows.dtype.itemsize < 4:
        return rows.astype(np.float32)
    return rows.astype(np.float32 if rows.dtype.itemsize == 4 else np.float64, copy=False)


def _as_labels(name: str, labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    labels = np.asarray(labels)
    if labels.dtype.kind not in "biu" or labels.ndim != 1:
        raise InputError(f"{name}: labels must be integers of shape (N,), saw {labels.dtype} of shape {labels.shape}")
    return labels.astype(np.int64)


def _split(
    name: str, rows: npt.NDArray[Any], labels: npt.NDArray[np.int64] | None, seed: int
) -> tuple[list[npt.NDArray[Any]], list[npt.NDArray[np.int64] | None]]:
    """Shuffle from the seed; the last tenth is for testing."""
    count = len(rows)
    if count < 2:
        raise InputError(f"{name}: has {count} row, needs at least 2, one to train on and one to test on")
    if labels is not None and len(labels) != count:
        raise InputError(f"{name}: has {count} rows but {len(labels)} labels; save one label per row")
    order = generator(seed, "split").permutation(count)
    kept = count - max(1, count // TEST_FRACTION)
    parts = [order[:kept], order[kept:]]
    return [rows[part] for part in parts], [None if labels is None else labels[part] for part in parts]
