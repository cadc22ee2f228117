"""Straight-through gradients: exact where f is linear in each bit, and elsewhere off by what the page says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae import log_mean_exp, sample_mean
from numvae.arena.costs import Quadratic
from numvae.arena.problems import Problem, draw_gradients
from numvae.arena.truth import exact_value
from numvae.arrays import Array, Pullback
from numvae.checks import check_unbiased
from numvae.estimators.straight_through import identity_straight_through, straight_through
from tests.estimators.coins import COIN, LOGITS, PROBLEMS, assert_contract, moments, uniform_nodes

every_estimator = pytest.mark.parametrize("estimator", [straight_through, identity_straight_through])
every_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)


def product(params: Array, z: Array) -> tuple[Array, Pullback]:
    """f(z) = 2 z_1 z_2 - 3 z_2 z_3 + z_1: curved, but linear in each bit by itself."""
    a, b, c = np.moveaxis(z, -1, 0)
    slopes = np.stack([2 * b + 1, 2 * a - 3 * c, -3 * b], axis=-1)
    return 2 * a * b - 3 * b * c + a, lambda dvalues: (0.0, dvalues[..., None] * slopes, None)


PRODUCT = Problem("product", COIN, LOGITS, product, 3)
LINEAR = [problem for problem in PROBLEMS if problem.name == "coins' ELBO"] + [PRODUCT]


@pytest.mark.parametrize("problem", LINEAR, ids=lambda problem: problem.name)
def test_exact_on_average_where_f_is_linear_in_each_bit(problem: Problem) -> None:
    """straight_through.1."""
    np.testing.assert_allclose(moments(straight_through, problem)[0], problem.truth(), rtol=1e-11)
    estimates = draw_gradients(straight_through, problem, 20_000, rng=np.random.default_rng(0), samples=2)
    check_unbiased(estimates, problem.truth()).assert_ok()


@pytest.mark.parametrize(("p", "t"), [(0.5, 0.45), (0.3, 0.45), (0.9, 0.2)])
def test_bias_on_a_quadratic_is_its_closed_form(p: float, t: float) -> None:
    """p (1 - p) (2 p - 1)   (straight_through.1)."""
    problem = Problem("one coin", COIN, (np.log(p / (1 - p)),), Quadratic(t), 1)
    bias = moments(straight_through, problem)[0] - problem.truth()
    np.testing.assert_allclose(bias, p * (1 - p) * (2 * p - 1), rtol=1e-10, atol=1e-15)


def test_its_stationary_point_on_a_quadratic_is_none() -> None:
    """At p = t it stands still, where the gradient does not   (straight_through.1)."""
    problem = Problem("one coin", COIN, (np.log(0.45 / 0.55),), Quadratic(0.45), 1)
    np.testing.assert_allclose(moments(straight_through, problem)[0], 0, atol=1e-15)
    np.testing.assert_allclose(problem.truth(), 0.45 * 0.55 * 0.1, rtol=1e-12)


def test_the_identity_leaves_the_slope_of_the_sigmoid_out() -> None:
    """straight_through.2."""
    slope = COIN.std(np.array(LOGITS)) ** 2
    through, identity = (moments(e, PRODUCT)[0] for e in (straight_through, identity_straight_through))
    np.testing.assert_allclose(identity * slope, through, rtol=1e-12)


@every_estimator
@every_problem
def test_the_value_is_that_of_the_bits(estimator: Any, problem: Problem) -> None:
    noise, weights = uniform_nodes(problem.at()[0], 1)
    value, _ = estimator(COIN, problem.at(len(weights)), noise, problem.f, sample_mean)
    np.testing.assert_allclose(weights @ value, exact_value(COIN, problem.at(), problem.f, problem.latents), rtol=1e-11)


@every_estimator
@pytest.mark.parametrize("reduce", [sample_mean, log_mean_exp])
def test_keeps_the_contract(estimator: Any, reduce: Any) -> None:
    assert_contract(estimator, reduce)


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p not in LINEAR], ids=lambda problem: problem.name)
def test_its_bias_is_noticed_where_f_is_curved(problem: Problem) -> None:
    estimates = draw_gradients(straight_through, problem, 20_000, rng=np.random.default_rng(0))
    assert not check_unbiased(estimates, problem.truth()).ok


@every_problem
def test_the_bias_of_the_identity_is_noticed_everywhere(problem: Problem) -> None:
    estimates = draw_gradients(identity_straight_through, problem, 20_000, rng=np.random.default_rng(0))
    assert not check_unbiased(estimates, problem.truth()).ok
