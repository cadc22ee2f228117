"""Relaxed bits: exact for their own objective, whose distance from the one of bits is measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae import log_mean_exp, sample_mean
from numvae.arena.costs import Cosine, Quadratic
from numvae.arena.problems import Problem, draw_gradients
from numvae.arena.truth import exact_value
from numvae.arrays import Array, Pullback
from numvae.checks import check_pullback, check_unbiased
from numvae.estimators.concrete import Concrete, StraightThroughConcrete, relaxed_sample
from tests.estimators.coins import (
    COIN,
    LOGITS,
    PROBLEMS,
    WEIGHTS,
    assert_contract,
    uniform_nodes,
    weighted,
)

every_estimator = pytest.mark.parametrize("estimator", [Concrete(0.7), StraightThroughConcrete(0.7)], ids=repr)
every_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)


def test_pullback_of_the_relaxed_sample_is_its_derivative() -> None:
    """concrete.1 concrete.2."""
    noise = np.random.default_rng(0).random((3, 4, 2))

    def sample(params: Array) -> tuple[Array, Pullback]:
        y, pullback = relaxed_sample(COIN, params, noise, 0.6)
        return y, lambda dy: pullback(dy)[:1]

    params = np.random.default_rng(1).standard_normal((4, 2))
    check_pullback(sample, params).assert_ok()

    def without_the_temperature(params: Array) -> tuple[Array, Pullback]:
        y, pullback = sample(params)
        return y, lambda dy: (0.6 * pullback(dy)[0],)

    assert not check_pullback(without_the_temperature, params).ok


def test_relaxed_bits_follow_their_distribution_function() -> None:
    """P(y <= x) = 1 - σ(logit - temperature log(x / (1 - x))), of Maddison et al. 2017   (concrete.1)."""
    uniforms = (np.arange(100_000) + 0.5) / 100_000
    for logit, temperature in ((0.4, 0.5), (-1.2, 1.0), (2.0, 3.0)):
        y, _ = relaxed_sample(COIN, np.array([[logit]]), uniforms[:, None, None], temperature)
        for x in (0.05, 0.4, 0.5, 0.9):
            expected = 1 - COIN.mean(np.array(logit - temperature * np.log(x / (1 - x))))
            np.testing.assert_allclose(np.mean(y <= x), expected, atol=1e-5)


def test_relaxed_bits_round_to_the_bits_of_the_same_noise() -> None:
    """At any temperature; and at a low one they are the bits   (concrete.1)."""
    rng = np.random.default_rng(0)
    params, noise = rng.standard_normal((50, 3)), rng.random((20, 50, 3))
    bits, _ = COIN.sample(params, noise)
    for temperature in (1e-3, 0.5, 2.0):
        np.testing.assert_array_equal(relaxed_sample(COIN, params, noise, temperature)[0] > 0.5, bits == 1)
    cold, _ = relaxed_sample(COIN, params, noise, 1e-5)
    assert np.mean(np.abs(cold - bits) > 1e-6) < 1e-3


@pytest.mark.parametrize("reduce", [sample_mean, log_mean_exp])
def test_the_gradient_is_that_of_the_relaxed_bound(reduce: Any) -> None:
    """In parameters and weights, the noise held   (concrete.3)."""
    noise = np.random.default_rng(0).random((3, 1, 3))

    def bound(params: Array, theta: Array) -> tuple[Array, Pullback]:
        return Concrete(0.7)(COIN, params, noise, weighted(theta), reduce)

    check_pullback(bound, np.array([LOGITS]), WEIGHTS).assert_ok()


def test_a_fair_coin_at_temperature_one_is_two_thirds_of_the_truth() -> None:
    """y is uniform then: value off by -1/6, and (1 - 2 t) / 6 for (1 - 2 t) / 4   (concrete.3), (concrete.4)."""
    t, (noise, weights) = 0.45, uniform_nodes(np.zeros(1), 1)
    problem = Problem("fair coin", COIN, (0.0,), Quadratic(t), 1)
    np.testing.assert_allclose(problem.truth(), (1 - 2 * t) / 4, rtol=1e-12)
    exact = exact_value(COIN, problem.at(), problem.f, 1)
    for estimator, offset in ((Concrete(1.0), -1 / 6), (StraightThroughConcrete(1.0), 0.0)):
        value, pullback = estimator(COIN, problem.at(len(weights)), noise, problem.f, sample_mean)
        np.testing.assert_allclose(weights @ value - exact, offset, atol=1e-14)
        np.testing.assert_allclose(pullback(weights)[0].sum(), (1 - 2 * t) / 6, rtol=1e-12)


def over_logistic_noise(estimator: Any, problem: Problem) -> tuple[float, float]:
    """Mean and variance of the gradient of one coin, by the trapezoidal rule, which is as good as exact."""
    logistic = np.arange(-40, 40, 0.005)
    uniforms, weights = COIN.mean(logistic), 0.005 * COIN.std(logistic) ** 2
    _, pullback = estimator(COIN, problem.at(len(weights)), uniforms[None, :, None], problem.f, sample_mean)
    gradients = pullback(np.ones(len(weights)))[0][:, 0]
    mean = float(weights @ gradients)
    return mean, float(weights @ (gradients - mean) ** 2)


def test_bias_falls_and_variance_grows_as_it_cools() -> None:
    """The bias falls like the temperature, as (concrete.3b) says; the variance grows   (concrete.3)."""
    p = 0.3
    problem = Problem("one coin", COIN, (np.log(p / (1 - p)),), Quadratic(0.45), 1)
    means, variances = np.transpose([over_logistic_noise(Concrete(t), problem) for t in (1.0, 0.5, 0.25, 0.1)])
    biases = means - problem.truth()
    assert np.all(np.diff(np.abs(biases)) < 0)
    assert np.all(np.diff(variances) > 0)
    np.testing.assert_allclose(biases[-1], 0.1 * p * (1 - p) * (2 * p - 1), rtol=0.05)


@pytest.mark.parametrize(("cost", "slopes"), [(Quadratic(0.45), (-0.9, 1.1)), (Cosine(2.0), (0.0, -2 * np.sin(2.0)))])
def test_cold_straight_through_is_the_trapezoidal_rule(cost: Any, slopes: tuple[float, float]) -> None:
    """σ' times the mean of both slopes, and the first order in the temperature, as (concrete.4a) says (concrete.4)."""
    p, temperature = 0.3, 0.03
    problem = Problem("one coin", COIN, (np.log(p / (1 - p)),), cost, 1)
    noise, weights = uniform_nodes(problem.at()[0], 1, order=300)
    _, pullback = StraightThroughConcrete(temperature)(COIN, problem.at(len(weights)), noise, cost, sample_mean)
    mean = pullback(weights)[0].sum()
    warm = temperature * p * (1 - p) * (2 * p - 1) * np.log(2) * (slopes[1] - slopes[0])
    np.testing.assert_allclose(mean, p * (1 - p) * sum(slopes) / 2 + warm, rtol=0.01)
    trapezoid_is_exact = np.isclose(p * (1 - p) * sum(slopes) / 2, problem.truth()[0])
    assert trapezoid_is_exact == isinstance(cost, Quadratic)


def test_straight_through_has_the_bits_value_and_the_relaxed_slope() -> None:
    """(concrete.4)."""
    rng = np.random.default_rng(0)
    params, noise = rng.standard_normal((4, 2)), rng.random((3, 4, 2))
    value, pullback = StraightThroughConcrete(0.6)(COIN, params, noise, Quadratic(0.3), sample_mean)
    bits, y = COIN.sample(params, noise)[0], relaxed_sample(COIN, params, noise, 0.6)[0]
    np.testing.assert_allclose(value, np.sum((bits - 0.3) ** 2, axis=-1).mean(axis=0), rtol=1e-14)
    slope = np.mean(2 * (bits - 0.3) * y * (1 - y) / 0.6, axis=0)
    np.testing.assert_allclose(pullback(np.ones(4))[0], slope, rtol=1e-12)


@every_estimator
@pytest.mark.parametrize("reduce", [sample_mean, log_mean_exp])
def test_keeps_the_contract(estimator: Any, reduce: Any) -> None:
    assert_contract(estimator, reduce)


@every_estimator
@every_problem
def test_its_bias_is_noticed(estimator: Any, problem: Problem) -> None:
    estimates = draw_gradients(estimator, problem, 20_000, rng=np.random.default_rng(0))
    assert not check_unbiased(estimates, problem.truth()).ok
