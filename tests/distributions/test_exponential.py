"""The exponential distribution: the three proofs, hand-worked values, and extreme parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from numvae.arena.truth import exact_value
from numvae.arrays import Array
from numvae.checks import check_sampler
from numvae.distributions.exponential import Exponential
from tests.cases import logs
from tests.distributions.family_proofs import integral, monte_carlo_kl_score

PARAMS, VALUES = logs("B, Z", -4.6, 4.6), logs("S, B, Z")
Q = Exponential()


def test_sample_and_gradient_by_hand() -> None:
    """Rate 2, noise 1 - 1/e: one unit of time, divided by the rate   (exponential.1), (exponential.2)."""
    z, pullback = Q.sample(np.array([[math.log(2)]]), np.array([[[1 - math.exp(-1)]]]))
    assert z[0, 0, 0] == pytest.approx(0.5)
    assert pullback(np.ones((1, 1, 1)))[0][0, 0] == pytest.approx(-0.5)


def test_pathwise_gradient_is_that_of_the_expectation() -> None:
    """∂E[sin z] / ∂log_rate with E[sin z] = rate / (1 + rate²), over the nodes of a quadrature   (exponential.2)."""
    points, weights = np.polynomial.legendre.leggauss(200)
    waiting = 15 * (points + 1)
    noise, density = -np.expm1(-waiting), 15 * weights * np.exp(-waiting)
    rate = 1.3
    z, pullback = Q.sample(np.array([[math.log(rate)]]), noise[:, None, None])
    gradient = pullback(np.cos(z) * density[:, None, None])[0][0, 0]
    assert gradient == pytest.approx(rate * (1 - rate**2) / (1 + rate**2) ** 2, abs=1e-9)


@pytest.mark.parametrize(("log_rate", "prior"), [(0.3, -0.6), (-4.0, 1.0), (2.0, -3.0), (0.5, 0.5)])
def test_kl_is_its_integral(log_rate: float, prior: float) -> None:
    """(exponential.5)."""
    rate, prior_rate = math.exp(log_rate), math.exp(prior)
    expected = integral(lambda t: math.exp(-t) * (log_rate - prior - t + prior_rate * t / rate))
    kl = Q.kl(np.array([[log_rate]]), np.array([[prior]]))[0][0]
    assert kl == pytest.approx(expected, abs=1e-9, rel=1e-9)
    assert kl >= 0


def test_kl_is_its_monte_carlo_mean_and_zero_at_equality() -> None:
    """(exponential.5), (exponential.6)."""
    params, prior = np.array([[0.3, -0.8]]), np.array([[-0.2, 0.4]])
    assert abs(monte_carlo_kl_score(Q, params, prior, np.random.default_rng(0))) < 4
    kl, pullback = Q.kl(params, params)
    assert kl[0] == 0
    np.testing.assert_array_equal(pullback(np.ones(1))[0], np.zeros((1, 2)))


def test_expected_score_is_zero() -> None:
    """(exponential.4)."""
    params = np.array([[0.4]])

    def score(params: Array, z: Array) -> Any:
        repeated = np.broadcast_to(params, z.shape)
        return Q.log_prob(repeated, z)[1](np.ones(z.shape[:-1]))[0][..., 0], None

    assert exact_value(Q, params, score, 1) == pytest.approx(0, abs=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("log_rate", [-40.0, 0.0, 40.0])
def test_extremes_are_finite(log_rate: float, dtype: Any) -> None:
    """A noise of exactly 0 is a short wait, whose logarithm is finite; the largest uniform number is below 1."""
    params = np.array([[log_rate]], dtype)
    noise = np.array([0.0, 1e-30, 0.5, 1 - np.finfo(dtype).epsneg], dtype)[:, None, None]
    z, pullback = Q.sample(params, noise)
    value, density_pullback = Q.log_prob(params, z)
    gradients = [pullback(np.ones_like(z))[0], *density_pullback(np.ones_like(value))]
    assert all(np.isfinite(array).all() for array in (np.log(z), value, *gradients))


class TwiceTheRate(Exponential):
    """The bug of taking the scale for the rate, twice: consistent within itself, and wrong."""

    def sample(self, params: Array, noise: Array) -> Any:
        return Exponential().sample(2 * params, noise)


def test_a_sampler_of_another_rate_is_rejected() -> None:
    assert not check_sampler(TwiceTheRate(), np.array([[0.5, -0.3]])).ok
