"""The Cauchy distribution: hand-worked values, its KL over a wide range, its far tails, and planted bugs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.cauchy import Cauchy
from tests.distributions.family_proofs import integral

Q = Cauchy()


def test_sample_and_gradient_by_hand() -> None:
    """The quartiles lie one scale from the location, the median on it   (cauchy.1), (cauchy.2)."""
    z, pullback = Q.sample(np.array([[3.0, math.log(2)]]), np.array([0.25, 0.5, 0.75])[:, None, None])
    np.testing.assert_allclose(z.ravel(), [1, 3, 5], rtol=1e-14)
    np.testing.assert_allclose(pullback(np.array([1.0, 10, 100])[:, None, None])[0], [[111, 198]], rtol=1e-14)


def test_log_prob_and_gradient_by_hand() -> None:
    """One scale out: half the density of the middle, no pull on the scale   (cauchy.3), (cauchy.4)."""
    value, pullback = Q.log_prob(np.array([[0.0, math.log(2)]]), np.array([[2.0]]))
    assert value[0] == pytest.approx(-math.log(4 * math.pi))
    dparams, dvalue = pullback(np.ones(1))
    np.testing.assert_allclose(dparams, [[0.5, 0]], atol=1e-15)
    np.testing.assert_allclose(dvalue, [[-0.5]], rtol=1e-15)


@pytest.mark.parametrize("location", [0.0, 0.3, 5.0, 1e3])
@pytest.mark.parametrize("scale", [1e-3, 0.5, 1.0, 40.0, 1e3])
def test_kl_is_its_integral_over_the_angle(location: float, scale: float) -> None:
    """From the standard law: the mean of log q - log p, as a function of the angle   (cauchy.5)."""

    def log_ratio(angle: float) -> float:
        z = math.tan(angle)
        residual = (z - location) / scale
        return (math.log(scale) - math.log1p(z * z) + math.log1p(residual * residual)) / math.pi

    middle = math.atan(location)
    expected = integral(log_ratio, -math.pi / 2, middle) + integral(log_ratio, middle, math.pi / 2)
    kl = Q.kl(np.zeros((1, 2)), np.array([[location, math.log(scale)]]))[0][0]
    assert kl == pytest.approx(expected, rel=1e-8, abs=1e-10)


def test_kl_is_symmetric_and_knows_moves_and_units() -> None:
    """It is a function of the hyperbolic distance of the points location + i scale   (cauchy.5)."""
    rng = np.random.default_rng(0)
    params, prior = rng.normal(size=(2, 50, 2))
    kl, _ = Q.kl(params, prior)
    np.testing.assert_allclose(Q.kl(prior, params)[0], kl, rtol=1e-13)
    (m, a), (n, b) = params.T, prior.T
    cosh = 1 + ((m - n) ** 2 + (np.exp(a) - np.exp(b)) ** 2) / (2 * np.exp(a + b))
    np.testing.assert_allclose(kl, 2 * np.log(np.cosh(np.arccosh(cosh) / 2)), rtol=1e-12)
    doubled = [np.stack([2 * p[:, 0], p[:, 1] + math.log(2)], axis=-1) for p in (params, prior)]
    np.testing.assert_allclose(Q.kl(*doubled)[0], kl, rtol=1e-13)


def test_kl_keeps_its_digits_where_both_are_nearly_equal() -> None:
    """(Δ² / 8 for a step Δ in log_scale)   (cauchy.5)."""
    kl = Q.kl(np.array([[0.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 1e-7], [2e-7, 0.0]]))[0]
    np.testing.assert_allclose(kl, [1e-14 / 4, 1e-14], rtol=1e-6)


def test_student_t_with_one_degree_of_freedom_is_the_same_law() -> None:
    """(cauchy.3), (cauchy.8), out to the tails."""
    z = np.array([-1e12, -30.0, -0.2, 0.0, 3.0, 1e6])
    standard = np.zeros((1, 2))
    np.testing.assert_allclose(Q.log_prob(standard, z[:, None])[0], stats.t(1).logpdf(z), rtol=1e-12)
    np.testing.assert_allclose(Q.cdf(standard, z[:, None])[:, 0], stats.t(1).cdf(z), rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_left_samples_stay_left_and_finite(dtype: Any) -> None:
    """Noise 0 is half a step of the generator, -1 / (π level); and the first step keeps its side   (cauchy.1)."""
    step = float(np.finfo(dtype).epsneg)
    noise = np.array([0.0, step, 1 - step], dtype)[:, None, None]
    z, pullback = Q.sample(np.zeros((1, 2), dtype), noise)
    np.testing.assert_allclose(z.ravel() * math.pi * step, [-2, -1, 1], rtol=1e-6)
    assert np.isfinite(pullback(np.ones_like(z))[0]).all()
    assert np.isfinite(Q.log_prob(np.zeros((1, 2), dtype), z)[0]).all()


def test_it_offers_no_mean_and_no_standard_deviation() -> None:
    assert not hasattr(Q, "mean")
    assert not hasattr(Q, "std")


class TwiceTheScale(Cauchy):
    """The bug of exp(2 log_scale), consistent within itself."""

    def sample(self, params: Array, noise: Array) -> Any:
        location, log_scale = np.split(params, 2, axis=-1)
        z, pullback = super().sample(np.concatenate([location, 2 * log_scale], axis=-1), noise)
        return z, lambda dz: (pullback(dz)[0] * np.array([1.0, 2.0]), None)


class OneSidedKL(Cauchy):
    """The bug of a gradient for the prior's scale that is minus that of the posterior's."""

    def kl(self, params: Array, prior_params: Array) -> Any:
        kl, pullback = super().kl(params, prior_params)
        return kl, lambda dkl: (pullback(dkl)[0], -pullback(dkl)[0])


def test_planted_bugs_are_rejected() -> None:
    params, noise = np.array([[0.5, -0.4]]), np.array([[[0.2]], [[0.7]]])
    assert check_pullback(TwiceTheScale().sample, params, noise).ok
    assert not check_sampler(TwiceTheScale(), params, shape=(1, 1)).ok
    assert not check_pullback(OneSidedKL().kl, params, np.array([[0.0, 0.3]])).ok
