"""Differences as gradient estimators: exactly the gradients of the smoothed objectives their claims name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae import Normal, log_mean_exp, sample_mean
from numvae.arena.costs import Quadratic
from numvae.arena.problems import Problem, draw_gradients
from numvae.arrays import Array, Pullback
from numvae.checks import check_unbiased
from numvae.errors import CheckError, InputError
from numvae.estimators import claims_of, draw_noise
from numvae.estimators.smoothing import EvolutionStrategies, FiniteDifferences
from tests.estimators.normals import (
    BY_NAME,
    COINS,
    PARAMS,
    QUADRATIC,
    THETA,
    assert_bias_is_seen,
    assert_contract,
    assert_exact_with_weights,
    assert_no_bias_is_seen,
    fitting,
    weighted,
)
from tests.oracles import gradient_of, noise_nodes, normal_nodes

DIFFERENCES, STRATEGIES = FiniteDifferences(), EvolutionStrategies(std=0.02)


@pytest.mark.parametrize("problem", fitting(DIFFERENCES), ids=lambda problem: problem.name)
def test_no_bias_is_seen_with_small_steps(problem: Problem) -> None:
    """(smoothing.1), (smoothing.3)."""
    assert_no_bias_is_seen(DIFFERENCES, problem)
    assert_no_bias_is_seen(STRATEGIES, problem)
    assert_no_bias_is_seen(STRATEGIES, problem, samples=2)


def test_finite_differences_work_under_a_bound() -> None:
    """(smoothing.1) asks nothing of the reduction."""
    for name in ("exponential", "skewed ELBO"):
        assert_no_bias_is_seen(DIFFERENCES, BY_NAME[name], 2, log_mean_exp)


@pytest.mark.parametrize("reduce", [sample_mean, log_mean_exp])
@pytest.mark.parametrize("samples", [1, 2])
def test_finite_differences_estimate_the_difference_of_the_expected_bound(samples: int, reduce: Any) -> None:
    """Their claim, to the digit, at a step at which the bias is large   (smoothing.1)."""
    step = 0.4

    def central_difference(bound_of: Any, params: Array) -> Array:
        return np.array([(bound_of(params + e) - bound_of(params - e)) / (2 * step) for e in step * np.eye(4)])

    assert_exact_with_weights(FiniteDifferences(step), samples, reduce, central_difference)


def test_evolution_strategies_estimate_the_gradient_of_the_smoothed_objective() -> None:
    """Quadrature over noise and directions against ∇ E_δ F(params + std δ)   (smoothing.2), (smoothing.3)."""
    std, q = 0.3, Normal()
    z_nodes, z_weights = noise_nodes(1, 2, 12)
    directions, d_weights = normal_nodes(4, 6)
    noise = np.concatenate(
        [np.repeat(z_nodes, len(directions), axis=1), np.tile(directions, (len(z_weights), 1))[None]], axis=-1
    )
    weights = np.outer(z_weights, d_weights).ravel()
    many = np.repeat(PARAMS, len(weights), axis=0)

    def smoothed(point: Array, theta: Array) -> float:
        shifted = point + std * directions
        rows = np.tile(shifted, (len(z_weights), 1))
        z = q.sample(rows, np.repeat(z_nodes, len(directions), axis=1))[0]
        return float(weights @ weighted(theta)(rows, z)[0][0])

    def not_smoothed(theta: Array) -> float:
        return float(weights @ weighted(theta)(many, q.sample(many, noise[..., :2])[0])[0][0])

    dparams, dtheta = EvolutionStrategies(std)(q, many, noise, weighted(THETA), sample_mean)[1](weights)
    np.testing.assert_allclose(dparams.sum(axis=0), gradient_of(lambda p: smoothed(p, THETA), PARAMS[0]), atol=1e-4)
    np.testing.assert_allclose(dtheta, gradient_of(not_smoothed, THETA), atol=1e-8)


@pytest.mark.parametrize("h", [0.01, 0.5])
def test_biases_are_their_divergences(h: float) -> None:
    """Of E(z - k)² = a² + exp(2 log_std): none in the mean, sinh(2h) / 2h and exp(2h²) in log_std.

    (smoothing.1), (smoothing.2).
    """
    a, log_std = 1.3, -0.2
    problem = Problem("", Normal(), (a, log_std), Quadratic(0.0), 1)
    noise, weights = noise_nodes(1, 1, 10)
    dparams, _ = FiniteDifferences(h)(Normal(), problem.at(10), noise, problem.f, sample_mean)[1](weights)
    slope = 2 * np.exp(2 * log_std)
    np.testing.assert_allclose(dparams.sum(axis=0), [2 * a, slope * np.sinh(2 * h) / (2 * h)], rtol=1e-9)

    noise, weights = noise_nodes(1, 3, 20)
    params = problem.at(len(weights))
    dparams, _ = EvolutionStrategies(h)(Normal(), params, noise, problem.f, sample_mean)[1](weights)
    np.testing.assert_allclose(dparams.sum(axis=0), [2 * a, slope * np.exp(2 * h * h)], rtol=1e-9)


def test_common_random_numbers_keep_the_variance_where_fresh_ones_lose_it() -> None:
    """With small steps the variance is the pathwise one's, 4 and 72; fresh noise pays 1 / step²   (smoothing.1)."""
    rng = np.random.default_rng(0)
    variance = draw_gradients(FiniteDifferences(0.001), QUADRATIC, 20_000, rng=rng).var(axis=0)
    np.testing.assert_allclose(variance, [4, 72], rtol=0.1)
    params, noise = QUADRATIC.at(20_000), rng.standard_normal((2, 20_000, 1))
    up, down = QUADRATIC.f(params, QUADRATIC.q.sample(params, noise)[0])[0]
    assert np.var((up - down) / 0.002) > 1e6 * 4


def test_they_keep_the_contract() -> None:
    differences, strategies = FiniteDifferences(0.1), EvolutionStrategies(0.1)
    for reduce in (sample_mean, log_mean_exp):
        assert_contract(lambda convert: differences, claims_of(differences), 3, reduce)
    assert_contract(lambda convert: strategies, claims_of(strategies))


def test_noise_of_evolution_strategies_is_the_familys_and_a_direction() -> None:
    """(smoothing.3)."""
    noise = draw_noise(STRATEGIES, Normal(), np.random.default_rng(0), (3, 5, 2), np.float32)
    assert noise.shape == (3, 5, 2 + 4)
    assert noise.dtype == np.float32


def test_what_they_are_not_for_is_refused() -> None:
    with pytest.raises(InputError, match="FiniteDifferences is for continuous latents, got Bernoulli"):
        DIFFERENCES(COINS.q, COINS.at(2), np.zeros((1, 2, 3)), COINS.f, sample_mean)
    with pytest.raises(InputError, match="EvolutionStrategies estimates under sample_mean, got log_mean_exp"):
        STRATEGIES(Normal(), QUADRATIC.at(2), np.zeros((1, 2, 3)), QUADRATIC.f, log_mean_exp)
    with pytest.raises(InputError, match=r"needs noise of more than P = 2 numbers a row, .* got 1"):
        STRATEGIES(Normal(), QUADRATIC.at(2), np.zeros((1, 2, 1)), QUADRATIC.f, sample_mean)
    with pytest.raises(InputError, match="step must be a number"):
        FiniteDifferences(0.0)


def test_the_bias_of_a_large_step_is_seen() -> None:
    """They claim a bias, and have it."""
    assert_bias_is_seen(FiniteDifferences(0.7), QUADRATIC)
    assert_bias_is_seen(EvolutionStrategies(0.7), QUADRATIC)
    assert not claims_of(DIFFERENCES).unbiased
    assert not claims_of(STRATEGIES).unbiased


def test_a_one_sided_scale_is_rejected() -> None:
    """The difference of both sides divided by one step, not by two."""

    def doubled(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
        bound, pullback = DIFFERENCES(q, params, noise, f, reduce)
        return bound, lambda dbound: (2 * pullback(dbound)[0], pullback(dbound)[1])

    estimates = draw_gradients(doubled, QUADRATIC, 20_000, rng=np.random.default_rng(0))
    report = check_unbiased(estimates, QUADRATIC.truth())
    with pytest.raises(CheckError, match="off by a factor 2"):
        report.assert_ok()
