"""Enumeration is exact: against finite differences of its own value, and against the truth of the arena."""

from __future__ import annotations

import numpy as np
import pytest

from numvae import Normal, log_mean_exp, sample_mean
from numvae.arena.costs import Quadratic
from numvae.arena.problems import Problem
from numvae.arrays import Array
from numvae.errors import InputError
from numvae.estimators.enumeration import enumeration
from tests.estimators.coins import (
    COIN,
    LOGITS,
    PROBLEMS,
    WEIGHTS,
    assert_contract,
    assert_exact_with_a_second_layer,
    weighted,
)
from tests.oracles import all_bits, gradient_of

every_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)


@every_problem
def test_gradient_is_the_derivative_of_the_value(problem: Problem) -> None:
    """enumeration.1 enumeration.2."""

    def value(params: Array) -> float:
        return float(enumeration(COIN, params[None], np.zeros((1, 1, len(params))), problem.f, sample_mean)[0][0])

    _, pullback = enumeration(COIN, problem.at(), np.zeros((1, 1, problem.latents)), problem.f, sample_mean)
    np.testing.assert_allclose(pullback(np.ones(1))[0][0], gradient_of(value, problem.at()[0]), atol=1e-10)
    np.testing.assert_allclose(pullback(np.ones(1))[0][0], problem.truth(), rtol=1e-12, atol=1e-14)


def test_value_is_the_sum_over_all_bits() -> None:
    """Against probabilities multiplied one by one   (enumeration.1)."""
    p, expected = COIN.mean(np.array(LOGITS)), 0.0
    for bits in all_bits(3):
        expected += float(np.prod(p**bits * (1 - p) ** (1 - bits)) * np.sum((bits - 0.3) ** 2))
    value, _ = enumeration(COIN, np.array([LOGITS]), np.zeros((1, 1, 3)), Quadratic(0.3), sample_mean)
    np.testing.assert_allclose(value, expected, rtol=1e-14)


def test_keeps_the_contract() -> None:
    """(enumeration.2)."""
    assert_contract(enumeration)
    assert_exact_with_a_second_layer(enumeration)


def test_weights_in_f_get_their_exact_gradient() -> None:
    """(enumeration.1)."""
    params, noise = np.array([LOGITS]), np.zeros((1, 1, 3))

    def value(theta: Array) -> float:
        return float(enumeration(COIN, params, noise, weighted(theta), sample_mean)[0][0])

    _, pullback = enumeration(COIN, params, noise, weighted(WEIGHTS), sample_mean)
    np.testing.assert_allclose(pullback(np.ones(1))[1], gradient_of(value, WEIGHTS), atol=1e-10)


def test_what_f_itself_makes_of_params_counts() -> None:
    """(enumeration.2)."""
    noise = np.zeros((1, 1, 3))

    def value(logits: Array) -> float:
        return float(enumeration(COIN, logits[None], noise, weighted(WEIGHTS), sample_mean)[0][0])

    _, pullback = enumeration(COIN, np.array([LOGITS]), noise, weighted(WEIGHTS), sample_mean)
    np.testing.assert_allclose(pullback(np.ones(1))[0][0], gradient_of(value, np.array(LOGITS)), atol=1e-10)


def test_a_large_constant_in_f_is_not_felt() -> None:
    """The baseline keeps 1e12 from cancelling against itself   (enumeration.2)."""

    def lifted(params: Array, z: Array) -> tuple[Array, object]:
        values, pullback = Quadratic(0.25)(params, z)
        return values + 1e12, pullback

    params = np.array([LOGITS])
    gradients = []
    for f in (Quadratic(0.25), lifted):
        _, pullback = enumeration(COIN, params, np.zeros((1, 1, 3)), f, sample_mean)  # type: ignore[arg-type]
        gradients.append(pullback(np.ones(1))[0])
    np.testing.assert_allclose(gradients[1], gradients[0], atol=1e-12)  # these values of f keep all their digits


def test_refuses_what_it_cannot_do() -> None:
    params, noise = np.zeros((2, 13)), np.zeros((1, 2, 13))
    with pytest.raises(InputError, match="enumeration takes at most 12 latents, got 13; try local_expectation"):
        enumeration(COIN, params, noise, Quadratic(), sample_mean)
    with pytest.raises(InputError, match="estimates under sample_mean, got log_mean_exp; score_function does"):
        enumeration(COIN, params[:, :3], noise[..., :3], Quadratic(), log_mean_exp)
    with pytest.raises(InputError, match="enumeration is for Bernoulli latents, got Normal; score_function is for any"):
        enumeration(Normal(), params[:, :4], noise[..., :2], Quadratic(), sample_mean)  # type: ignore[arg-type]
