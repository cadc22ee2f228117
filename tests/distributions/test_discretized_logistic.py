"""The discretized logistic: masses that add up, tiny and huge scales, hand-worked values, and the usual bugs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.bernoulli import Bernoulli
from numvae.distributions.discretized_logistic import DiscretizedLogistic
from numvae.errors import InputError

Q = DiscretizedLogistic()
GREYS = (np.arange(256) / 255)[:, None, None]
MEANS = np.array([-0.5, 0.0, 0.4, 0.5019607843137255, 1.0, 3.0])


def rows(log_scale: float, dtype: Any = np.float64) -> Array:
    """Six means of one scale: (6, 2)."""
    return np.stack([MEANS, np.full_like(MEANS, log_scale)], axis=-1).astype(dtype)


@pytest.mark.parametrize("log_scale", [-12.0, -6.9, -4.0, -1.0, 2.0, 6.9, 20.0])
def test_the_256_masses_sum_to_one(log_scale: float) -> None:
    """From a scale of 6e-6, a thousandth of a level, to one of 5e8   (discretized_logistic.3)."""
    log_masses, _ = Q.log_prob(rows(log_scale), GREYS)
    np.testing.assert_allclose(np.exp(log_masses).sum(axis=0), 1, rtol=1e-12)


@pytest.mark.parametrize("log_scale", [-6.9, -2.0, 6.9])
def test_the_score_averages_to_zero(log_scale: float) -> None:
    """Σ p ∇ log p = 0 by enumeration, against the size of its terms

    (discretized_logistic.4), (discretized_logistic.5).
    """
    params = np.repeat(rows(log_scale), 256, axis=0)
    log_masses, pullback = Q.log_prob(params, np.tile(GREYS[:, 0], (6, 1)))
    terms = pullback(np.exp(log_masses))[0].reshape(6, 256, 2)
    np.testing.assert_array_less(np.abs(terms.sum(axis=1)), 1e-12 * np.abs(terms).sum(axis=1) + 1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("log_scale", [-30.0, -15.0, -6.9, 0.0, 6.9, 30.0])
def test_extremes_are_finite(log_scale: float, dtype: Any) -> None:
    params = np.repeat(rows(log_scale, dtype), 256, axis=0)
    log_masses, pullback = Q.log_prob(params, np.tile(GREYS[:, 0], (6, 1)).astype(dtype))
    gradient = pullback(np.ones_like(log_masses))[0]
    assert log_masses.dtype == gradient.dtype == dtype
    assert np.isfinite(log_masses).all()
    assert np.isfinite(gradient).all()
    grey, _ = Q.sample(params, np.array([0.0, 0.5, 1 - np.finfo(dtype).epsneg], dtype)[:, None, None])
    assert grey.dtype == dtype
    assert np.all((grey >= 0) & (grey <= 1))


def test_three_levels_by_hand() -> None:
    """Three levels, mean ½, scale ¼: outer masses σ(-1), the middle one tanh ½; at ½ nothing pulls the mean

    (discretized_logistic.3), (discretized_logistic.4), (discretized_logistic.5).
    """
    three, params = DiscretizedLogistic(levels=3), np.array([[0.5, math.log(0.25)]])
    outer, middle = 1 / (1 + math.e), math.tanh(0.5)
    log_masses, _ = three.log_prob(params, np.array([[0.0], [0.5], [1.0]]))
    np.testing.assert_allclose(np.exp(log_masses), [outer, middle, outer])
    _, pullback = three.log_prob(params, np.array([[0.5]]))
    np.testing.assert_allclose(pullback(np.ones(1))[0], [[0, -2 * outer - 2 / (math.e**2 - 1)]], atol=1e-15)
    assert three.mean(params)[0, 0] == pytest.approx(0.5)  # (discretized_logistic.6)
    assert three.std(params)[0, 0] ** 2 == pytest.approx(2 * outer / 4)
    np.testing.assert_allclose(three.cdf(params, np.array([[0.0], [0.5], [1.0]])).ravel(), [outer, 1 - outer, 1])


def test_two_levels_are_a_bit() -> None:
    """With logit (mean - ½) / scale."""
    rng = np.random.default_rng(0)
    mean, log_scale, bits = rng.standard_normal((4, 5)), rng.standard_normal((4, 5)), np.round(rng.random((4, 5)))
    logits = (mean - 0.5) * np.exp(-log_scale)
    two, params = DiscretizedLogistic(levels=2), np.concatenate([mean, log_scale], axis=-1)
    np.testing.assert_allclose(two.log_prob(params, bits)[0], Bernoulli().log_prob(logits, bits)[0])
    np.testing.assert_allclose(two.mean(params), Bernoulli().mean(logits))
    np.testing.assert_allclose(two.std(params), Bernoulli().std(logits))
    np.testing.assert_allclose(two.entropy(params), Bernoulli().entropy(logits))


def test_a_narrow_one_is_sure_and_a_wide_one_is_black_or_white() -> None:
    narrow, wide = np.array([[100 / 255, -12.0]]), np.array([[0.5, 12.0]])
    assert Q.log_prob(narrow, np.array([[100 / 255]]))[0][0] == pytest.approx(0, abs=1e-15)
    assert Q.mean(narrow)[0, 0] == pytest.approx(100 / 255)
    assert Q.entropy(narrow)[0] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(Q.log_prob(wide, np.array([[0.0], [1.0]]))[0], -math.log(2), rtol=1e-4)
    assert Q.std(wide)[0, 0] == pytest.approx(0.5, rel=1e-4)


def test_a_level_is_drawn_with_its_mass() -> None:
    """Chi-squared, the two ends among them   (discretized_logistic.1), (discretized_logistic.2)."""
    eight = DiscretizedLogistic(levels=8)
    params = np.array([[0.3, math.log(0.2)], [0.9, math.log(0.5)]])
    values = np.arange(8)[:, None, None] / 7
    expected = np.exp(eight.log_prob(params, values)[0])
    grey, _ = eight.sample(params, eight.noise(np.random.default_rng(1), (30_000, 2, 1)))
    for row in range(2):
        seen = np.bincount(np.rint(7 * grey[:, row, 0]).astype(int), minlength=8)
        assert stats.chisquare(seen, 30_000 * expected[:, row]).pvalue > 1e-3
    np.testing.assert_allclose(eight.cdf(params, values)[..., 0], np.cumsum(expected, axis=0), rtol=1e-12)


def test_levels_below_two_and_derivatives_of_samples_are_refused() -> None:
    with pytest.raises(InputError, match="at least 2, got 1"):
        DiscretizedLogistic(levels=1)
    _, pullback = Q.sample(np.zeros((1, 2)), np.full((1, 1, 1), 0.5))
    with pytest.raises(InputError, match="score_function, not pathwise"):
        pullback(np.ones((1, 1, 1)))


class WithoutTails(DiscretizedLogistic):
    """The bug of ends treated like any other level."""

    def log_prob(self, params: Array, value: Array) -> Any:
        mean, log_scale = np.split(params, 2, axis=-1)
        half = 0.5 / (self.levels - 1)
        above, below = ((value - mean + side) * np.exp(-log_scale) for side in (half, -half))
        return np.log(np.tanh(above / 2) / 2 - np.tanh(below / 2) / 2).sum(axis=-1), None


class OneLevelTooMany(DiscretizedLogistic):
    """The bug of 1/256 for the distance of two levels, which is 1/255."""

    def log_prob(self, params: Array, value: Array) -> Any:
        return DiscretizedLogistic(self.levels + 1).log_prob(params, value)


class ScaleWithoutWidth(DiscretizedLogistic):
    """The bug of a gradient that forgets that the width in scales depends on the scale."""

    def log_prob(self, params: Array, value: Array) -> Any:
        log_mass, pullback = super().log_prob(params, value)
        width = np.exp(-params[..., 1:]) / (self.levels - 1)
        inner = (value > 0) & (value < 1)
        narrowing = inner * width / np.expm1(width)
        narrowing = np.concatenate([0 * narrowing, narrowing], axis=-1)
        return log_mass, lambda d: (pullback(d)[0] + d[..., None] * narrowing, None)


def test_planted_bugs_are_rejected() -> None:
    """(discretized_logistic.3), (discretized_logistic.5)."""
    wide = rows(-1.0)
    assert abs(np.exp(WithoutTails().log_prob(wide, GREYS)[0]).sum(axis=0) - 1).max() > 0.1
    assert (
        abs(np.exp(OneLevelTooMany(7).log_prob(wide, np.arange(7)[:, None, None] / 6)[0]).sum(axis=0) - 1).max() > 0.01
    )
    params = np.array([[0.4, -1.2]])
    assert check_sampler(DiscretizedLogistic(8), params).ok
    assert not check_sampler(ScaleWithoutWidth(8), params).ok
    assert not check_pullback(ScaleWithoutWidth(8).log_prob, params, np.array([[3 / 7]])).ok
