"""The Weibull distribution: hand-worked values, the laws it contains, small shapes, and planted bugs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import special

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.contract import greatest_positive, least_positive
from numvae.distributions.exponential import Exponential
from numvae.distributions.gumbel import Gumbel
from numvae.distributions.weibull import Weibull
from tests.distributions.family_proofs import integral, monte_carlo_kl_score

Q = Weibull()


def test_sample_and_gradient_by_hand() -> None:
    """T = 4, shape 2, scale 3: six, and -6 log(4) / 2 for the shape   (weibull.1), (weibull.2)."""
    z, pullback = Q.sample(np.log([[3.0, 2.0]]), np.array([[[-math.expm1(-4)]]]))
    assert z[0, 0, 0] == pytest.approx(6, rel=1e-13)
    np.testing.assert_allclose(pullback(np.ones((1, 1, 1)))[0], [[6, -6 * math.log(2)]], rtol=1e-12)


def test_log_prob_and_gradient_by_hand() -> None:
    """At the scale, the density is shape / (scale e), whatever the shape   (weibull.3), (weibull.4)."""
    value, pullback = Q.log_prob(np.log([[3.0, 5.0]]), np.array([[3.0]]))
    assert value[0] == pytest.approx(math.log(5 / 3) - 1, rel=1e-14)
    dparams, dvalue = pullback(np.ones(1))
    np.testing.assert_allclose(dparams, [[0, 1]], atol=1e-14)
    np.testing.assert_allclose(dvalue, [[-1 / 3]], rtol=1e-14)


def test_shape_one_is_the_exponential() -> None:
    """(weibull.1), (weibull.3), (weibull.5), (weibull.7), (weibull.8), (weibull.9)."""
    log_scale, prior, noise = np.array([[0.4]]), np.array([[-0.3]]), np.linspace(0.01, 0.99, 9)[:, None, None]
    params, prior_params = (np.concatenate([a, np.zeros((1, 1))], axis=-1) for a in (log_scale, prior))
    z, _ = Q.sample(params, noise)
    np.testing.assert_allclose(z, Exponential().sample(-log_scale, noise)[0], rtol=1e-14)
    for name in ("log_prob", "cdf"):
        found, expected = getattr(Q, name)(params, z), getattr(Exponential(), name)(-log_scale, z)
        found, expected = (found[0], expected[0]) if name == "log_prob" else (found, expected)
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)
    for name in ("mean", "std", "entropy"):
        np.testing.assert_allclose(getattr(Q, name)(params), getattr(Exponential(), name)(-log_scale), rtol=1e-13)
    np.testing.assert_allclose(Q.kl(params, prior_params)[0], Exponential().kl(-log_scale, -prior)[0], rtol=1e-13)


def test_minus_its_logarithm_is_a_gumbel() -> None:
    """log p(z) = log p_Gumbel(-log z) - log z   (weibull.3), (weibull.5)."""
    params, z = np.array([[0.3, -0.7]]), np.array([[1e-5], [0.4], [7.0]])
    expected = Gumbel().log_prob(-params, -np.log(z))[0] - np.log(z[:, 0])
    np.testing.assert_allclose(Q.log_prob(params, z)[0], expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("q", "p"),
    [((0.3, -0.2), (-0.5, 0.4)), ((1.0, 1.0), (-1.0, -1.0)), ((-1.0, 0.0), (0.7, 1.0)), ((0.4, 0.1), (0.4, 0.1))],
)
def test_kl_is_its_integral(q: tuple[float, float], p: tuple[float, float]) -> None:
    """Over the exponential variable T, with both densities by (weibull.3); its closed form is (weibull.5)."""

    def log_ratio(log_t: float) -> float:
        t, log_z = math.exp(log_t), q[0] + log_t * math.exp(-q[1])
        log_powers = [math.exp(log_shape) * (log_z - log_scale) for log_scale, log_shape in (q, p)]
        log_q, log_p = (w - math.exp(w) + log_shape for w, (_, log_shape) in zip(log_powers, (q, p), strict=True))
        return t * math.exp(-t) * (log_q - log_p)

    kl = Q.kl(np.array([q]), np.array([p]))[0][0]
    assert kl == pytest.approx(integral(log_ratio, -60, 0) + integral(log_ratio, 0, 6), rel=1e-8, abs=1e-12)


def test_kl_has_the_textbook_form_and_its_monte_carlo_mean() -> None:
    """Bauckhage 2013: log(k/c^k) - log(k'/c'^k') + (k - k')(log c - γ/k) + (c/c')^k' Γ(k'/k + 1) - 1   (weibull.5)."""
    params, prior = np.array([[0.3, -0.4]]), np.array([[-0.2, 0.6]])
    (log_c, log_k), (log_c_p, log_k_p) = params[0], prior[0]
    k, k_p = math.exp(log_k), math.exp(log_k_p)
    expected = log_k - k * log_c - log_k_p + k_p * log_c_p + (k - k_p) * (log_c - np.euler_gamma / k)
    expected += math.exp(k_p * (log_c - log_c_p)) * math.gamma(k_p / k + 1) - 1
    assert Q.kl(params, prior)[0][0] == pytest.approx(expected, rel=1e-13)
    assert abs(monte_carlo_kl_score(Q, params, prior, np.random.default_rng(0))) < 4


def test_a_narrow_peak_keeps_ten_digits_of_its_standard_deviation() -> None:
    """log Γ(1 + 2x) - 2 log Γ(1 + x) = Σ ζ(n) (-x)^n (2^n - 2) / n, at x = 1/1000   (weibull.7)."""
    n, x = np.arange(2, 9), 1e-3
    log_moments = np.sum(special.zeta(n) * (-x) ** n * (2.0**n - 2) / n)
    params = np.log([[1.0, 1000.0]])
    relative = Q.std(params)[0, 0] / Q.mean(params)[0, 0]
    assert relative == pytest.approx(math.sqrt(math.expm1(log_moments)), rel=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_of_small_shapes_are_held_within_range(dtype: Any) -> None:
    """Far below the smallest number and above the largest, with their own derivatives   (weibull.1), (weibull.2)."""
    params, least = np.array([[0.0, math.log(1e-3)]], dtype), least_positive(dtype)
    noise = np.array([0.0, 1e-3, 0.5, 1 - np.finfo(dtype).epsneg], dtype)[:, None, None]
    z, pullback = Q.sample(params, noise)
    assert z.dtype == dtype
    assert z[0, 0, 0] == pytest.approx(least, rel=1e-4)
    assert z[3, 0, 0] == pytest.approx(greatest_positive(dtype), rel=1e-4)
    for sample, level in zip(range(4), positive(noise), strict=True):
        one = np.zeros_like(z)
        one[sample] = 1 / z[sample]
        slope = pullback(one)[0][0]
        assert slope[0] == pytest.approx(1, rel=1e-6)
        assert slope[1] == pytest.approx(-math.log(-math.log1p(-level)) * 1e3, rel=1e-4)
    log_prob, log_prob_pullback = Q.log_prob(params, z)
    assert all(np.isfinite(array).all() for array in (log_prob, *log_prob_pullback(np.ones_like(log_prob))))


def positive(noise: Array) -> list[float]:
    """The levels that stand for the noise."""
    return [max(float(level), float(np.finfo(noise.dtype).epsneg) / 2) for level in noise.ravel()]


def test_nothing_lies_below_zero() -> None:
    """(weibull.9)."""
    np.testing.assert_array_equal(Q.cdf(np.array([[0.0, -3.0]]), np.array([[-2.0], [0.0]])), 0)


class ExponentUpsideDown(Weibull):
    """The bug of T^shape for T^(1/shape), consistent within itself, and right at shape 1."""

    def sample(self, params: Array, noise: Array) -> Any:
        log_scale, log_shape = np.split(params, 2, axis=-1)
        z, pullback = super().sample(np.concatenate([log_scale, -log_shape], axis=-1), noise)
        return z, lambda dz: (pullback(dz)[0] * np.array([1.0, -1.0]), None)


class GumbelsSign(Weibull):
    """The bug of the Gumbel's gradients taken over without turning the sign."""

    def kl(self, params: Array, prior_params: Array) -> Any:
        return Gumbel().kl(-params, -prior_params)


def test_planted_bugs_are_rejected() -> None:
    params, noise = np.array([[0.5, 0.4]]), np.array([[[0.2]], [[0.7]]])
    assert check_pullback(ExponentUpsideDown().sample, params, noise).ok
    assert not check_sampler(ExponentUpsideDown(), params).ok
    assert check_sampler(ExponentUpsideDown(), np.array([[0.5, 0.0]])).ok
    assert not check_pullback(GumbelsSign().kl, params, np.zeros((1, 2))).ok
