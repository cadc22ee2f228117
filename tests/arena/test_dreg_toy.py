"""The toy of importance-weighted gradients: variances that fall, and a bias that does not."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from numvae.arena.dreg_toy import ToyRow, dreg_toy

COUNTS = (1, 4, 16)


@pytest.fixture(scope="module")
def rows() -> dict[tuple[str, int], ToyRow]:
    found = dreg_toy(COUNTS, repeats=4000, rng=np.random.default_rng(0))
    return {(row.estimator, row.samples): row for row in found}


PATHWISE, STL, DREG = "pathwise", "sticking_the_landing_iwae", "doubly_reparameterized"


def test_with_one_sample_all_is_known(rows: dict[tuple[str, int], ToyRow]) -> None:
    """Variances 8/3 and 1/6, slope -2   (dreg_toy.1)."""
    for name, exact in ((PATHWISE, 8 / 3), (STL, 1 / 6), (DREG, 1 / 6)):
        row = rows[name, 1]
        assert abs(row.variance - exact) < 5 * row.variance_error
        assert abs(row.slope + 2) < 5 * row.slope_error
    assert rows[STL, 1].bias == 0


def test_variances_fall_as_published(rows: dict[tuple[str, int], ToyRow]) -> None:
    """As 1/K for both others, faster for the doubly reparameterised; figures of an independent run of the same toy."""
    published = {
        (PATHWISE, 4): 0.741,
        (PATHWISE, 16): 0.190,
        (STL, 4): 0.0463,
        (STL, 16): 0.0119,
        (DREG, 4): 0.0106,
        (DREG, 16): 0.00030,
    }
    for key, variance in published.items():
        assert rows[key].variance == pytest.approx(variance, rel=0.05)


def test_sticking_the_landing_is_biased_and_pathwise_is_not(rows: dict[tuple[str, int], ToyRow]) -> None:
    """Its mean gradient stays at -1.5 b, while the right one goes to zero   (dreg_toy.2)."""
    for count in (4, 16):
        biased, unbiased = rows[STL, count], rows[PATHWISE, count]
        assert abs(biased.bias) > 15 * biased.bias_error
        assert abs(unbiased.bias) < 4 * unbiased.bias_error
    assert abs(rows[STL, 16].slope + 1.5) < 4 * rows[STL, 16].slope_error
    assert abs(rows[DREG, 16].slope) < 0.25


def test_signal_to_noise_falls_for_pathwise_and_rises_for_doubly_reparameterized(
    rows: dict[tuple[str, int], ToyRow],
) -> None:
    assert rows[PATHWISE, 1].signal_to_noise > 2 * rows[PATHWISE, 16].signal_to_noise
    assert rows[DREG, 16].signal_to_noise > 1.3 * rows[DREG, 4].signal_to_noise


def test_it_is_plain_data_and_repeats_itself() -> None:
    first, second = (dreg_toy((2,), repeats=30, features=3, rng=np.random.default_rng(5)) for _ in range(2))
    assert first == second
    plain = json.loads(json.dumps([row.to_json() for row in first]))
    assert [row["estimator"] for row in plain] == [PATHWISE, STL, DREG]
    assert all(math.isfinite(row["variance_error"]) for row in plain)
