"""LAX: unbiased whatever the control variate, and a control variate that learns to leave no variance."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from numvae import Normal, log_mean_exp, pathwise, sample_mean
from numvae.arena.costs import Quadratic
from numvae.arena.problems import Problem
from numvae.arrays import Array
from numvae.errors import InputError
from numvae.estimators import claims_of
from numvae.estimators.baselines import reinforce
from numvae.estimators.control_variates import ControlVariate
from numvae.estimators.lax import LAX, rates
from tests.estimators.normals import (
    BY_NAME,
    COINS,
    QUADRATIC,
    SKEWED,
    adapted,
    assert_bias_is_seen,
    assert_climbs_down_the_variance,
    assert_contract,
    assert_exact_with_weights,
    assert_no_bias_is_seen,
    fitting,
    moments,
    somewhere,
)

PLANE = Problem("plane", Normal(), (0.3, -0.6, 0.1, -0.4), Quadratic(), 2)
SMALL = LAX(control=ControlVariate((4,)))


def ready(problem: Problem, convert: Any = np.asarray) -> Any:
    return SMALL.at(convert(somewhere(SMALL, problem)))


@pytest.mark.parametrize("problem", fitting(SMALL), ids=lambda problem: problem.name)
def test_no_bias_is_seen_in_many_draws(problem: Problem) -> None:
    """(lax.1)."""
    assert_no_bias_is_seen(ready(problem), problem)
    assert_no_bias_is_seen(ready(problem), problem, samples=2)


@pytest.mark.parametrize("samples", [1, 2])
def test_expected_gradients_are_exact_by_quadrature(samples: int) -> None:
    """dparams and dtheta, for an f that contains params and weights of its own   (lax.1)."""
    lax = SMALL.at(somewhere(SMALL, PLANE, spread=0.1))  # nodes are few for a steep tanh
    assert_exact_with_weights(lax, samples, tolerance={1: 1e-7, 2: 1e-4}[samples])


def test_it_keeps_the_contract() -> None:
    assert_contract(partial(ready, PLANE), claims_of(SMALL))


def test_at_its_start_it_is_the_plain_score_function() -> None:
    rng = np.random.default_rng(0)
    params, noise = PLANE.at(5), rng.standard_normal((2, 5, 2))
    lax = SMALL.at(SMALL.start(params, params, 2, rng=rng))
    ours, plain = (e(PLANE.q, params, noise, PLANE.f, sample_mean)[1](np.ones(5))[0] for e in (lax, reinforce))
    np.testing.assert_allclose(ours, plain, rtol=1e-12)


def test_rates_are_derivatives_along_the_direction() -> None:
    """Of z, and of log q with z held, by central differences   (lax.2)."""
    rng, q, h = np.random.default_rng(0), Normal(), 1e-5
    params, direction = rng.standard_normal((2, 5, 4))
    noise = rng.standard_normal((3, 5, 2))
    z = q.sample(params, noise)[0]
    dz, dlog_q = rates(q, params, noise, z, direction)
    up, down = params + h * direction, params - h * direction
    np.testing.assert_allclose(dz, (q.sample(up, noise)[0] - q.sample(down, noise)[0]) / (2 * h), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(dlog_q, (q.log_prob(up, z)[0] - q.log_prob(down, z)[0]) / (2 * h), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("problem", [QUADRATIC, SKEWED], ids=lambda problem: problem.name)
def test_it_climbs_down_the_variance(problem: Problem, samples: int) -> None:
    """deta against finite differences of the exact second moment, mixed second derivatives and all   (lax.3)."""
    assert_climbs_down_the_variance(LAX(control=ControlVariate((3, 2))), problem, samples)


def test_it_climbs_down_the_variance_in_two_dimensions() -> None:
    """(lax.3)."""
    assert_climbs_down_the_variance(SMALL, BY_NAME["coupled"])


def test_it_learns_to_leave_little_variance() -> None:
    """Less than the pathwise estimator's, without a derivative of f."""
    cosine = BY_NAME["cosine"]
    learned = LAX().at(adapted(LAX(), cosine, 400))
    ours, path, plain = (moments(estimator, cosine)[1].sum() for estimator in (learned, pathwise, reinforce))
    assert ours < 0.2 * min(path, plain)


def test_what_it_is_not_for_is_refused() -> None:
    with pytest.raises(InputError, match="LAX is for continuous latents, got Bernoulli"):
        ready(COINS)(COINS.q, COINS.at(2), np.zeros((1, 2, 3)), COINS.f, sample_mean)
    with pytest.raises(InputError, match="LAX estimates under sample_mean, got log_mean_exp"):
        ready(QUADRATIC)(Normal(), QUADRATIC.at(2), np.zeros((1, 2, 1)), QUADRATIC.f, log_mean_exp)


def test_a_control_variate_whose_path_is_dropped_is_rejected() -> None:
    """(f - c) ∇ log q alone: the estimate is short of ∇E[c]   (lax.1)."""

    class Dropping(ControlVariate):
        def __call__(self, weights: Array, z: Array) -> tuple[Array, Any]:
            c, pullback = super().__call__(weights, z)
            return c, lambda dc: (pullback(dc)[0], np.zeros_like(z))

    for problem in (BY_NAME["exponential"], BY_NAME["cosine"], SKEWED):
        eta = somewhere(SMALL, problem, spread=1.0)
        assert_bias_is_seen(LAX(control=Dropping((4,))).at(eta), problem)


def test_a_direction_of_learning_without_second_derivatives_is_rejected() -> None:
    """(lax.3): what a hand-written gradient forgets first."""

    class Flat(ControlVariate):
        def slope(self, weights: Array, z: Array, direction: Array) -> tuple[Array, Any]:
            slope, pullback = super().slope(weights, z, direction)
            return slope, lambda dslope: (np.zeros_like(weights), *pullback(dslope)[1:])

    with pytest.raises(AssertionError):
        assert_climbs_down_the_variance(LAX(control=Flat((4,))), SKEWED)
