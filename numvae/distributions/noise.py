"""The noise that samples are made of, and uniform noise as levels of a CDF, which are never 0."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array

__all__ = ["normal_noise", "positive_level", "uniform_noise"]


def uniform_noise(rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
    """Uniform noise on [0, 1), drawn in single precision where that is asked for."""
    single = np.dtype(dtype) == np.float32
    return rng.random(shape, dtype=np.float32 if single else np.float64)


def normal_noise(rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
    """Standard normal noise, drawn in single precision where that is asked for."""
    single = np.dtype(dtype) == np.float32
    return rng.standard_normal(shape, dtype=np.float32 if single else np.float64)


def positive_level(noise: Array) -> Array:
    """The noise as levels of a CDF, with 0 read as half a step of the generator: 2⁻⁵⁴, in single precision 2⁻²⁵.

    A generator draws whole multiples of one step, so its 0 stands for all that lies below the first step, and this is
    the middle of that.  A smaller substitute would be an outlier: a Cauchy sample of 10³⁰ where 10⁷ is the next.

    >>> positive_level(np.array([0.0, 0.25])) == [2.0**-54, 0.25]
    array([ True,  True])
    """
    return np.maximum(noise, float(np.finfo(noise.dtype).epsneg) / 2)
