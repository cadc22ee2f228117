"""The Poisson distribution: the proofs, its quantile count by count, hand-worked values, and extreme parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae.arena.truth import nodes
from numvae.arrays import Array
from numvae.checks import check_sampler
from numvae.distributions.poisson import Poisson
from numvae.errors import InputError
from tests.cases import counts, logs
from tests.distributions.family_proofs import monte_carlo_kl_score

Q = Poisson()
PARAMS, VALUES = logs("B, Z"), counts("S, B, Z")


@pytest.mark.parametrize("rate", [1e-6, 0.03, 0.7, 4.0, 30.0, 500.0, 1e4, 1e6])
def test_samples_are_the_quantile_for_every_noise(rate: float) -> None:
    """P(z - 1) ≤ noise < P(z), from 1e-12 to 1 - 1e-12, at every step of the CDF and on both sides   (poisson.1)."""
    law = stats.poisson(rate)
    levels = np.concatenate([np.geomspace(1e-12, 0.5, 60), 1 - np.geomspace(1e-12, 0.5, 60)])
    steps = law.cdf(np.arange(max(0, rate - 3 * math.sqrt(rate)), rate + 3 * math.sqrt(rate) + 2))[:200]
    noise = np.concatenate([levels, steps * (1 - 1e-9), np.minimum(steps * (1 + 1e-9), 1 - 1e-12)])
    z, _ = Q.sample(np.array([[math.log(rate)]]), noise[:, None, None])
    np.testing.assert_array_equal(z.ravel(), law.ppf(noise))


def test_samples_follow_the_probabilities() -> None:
    """Chi-squared over the counts, and the moments and score of ``check_sampler``   (poisson.1), (poisson.3)."""
    params = np.log(np.array([[0.3, 5.0]]))
    check_sampler(Q, params).assert_ok()
    z, _ = Q.sample(params, Q.noise(np.random.default_rng(3), (50_000, 1, 2)))
    for rate, column in zip((0.3, 5.0), z[:, 0].T, strict=True):
        last = int(stats.poisson(rate).ppf(1 - 1e-4))
        observed = np.bincount(np.minimum(column, last).astype(int), minlength=last + 1)
        expected = len(column) * np.append(stats.poisson(rate).pmf(np.arange(last)), stats.poisson(rate).sf(last - 1))
        assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_sample_refuses_a_derivative() -> None:
    _, pullback = Q.sample(np.zeros((1, 1)), np.full((1, 1, 1), 0.5))
    with pytest.raises(InputError, match="poisson_difference, not pathwise"):
        pullback(np.ones((1, 1, 1)))


def test_counts_of_rate_one_by_hand() -> None:
    """Rate 1: P(0) = P(1) = 1/e, so noise of 0.3, 0.5, 0.8 gives 0, 1, 2   (poisson.1), (poisson.2)."""
    z, _ = Q.sample(np.zeros((1, 1)), np.array([0.3, 0.5, 0.8])[:, None, None])
    assert z.ravel().tolist() == [0, 1, 2]
    assert Q.log_prob(np.zeros((1, 1)), np.array([[3.0]]))[0][0] == pytest.approx(-1 - math.log(6))


def test_relaxed_log_prob_is_the_log_prob_at_counts() -> None:
    """(poisson.4)."""
    params, values = np.array([[0.3, -1.0]]), np.array([[[4.0, 0.0]]])
    np.testing.assert_array_equal(Q.relaxed_log_prob(params, values)[0], Q.log_prob(params, values)[0])


@pytest.mark.parametrize(("log_rate", "prior"), [(0.3, -0.6), (-4.0, 1.0), (3.0, -2.0), (0.5, 0.5)])
def test_kl_is_its_sum(log_rate: float, prior: float) -> None:
    """(poisson.5)."""
    z, weights = nodes(Q, np.array([[log_rate]]), 1)
    law, other = stats.poisson(math.exp(log_rate)), stats.poisson(math.exp(prior))
    expected = weights @ (law.logpmf(z[:, 0]) - other.logpmf(z[:, 0]))
    kl = Q.kl(np.array([[log_rate]]), np.array([[prior]]))[0][0]
    assert kl == pytest.approx(expected, abs=1e-11, rel=1e-11)
    assert kl >= 0


def test_kl_is_its_monte_carlo_mean_and_zero_at_equality() -> None:
    """(poisson.5), (poisson.6)."""
    params, prior = np.array([[0.3, -0.8]]), np.array([[-0.2, 0.4]])
    assert abs(monte_carlo_kl_score(Q, params, prior, np.random.default_rng(0))) < 4
    kl, pullback = Q.kl(params, params)
    assert kl[0] == 0
    np.testing.assert_array_equal(pullback(np.ones(1))[0], np.zeros((1, 2)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("log_rate", [-40.0, -10.0, 0.0, 10.0, 40.0])
def test_extremes_are_finite(log_rate: float, dtype: Any) -> None:
    params = np.array([[log_rate]], dtype)
    z, _ = Q.sample(params, np.array([0.0, 1e-30, 0.5, 1 - np.finfo(dtype).epsneg], dtype)[:, None, None])
    value, pullback = Q.log_prob(params, z)
    gradient = pullback(np.ones_like(value))[0]
    assert z.dtype == dtype
    assert np.all(z >= 0)
    assert all(np.isfinite(array).all() for array in (z, value, gradient))


class OneTooMany(Poisson):
    """The bug of a search that ends one count too far."""

    def sample(self, params: Array, noise: Array) -> Any:
        z, pullback = super().sample(params, noise)
        return z + 1, pullback


def test_a_quantile_off_by_one_is_rejected() -> None:
    assert not check_sampler(OneTooMany(), np.array([[0.5, -0.3]])).ok
