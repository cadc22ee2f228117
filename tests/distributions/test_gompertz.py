"""The Gompertz distribution: hand-worked values, its limits, the exponential integral, and planted bugs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.exponential import Exponential
from numvae.distributions.gompertz import BORDER, Gompertz, scaled_exp1
from numvae.distributions.gumbel import Gumbel
from numvae.distributions.kl_table import kl_divergence
from numvae.errors import InputError
from tests.distributions.family_proofs import integral

Q = Gompertz()


def test_sample_and_gradient_by_hand() -> None:
    """T = 6, shape 2, rate ½: 2 log 4, and -2 · 6/8 for the shape   (gompertz.1), (gompertz.2)."""
    z, pullback = Q.sample(np.log([[2.0, 0.5]]), np.array([[[-math.expm1(-6)]]]))
    assert z[0, 0, 0] == pytest.approx(2 * math.log(4), rel=1e-12)
    np.testing.assert_allclose(pullback(np.ones((1, 1, 1)))[0], [[-1.5, -2 * math.log(4)]], rtol=1e-12)


def test_log_prob_and_gradient_by_hand() -> None:
    """Shape ½, rate 1, age log 3: hazard gathered 1, so nothing pulls at the shape   (gompertz.3), (gompertz.4)."""
    age = math.log(3)
    value, pullback = Q.log_prob(np.log([[0.5, 1.0]]), np.array([[age]]))
    assert value[0] == pytest.approx(math.log(1.5) - 1, rel=1e-14)
    dparams, dvalue = pullback(np.ones(1))
    np.testing.assert_allclose(dparams, [[0, 1 - age / 2]], atol=1e-14)
    np.testing.assert_allclose(dvalue, [[-0.5]], rtol=1e-13)


@pytest.mark.parametrize("shape", [1e-6, 0.01, 0.7, 3.0, 50.0, 1e3])
def test_mean_std_and_entropy_are_their_integrals(shape: float) -> None:
    """By adaptive quadrature in the age of twice the rate   (gompertz.5), (gompertz.7), (gompertz.8)."""
    params, last = np.log([[shape, 2.0]]), math.log1p(60 / shape)

    def survival(age: float) -> float:
        return math.exp(-shape * math.expm1(age))

    mean = integral(survival, 0, last) / 2
    square = integral(lambda age: age * survival(age), 0, last) / 2
    assert Q.mean(params)[0, 0] == pytest.approx(mean, rel=1e-12)
    assert Q.std(params)[0, 0] == pytest.approx(math.sqrt(square - mean**2), rel=1e-11)
    assert Q.entropy(params)[0] == pytest.approx(1 - math.log(2 * shape) - 2 * mean, rel=1e-11)


def test_scaled_exponential_integral_is_scipys_and_finite_far_out() -> None:
    """By scipy's E₁ where its product is finite, by the asymptotic series far out, and one at the border

    (gompertz.6).
    """
    x = np.geomspace(1e-8, 600, 400)
    np.testing.assert_allclose(scaled_exp1(x), np.exp(x) * special.exp1(x), rtol=3e-15)
    far = np.array([1e4, 1e8, 1e300])
    np.testing.assert_allclose(scaled_exp1(far), (1 - 1 / far + 2 / far / far - 6 / far / far / far) / far, rtol=3e-15)
    below, above = scaled_exp1(BORDER + np.array([-1e-9, 1e-9]))
    assert below == pytest.approx(above, rel=1e-9)
    assert scaled_exp1(np.ones(1, np.float32)).dtype == np.float32


def test_a_large_shape_is_the_exponential() -> None:
    """Of the rate shape · rate   (gompertz.1), (gompertz.3), (gompertz.5), (gompertz.7), (gompertz.8)."""
    params, log_rate, noise = np.array([[20.0, -19.0]]), np.array([[1.0]]), np.linspace(0, 0.99, 9)[:, None, None]
    z, _ = Q.sample(params, noise)
    np.testing.assert_allclose(z, Exponential().sample(log_rate, noise)[0], rtol=1e-7, atol=1e-15)
    np.testing.assert_allclose(Q.log_prob(params, z)[0], Exponential().log_prob(log_rate, z)[0], rtol=1e-7, atol=1e-7)
    for name in ("mean", "std", "entropy"):
        found, expected = getattr(Q, name)(params), getattr(Exponential(), name)(log_rate)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_it_is_a_mirrored_gumbel_cut_off_at_zero() -> None:
    """-z is a Gumbel with location log(shape) / rate and scale 1 / rate, given that it is below 0   (gompertz.3)."""
    log_shape, log_rate = 0.4, 0.7
    gumbel = np.array([[log_shape * math.exp(-log_rate), -log_rate]])
    z = np.array([[0.0], [0.3], [1.1]])
    given = math.log(Gumbel().cdf(gumbel, np.zeros((1, 1)))[0, 0])
    expected = Gumbel().log_prob(gumbel, -z)[0] - given
    np.testing.assert_allclose(Q.log_prob(np.array([[log_shape, log_rate]]), z)[0], expected, rtol=1e-12)


def test_sample_and_cdf_undo_each_other() -> None:
    """From the first levels to the last, shapes from 1e-2 to 1e3   (gompertz.1), (gompertz.9)."""
    noise = np.array([1e-12, 1e-3, 0.5, 0.999])[:, None, None]
    params = np.log([[1e-2, 1.0], [1.0, 50.0], [1e3, 1e-3]])
    np.testing.assert_allclose(Q.cdf(params, Q.sample(params, np.repeat(noise, 3, axis=1))[0]) / noise, 1, rtol=1e-12)
    assert stats.gompertz(1e3, scale=1e3).cdf(Q.sample(params[2:], noise)[0][0, 0, 0]) == pytest.approx(1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_zero_is_a_short_life_not_none(dtype: Any) -> None:
    """(gompertz.1), (gompertz.9)."""
    z, _ = Q.sample(np.zeros((1, 2), dtype), np.zeros((1, 1, 1), dtype))
    assert z[0, 0, 0] == pytest.approx(float(np.finfo(dtype).epsneg) / 2, rel=1e-6)
    assert Q.cdf(np.zeros((1, 2)), np.array([[-1.0]]))[0, 0] == 0


def test_there_is_no_kl_and_the_error_names_what_needs_none() -> None:
    with pytest.raises(InputError, match="monte_carlo"):
        kl_divergence(Q, Q)


class HazardAtBirth(Gompertz):
    """The bug of a shape read as the hazard at birth, shape · rate, consistent within itself."""

    def sample(self, params: Array, noise: Array) -> Any:
        log_shape, log_rate = np.split(params, 2, axis=-1)
        z, pullback = super().sample(np.concatenate([log_shape - log_rate, log_rate], axis=-1), noise)

        def both(dz: Array) -> Any:
            dlog_shape, dlog_rate = np.split(pullback(dz)[0], 2, axis=-1)
            return np.concatenate([dlog_shape, dlog_rate - dlog_shape], axis=-1), None

        return z, both


class RateOutside(Gompertz):
    """The bug of a derivative in the rate that forgets the rate within the hazard."""

    def log_prob(self, params: Array, value: Array) -> Any:
        log_density, pullback = super().log_prob(params, value)
        return log_density, lambda d: (np.concatenate([pullback(d)[0][..., :1], d[..., None]], axis=-1), pullback(d)[1])


def test_planted_bugs_are_rejected() -> None:
    params, noise = np.array([[0.5, 0.7]]), np.array([[[0.2]], [[0.7]]])
    assert check_pullback(HazardAtBirth().sample, params, noise).ok
    assert not check_sampler(HazardAtBirth(), params).ok
    assert not check_pullback(RateOutside().log_prob, params, np.array([[0.4]])).ok
