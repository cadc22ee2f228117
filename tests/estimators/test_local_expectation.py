"""Local expectation gradients: exact on average, and exact in every draw where bits do not interact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae import log_mean_exp, sample_mean
from numvae.arena.costs import Cosine, Quadratic
from numvae.arena.problems import Problem, draw_gradients
from numvae.arrays import Array, Pullback
from numvae.checks import check_unbiased
from numvae.estimators import Integrand, Reduction
from numvae.estimators.local_expectation import local_expectation
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
SUMS = ("one coin", "three coins", "cosine of coins")
"""Problems without any variance, for which there is ``test_sums_over_bits_have_no_variance``."""

every_reduction = pytest.mark.parametrize("reduce", [sample_mean, log_mean_exp], ids=lambda reduce: reduce.__name__)


@every_problem
def test_expected_gradient_is_exact(problem: Problem) -> None:
    """local_expectation.1 local_expectation.2."""
    assert_exact_on_average(local_expectation, problem)


@every_reduction
@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.latents <= 2], ids=lambda problem: problem.name)
def test_expected_gradient_of_two_samples_is_exact_under_any_reduction(problem: Problem, reduce: Any) -> None:
    """(local_expectation.2)."""
    assert_exact_on_average(local_expectation, problem, 2, reduce)


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.name not in SUMS], ids=lambda problem: problem.name)
@every_reduction
def test_no_bias_is_seen_in_many_draws(problem: Problem, reduce: Any) -> None:
    estimates = draw_gradients(
        local_expectation, problem, 20_000, rng=np.random.default_rng(0), samples=2, reduce=reduce
    )
    check_unbiased(estimates, problem.truth(reduce, 2), name=f"local_expectation on {problem.name}").assert_ok()


def test_weights_in_f_and_further_layers_get_their_gradients() -> None:
    """(local_expectation.2)."""
    assert_exact_with_weights(local_expectation)
    assert_exact_with_weights(local_expectation, samples=2, reduce=log_mean_exp)
    assert_exact_with_a_second_layer(local_expectation)


@every_reduction
def test_keeps_the_contract(reduce: Any) -> None:
    assert_contract(local_expectation, reduce)


@pytest.mark.parametrize("cost", [Quadratic(0.3), Cosine(2.0)], ids=repr)
def test_sums_over_bits_have_no_variance(cost: Any) -> None:
    """Every draw is the gradient, to rounding   (local_expectation.2)."""
    problem = Problem("sum over bits", COIN, LOGITS, cost, 3)
    mean, variance = moments(local_expectation, problem)
    p = COIN.mean(np.array(LOGITS))
    rise = cost(None, np.ones((3, 1)))[0] - cost(None, np.zeros((3, 1)))[0]
    np.testing.assert_allclose(mean, p * (1 - p) * rise, rtol=1e-13)
    np.testing.assert_allclose(variance, 0, atol=1e-28)


def test_blocks_of_bits_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    params, noise = rng.standard_normal((5, 3)), rng.random((2, 5, 3))
    gradients = []
    for rows in (1, 20, 1000):
        monkeypatch.setattr("numvae.estimators.neighbours.ROWS_AT_ONCE", rows)
        _, pullback = local_expectation(COIN, params, noise, weighted(WEIGHTS), sample_mean)
        gradients.append(pullback(np.ones(5))[0])
    np.testing.assert_allclose(gradients[1:], [gradients[0]] * 2, rtol=1e-13)


def transposed_difference(
    q: Any, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """Sample minus flipped, as if every sampled bit were 1: the sign (2 b - 1) forgotten."""
    z, _ = q.sample(params, noise)
    values, f_pullback = f(params, z)
    flipped = [f(params, np.abs(z - unit))[0] for unit in np.eye(z.shape[-1])]
    fall = np.stack([values - other for other in flipped], axis=-1).mean(axis=0)
    slope = q.std(params) ** 2 * fall
    return values.mean(axis=0), lambda dbound: (f_pullback(dbound / len(z))[0] + dbound[:, None] * slope, None)


@every_problem
def test_the_difference_taken_the_wrong_way_round_is_noticed(problem: Problem) -> None:
    """A negative control."""
    estimates = draw_gradients(transposed_difference, problem, 20_000, rng=np.random.default_rng(0))
    assert not check_unbiased(estimates, problem.truth()).ok
