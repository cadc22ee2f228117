"""The Pareto distribution: by hand, moments that are infinite, and samples that no number holds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.exponential import Exponential
from numvae.distributions.pareto import Pareto
from tests.distributions.family_proofs import monte_carlo_kl_score
from tests.oracles import level_nodes

Q = Pareto()
PARAMS = np.log([[2.0, 3.0]])


def test_sample_and_gradient_by_hand() -> None:
    """Scale 2, shape 3, level 7/8: twice the scale   (pareto.1), (pareto.2)."""
    z, pullback = Q.sample(PARAMS, np.array([[[0.875]]]))
    assert z[0, 0, 0] == pytest.approx(4)
    np.testing.assert_allclose(pullback(np.ones((1, 1, 1)))[0], [[4, -4 * math.log(2)]])


def test_density_by_hand_inside_and_outside() -> None:
    """3 · 8 / z⁴ from 2 on; -inf and no gradient below   (pareto.3), (pareto.4)."""
    value = np.array([[2.0], [4.0], [1.999], [0.0], [-1.0]])
    log_density, pullback = Q.log_prob(PARAMS, value)
    np.testing.assert_allclose(np.exp(log_density), [1.5, 24 / 256, 0, 0, 0], rtol=1e-13)
    dparams, dvalue = pullback(np.ones(5))
    np.testing.assert_allclose(dparams, [[6, 2 - 3 * math.log(2)]], rtol=1e-13)
    np.testing.assert_allclose(dvalue[:, 0], [-2, -1, 0, 0, 0])


def test_kl_by_hand_and_infinite_where_q_begins_below() -> None:
    """3 log 2 down to scale 1, infinite back; a coordinate that is infinite gives no gradient

    (pareto.5), (pareto.6).
    """
    one = np.log([[1.0, 3.0]])
    kl, pullback = Q.kl(PARAMS, one)
    assert kl[0] == pytest.approx(3 * math.log(2))
    dparams, dprior = pullback(np.ones(1))
    np.testing.assert_allclose(dparams, [[3, 0]], atol=1e-15)
    np.testing.assert_allclose(dprior, [[-3, 3 * math.log(2)]])
    kl, pullback = Q.kl(one, PARAMS)
    assert kl[0] == math.inf
    for gradient in pullback(np.ones(1)):
        np.testing.assert_array_equal(gradient, [[0, 0]])


def test_kl_is_its_monte_carlo_mean() -> None:
    """Two latents, (pareto.5)."""
    params, prior = np.array([[0.3, 0.9, 0.2, 1.5]]), np.array([[-0.2, 0.9, 0.5, 0.3]])
    assert abs(monte_carlo_kl_score(Q, params, prior, np.random.default_rng(0))) < 4


def test_logarithm_of_a_sample_is_exponential() -> None:
    """log(z / scale) has rate shape: sample, density and KL   (pareto.1), (pareto.3), (pareto.5)."""
    z, _ = Q.sample(PARAMS, np.linspace(0.01, 0.99, 9)[:, None, None])
    waiting = np.log(z / 2)
    np.testing.assert_allclose(Exponential().cdf(PARAMS[:, 1:], waiting)[:, 0, 0], np.linspace(0.01, 0.99, 9))
    expected = Exponential().log_prob(PARAMS[:, 1:], waiting)[0] - np.log(z)[..., 0]
    np.testing.assert_allclose(Q.log_prob(PARAMS, z)[0], expected, rtol=1e-12)
    prior = np.log([[2.0, 0.7]])
    np.testing.assert_allclose(Q.kl(PARAMS, prior)[0], Exponential().kl(PARAMS[:, 1:], prior[:, 1:])[0], rtol=1e-13)


def test_moments_are_infinite_where_they_do_not_exist() -> None:
    """As scipy's; just above shape 1 and 2 they are large and exact   (pareto.7)."""
    shapes = np.array([0.3, 1.0, 1 + 1e-6, 1.5, 2.0, 2 + 1e-6, 3.0, 50.0])
    params = np.stack([np.full(8, 0.4), np.log(shapes)], axis=-1)
    law = stats.pareto(np.exp(params[:, 1]), scale=math.exp(0.4))
    np.testing.assert_allclose(Q.mean(params)[:, 0], law.mean(), rtol=1e-9)
    np.testing.assert_allclose(Q.std(params)[:, 0], law.std(), rtol=1e-9)
    assert np.isinf(Q.mean(params)[:2, 0]).all()
    assert np.isinf(Q.std(params)[:5, 0]).all()
    assert np.isfinite(Q.std(params)[5:, 0]).all()


def test_pathwise_gradient_is_that_of_the_mean() -> None:
    """∂E[z]/∂log_scale = E[z] = m k / (k - 1),  ∂E[z]/∂log_shape = -m k / (k - 1)²   (pareto.2)."""
    params = np.log([[2.0, 6.0]])
    level, _, weights = level_nodes(reach=2.4)
    _, pullback = Q.sample(params, level[:, None, None])
    np.testing.assert_allclose(pullback(weights[:, None, None])[0], [[12 / 5, -12 / 25]], rtol=2e-5)


def test_score_in_the_shape_alone_has_mean_zero() -> None:
    """In log_scale it is the shape, everywhere   (pareto.4), (pareto.10)."""
    level, _, weights = level_nodes(reach=2.4)
    z, _ = Q.sample(PARAMS, level[:, None, None])
    scores = Q.log_prob(np.repeat(PARAMS[None], len(level), axis=0), z)[1](np.ones((len(level), 1)))[0][:, 0]
    np.testing.assert_allclose(weights @ scores, [3, 0], atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [1e-3, 1e-2, 0.1, 1.0, 1e3])
def test_extremes_are_finite(shape: float, dtype: Any) -> None:
    """A sample above the largest number is a large number, with the gradient of its own logarithm

    (pareto.1), (pareto.2).
    """
    params = np.log([[2.0, shape]]).astype(dtype)
    noise = np.array([0.0, 1e-30, 0.5, 1 - np.finfo(dtype).epsneg], dtype)[:, None, None]
    z, pullback = Q.sample(params, noise)
    log_density, density_pullback = Q.log_prob(params, z)
    for array in (z, pullback(np.ones_like(z))[0], log_density, *density_pullback(np.ones_like(log_density))):
        assert array.dtype == dtype
        assert np.isfinite(array).all()
    of_logarithm = Q.sample(params, noise[-1:])[1](1 / z[-1:])[0]
    expected = [1, math.log(float(np.finfo(dtype).epsneg)) / shape]
    np.testing.assert_allclose(of_logarithm[0], expected, rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_sample_rounds_below_its_own_scale(dtype: Any) -> None:
    """(pareto.1), (pareto.3)."""
    rng = np.random.default_rng(0)
    params = np.stack([rng.uniform(-6.9, 6.9, 20_000), rng.uniform(-4.6, 20, 20_000)], axis=-1).astype(dtype)
    for level in (0.0, 1e-7, 0.5):
        z, _ = Q.sample(params, np.full((1, 20_000, 1), level, dtype))
        assert np.isfinite(Q.log_prob(params, z)[0]).all()


class Lomax(Pareto):
    """The bug of ``np.random.pareto``, which starts at 0."""

    def sample(self, params: Array, noise: Array) -> Any:
        z, pullback = super().sample(params, noise)
        return z - np.exp(params[:, : params.shape[-1] // 2]), pullback


class ShapeForItsInverse(Pareto):
    """The bug of (1 - u)^-shape: consistent within itself, and wrong."""

    def sample(self, params: Array, noise: Array) -> Any:
        return super().sample(params * np.array([1.0, -1.0]), noise)


class WrongSign(Pareto):
    """The bug of a larger shape taken for a heavier tail."""

    def sample(self, params: Array, noise: Array) -> Any:
        z, pullback = super().sample(params, noise)
        return z, lambda dz: (pullback(dz)[0] * np.array([1.0, -1.0]), None)


def test_planted_bugs_are_rejected() -> None:
    noise = np.array([[[0.3]], [[0.8]]])
    assert check_pullback(Q.sample, PARAMS, noise).ok
    assert not check_pullback(WrongSign().sample, PARAMS, noise).ok
    assert "samples lie where log_prob is not finite" in check_sampler(Lomax(), PARAMS).failures[0]
    failed = {group.name for group in check_sampler(ShapeForItsInverse(), PARAMS).groups if not group.ok}
    assert "distribution" in failed
