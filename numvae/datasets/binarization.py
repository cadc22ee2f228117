"""From grey values to what the model sees: grey, bits, photons, codes (derivations/binarization.md).

Each function here is ``binarize(rows, rng, dtype) -> x``: `rows` (B, D) are uint8 in 0..255 or floating in [0, 1],
x has their shape and the floating type `dtype`.  They are called once per batch, so images stay uint8 until then.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from numvae.datasets.dataset import Dataset
from numvae.errors import InputError
from numvae.randomness import generator

Binarization: TypeAlias = Callable[[npt.NDArray[Any], np.random.Generator, npt.DTypeLike], npt.NDArray[Any]]
"""Makes of rows, a generator and a dtype the x that the model sees."""

EXPOSURE = 10.0
"""Photons that `photons` counts on average where a picture is white: a photograph in little light."""

LEVELS = 8
"""How many codes `codes` makes."""

BLOCK = 4096
"""Rows binarised at once by `binarize_once`, which bounds its memory."""


def grey(rows: npt.NDArray[Any], rng: np.random.Generator, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """x = v / 255 for uint8 v, x = v for floating v  (binarization.1).  Draws nothing.

    >>> grey(np.array([[0, 51, 255]], np.uint8), np.random.default_rng(0), np.float32)
    array([[0. , 0.2, 1. ]], dtype=float32)
    """
    if rows.dtype == np.uint8:
        x = rows.astype(dtype)
        x /= 255  # (binarization.1)
        return x
    return rows.astype(dtype)


def threshold(rows: npt.NDArray[Any], rng: np.random.Generator, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """b = 1 where x ≥ ½, else 0  (binarization.2).  Draws nothing.

    >>> threshold(np.array([[0, 127, 128, 255]], np.uint8), np.random.default_rng(0), np.float32)
    array([[0., 0., 1., 1.]], dtype=float32)
    """
    half = 128 if rows.dtype == np.uint8 else 0.5  # 127.5 lies between two grey values
    return (rows >= half).astype(dtype)  # (binarization.2)


def fresh(rows: npt.NDArray[Any], rng: np.random.Generator, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """b ~ Bernoulli(x), drawn anew at every call  (binarization.3).

    For uint8 the probability is v/255 exactly, by one random byte per value (binarization.4).  For float32 rows it is x
    rounded up to a multiple of 2⁻²⁴, for float64 of 2⁻⁵³.

    >>> fresh(np.array([[0, 128, 255]], np.uint8), np.random.default_rng(0), np.float32)[:, [0, 2]]
    array([[0., 1.]], dtype=float32)
    """
    if rows.dtype == np.uint8:
        noise: npt.NDArray[Any] = _bytes_below_255(rows.size, rng).reshape(rows.shape)
    else:
        noise = rng.random(rows.shape, dtype=np.float32 if rows.dtype == np.float32 else np.float64)
    return (noise < rows).astype(dtype)  # (binarization.3)


def fixed(rows: npt.NDArray[Any], rng: np.random.Generator, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """b = v / 255 for rows that `binarize_once` has made bits, 0 or 255.  Draws nothing.

    Raises `InputError` where a value is neither, since the rows then are not bits.
    """
    if rows.dtype != np.uint8 or (rows + np.uint8(1) > 1).any():  # 255 + 1 wraps to 0
        raise InputError("fixed: rows must be bits, 0 or 255 in uint8; make them by binarize_once(dataset, seed)")
    return grey(rows, rng, dtype)


def photons(rows: npt.NDArray[Any], rng: np.random.Generator, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """k ~ Poisson(EXPOSURE x), drawn anew at every call  (binarization.5): a photograph in little light.

    >>> photons(np.array([[0, 255, 255]], np.uint8), np.random.default_rng(0), np.float32)[:, 0]
    array([0.], dtype=float32)
    """
    return rng.poisson(EXPOSURE * grey(rows, rng, np.float64)).astype(dtype)  # (binarization.5)


def inside(rows: npt.NDArray[Any], rng: np.random.Generator, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """x' = (v + ½) / 256 for uint8 v, (255 x + ½) / 256 for floating x  (binarization.6).  Draws nothing.

    Strictly inside (0, 1), where every beta has a finite density.

    >>> inside(np.array([[0, 255]], np.uint8), np.random.default_rng(0), np.float32)
    array([[0.00195312, 0.9980469 ]], dtype=float32)
    """
    x = rows.astype(dtype)
    if rows.dtype != np.uint8:
        x *= 255
    x += 0.5
    x /= 256  # (binarization.6)
    return x


def codes(rows: npt.NDArray[Any], rng: np.random.Generator, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """c = min(⌊LEVELS x⌋, LEVELS - 1), one of the codes 0, ..., LEVELS - 1  (binarization.7).  Draws nothing.

    >>> codes(np.array([[0, 31, 32, 255]], np.uint8), np.random.default_rng(0), np.float32)
    array([[0., 0., 1., 7.]], dtype=float32)
    """
    scaled = rows * (LEVELS / 256) if rows.dtype == np.uint8 else np.minimum(rows * LEVELS, LEVELS - 1)
    return np.floor(scaled).astype(dtype)  # (binarization.7)


def counts(rows: npt.NDArray[Any], rng: np.random.Generator, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Counts as they are, for data sets of counts (`from_arrays(..., counts=True)`).  Draws nothing.

    >>> counts(np.array([[0.0, 1200.0]]), np.random.default_rng(0), np.float32)
    array([[   0., 1200.]], dtype=float32)
    """
    return rows.astype(dtype)


def binarize_once(dataset: Dataset, seed: int) -> Dataset:
    """The data set with train and test replaced by one draw of b ~ Bernoulli(x), as uint8 0 or 255  (binarization.3).

    The same seed gives the same bits; train is drawn first, then test.  Raises `InputError` where the data are counts.

    >>> digits = Dataset("two", np.full((2, 3), 128, np.uint8), np.full((1, 3), 255, np.uint8))
    >>> binarize_once(digits, seed=0).test
    array([[255, 255, 255]], dtype=uint8)
    """
    if dataset.counts:
        raise InputError(f"{dataset.name}: holds counts, of which no bits are made; use binarize 'counts'")
    rng = generator(seed, "bits")
    return replace(dataset, train=_draw_once(dataset.train, rng), test=_draw_once(dataset.test, rng))


def _draw_once(rows: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    bits = np.empty(rows.shape, np.uint8)
    for start in range(0, len(rows), BLOCK):
        bits[start : start + BLOCK] = fresh(rows[start : start + BLOCK], rng, np.uint8)
    bits *= np.uint8(255)
    return bits


def _bytes_below_255(size: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Bytes uniform on 0..254: eight at a time from one 64-bit word, and those that are 255 drawn again.

    Measured on one Zen 5 core: `fresh` on (100, 784) rows takes 61 µs this way, 158 µs with `rng.integers(0, 255)` for
    every byte, 354 µs with `rng.random`.
    """
    words = rng.integers(0, 2**64, size=math.ceil(size / 8), dtype=np.uint64)
    noise = words.view(np.uint8)[:size]
    (again,) = np.nonzero(noise == 255)
    noise[again] = rng.integers(0, 255, size=again.size, dtype=np.uint8)  # (binarization.4)
    return noise


BINARIZATIONS: dict[str, Binarization] = {
    "none": grey,
    "threshold": threshold,
    "fixed": fixed,
    "fresh": fresh,
    "inside": inside,
    "codes": codes,
    "photons": photons,
    "counts": counts,
}
"""Names of the command line and the parameter file; "fixed" wants its data set from `binarize_once`."""
