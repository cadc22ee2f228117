"""The Bernoulli distribution, by enumeration of every image of a few bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from numvae import Bernoulli, pathwise, sample_mean
from numvae.arrays import Array
from numvae.checks import check_pullback
from numvae.errors import InputError
from tests.oracles import all_bits

LOGITS = np.array([[0.3, -2.0, 1.1, 0.0]])


def masses() -> np.ndarray:
    """P(x) of all sixteen images."""
    return np.exp(Bernoulli().log_prob(LOGITS, all_bits(4))[0])


def test_masses_sum_to_one() -> None:
    """(bernoulli.2)."""
    assert masses().sum() == pytest.approx(1, rel=1e-14)


def test_mean_std_and_entropy_by_enumeration() -> None:
    """(bernoulli.5), (bernoulli.6)."""
    x, p = all_bits(4), masses()
    mean = p @ x
    np.testing.assert_allclose(Bernoulli().mean(LOGITS)[0], mean, rtol=1e-14)
    np.testing.assert_allclose(Bernoulli().std(LOGITS)[0], np.sqrt(p @ (x - mean) ** 2), rtol=1e-14)
    np.testing.assert_allclose(Bernoulli().entropy(LOGITS)[0], -(p @ np.log(p)), rtol=1e-14)


def test_expected_score_is_zero_by_enumeration() -> None:
    """(bernoulli.4)."""
    _, pullback = Bernoulli().log_prob(LOGITS, all_bits(4))
    score, dbits = pullback(masses())
    np.testing.assert_allclose(score, 0, atol=1e-15)
    assert dbits is None


def test_a_fair_coin_costs_log_2_and_pulls_half_way() -> None:
    """(bernoulli.2), (bernoulli.4)."""
    log_mass, pullback = Bernoulli().log_prob(np.zeros((1, 2)), np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(log_mass, -2 * math.log(2))
    np.testing.assert_allclose(pullback(np.ones(1))[0], [[0.5, -0.5]])


def test_grey_values_between_the_bits_are_legal() -> None:
    """log p is linear in the value: a grey image gets the average of its two bits."""
    ends = [Bernoulli().log_prob(LOGITS, np.full((1, 4), bit))[0] for bit in (0.0, 1.0)]
    np.testing.assert_allclose(Bernoulli().log_prob(LOGITS, np.full((1, 4), 0.25))[0], 0.75 * ends[0] + 0.25 * ends[1])


def test_a_bit_is_one_where_the_noise_lies_below_its_probability() -> None:
    """(bernoulli.1)."""
    noise = np.array([[0.49], [0.5], [0.51], [0.0]])
    np.testing.assert_array_equal(Bernoulli().sample(np.zeros((4, 1)), noise)[0][:, 0], [1, 0, 0, 1])


def test_sample_frequencies_are_the_probabilities() -> None:
    """(bernoulli.1)."""
    bits, _ = Bernoulli().sample(LOGITS, Bernoulli().noise(np.random.default_rng(0), (40_000, 4)))
    standard_error = Bernoulli().std(LOGITS)[0] / np.sqrt(len(bits))
    assert np.all(np.abs(bits.mean(axis=0) - Bernoulli().mean(LOGITS)[0]) < 4 * standard_error)


def test_a_samples_pullback_refuses_and_names_the_estimator_to_use() -> None:
    def f(params: np.ndarray, z: np.ndarray) -> object:
        return z.sum(axis=-1), lambda d: (0.0, np.broadcast_to(d[..., None], z.shape), None)

    noise = Bernoulli().noise(np.random.default_rng(0), (3, 1, 4))
    _, pullback = pathwise(Bernoulli(), LOGITS, noise, f, sample_mean)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="use score_function"):
        pullback(np.ones(1))


def test_std_keeps_its_digits_far_out() -> None:
    np.testing.assert_allclose(Bernoulli().std(np.array([-80.0, 80.0])), math.exp(-40), rtol=1e-14)
    np.testing.assert_allclose(Bernoulli().std(np.array([-1e300, 1e300])), 0)


def test_kl_by_enumeration() -> None:
    """(bernoulli.8)."""
    prior = np.array([[-1.0, 0.5, 1.1, 2.0]])
    log_q, log_p = (Bernoulli().log_prob(logits, all_bits(4))[0] for logits in (LOGITS, prior))
    assert Bernoulli().kl(LOGITS, prior)[0][0] == pytest.approx(np.exp(log_q) @ (log_q - log_p), rel=1e-13)


# (logit, prior logit, KL, slope in the logit, slope in the prior's).  By mpmath with 60 digits.
KL = [
    (40.0, 20.0, 2.061153531098941e-09, 8.496708510583178e-17, -2.061153613941849e-09),
    (-40.0, -20.0, 2.061153531098941e-09, -8.496708510583178e-17, 2.061153613941849e-09),
    (300.0, -5.0, 5.006715348489118, 1.5702010678356643e-128, -0.9933071490757152),
    (-20.0, -40.0, 3.9161918747738045e-08, 4.122307227883699e-08, -2.061153613941849e-09),
    (35.0, 35.5, 6.7168824802364e-17, -3.1525583800734907e-16, 2.4808701320498517e-16),
    (2.0, 1.0, 0.06713075445313278, 0.10499358540350652, -0.14973849934787756),
]


@pytest.mark.parametrize(("logit", "prior", "kl", "slope", "prior_slope"), KL)
def test_kl_keeps_its_digits_far_out(logit: float, prior: float, kl: float, slope: float, prior_slope: float) -> None:
    """Where both probabilities round to 0 or 1   (bernoulli.8), (bernoulli.9)."""
    found, pullback = Bernoulli().kl(np.array([[logit]]), np.array([[prior]]))
    assert found[0] == pytest.approx(kl, rel=1e-13)
    assert [gradient[0, 0] for gradient in pullback(np.ones(1))] == pytest.approx([slope, prior_slope], rel=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kl_of_extreme_logits_is_finite(dtype: Any) -> None:
    logits, prior = np.meshgrid(np.array([-1e4, -90, 0, 90, 1e4], dtype), np.array([-1e4, -90, 0, 90, 1e4], dtype))
    kl, pullback = Bernoulli().kl(logits, prior)
    assert kl.dtype == dtype
    assert all(np.isfinite(array).all() for array in (kl, *pullback(np.ones_like(kl))))
    assert np.all(kl >= 0)


class Reversed(Bernoulli):
    """The bug of the sides of a KL exchanged: right at equality, and never negative."""

    def kl(self, params: Array, prior_params: Array) -> Any:
        kl, pullback = super().kl(prior_params, params)
        return kl, lambda dkl: pullback(dkl)[::-1]


class WithoutSpread(Bernoulli):
    """The bug of a gradient that takes P(1) for held."""

    def kl(self, params: Array, prior_params: Array) -> Any:
        kl, pullback = super().kl(params, prior_params)
        one = self.mean(params)
        return kl, lambda dkl: (dkl[:, None] * (one - self.mean(prior_params)), pullback(dkl)[1])


def test_planted_bugs_of_the_kl_are_rejected() -> None:
    """(bernoulli.8), (bernoulli.9)."""
    prior = np.array([[-1.0, 0.5, 1.1, 2.0]])
    log_q, log_p = (Bernoulli().log_prob(logits, all_bits(4))[0] for logits in (LOGITS, prior))
    assert abs(Reversed().kl(LOGITS, prior)[0][0] - np.exp(log_q) @ (log_q - log_p)) > 0.01
    assert not check_pullback(WithoutSpread().kl, LOGITS, prior).ok
