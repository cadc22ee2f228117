"""The Kumaraswamy distribution: by hand, its relatives, and samples strictly between 0 and 1."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.contract import least_positive
from numvae.distributions.kumaraswamy import Kumaraswamy, log_one_minus_exp
from tests.oracles import level_nodes

Q = Kumaraswamy()
PARAMS = np.log([[2.0, 3.0]])


def noise_nodes() -> tuple[Array, Array]:
    """Levels, all of them below 1 as noise is, and their weights."""
    level, _, weights = level_nodes()
    return np.minimum(level, 1 - 2.0**-53), weights


def test_sample_and_gradient_by_hand() -> None:
    """a = 2, b = 3, level 1 - (3/4)³: one half   (kumaraswamy.1), (kumaraswamy.2)."""
    z, pullback = Q.sample(PARAMS, np.array([[[1 - 0.75**3]]]))
    assert z[0, 0, 0] == pytest.approx(0.5)
    np.testing.assert_allclose(pullback(np.ones((1, 1, 1)))[0], [[math.log(2) / 2, 0.75 * math.log(0.75)]])


def test_density_by_hand() -> None:
    """6 z (1 - z²)² at one half; its slope there is 6 (1 - z²)² - 24 z² (1 - z²)   (kumaraswamy.3), (kumaraswamy.4)."""
    log_density, pullback = Q.log_prob(PARAMS, np.array([[0.5]]))
    assert log_density[0] == pytest.approx(math.log(1.6875))
    dparams, dvalue = pullback(np.ones(1))
    assert dvalue[0, 0] == pytest.approx((6 * 0.75**2 - 24 * 0.25 * 0.75) / 1.6875)
    # 1 - log 2 · 2 (1 - 2/3) and 1 + 3 log ¾.
    np.testing.assert_allclose(dparams, [[1 - math.log(4) / 3, 1 + 3 * math.log(0.75)]])


@pytest.mark.parametrize(
    ("a", "b", "law"),
    [(1.0, 1.0, stats.uniform()), (0.4, 1.0, stats.beta(0.4, 1)), (1.0, 3.5, stats.beta(1, 3.5))],
    ids=["uniform", "power", "beta"],
)
def test_special_members_are_betas(a: float, b: float, law: Any) -> None:
    """With a or b at 1 it is a beta, with both the uniform   (kumaraswamy.3), (kumaraswamy.5), (kumaraswamy.7)."""
    params, z = np.log([[a, b]]), np.linspace(0.05, 0.95, 7)[:, None]
    np.testing.assert_allclose(Q.log_prob(params, z)[0], law.logpdf(z)[:, 0], atol=1e-13)
    np.testing.assert_allclose(Q.cdf(params, z), law.cdf(z), rtol=1e-13)
    found = [Q.mean(params)[0, 0], Q.std(params)[0, 0], Q.entropy(params)[0]]
    np.testing.assert_allclose(found, [law.mean(), law.std(), law.entropy()], rtol=1e-11, atol=1e-14)


def test_moments_and_entropy_are_their_integrals() -> None:
    """Over the levels; a narrow law's standard deviation loses digits   (kumaraswamy.5), (kumaraswamy.6)."""
    level, weights = noise_nodes()
    for a, b, digits in ((0.1, 0.5, 1e-9), (0.5, 20.0, 1e-9), (30.0, 2.0, 1e-9), (1e3, 1e3, 1e-4)):
        params = np.log([[a, b]])
        z, _ = Q.sample(params, level[:, None, None])
        z = z[:, 0, 0]
        mean = z @ weights
        assert Q.mean(params)[0, 0] == pytest.approx(mean, rel=1e-9)
        assert Q.std(params)[0, 0] == pytest.approx(math.sqrt((z - mean) ** 2 @ weights), rel=digits)
        entropy = -Q.log_prob(params, z[:, None])[0] @ weights
        assert Q.entropy(params)[0] == pytest.approx(entropy, rel=1e-7)


def test_pathwise_gradient_is_that_of_a_moment() -> None:
    """E[z^a] = 1 / (1 + b), with its derivatives by hand   (kumaraswamy.2)."""
    level, weights = noise_nodes()
    z, pullback = Q.sample(PARAMS, level[:, None, None])
    dparams = pullback(2 * z * weights[:, None, None])[0][0]
    # d E[z²]: E[z^n] = b B(1 + n/a, b), so ∂log E[z²]/∂log_a = -(ψ(2) - ψ(2 + b)) · 2/a at n = 2.
    harmonic = sum(1 / k for k in range(2, 5))  # ψ(5) - ψ(2)
    np.testing.assert_allclose(dparams, [0.25 * harmonic, -3 / 16], rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("a", [1e-2, 1.0, 1e3])
@pytest.mark.parametrize("b", [1e-2, 1.0, 1e3])
def test_samples_lie_strictly_inside(a: float, b: float, dtype: Any) -> None:
    """Finite log z, log(1 - z), density and gradients, whatever the shapes and the noise   (kumaraswamy.1)."""
    params = np.log([[a, b]]).astype(dtype)
    noise = np.array([0.0, 1e-30, 1e-3, 0.5, 0.999, 1 - np.finfo(dtype).epsneg], dtype)[:, None, None]
    z, pullback = Q.sample(params, noise)
    log_density, density_pullback = Q.log_prob(params, z)
    gradients = [pullback(np.ones_like(z))[0], *density_pullback(np.ones_like(log_density))]
    for array in (np.log(z), np.log1p(-z), log_density, *gradients):
        assert array.dtype == dtype
        assert np.isfinite(array).all()


def test_a_sample_no_number_holds_has_its_own_gradient() -> None:
    """Below the smallest number and above the last below 1: d log z of the true log z   (kumaraswamy.2)."""
    tiny = np.log([[0.01, 1.0]])
    z, pullback = Q.sample(tiny, np.array([[[1e-6]]]))
    assert z[0, 0, 0] == least_positive(np.float64)
    # log z = 100 log u and b = 1, where r = log(1 - u): ∂log z/∂log_b = 100 (1 - u) r / u = -100 (1 - u/2 - …).
    np.testing.assert_allclose(pullback(1 / z)[0], [[-100 * math.log(1e-6), -100 * (1 - 0.5e-6)]], rtol=1e-9)
    near_one = np.log([[1.0, 0.01]])
    z, pullback = Q.sample(near_one, np.array([[[0.9]]]))
    assert z[0, 0, 0] == 1 - 2.0**-53
    rest = 0.1**100
    np.testing.assert_allclose(pullback(np.ones_like(z))[0], [[rest, rest * math.log(rest)]], rtol=1e-9)


@pytest.mark.parametrize("x", [-1e-300, -1e-12, -0.5, -math.log(2), -1.0, -40.0, -700.0])
def test_log_one_minus_exp_is_that_of_many_digits(x: float) -> None:
    """(kumaraswamy.9)."""
    with localcontext() as context:
        context.prec = 700
        expected = float((1 - Decimal(x).exp()).ln())
    assert log_one_minus_exp(np.array([x]))[0] == pytest.approx(expected, rel=1e-15)


class UpsideDown(Kumaraswamy):
    """The bug of u^(1/b) beside the density of (1 - u)^(1/b): the same law, and the gradient of another sample."""

    def sample(self, params: Array, noise: Array) -> Any:
        return super().sample(params, 1 - noise)[0], super().sample(params, noise)[1]


class WithoutTheOne(Kumaraswamy):
    """The bug of (1 - z^a)^b in the density, for b - 1."""

    def log_prob(self, params: Array, value: Array) -> Any:
        log_a, log_b = np.split(params, 2, axis=-1)
        return super().log_prob(np.concatenate([log_a, np.log1p(np.exp(log_b))], axis=-1), value)


class Swapped(Kumaraswamy):
    """The bug of a and b exchanged in the sampler, with the backward pass to match: a sample of another law."""

    def sample(self, params: Array, noise: Array) -> Any:
        z, pullback = super().sample(np.roll(params, params.shape[-1] // 2, axis=-1), noise)
        return z, lambda dz: (np.roll(pullback(dz)[0], params.shape[-1] // 2, axis=-1), None)


def test_planted_bugs_are_rejected() -> None:
    noise = np.array([[[0.3]], [[0.8]]])
    assert check_pullback(Q.sample, PARAMS, noise).ok
    assert not check_pullback(UpsideDown().sample, PARAMS, noise).ok
    assert check_sampler(Q, PARAMS).ok
    assert check_pullback(Swapped().sample, PARAMS, noise).ok
    assert not check_sampler(Swapped(), PARAMS).ok
    assert not check_sampler(WithoutTheOne(), PARAMS).ok
