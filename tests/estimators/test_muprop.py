"""MuProp: exact on average whatever f, and in every draw where f is linear."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae import log_mean_exp, sample_mean, score_function
from numvae.arena.costs import Quadratic
from numvae.arena.problems import Problem, draw_gradients
from numvae.arrays import Array, Pullback
from numvae.checks import check_unbiased
from numvae.errors import InputError
from numvae.estimators import Integrand, Reduction
from numvae.estimators.muprop import muprop
from tests.estimators.coins import (
    COIN,
    LOGITS,
    PROBLEMS,
    WEIGHTS,
    assert_contract,
    assert_exact_on_average,
    assert_exact_with_a_second_layer,
    assert_exact_with_weights,
    moments,
    weighted,
)

every_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)


@every_problem
def test_expected_gradient_is_exact(problem: Problem) -> None:
    """muprop.1 muprop.2: also where f contains the parameters."""
    assert_exact_on_average(muprop, problem)
    if problem.latents <= 2:
        assert_exact_on_average(muprop, problem, samples=2)


@every_problem
def test_no_bias_is_seen_in_many_draws(problem: Problem) -> None:
    estimates = draw_gradients(muprop, problem, 20_000, rng=np.random.default_rng(0), samples=2)
    check_unbiased(estimates, problem.truth(), name=f"muprop on {problem.name}").assert_ok()


def test_weights_in_f_and_further_layers_get_their_gradients() -> None:
    """(muprop.2)."""
    assert_exact_with_weights(muprop)
    assert_exact_with_weights(muprop, samples=2)
    assert_exact_with_a_second_layer(muprop)


def test_keeps_the_contract() -> None:
    assert_contract(muprop)


def test_any_slope_is_unbiased() -> None:
    """Even one that is no derivative of f: it is added as often as it is taken off   (muprop.2)."""

    def wrong_slope(params: Array, z: Array) -> tuple[Array, Pullback]:
        values, pullback = Quadratic(0.3)(params, z)
        return values, lambda dvalues: (0.0, 5 * dvalues[..., None] * np.cos(z), pullback(dvalues)[2])

    assert_exact_on_average(muprop, Problem("wrong slope", COIN, LOGITS, wrong_slope, 3))


def test_linear_costs_have_no_variance() -> None:
    """The tangent is the function   (muprop.1)."""

    def linear(params: Array, z: Array) -> tuple[Array, Pullback]:
        return z @ WEIGHTS + 2, lambda dvalues: (0.0, dvalues[..., None] * WEIGHTS, None)

    mean, variance = moments(muprop, Problem("linear", COIN, LOGITS, linear, 3))
    p = COIN.mean(np.array(LOGITS))
    np.testing.assert_allclose(mean, WEIGHTS * p * (1 - p), rtol=1e-13)
    np.testing.assert_allclose(variance, 0, atol=1e-28)


@pytest.mark.parametrize(("p", "t"), [(0.5, 0.45), (0.3, 0.45), (0.8, -3.0)])
def test_variance_of_one_coin_is_its_closed_form(p: float, t: float) -> None:
    """(muprop.2b): the target t has gone, and p = ½ leaves 1/64   (muprop.2)."""
    problem = Problem("one coin", COIN, (np.log(p / (1 - p)),), Quadratic(t), 1)
    pq = p * (1 - p)
    expected = pq * ((1 - p) ** 5 + p**5) - pq**2 * (1 - 2 * p) ** 2
    np.testing.assert_allclose(moments(muprop, problem)[1], expected, rtol=1e-10)


def test_the_tangent_pays_far_from_the_optimum() -> None:
    """f = (b - t)² with t = -3 is nearly linear: thousands of times less variance than the score function."""
    problem = Problem("far", COIN, (0.0,), Quadratic(-3.0), 1)
    assert moments(score_function, problem)[1] > 1000 * moments(muprop, problem)[1]


def test_neither_weights_nor_parameters_are_moved_at_the_mean() -> None:
    """dtheta is the one at the bits alone   (muprop.2)."""
    params, noise = np.array([LOGITS]), np.full((2, 1, 3), 0.4)
    f = weighted(WEIGHTS)
    z, _ = COIN.sample(params, noise)
    expected = f(params, z)[1](np.full((2, 1), 0.5))[2]
    _, pullback = muprop(COIN, params, noise, f, sample_mean)
    np.testing.assert_allclose(pullback(np.ones(1))[1], expected, rtol=1e-13)


def test_refuses_another_reduction() -> None:
    with pytest.raises(InputError, match="muprop estimates under sample_mean, got log_mean_exp; score_function"):
        muprop(COIN, np.zeros((1, 1)), np.zeros((1, 1, 1)), Quadratic(), log_mean_exp)


def without_the_mean_field_term(
    q: Any, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """The tangent taken off the signal, and never added again."""
    z, mean = q.sample(params, noise)[0], q.mean(params)
    values, f_pullback = f(params, z)
    at_mean, mean_pullback = f(params, mean[None])
    tangent = at_mean + np.sum(mean_pullback(np.ones_like(at_mean))[1] * (z - mean), axis=-1)
    score = np.mean((values - tangent)[..., None] * (z - mean), axis=0)
    return values.mean(axis=0), lambda dbound: (
        f_pullback(dbound[None] / len(z))[0] + dbound[:, None] * score,
        None,
    )


def parameters_moved_at_the_mean(
    q: Any, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """∂f/∂params taken at the mean bits as well: MuProp on the total derivative of f(mean(params), params)."""
    value, pullback = muprop(q, params, noise, f, reduce)
    _, mean_pullback = f(params, q.mean(params)[None])
    return value, lambda dbound: (pullback(dbound)[0] + mean_pullback(dbound[None])[0], None)


@every_problem
def test_a_forgotten_mean_field_term_is_noticed(problem: Problem) -> None:
    estimates = draw_gradients(without_the_mean_field_term, problem, 20_000, rng=np.random.default_rng(0))
    assert not check_unbiased(estimates, problem.truth()).ok


def test_the_parameters_direct_part_at_the_mean_is_noticed() -> None:
    """Where f contains log q, at the mean its direct part is 0 by chance; with another f it is a bias."""
    problem = Problem("parameters in f", COIN, LOGITS, weighted(WEIGHTS), 3)
    estimates = draw_gradients(parameters_moved_at_the_mean, problem, 20_000, rng=np.random.default_rng(0))
    assert not check_unbiased(estimates, problem.truth()).ok
