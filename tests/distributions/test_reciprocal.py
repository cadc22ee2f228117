"""The reciprocal distribution: exp of a uniform, by hand, narrow and at its ends."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.reciprocal import Reciprocal, excess_cosh
from numvae.distributions.uniform import Uniform
from tests.oracles import level_nodes

Q = Reciprocal()
HUNDRED = np.array([[0.0, math.log(math.log(100))]])


def test_sample_and_gradient_by_hand() -> None:
    """From 1 to 100: half of all lies below 10   (reciprocal.1), (reciprocal.2)."""
    z, pullback = Q.sample(HUNDRED, np.array([[[0.5]]]))
    assert z[0, 0, 0] == pytest.approx(10)
    np.testing.assert_allclose(pullback(np.ones((1, 1, 1)))[0], [[10, 10 * math.log(10)]])


def test_density_by_hand_inside_and_outside() -> None:
    """1 / (z log 100) on [1, 100]; -inf and no gradient beyond, below 0 too   (reciprocal.3), (reciprocal.4)."""
    value = np.array([[1.0], [10.0], [0.999], [100.1], [0.0], [-3.0]])
    log_density, pullback = Q.log_prob(HUNDRED, value)
    np.testing.assert_allclose(np.exp(log_density), np.array([1, 0.1, 0, 0, 0, 0]) / math.log(100))
    dparams, dvalue = pullback(np.ones(6))
    np.testing.assert_allclose(dparams, [[0, -2]])
    np.testing.assert_allclose(dvalue[:, 0], [-1, -0.1, 0, 0, 0, 0])


def test_kl_by_hand_and_infinite_where_q_sticks_out() -> None:
    """One order of magnitude within two: log 2   (reciprocal.5)."""
    ten = np.array([[0.5, math.log(math.log(10))]])
    assert Q.kl(ten, HUNDRED)[0][0] == pytest.approx(math.log(2))
    kl, pullback = Q.kl(HUNDRED, ten)
    assert kl[0] == math.inf
    for gradient in pullback(np.ones(1)):
        np.testing.assert_array_equal(gradient, [[0, 0]])


def test_logarithm_of_a_sample_is_uniform() -> None:
    """The same law by a change of variables   (reciprocal.1), (reciprocal.3)."""
    params = np.array([[-0.4, 0.3]])
    z, _ = Q.sample(params, np.linspace(0.01, 0.99, 9)[:, None, None])
    of_logarithm = Uniform().log_prob(params, np.log(z))[0] - np.log(z)[..., 0]
    np.testing.assert_allclose(Q.log_prob(params, z)[0], of_logarithm, rtol=1e-13)


def test_moments_and_entropy_are_scipys() -> None:
    """(reciprocal.6), (reciprocal.7), (reciprocal.9)."""
    law = stats.loguniform(0.3, 20.0)
    params = np.array([[math.log(0.3), math.log(math.log(20 / 0.3))]])
    found = [Q.mean(params)[0, 0], Q.std(params)[0, 0], Q.entropy(params)[0]]
    np.testing.assert_allclose(found, [law.mean(), law.std(), law.entropy()], rtol=1e-12)


def test_moments_are_their_integrals() -> None:
    """Over the levels, from a millionth of a nat to seventy nats   (reciprocal.6), (reciprocal.7)."""
    _, upper, weights = level_nodes()
    for log_log_ratio in (math.log(1e-6), math.log(1e-3), 0.0, 2.0, math.log(70)):
        params, ratio = np.array([[0.4, log_log_ratio]]), math.exp(log_log_ratio)
        below_top = np.expm1(-ratio * upper)  # (z - b) / b
        centre = below_top @ weights
        top = math.exp(0.4 + ratio)
        assert Q.mean(params)[0, 0] == pytest.approx(top * (1 + centre), rel=1e-10)
        assert Q.std(params)[0, 0] == pytest.approx(top * math.sqrt((below_top - centre) ** 2 @ weights), rel=1e-10)


@pytest.mark.parametrize("half", [1e-9, 1e-3, 0.3, 0.999, 1.0, 1.5, 30.0])
def test_excess_cosh_is_that_of_sixty_digits(half: float) -> None:
    """(reciprocal.8)."""
    with localcontext() as context:
        context.prec = 60
        h = Decimal(half)
        up, down = h.exp(), (-h).exp()
        expected = float((up + down) / 2 - (up - down) / (2 * h))
    assert excess_cosh(np.array([half]))[0] == pytest.approx(expected, rel=2e-15)


def test_pathwise_gradient_is_that_of_the_mean() -> None:
    """∂E[z]/∂log_low = E[z],  ∂E[z]/∂log_log_ratio = b - E[z]   (reciprocal.2)."""
    params = np.array([[-0.4, 0.3]])
    level, _, weights = level_nodes()
    _, pullback = Q.sample(params, level[:, None, None])
    mean, high = Q.mean(params)[0, 0], math.exp(-0.4 + math.exp(0.3))
    np.testing.assert_allclose(pullback(weights[:, None, None])[0], [[mean, high - mean]], rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_sample_rounds_out_of_its_own_interval(dtype: Any) -> None:
    """(reciprocal.1), (reciprocal.3)."""
    rng = np.random.default_rng(0)
    params = np.stack([rng.uniform(-6.9, 6.9, 20_000), rng.uniform(-30, 4.2, 20_000)], axis=-1).astype(dtype)
    for level in (0.0, 1e-7, 0.5, 1 - np.finfo(dtype).epsneg):
        z, _ = Q.sample(params, np.full((1, 20_000, 1), level, dtype))
        assert np.isfinite(Q.log_prob(params, z)[0]).all()


class WithoutJacobian(Reciprocal):
    """The bug of the density of log z given as that of z."""

    def log_prob(self, params: Array, value: Array) -> Any:
        log_density, pullback = Uniform().log_prob(params, np.log(value))
        return log_density, lambda d: (pullback(d)[0], pullback(d)[1] / value)


class StraightLine(Reciprocal):
    """The bug of interpolating between the ends instead of between their logarithms."""

    def sample(self, params: Array, noise: Array) -> Any:
        low, log_ratio = np.exp(params[:, :1]), np.exp(params[:, 1:])
        z = low + low * np.expm1(log_ratio) * noise
        return z, lambda dz: (super(StraightLine, self).sample(params, noise)[1](dz)[0], None)


def test_planted_bugs_are_rejected() -> None:
    params, noise = np.array([[0.4, -0.5]]), np.array([[[0.3]], [[0.8]]])
    assert check_pullback(Q.sample, params, noise).ok
    assert not check_pullback(StraightLine().sample, params, noise).ok
    assert "distribution" in {group.name for group in check_sampler(StraightLine(), params).groups if not group.ok}
    z, _ = Q.sample(params, noise)
    assert not np.allclose(WithoutJacobian().log_prob(params, z)[0], Q.log_prob(params, z)[0])
