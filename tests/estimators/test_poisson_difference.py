"""The Poisson identity: exact by summation, unbiased in draws, of less variance than the score function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae import Normal, sample_mean, score_function
from numvae.arena.costs import Exponential, Quadratic
from numvae.arena.problems import COUNTS, Problem, draw_gradients
from numvae.arena.truth import exact_gradient, exact_value, nodes
from numvae.arrays import Array, Pullback
from numvae.checks import check_unbiased
from numvae.distributions.poisson import Poisson
from numvae.errors import InputError
from numvae.estimators import claims_of
from numvae.estimators.measure_valued import MeasureValued
from numvae.estimators.poisson_difference import poisson_difference

every_problem = pytest.mark.parametrize("problem", COUNTS, ids=lambda problem: problem.name)


@every_problem
def test_no_bias_is_seen_in_many_draws(problem: Problem) -> None:
    """(poisson_difference.1)."""
    gradients = draw_gradients(poisson_difference, problem, 20_000, rng=np.random.default_rng(4))
    check_unbiased(gradients, problem.truth(), name="poisson_difference").assert_ok()


@pytest.mark.parametrize("log_rate", [-3.0, 0.0, 1.2, 4.0])
@pytest.mark.parametrize("f", [Quadratic(1.5), Exponential(0.4)], ids=["quadratic", "bell"])
def test_the_identity_is_exact(f: Any, log_rate: float) -> None:
    """rate E[f(z + 1) - f(z)] against the sum of f times the score   (poisson_difference.1)."""
    params = np.array([[log_rate]])
    z, weights = nodes(Poisson(), params, 1)
    difference = f(params, z + 1)[0] - f(params, z)[0]
    expected = exact_gradient(Poisson(), params, f, 1)
    np.testing.assert_allclose(np.exp(log_rate) * (weights @ difference), expected[0], rtol=1e-10, atol=1e-12)


def test_the_identity_of_chen() -> None:
    """E[z f(z)] = rate E[f(z + 1)]: the score function with the count averaged out   (poisson_difference.1)."""

    def moved(params: Array, z: Array) -> tuple[Array, Any]:
        return np.cos(z[..., 0] + 1), None

    def weighted(params: Array, z: Array) -> tuple[Array, Any]:
        return z[..., 0] * np.cos(z[..., 0]), None

    params = np.array([[0.8]])
    left, right = exact_value(Poisson(), params, weighted, 1), exact_value(Poisson(), params, moved, 1)
    assert left == pytest.approx(np.exp(0.8) * right, rel=1e-13)


@pytest.mark.parametrize(("log_rate", "k"), [(0.7, 1.5), (-1.0, 0.0), (2.5, 20.0)])
def test_variance_for_a_quadratic_is_its_closed_form(log_rate: float, k: float) -> None:
    """f(z + 1) - f(z) = 2 (z - k) + 1, so the variance is 4 rate³   (poisson_difference.1)."""
    problem = Problem("", Poisson(), (log_rate,), Quadratic(k), 1)
    _, weights = nodes(problem.q, problem.at(), 1)
    levels = np.cumsum(weights) - weights / 2
    keep = weights > 1e-15
    levels, weights = levels[keep], weights[keep]
    _, pullback = poisson_difference(problem.q, problem.at(len(weights)), levels[None, :, None], problem.f, sample_mean)
    gradients = pullback(np.ones(len(weights)))[0][:, 0]
    variance = weights @ (gradients - weights @ gradients) ** 2
    assert variance == pytest.approx(4 * np.exp(3 * log_rate), rel=1e-8)
    assert variance < draw_gradients(score_function, problem, 20_000, rng=np.random.default_rng(0)).var()


def test_it_is_the_measure_valued_gradient() -> None:
    problem = COUNTS[3]
    noise = problem.q.noise(np.random.default_rng(0), (2, 4, 3))
    for estimator in (poisson_difference, MeasureValued(Poisson())):
        gradient = estimator(problem.q, problem.at(4), noise, problem.f, sample_mean)[1](np.ones(4))[0]
        np.testing.assert_allclose(
            gradient, poisson_difference(problem.q, problem.at(4), noise, problem.f, sample_mean)[1](np.ones(4))[0]
        )
        claims = claims_of(estimator)
        assert (claims.variables, claims.f_calls(2, 3), claims.pullback_calls(2, 3)) == ("Poisson", 8, 2)
        assert not claims.uses_dz


def test_another_family_is_refused() -> None:
    with pytest.raises(InputError, match="poisson_difference is for Poisson latents, got Normal"):
        poisson_difference(Normal(), np.zeros((1, 2)), np.zeros((1, 1, 1)), Quadratic(), sample_mean)  # type: ignore[arg-type]


def without_the_rate(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
    """The bug of a derivative in the rate where log_rate is meant."""
    bound, pullback = poisson_difference(q, params, noise, f, reduce)
    return bound, lambda dbound: (pullback(dbound)[0] / np.exp(params), None)


def test_a_forgotten_rate_is_rejected() -> None:
    gradients = draw_gradients(without_the_rate, COUNTS[0], 20_000, rng=np.random.default_rng(0))
    assert not check_unbiased(gradients, COUNTS[0].truth()).ok
