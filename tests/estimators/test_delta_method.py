"""The delta method: exact on average for any f, without variance where the expansion is f itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae import Normal, log_mean_exp, sample_mean
from numvae.arena.costs import Quadratic, QuadraticForm
from numvae.arena.problems import Problem
from numvae.arrays import Array, Pullback
from numvae.errors import InputError
from numvae.estimators import claims_of
from numvae.estimators.baselines import reinforce
from numvae.estimators.delta_method import delta_method, first_order_delta_method
from tests.estimators.normals import (
    BY_NAME,
    COINS,
    QUADRATIC,
    assert_bias_is_seen,
    assert_contract,
    assert_exact_with_weights,
    assert_no_bias_is_seen,
    fitting,
    moments,
    truth,
)

BOTH = [delta_method, first_order_delta_method]
both_orders = pytest.mark.parametrize("estimator", BOTH)

CASES = [
    pytest.param(estimator, problem, id=f"{estimator.__name__} {problem.name}")
    for estimator in BOTH
    for problem in fitting(estimator)
    if estimator is first_order_delta_method or not isinstance(problem.f, Quadratic | QuadraticForm)
]


@pytest.mark.parametrize(("estimator", "problem"), CASES)
def test_no_bias_is_seen_in_many_draws(estimator: Any, problem: Problem) -> None:
    """(delta_method.2)."""
    assert_no_bias_is_seen(estimator, problem)
    assert_no_bias_is_seen(estimator, problem, samples=2)


@pytest.mark.parametrize("name", ["quadratic", "quadratic in 3-D", "coupled"])
def test_what_is_quadratic_has_no_variance_left(name: str) -> None:
    """Every single estimate is the gradient, off-diagonal curvature and all   (delta_method.1), (delta_method.3)."""
    problem = BY_NAME[name]
    noise = np.random.default_rng(0).standard_normal((2, 50, problem.latents))
    dparams, _ = delta_method(problem.q, problem.at(50), noise, problem.f, sample_mean)[1](np.ones(50))
    np.testing.assert_allclose(dparams, np.tile(truth(problem), (50, 1)), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("samples", [1, 2])
@both_orders
def test_expected_gradients_are_exact_by_quadrature(estimator: Any, samples: int) -> None:
    """dparams and dtheta, for an f that contains params and weights of its own   (delta_method.2)."""
    assert_exact_with_weights(estimator, samples)


@both_orders
def test_they_keep_the_contract(estimator: Any) -> None:
    assert_contract(lambda convert: estimator, claims_of(estimator))


@pytest.mark.parametrize(("a", "std"), [(4.0, 1.0), (-0.7, 0.6), (0.0, 2.0)])
def test_variance_of_the_first_order_is_its_closed_form(a: float, std: float) -> None:
    """Of (z - k)²: 15σ² and 74σ², wherever the optimum is; our column is log_std's   (delta_method.2)."""
    problem = Problem("", Normal(), (a, float(np.log(std))), Quadratic(0.0), 1)
    mean, variance = moments(first_order_delta_method, problem, count=12)
    np.testing.assert_allclose(mean, [2 * a, 2 * std**2], atol=1e-10)
    np.testing.assert_allclose(variance, [15 * std**2, 74 * std**4], rtol=1e-10)


def test_the_expansion_helps_where_q_is_narrow_and_hurts_where_it_is_wide() -> None:
    """A polynomial runs away from a bounded f   (delta_method.1)."""
    for log_std, helps in ((-1.5, True), (0.7, False)):
        problem = Problem("", Normal(), (0.4, log_std), BY_NAME["cosine"].f, 1)
        ours, plain = (moments(estimator, problem)[1] for estimator in (delta_method, reinforce))
        assert np.all(ours < 0.1 * plain) if helps else np.all(ours > plain)


def test_what_it_is_not_for_is_refused() -> None:
    params, noise = QUADRATIC.at(2), np.zeros((1, 2, 1))
    with pytest.raises(InputError, match="delta_method is for Normal latents, got Bernoulli"):
        delta_method(COINS.q, COINS.at(2), np.zeros((1, 2, 3)), COINS.f, sample_mean)
    with pytest.raises(InputError, match="estimates under sample_mean, got log_mean_exp"):
        first_order_delta_method(Normal(), params, noise, QUADRATIC.f, log_mean_exp)
    with pytest.raises(InputError, match="bare has no hessian_product"):
        delta_method(Normal(), params, noise, bare, sample_mean)


def bare(params: Array, z: Array) -> tuple[Array, Pullback]:
    """An integrand with first derivatives alone."""
    return QUADRATIC.f(params, z)


def without_its_expectation(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
    """The expansion subtracted, and its gradient not added again: what is left of the estimate is the rest's."""
    bound, pullback = first_order_delta_method(q, params, noise, f, reduce)
    mean = q.mean(params)
    slope = f(params, mean[None])[1](np.ones((1, len(params))))[1][0]

    def wrong(dbound: Array) -> tuple[Array, Any]:
        dparams, dtheta = pullback(dbound)
        return dparams - np.concatenate([dbound[:, None] * slope, np.zeros_like(slope)], axis=-1), dtheta

    return bound, wrong


@pytest.mark.parametrize("name", ["quadratic", "exponential", "skewed ELBO"])
def test_subtracting_without_adding_again_is_rejected(name: str) -> None:
    assert_bias_is_seen(without_its_expectation, BY_NAME[name])
