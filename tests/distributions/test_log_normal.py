"""The log-normal distribution: hand-worked values, its limits, and planted bugs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.contract import greatest_positive, least_positive
from numvae.distributions.log_normal import LogNormal
from numvae.distributions.normal import Normal

Q = LogNormal()


def test_sample_by_hand() -> None:
    """z = e^(1 + 2 · 0.5), and dz · z reaches the mean   (log_normal.1), (log_normal.2)."""
    z, pullback = Q.sample(np.array([[1.0, math.log(2)]]), np.array([[[0.5]]]))
    assert z[0, 0, 0] == pytest.approx(math.e**2)
    np.testing.assert_allclose(pullback(np.ones((1, 1, 1)))[0], [[math.e**2, math.e**2]])


def test_logarithm_is_normal() -> None:
    """(log_normal.1), (log_normal.3), (log_normal.4), (log_normal.9)."""
    params, value = np.array([[0.3, -0.4, 0.2, -1.1]]), np.array([[[0.5, 2.0]], [[3.0, 0.1]]])
    log_value = np.log(value)
    log_density, pullback = Q.log_prob(params, value)
    expected, normal_pullback = Normal().log_prob(params, log_value)
    np.testing.assert_allclose(log_density, expected - log_value.sum(axis=-1), rtol=1e-13)
    (dparams, dvalue), (dnormal, dlog) = pullback(np.ones((2, 1))), normal_pullback(np.ones((2, 1)))
    np.testing.assert_array_equal(dparams, dnormal)
    np.testing.assert_allclose(dvalue, (dlog - 1) / value, rtol=1e-13)
    np.testing.assert_allclose(Q.cdf(params, value), Normal().cdf(params, log_value), rtol=1e-13)


def test_kl_is_that_of_the_logarithms() -> None:
    """(log_normal.5)."""
    assert Q.kl(np.array([[1.0, 0.0]]), np.zeros((1, 2)))[0] == 0.5


def test_moments_by_hand() -> None:
    """log_std = 0: mean √e, variance e² - e, entropy ½ log 2πe   (log_normal.6), (log_normal.7), (log_normal.8)."""
    params = np.zeros((1, 2))
    assert Q.mean(params) == pytest.approx(math.sqrt(math.e))
    assert Q.std(params) == pytest.approx(math.sqrt(math.e**2 - math.e))
    assert Q.entropy(params)[0] == pytest.approx(0.5 * math.log(2 * math.pi * math.e))
    narrow = np.array([[0.0, -20.0]])  # where e^(std²) - 1 would be lost in rounding
    assert Q.std(narrow)[0, 0] == pytest.approx(math.exp(-20), rel=1e-12)


def test_median_is_not_the_mean() -> None:
    """(log_normal.10)."""
    assert Q.quantile(np.array([[0.7, 1.0]]), np.array([[0.5]])) == pytest.approx(math.exp(0.7))


def test_no_value_is_below_zero() -> None:
    """(log_normal.9)."""
    np.testing.assert_array_equal(Q.cdf(np.zeros((1, 2)), np.array([[-1.0], [0.0]])), 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_leaves_the_range_of_numbers_is_held_at_its_ends(dtype: Any) -> None:
    """(log_normal.1), (log_normal.2)."""
    params, noise = np.array([[0.0, math.log(1000)]], dtype), np.array([-3.0, 0.0, 3.0], dtype)[:, None, None]
    z, pullback = Q.sample(params, noise)
    least = least_positive(dtype)
    np.testing.assert_allclose(
        z.ravel(), np.array([least, 1, greatest_positive(dtype)], dtype), rtol=1e-4 if dtype is np.float32 else 1e-12
    )
    assert z.dtype == dtype
    assert np.isfinite(pullback(np.ones_like(z))[0]).all()
    log_density, log_prob_pullback = Q.log_prob(params, z)
    assert np.isfinite(log_density).all()
    assert all(np.isfinite(gradient).all() for gradient in log_prob_pullback(np.ones_like(log_density)))


class WithoutJacobian(LogNormal):
    """The bug of a density of log z taken for one of z."""

    def log_prob(self, params: Array, value: Array) -> Any:
        log_density, pullback = Normal().log_prob(params, np.log(value))

        def through_log(d: Array) -> Any:
            dparams, dlog_value = pullback(d)
            return dparams, dlog_value / value

        return log_density, through_log


class NotThroughExp(LogNormal):
    """The bug of a gradient that stops at log z."""

    def sample(self, params: Array, noise: Array) -> Any:
        _, pullback = Normal().sample(params, noise)
        return super().sample(params, noise)[0], pullback


class WithoutCdf:
    """WithoutJacobian, judged by its density alone."""

    noise, sample, mean = LogNormal.noise, LogNormal.sample, LogNormal.mean
    log_prob = WithoutJacobian.log_prob


def test_planted_bugs_are_rejected() -> None:
    params = np.array([[0.4, 0.1, -0.5, -0.3]])
    assert check_sampler(Q, params).ok
    assert not check_pullback(NotThroughExp().sample, params, np.array([[[0.3, -0.2]]])).ok
    assert check_pullback(WithoutJacobian().log_prob, params, np.array([[0.3, 2.0]])).ok  # of the wrong function
    assert not check_sampler(WithoutCdf(), params).ok
