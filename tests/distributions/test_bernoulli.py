"""The Bernoulli distribution, by enumeration of every image of a few bits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from numvae import Bernoulli, pathwise, sample_mean
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
