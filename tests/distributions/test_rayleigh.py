"""The Rayleigh distribution: hand-worked values, the two normals and the exponential behind it, and planted bugs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.broadcasting import sum_to_shape
from numvae.distributions.exponential import Exponential
from numvae.distributions.rayleigh import Rayleigh
from numvae.distributions.weibull import Weibull
from tests.distributions.family_proofs import integral, monte_carlo_kl_score

Q = Rayleigh()


def test_sample_and_gradient_by_hand() -> None:
    """u = 1 - e^-2 is twice the scale   (rayleigh.1), (rayleigh.2)."""
    z, pullback = Q.sample(np.array([[math.log(3)]]), np.array([[[-math.expm1(-2)]]]))
    assert z[0, 0, 0] == pytest.approx(6, rel=1e-14)
    assert pullback(np.ones((1, 1, 1)))[0][0, 0] == pytest.approx(6, rel=1e-14)


def test_log_prob_and_gradient_by_hand() -> None:
    """At the mode, the scale, the density is e^-½ / scale and flat   (rayleigh.3), (rayleigh.4)."""
    value, pullback = Q.log_prob(np.array([[math.log(2)]]), np.array([[2.0]]))
    assert value[0] == pytest.approx(-math.log(2) - 0.5, rel=1e-14)
    dlog_scale, dvalue = pullback(np.ones(1))
    assert dlog_scale[0, 0] == pytest.approx(-1)
    assert dvalue[0, 0] == pytest.approx(0, abs=1e-15)


def test_it_is_the_length_of_two_normals() -> None:
    """(rayleigh.9), by Kolmogorov and Smirnov."""
    x, y = 0.7 * np.random.default_rng(0).standard_normal((2, 20_000))
    log_scale = np.array([math.log(0.7)])
    assert stats.kstest(np.hypot(x, y), lambda v: Q.cdf(log_scale, v)).pvalue > 1e-3
    assert Q.cdf(log_scale, np.array([-1.0]))[0] == 0


def test_its_square_is_exponential_with_the_same_kl() -> None:
    """z² has the rate 1 / (2 scale²)   (rayleigh.1), (rayleigh.5)."""
    log_scale, prior = np.array([[0.4, -1.0]]), np.array([[-0.3, 0.2]])
    rates, prior_rates = (-2 * a - math.log(2) for a in (log_scale, prior))
    noise = np.random.default_rng(0).random((5, 1, 2))
    np.testing.assert_allclose(Q.sample(log_scale, noise)[0] ** 2, Exponential().sample(rates, noise)[0], rtol=1e-13)
    np.testing.assert_allclose(Q.kl(log_scale, prior)[0], Exponential().kl(rates, prior_rates)[0], rtol=1e-13)


def test_it_is_the_weibull_of_shape_two() -> None:
    """With the scale √2 times ours   (rayleigh.1), (rayleigh.3), (rayleigh.7), (rayleigh.8)."""
    params = np.array([[0.4, -1.0]])
    shaped = np.concatenate([params + math.log(2) / 2, np.full((1, 2), math.log(2))], axis=-1)
    z = np.array([[0.3, 2.0]])
    for name in ("mean", "std", "entropy"):
        np.testing.assert_allclose(getattr(Q, name)(params), getattr(Weibull(), name)(shaped), rtol=1e-13)
    np.testing.assert_allclose(Q.log_prob(params, z)[0], Weibull().log_prob(shaped, z)[0], rtol=1e-13)


@pytest.mark.parametrize(("log_scale", "prior"), [(0.3, -0.6), (-3.0, 1.0), (1.0, -1.0), (0.5, 0.5)])
def test_kl_is_its_integral(log_scale: float, prior: float) -> None:
    """In units of q's scale   (rayleigh.5), (rayleigh.6)."""
    ratio = math.exp(2 * (log_scale - prior))
    expected = integral(
        lambda r: r * math.exp(-r * r / 2) * (2 * (prior - log_scale) + 0.5 * r * r * (ratio - 1)), 0, 40
    )
    kl, pullback = Q.kl(np.array([[log_scale]]), np.array([[prior]]))
    assert kl[0] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert pullback(np.ones(1))[0][0, 0] == pytest.approx(2 * (ratio - 1), rel=1e-12, abs=1e-15)


def test_kl_is_its_monte_carlo_mean() -> None:
    """(rayleigh.5)."""
    assert abs(monte_carlo_kl_score(Q, np.array([[0.3, -0.8]]), np.array([[0.2, 0.4]]), np.random.default_rng(0))) < 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_zero_is_a_short_length_not_none(dtype: Any) -> None:
    """log z and 1/z stay of ordinary size   (rayleigh.1)."""
    z, _ = Q.sample(np.zeros((1, 1), dtype), np.zeros((1, 1, 1), dtype))
    assert z[0, 0, 0] == pytest.approx(math.sqrt(float(np.finfo(dtype).epsneg)), rel=1e-6)


class VarianceForScale(Rayleigh):
    """The bug of exp(2 log_scale), consistent within itself."""

    def sample(self, params: Array, noise: Array) -> Any:
        z, pullback = super().sample(2 * params, noise)
        return z, lambda dz: (2 * pullback(dz)[0], None)


class OneLogScale(Rayleigh):
    """The bug of one log_scale where the density has two, for one coordinate: a density that is not normalised."""

    def log_prob(self, params: Array, value: Array) -> Any:
        log_density, pullback = super().log_prob(params, value)

        def with_one(d: Array) -> Any:
            dparams, dvalue = pullback(d)
            return dparams + sum_to_shape(d[..., None], params.shape), dvalue

        return log_density + params.sum(axis=-1), with_one


def test_planted_bugs_are_rejected() -> None:
    params = np.array([[0.5], [-0.4]])
    noise, values = np.array([[[0.2], [0.7]]]), np.array([[0.6], [1.3]])
    assert check_pullback(VarianceForScale().sample, params, noise).ok
    assert not check_sampler(VarianceForScale(), params).ok
    assert check_pullback(OneLogScale().log_prob, params, values).ok
    assert not check_sampler(OneLogScale(), params).ok
