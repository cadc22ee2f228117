"""The beta distribution: hand-worked values, its symmetry, samples too near to an end, and planted bugs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import special

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.beta import Beta
from numvae.distributions.contract import least_positive

Q = Beta()
PARAMS = np.log([[2.0, 0.6, 3.0, 1.7]])


def test_beta_of_two_and_one_by_hand() -> None:
    """The density 2z: mean ⅔, variance 1/18, entropy ½ - log 2   (beta.3), (beta.8), (beta.9), (beta.10), (beta.11)."""
    params, z = np.log([[2.0, 1.0]]), np.array([[0.1], [0.5], [0.9]])
    np.testing.assert_allclose(Q.log_prob(params, z)[0], np.log(2 * z[:, 0]), rtol=1e-12)
    np.testing.assert_allclose(Q.cdf(params, z), z**2, rtol=1e-13)
    np.testing.assert_allclose(Q.quantile(params, z**2), z, rtol=1e-13)
    assert Q.mean(params)[0, 0] == pytest.approx(2 / 3)
    assert Q.std(params)[0, 0] == pytest.approx(math.sqrt(1 / 18))
    assert Q.entropy(params)[0] == pytest.approx(0.5 - math.log(2))
    assert Q.kl(params, np.zeros((1, 2)))[0][0] == pytest.approx(math.log(2) - 0.5)


def test_two_ones_are_the_uniform_distribution() -> None:
    """A share of two exponentials is uniform   (beta.1), (beta.3), (beta.10)."""
    uniform, z = np.zeros((1, 2)), np.array([[1e-12], [0.3], [0.99]])
    np.testing.assert_allclose(Q.log_prob(uniform, z)[0], 0, atol=1e-14)
    assert Q.entropy(uniform)[0] == pytest.approx(0, abs=1e-14)
    sample, _ = Q.sample(uniform, np.array([[[1 - math.exp(-1), 1 - math.exp(-3)]]]))
    assert sample[0, 0, 0] == pytest.approx(0.25)


def test_the_rest_has_the_parameters_exchanged() -> None:
    """1 - z, its density and its gradients   (beta.1), (beta.2), (beta.3), (beta.4)."""
    noise, exchange = np.random.default_rng(0).random((4, 1, 4)), [2, 3, 0, 1]
    (z, pullback), (rest, rest_pullback) = Q.sample(PARAMS, noise), Q.sample(PARAMS[:, exchange], noise[..., exchange])
    np.testing.assert_allclose(z + rest, 1, rtol=1e-14)
    dz = np.ones_like(z)
    np.testing.assert_allclose(pullback(dz)[0], -rest_pullback(dz)[0][:, exchange], rtol=1e-11)
    np.testing.assert_allclose(
        Q.log_prob(PARAMS, z)[0], Q.log_prob(PARAMS[:, exchange], 1 - z)[0], rtol=1e-12, atol=1e-13
    )


def test_pathwise_gradient_of_expected_logarithms() -> None:
    """E[log z] = ψ(a) - ψ(a + b) and E[log(1 - z)], in both parameters, on a grid of both noises   (beta.2)."""
    points, weights = np.polynomial.legendre.leggauss(80)
    levels, weights = np.tanh(5 * points) / 2 + 0.5, weights * 2.5 / np.cosh(5 * points) ** 2
    noise = np.stack(np.meshgrid(levels, levels, indexing="ij"), axis=-1).reshape(-1, 1, 2)
    weight = np.outer(weights, weights).reshape(-1, 1, 1)
    a, b = 2.5, 1.6
    z, pullback = Q.sample(np.log([[a, b]]), noise)
    shared = special.polygamma(1, a + b)
    of_log = [a * (special.polygamma(1, a) - shared), -b * shared]
    of_log_rest = [-a * shared, b * (special.polygamma(1, b) - shared)]
    np.testing.assert_allclose(pullback(weight / z)[0][0], of_log, rtol=1e-3)
    np.testing.assert_allclose(pullback(-weight / (1 - z))[0][0], of_log_rest, rtol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [1e-3, 1e-2, 0.1])
def test_shares_too_near_to_an_end_are_strictly_inside(shape: float, dtype: Any) -> None:
    """Most of the law at small shapes; where numbers can show it, it is the right one   (beta.1)."""
    params = np.full((1, 2), math.log(shape), dtype)
    count = 20_000
    z, pullback = Q.sample(params, Q.noise(np.random.default_rng(0), (count, 1, 1), dtype))
    assert z.dtype == dtype
    assert z.min() >= np.asarray(least_positive(dtype), dtype)
    assert z.max() == 1 - np.finfo(dtype).epsneg
    for point in (1e-30, 1e-6, 0.5, 0.99):
        expected = special.betainc(shape, shape, point)
        error = math.sqrt(expected * (1 - expected) / count)
        assert np.mean(z <= point) == pytest.approx(expected, abs=4 * error)
    value, density_pullback = Q.log_prob(params, z)
    for array in (pullback(np.ones_like(z))[0], value, *density_pullback(np.ones_like(value))):
        assert np.isfinite(array).all()


def test_a_clipped_share_carries_the_gradient_of_its_log_odds() -> None:
    """∂E[log z]/∂log_alpha and of log(1 - z), to four standard errors, where a third of all samples are clipped

    (beta.2).
    """
    shape, count = 0.01, 50_000
    params = np.full((count, 2), math.log(shape))
    z, pullback = Q.sample(params, Q.noise(np.random.default_rng(0), (1, count, 1)))
    assert np.mean(z == z.max()) > 0.3
    of_log, of_log_rest = pullback(1 / z)[0], pullback(-1 / (1 - z))[0]
    shared = shape * special.polygamma(1, 2 * shape)
    alone = shape * special.polygamma(1, shape)
    for found, expected in (
        (of_log[:, 0], alone - shared),
        (of_log[:, 1], -shared),
        (of_log_rest[:, 0], -shared),
        (of_log_rest[:, 1], alone - shared),
    ):
        assert found.mean() == pytest.approx(expected, abs=4 * found.std() / math.sqrt(count))


class Held(Beta):
    """The bug of a clip with a zero gradient outside: for small shapes it loses much of E[log z]'s."""

    def sample(self, params: Array, noise: Array) -> Any:
        z, pullback = super().sample(params, noise)
        inside = (z > z.min()) & (z < z.max())
        return z, lambda dz: pullback(dz * inside)


def test_a_clip_that_holds_the_gradient_is_biased() -> None:
    """The negative control of the test above   (beta.2)."""
    shape, count = 0.01, 50_000
    params = np.full((count, 2), math.log(shape))
    z, pullback = Held().sample(params, Q.noise(np.random.default_rng(0), (1, count, 1)))
    found = pullback(-1 / (1 - z))[0][:, 1]
    expected = shape * (special.polygamma(1, shape) - special.polygamma(1, 2 * shape))
    assert abs(found.mean() - expected) > 20 * found.std() / math.sqrt(count)


class OneSided(Beta):
    """The bug of a gradient through the numerator alone."""

    def sample(self, params: Array, noise: Array) -> Any:
        z, pullback = super().sample(params, noise)
        return z, lambda dz: (pullback(dz)[0] * np.repeat([1.0, 0.0], params.shape[-1] // 2), None)


class Exchanged(Beta):
    """The bug of alpha and beta exchanged, consistent within itself."""

    def sample(self, params: Array, noise: Array) -> Any:
        log_alpha, log_beta = np.split(params, 2, axis=-1)
        z, _ = super().sample(np.concatenate([log_beta, log_alpha], axis=-1), noise)
        return z, None


class SumForgotten(Beta):
    """The bug of a KL whose gradient takes ψ(a + b) for a constant."""

    def kl(self, params: Array, prior_params: Array) -> Any:
        kl, pullback = super().kl(params, prior_params)
        difference = (np.exp(params) - np.exp(prior_params)) * np.exp(params) * special.polygamma(1, np.exp(params))
        return kl, lambda dkl: (dkl[..., None] * difference, pullback(dkl)[1])


def test_planted_bugs_are_rejected() -> None:
    assert not check_pullback(OneSided().sample, PARAMS, np.random.default_rng(0).random((3, 1, 4))).ok
    assert not check_sampler(Exchanged(), PARAMS).ok
    assert not check_pullback(SumForgotten().kl, PARAMS, np.zeros((1, 4))).ok
