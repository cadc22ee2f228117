"""Corruptions: how often, how far, and from whose generator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae.corruption import CORRUPTIONS, blank_pixels, normal_noise, salt_and_pepper

X = np.tile([0.0, 0.3, 1.0], (20_000, 1))
"""Rows whose columns are black, grey and white."""


@pytest.mark.parametrize("strength", [0.1, 0.6])
def test_salt_and_pepper_is_a_coin_where_it_strikes(strength: float) -> None:
    """(objectives.15)."""
    seen = salt_and_pepper(X, np.random.default_rng(0), strength)
    assert set(np.unique(seen)) == {0.0, 0.3, 1.0}
    five_errors = 5 * np.sqrt(0.25 / len(X))
    np.testing.assert_allclose(
        (seen == 1).mean(axis=0), [strength / 2, strength / 2, 1 - strength / 2], atol=five_errors
    )
    np.testing.assert_allclose(
        (seen == 0).mean(axis=0), [1 - strength / 2, strength / 2, strength / 2], atol=five_errors
    )
    np.testing.assert_allclose(seen.mean(axis=0), (1 - strength) * X[0] + strength / 2, atol=five_errors)


def test_normal_noise_has_the_mean_of_the_data_and_its_own_spread() -> None:
    """(objectives.16)."""
    seen = normal_noise(X, np.random.default_rng(0), 0.4)
    np.testing.assert_allclose(seen.mean(axis=0), X[0], atol=5 * 0.4 / np.sqrt(len(X)))
    np.testing.assert_allclose(seen.std(axis=0), 0.4, atol=5 * 0.4 / np.sqrt(2 * len(X)))


def test_blank_pixels_are_black() -> None:
    """(objectives.17)."""
    seen = blank_pixels(X, np.random.default_rng(0), 0.3)
    assert np.all((seen == 0) | (seen == X))
    np.testing.assert_allclose((seen == 0).mean(axis=0), [1, 0.3, 0.3], atol=5 * np.sqrt(0.25 / len(X)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_each_keeps_dtype_and_data_and_depends_on_its_generator_alone(corrupt: Any, dtype: Any) -> None:
    x = X[:100].astype(dtype)
    x.flags.writeable = False
    one, again, other = (corrupt(x, np.random.default_rng(seed), 0.5) for seed in (0, 0, 1))
    assert one.dtype == dtype
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_no_strength_changes_nothing(corrupt: Any) -> None:
    np.testing.assert_array_equal(corrupt(X, np.random.default_rng(0), 0.0), X)
