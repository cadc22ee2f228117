"""REBAR: its control variate, the closed form at scale 0, and a variance that falls as it adapts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae import Bernoulli, sample_mean
from numvae.arena.costs import Cosine, Exponential, Quadratic, QuadraticForm
from numvae.arena.problems import DISCRETE, Problem, draw_gradients
from numvae.arrays import Array, Pullback
from numvae.checks import check_pullback, check_unbiased
from numvae.errors import InputError
from numvae.estimators import draw_noise
from numvae.estimators.rebar import AdaptiveRebar, Rebar, relaxed_cost

COSTS: list[Any] = [QuadraticForm((0.3, 0.8, -0.2)), Exponential(0.7), Cosine(2.0)]


def coin(theta: float, target: float) -> Problem:
    """E(b - target)² for one bit of probability theta."""
    return Problem("toy", Bernoulli(), (float(np.log(theta / (1 - theta))),), Quadratic(target), 1)


def adapted(adaptive: Any, problem: Problem, steps: int, rows: int = 100) -> Array:
    """Its weights after some steps, ever shorter, at a problem that stands still."""
    rng = np.random.default_rng(3)
    params = problem.at(rows)
    eta: Array = adaptive.start(params, params, problem.latents, rng=rng)
    state = adaptive.optimizer.start(eta)
    for step in range(steps):
        deta = np.zeros_like(eta)
        estimator = adaptive.at(eta, deta)
        noise = draw_noise(estimator, problem.q, rng, (1, rows, problem.latents))
        estimator(problem.q, params, noise, problem.f, sample_mean)[1](np.full(rows, 1 / rows))
        adaptive.optimizer.ascend(eta, deta, state, scale=1 - step / steps)
    return eta


def variance(estimator: Any, problem: Problem, repeats: int = 40_000) -> float:
    """Summed over coordinates; nothing but an unbiased estimate is measured."""
    gradients = draw_gradients(estimator, problem, repeats, rng=np.random.default_rng(1))
    check_unbiased(gradients, problem.truth()).assert_ok()
    return float(gradients.var(axis=0).sum())


@pytest.mark.parametrize("f", COSTS, ids=str)
def test_control_variate_and_its_slope_are_right_in_both_weights(f: Any) -> None:
    """(rebar.1), (rebar.2), (rebar.3), by finite differences."""
    rng = np.random.default_rng(0)
    params, z = rng.standard_normal((2, 3)), 2 * rng.standard_normal((4, 2, 3))

    def rule(eta: Array) -> tuple[tuple[Array, Array], Pullback]:
        return relaxed_cost(eta, f, params, z)

    check_pullback(rule, np.array([-0.6, 0.8])).assert_ok()


@pytest.mark.parametrize("f", COSTS, ids=str)
def test_slope_is_the_derivative_of_the_value(f: Any) -> None:
    """(rebar.1)."""
    eta, params = np.array([-0.6, 0.8]), np.zeros((2, 3))

    def rule(z: Array) -> tuple[Array, Pullback]:
        (c, slope), _ = relaxed_cost(eta, f, params, z)
        return c, lambda dc: (dc[..., None] * slope,)

    check_pullback(rule, np.random.default_rng(0).standard_normal((4, 2, 3))).assert_ok()


def test_without_a_hessian_product_the_scale_alone_adapts() -> None:
    """(rebar.2) as before; the temperature stays."""
    rng = np.random.default_rng(0)
    eta, params, z = np.array([-0.6, 0.8]), np.zeros((2, 3)), rng.standard_normal((4, 2, 3))
    dc, dslope = rng.standard_normal((4, 2)), rng.standard_normal((4, 2, 3))
    bare = COSTS[2].__call__  # the same function of params and z, and nothing else
    whole, part = (relaxed_cost(eta, f, params, z)[1](dc, dslope)[0] for f in (COSTS[2], bare))
    assert part[1] == whole[1]
    assert part[0] == 0 != whole[0]


@pytest.mark.parametrize(("theta", "target"), [(0.5, 0.45), (0.3, 0.45), (0.3, 0.499), (0.8, -1.0)])
def test_scale_zero_is_reinforce_with_its_closed_variance(theta: float, target: float) -> None:
    f0, f1, p = target**2, (1 - target) ** 2, theta * (1 - theta)
    expected = p * (f1**2 * (1 - theta) + f0**2 * theta) - (p * (f1 - f0)) ** 2
    assert variance(Rebar(scale=0.0), coin(theta, target)) == pytest.approx(expected, rel=0.03)


def test_adapting_lowers_the_variance() -> None:
    """From an unhappy start, on coupled coins and on a single one   (relaxation.5)."""
    for problem in (DISCRETE[2], coin(0.3, -1.0)):
        adaptive = AdaptiveRebar(temperature=3.0, scale=0.1)
        eta = adapted(adaptive, problem, steps=400)
        assert variance(adaptive.at(eta), problem) < 0.4 * variance(Rebar(3.0, 0.1), problem)


def test_where_the_softened_bit_knows_nothing_the_scale_goes_to_zero() -> None:
    """The toy at t = 0.499: f is the same at both bits and lower in between, so no control variate is the best."""
    problem = coin(0.3, 0.499)
    temperature_and_scale = adapted(AdaptiveRebar(), problem, steps=400)
    assert abs(temperature_and_scale[1]) < 0.1
    reinforce = variance(Rebar(scale=0.0), problem)
    assert variance(AdaptiveRebar().at(temperature_and_scale), problem) == pytest.approx(reinforce, rel=0.05)


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match=r"Rebar: temperature must be a number in \(0, inf\), got 0"):
        Rebar(temperature=0)
    with pytest.raises(InputError, match=r"AdaptiveRebar: temperature must be"):
        AdaptiveRebar(temperature=-1.0)
