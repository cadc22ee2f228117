"""The logistic distribution: hand-worked values, its tails, the Bernoulli behind it, and planted bugs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.kl_table import kl_divergence
from numvae.distributions.logistic import Logistic
from numvae.errors import InputError
from tests.distributions.family_proofs import integral
from tests.oracles import level_nodes

Q = Logistic()


def test_sample_and_gradient_by_hand() -> None:
    """Odds of 3 to 1, at location 1 and scale 2   (logistic.1), (logistic.2)."""
    z, pullback = Q.sample(np.array([[1.0, math.log(2)]]), np.array([[[0.75]]]))
    assert z[0, 0, 0] == pytest.approx(1 + 2 * math.log(3))
    np.testing.assert_allclose(pullback(np.ones((1, 1, 1)))[0], [[1, 2 * math.log(3)]], rtol=1e-14)


def test_log_prob_and_gradient_by_hand() -> None:
    """σ(1 - σ) with σ = 3/4, whose slope in the log-density is 1 - 2σ   (logistic.3), (logistic.4)."""
    r = math.log(3)
    value, pullback = Q.log_prob(np.zeros((1, 2)), np.array([[r]]))
    assert value[0] == pytest.approx(math.log(3 / 16))
    dparams, dvalue = pullback(np.ones(1))
    np.testing.assert_allclose(dparams, [[0.5, r / 2 - 1]], rtol=1e-14)
    np.testing.assert_allclose(dvalue, [[-0.5]], rtol=1e-14)


def test_log_prob_is_smooth_at_the_location_and_straight_far_out() -> None:
    """(logistic.3), (logistic.4)."""
    value, pullback = Q.log_prob(np.zeros((1, 2)), np.array([[0.0], [700.0], [-1e6]]))
    np.testing.assert_allclose(value, [-math.log(4), -700, -1e6], rtol=1e-15)
    np.testing.assert_allclose(pullback(np.ones(3))[1].ravel(), [0, -1, 1], atol=1e-15)


def test_moments_and_entropy_are_their_integrals() -> None:
    """Over the levels of the CDF   (logistic.5), (logistic.6)."""
    lower, upper, weights = level_nodes()
    odds = np.log(lower) - np.log(upper)
    params = np.array([[0.3, 0.7]])
    assert Q.std(params)[0, 0] == pytest.approx(math.exp(0.7) * math.sqrt(odds**2 @ weights), rel=1e-13)
    assert Q.entropy(params)[0] == pytest.approx(0.7 - (np.log(lower) + np.log(upper)) @ weights, rel=1e-13)


def test_positive_values_are_a_bernoulli_of_the_logit() -> None:
    """P(z > 0) = σ(location / scale)   (logistic.7)."""
    location, scale = 0.8, 2.5
    above = 1 - Q.cdf(np.array([[location, math.log(scale)]]), np.zeros((1, 1)))[0, 0]
    assert above == pytest.approx(1 / (1 + math.exp(-location / scale)), rel=1e-14)


def test_samples_of_all_levels_keep_their_place() -> None:
    """CDF of the sample = noise, to the last digits, from the first step to the last   (logistic.1), (logistic.7)."""
    step = 2.0**-53
    noise = np.array([step, 1e-12, 0.3, 0.5, 1 - 1e-6, 1 - step])[:, None, None]
    params = np.array([[0.0, 0.4]])
    np.testing.assert_allclose(Q.cdf(params, Q.sample(params, noise)[0]), noise, rtol=1e-13)


def test_there_is_no_kl_but_for_equal_scales() -> None:
    """The error names what needs none; the page's remark, δ coth(δ/2) - 2, by quadrature of (logistic.3)."""
    with pytest.raises(InputError, match="monte_carlo"):
        kl_divergence(Q, Q)
    delta = 1.7

    def log_ratio(level: float) -> float:
        z = np.array([[math.log(level) - math.log1p(-level)]])
        log_q, log_p = (Q.log_prob(np.array([[m, 0.0]]), z)[0][0] for m in (0.0, -delta))
        return float(log_q - log_p)

    assert integral(log_ratio, 0, 1) == pytest.approx(delta / math.tanh(delta / 2) - 2, rel=1e-9)


class ScaleForStd(Logistic):
    """The bug of a sample scaled to the standard deviation, consistent within itself."""

    def sample(self, params: Array, noise: Array) -> Any:
        location, log_scale = np.split(params, 2, axis=-1)
        shifted = np.concatenate([location, log_scale - math.log(math.pi / math.sqrt(3))], axis=-1)
        return super().sample(shifted, noise)


class NoCurvature(Logistic):
    """The bug of sign(r) for tanh(r/2): right far out, wrong near the location."""

    def log_prob(self, params: Array, value: Array) -> Any:
        log_density, _ = super().log_prob(params, value)
        location, log_scale = np.split(params, 2, axis=-1)
        slope = np.sign(value - location) * np.exp(-log_scale)

        def pullback(d: Array) -> Any:
            dlog_scale = d[..., None] * ((value - location) * slope - 1)
            return np.concatenate([d[..., None] * slope, dlog_scale], axis=-1), -d[..., None] * slope

        return log_density, pullback


def test_planted_bugs_are_rejected() -> None:
    params = np.array([[0.5, -0.4]])
    assert check_pullback(ScaleForStd().sample, params, np.array([[[0.2]], [[0.7]]])).ok
    assert not check_sampler(ScaleForStd(), params).ok
    assert not check_pullback(NoCurvature().log_prob, params, np.array([[0.9]])).ok
