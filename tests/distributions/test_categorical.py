"""The categorical distribution: by enumeration of all codes, at extremes, and where it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.bernoulli import Bernoulli
from numvae.distributions.categorical import Categorical
from numvae.distributions.contract import params_size
from numvae.errors import InputError

Q = Categorical(4)
LOGITS = np.random.default_rng(0).standard_normal((2, 4 * 3))
CODES = np.arange(4.0)


def masses(params: Array, value: int) -> Array:
    """P of all four codes at one of the three values, the others held at code 0: (4, rows)."""
    codes = np.zeros((4, 1, 3))
    codes[:, 0, value] = CODES
    log_mass, _ = Q.log_prob(params, codes)
    ratios: Array = np.exp(log_mass - log_mass[:1])
    return ratios / ratios.sum(axis=0)


@pytest.mark.parametrize("value", [0, 1, 2])
def test_moments_are_sums_over_the_codes(value: int) -> None:
    """(categorical.2), (categorical.6)."""
    p = masses(LOGITS, value)
    mean = CODES @ p
    np.testing.assert_allclose(Q.probabilities(LOGITS)[..., value], p.T, rtol=1e-13)
    np.testing.assert_allclose(Q.mean(LOGITS)[:, value], mean, rtol=1e-13)
    np.testing.assert_allclose(Q.std(LOGITS)[:, value] ** 2, (CODES**2) @ p - mean**2, rtol=1e-12)


def test_a_fair_die_by_hand() -> None:
    """Six equal codes: log 6 a value, and a pull of 5/6 to the one seen   (categorical.2), (categorical.3)."""
    die = Categorical(6)
    log_mass, pullback = die.log_prob(np.zeros((1, 6)), np.array([[2.0]]))
    assert log_mass[0] == pytest.approx(-math.log(6))
    np.testing.assert_allclose(pullback(np.ones(1))[0] * 6, [[-1, -1, 5, -1, -1, -1]])
    assert die.entropy(np.zeros((1, 6)))[0] == pytest.approx(math.log(6))  # (categorical.7)
    assert die.std(np.zeros((1, 6)))[0, 0] == pytest.approx(math.sqrt(35 / 12))


def test_two_codes_are_a_bit() -> None:
    """With logit ℓ₁ - ℓ₀: value, gradient, KL, and the sample turned round, since low noise means code 0."""
    zero, one = np.random.default_rng(1).standard_normal((2, 3, 5))
    bits = (np.random.default_rng(2).random((3, 5)) < 0.5).astype(float)
    two, params = Categorical(2), np.concatenate([zero, one], axis=-1)
    log_mass, pullback = two.log_prob(params, bits)
    expected, of_bits = Bernoulli().log_prob(one - zero, bits)
    np.testing.assert_allclose(log_mass, expected)
    np.testing.assert_allclose(pullback(np.ones(3))[0][:, 5:], of_bits(np.ones(3))[0], atol=1e-15)
    np.testing.assert_allclose(two.kl(params, -params)[0], Bernoulli().kl(one - zero, zero - one)[0])
    noise = np.random.default_rng(3).random((4, 3, 5))
    np.testing.assert_array_equal(two.sample(params, noise)[0], Bernoulli().sample(one - zero, 1 - noise)[0])


def test_a_code_is_drawn_with_its_probability() -> None:
    """Chi-squared   (categorical.1)."""
    codes, _ = Q.sample(LOGITS, Q.noise(np.random.default_rng(4), (30_000, 2, 3)))
    for row in range(2):
        for value in range(3):
            seen = np.bincount(codes[:, row, value].astype(int), minlength=4)
            assert stats.chisquare(seen, 30_000 * masses(LOGITS, value)[:, row]).pvalue > 1e-3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_code_is_beyond_the_last_and_none_of_probability_zero_is_drawn(dtype: Any) -> None:
    """(categorical.1)."""
    logits = np.array([[-1e4, 0.0, 0.1, -1e4]], dtype)
    noise = np.array([0.0, 1 - np.finfo(dtype).epsneg], dtype)[:, None, None]
    assert Q.sample(logits, noise)[0].ravel().tolist() == [1, 2]
    equal = Categorical(10)
    assert equal.sample(np.zeros((1, 10), dtype), noise)[0].ravel().tolist() == [0, 9]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_are_finite_and_a_shift_changes_nothing(dtype: Any) -> None:
    logits = np.array([[1e4, -1e4, 0.0, 3.0]], dtype)
    log_mass, pullback = Q.log_prob(logits, np.array([[1.0]], dtype))
    assert log_mass.dtype == dtype
    assert log_mass[0] == pytest.approx(-2e4)
    np.testing.assert_array_equal(pullback(np.ones(1, dtype))[0], [[-1, 1, 0, 0]])
    kl, kl_pullback = Q.kl(logits, -logits)
    assert kl[0] == pytest.approx(2e4)
    assert all(np.isfinite(gradient).all() for gradient in kl_pullback(np.ones_like(kl)))
    np.testing.assert_allclose(Q.log_prob(logits + dtype(4), np.array([[1.0]], dtype))[0], log_mass)


@pytest.mark.parametrize("value", [-1.0, 4.0, 0.5])
def test_what_is_no_code_has_no_probability(value: float) -> None:
    """Codes of more kinds than the likelihood knows would otherwise cost nothing."""
    assert Q.log_prob(np.zeros((1, 8)), np.array([[1.0, value]]))[0][0] == -math.inf


def test_cdf_adds_up() -> None:
    cdf = Q.cdf(LOGITS, np.broadcast_to(CODES[:, None, None], (4, 2, 3)))
    np.testing.assert_allclose(np.diff(cdf, axis=0), np.moveaxis(Q.probabilities(LOGITS), 1, 0)[1:], rtol=1e-12)
    np.testing.assert_allclose(cdf[-1], 1)


def test_params_size_and_what_is_refused() -> None:
    assert params_size(Categorical(8), 784) == 8 * 784
    with pytest.raises(InputError, match="at least 2, got 1"):
        Categorical(1)
    _, pullback = Q.sample(np.zeros((1, 4)), np.full((1, 1, 1), 0.5))
    with pytest.raises(InputError, match="score_function, not pathwise"):
        pullback(np.ones((1, 1, 1)))


class BlocksByValue(Categorical):
    """The bug of logits that lie side by side value by value, where the sampler reads them code by code."""

    def log_prob(self, params: Array, value: Array) -> Any:
        lead, features = params.shape[:-1], params.shape[-1] // self.categories
        by_value = params.reshape(*lead, features, self.categories).swapaxes(-1, -2)
        return super().log_prob(by_value.reshape(params.shape), value)


class WithoutNormalizer(Categorical):
    """The bug of a gradient that forgets the softmax: what was seen, without what was expected."""

    def log_prob(self, params: Array, value: Array) -> Any:
        log_mass, _ = super().log_prob(params, value)
        seen = self._codes(params) == value[..., None, :]
        return log_mass, lambda d: (self._to_params(d[..., None, None] * seen, params), None)


def test_planted_bugs_are_rejected() -> None:
    """(categorical.1), (categorical.3)."""
    assert check_sampler(Q, LOGITS).ok
    assert not check_sampler(BlocksByValue(4), LOGITS).ok
    assert not check_pullback(WithoutNormalizer(4).log_prob, LOGITS, np.ones((2, 3))).ok
