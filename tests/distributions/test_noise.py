"""Noise: the generator's step, and what its 0 is read as."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae.distributions.noise import positive_level, uniform_noise


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_generators_draw_whole_multiples_of_the_step_that_is_halved(dtype: Any) -> None:
    noise = uniform_noise(np.random.default_rng(0), (10_000,), dtype)
    step = 2 * positive_level(np.zeros(1, dtype))
    assert noise.dtype == step.dtype == dtype
    np.testing.assert_array_equal(noise / step, np.round(noise / step))
    np.testing.assert_array_equal(positive_level(noise), np.maximum(noise, step / 2))
    assert noise.max() < 1
