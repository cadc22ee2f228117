"""The Erlang distribution: hand-worked values, the review's erratum, its kin, and planted bugs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.erlang import Erlang
from numvae.distributions.exponential import Exponential
from numvae.distributions.gamma import Gamma
from numvae.distributions.kl_table import has_closed_form
from numvae.errors import InputError

Q = Erlang(order=4)
PARAMS = np.array([[0.5, -0.3]])


def test_sample_and_gradient_by_hand() -> None:
    """Rate 2, two waits of one and of three units of time   (erlang.1), (erlang.2)."""
    noise = np.array([[[1 - math.exp(-1), 1 - math.exp(-3)]]])
    z, pullback = Erlang().sample(np.array([[math.log(2)]]), noise)
    assert z[0, 0, 0] == pytest.approx(2)
    assert pullback(np.ones((1, 1, 1)))[0][0, 0] == pytest.approx(-2)


def test_noise_blocks_lie_side_by_side() -> None:
    """The k-th block of the noise is the k-th wait of every coordinate   (erlang.1)."""
    noise = Q.noise(np.random.default_rng(0), (5, 1, 2))
    waits = [Exponential().sample(PARAMS, block)[0] for block in np.split(noise, 4, axis=-1)]
    np.testing.assert_allclose(Q.sample(PARAMS, noise)[0], sum(waits), rtol=1e-14)


def test_order_one_is_the_exponential() -> None:
    """(erlang.1), (erlang.3), (erlang.5), (erlang.8)."""
    one, noise, prior = Erlang(order=1), np.linspace(0.01, 0.99, 8).reshape(4, 1, 2), np.array([[0.1, 0.2]])
    z, _ = one.sample(PARAMS, noise)
    np.testing.assert_allclose(z, Exponential().sample(PARAMS, noise)[0], rtol=1e-15)
    np.testing.assert_allclose(one.log_prob(PARAMS, z)[0], Exponential().log_prob(PARAMS, z)[0], rtol=1e-14)
    np.testing.assert_allclose(one.kl(PARAMS, prior)[0], Exponential().kl(PARAMS, prior)[0], rtol=1e-14)
    np.testing.assert_allclose(one.entropy(PARAMS), Exponential().entropy(PARAMS), rtol=1e-14)


def test_it_is_the_gamma_of_whole_shape() -> None:
    """(erlang.3), (erlang.5), (erlang.7), (erlang.8), (erlang.9)."""
    z, prior = np.array([[0.3, 2.0], [5.0, 11.0]]), np.array([[0.1, 0.2]])

    def as_gamma(log_rate: Array) -> Array:
        return np.concatenate([np.full_like(log_rate, math.log(4)), log_rate], axis=-1)

    gamma = as_gamma(PARAMS)
    np.testing.assert_allclose(Q.log_prob(PARAMS, z)[0], Gamma().log_prob(gamma, z)[0], rtol=1e-13)
    np.testing.assert_allclose(Q.kl(PARAMS, prior)[0], Gamma().kl(gamma, as_gamma(prior))[0], rtol=1e-12)
    for name in ("mean", "std", "entropy"):
        np.testing.assert_allclose(getattr(Q, name)(PARAMS), getattr(Gamma(), name)(gamma), rtol=1e-13)
    np.testing.assert_allclose(Q.cdf(PARAMS, z), Gamma().cdf(gamma, z), rtol=1e-13)
    np.testing.assert_allclose(Q.quantile(PARAMS, z / 12), Gamma().quantile(gamma, z / 12), rtol=1e-13)


def test_cdf_counts_a_poisson_process() -> None:
    """The fourth wait is over by v if a Poisson count of mean rate v has reached four   (erlang.9)."""
    v = np.array([[0.1, 1.0], [4.0, 20.0]])
    np.testing.assert_allclose(Q.cdf(PARAMS, v), stats.poisson.sf(3, np.exp(PARAMS) * v), rtol=1e-12)


def test_the_reviews_lambda_is_one_too_many() -> None:
    """Erratum 003-3: for shape 4 and scale 2, -(θ/λ) Σ log(1 - ε) with λ = 3 has the mean 8/3 where 8 is wanted; so the
    printed sampler is rejected, and (erlang.1) accepted.
    """

    class Printed(Erlang):
        def sample(self, params: Array, noise: Array) -> Any:
            z, pullback = super().sample(params, noise)
            return z / 3, lambda dz: pullback(dz / 3)

    scale_two = np.full((1, 2), -math.log(2))
    noise = Q.noise(np.random.default_rng(0), (100_000, 1, 1))
    right, _ = Q.sample(scale_two[:, :1], noise)
    printed, pullback = Printed(order=4).sample(scale_two[:, :1], noise)
    assert right.mean() == pytest.approx(8, abs=0.05)
    assert printed.mean() == pytest.approx(8 / 3, abs=0.02)
    assert Q.mean(scale_two)[0, 0] == pytest.approx(8)
    assert pullback(np.ones_like(printed))[0].shape == (1, 1)
    assert check_pullback(Printed(order=4).sample, scale_two[:, :1], noise[:4]).ok  # its gradient is its own
    assert not check_sampler(Printed(order=4), scale_two).ok
    assert check_sampler(Q, scale_two).ok


@pytest.mark.parametrize("order", [0, -1, 1.5])
def test_an_order_that_is_no_count_is_refused(order: float) -> None:
    with pytest.raises(InputError, match=f"order must be a whole number of at least 1, got {order}; Gamma takes any"):
        Erlang(order)  # type: ignore[arg-type]


def test_closed_kl_is_for_one_order() -> None:
    """(erlang.5)."""
    assert has_closed_form(Erlang(3), Erlang(3))
    assert not has_closed_form(Erlang(3), Erlang(2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_of_exactly_zero_is_a_short_wait(dtype: Any) -> None:
    """All waits of half a step of the generator: positive, so that the logarithm is finite   (erlang.1), (erlang.4)."""
    params = np.array([[-6.9], [6.9]], dtype)
    z, _ = Q.sample(params, np.zeros((1, 2, 4), dtype))
    half_a_step = float(np.finfo(dtype).epsneg) / 2
    np.testing.assert_allclose(z[0, :, 0], 4 * half_a_step * np.exp([6.9, -6.9]), rtol=1e-6)
    value, pullback = Q.log_prob(params, z)
    assert all(np.isfinite(array).all() for array in (value, *pullback(np.ones_like(value))))


class OneNoise(Erlang):
    """The bug of one uniform number for all waits: the mean is right, and the gradient that of its code."""

    def sample(self, params: Array, noise: Array) -> Any:
        return super().sample(params, np.tile(noise[..., : params.shape[-1]], self.order))


class RateForgotten(Erlang):
    """The bug of a gradient that leaves the rate out, dlog_rate = -1."""

    def sample(self, params: Array, noise: Array) -> Any:
        z, _ = super().sample(params, noise)
        return z, lambda dz: (-dz.sum(axis=0), None)


def test_planted_bugs_are_rejected() -> None:
    noise = Q.noise(np.random.default_rng(1), (3, 1, 2))
    assert check_pullback(OneNoise(order=4).sample, PARAMS, noise).ok
    assert not check_sampler(OneNoise(order=4), PARAMS).ok
    assert not check_pullback(RateForgotten(order=4).sample, PARAMS, noise).ok
