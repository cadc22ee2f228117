"""ARM and DisARM: exact on average, with the variances their closed forms say."""

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
from numvae.estimators.arm import arm, disarm
from tests.estimators.coins import (
    COIN,
    PROBLEMS,
    assert_contract,
    assert_exact_on_average,
    assert_exact_with_a_second_layer,
    assert_exact_with_weights,
    moments,
    uniform_nodes,
)

every_estimator = pytest.mark.parametrize(
    "estimator", [pytest.param(arm, id="arm arm.2 arm.3"), pytest.param(disarm, id="disarm arm.2 arm.4")]
)
every_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)


@every_estimator
@every_problem
def test_expected_gradient_is_exact(estimator: Any, problem: Problem) -> None:
    assert_exact_on_average(estimator, problem)
    if problem.latents <= 2:
        assert_exact_on_average(estimator, problem, samples=2)


@every_estimator
@every_problem
def test_no_bias_is_seen_in_many_draws(estimator: Any, problem: Problem) -> None:
    estimates = draw_gradients(estimator, problem, 20_000, rng=np.random.default_rng(0), samples=2)
    check_unbiased(estimates, problem.truth(), name=f"{estimator.__name__} on {problem.name}").assert_ok()


@every_estimator
def test_weights_in_f_and_further_layers_get_their_gradients(estimator: Any) -> None:
    assert_exact_with_weights(estimator)
    assert_exact_with_weights(estimator, samples=2)
    assert_exact_with_a_second_layer(estimator)


@every_estimator
def test_keeps_the_contract(estimator: Any) -> None:
    assert_contract(estimator)


def test_the_bits_of_a_pair_are_those_of_u_and_of_one_minus_u() -> None:
    """b = [u < σ], b̃ = [u > 1 - σ]   (arm.1)."""
    seen: list[Array] = []

    def f(params: Array, z: Array) -> tuple[Array, Pullback]:
        seen.append(z)
        return Quadratic()(params, z)

    logits = np.array([[np.log(3), -np.log(3)]])  # σ = ¾, ¼
    arm(COIN, logits, np.array([[[0.2, 0.2]], [[0.5, 0.5]], [[0.8, 0.8]]]), f, sample_mean)
    assert seen[0][:3, 0].tolist() == [[1, 1], [1, 0], [0, 0]]
    assert seen[0][3:, 0].tolist() == [[0, 0], [1, 0], [1, 1]]


# ---- variances


def divergences(p: float, t: float) -> dict[str, float]:
    """Of one coin and f = (b - t)²: the table of the page."""
    f1, f0 = (1 - t) ** 2, t**2
    rise, pq, m = f1 - f0, p * (1 - p), min(p, 1 - p)
    return {
        "score function": pq * (f1**2 * (1 - p) + f0**2 * p) - pq**2 * rise**2,
        "leave-one-out": rise**2 * pq * (0.5 - pq),
        "arm": 2 * rise**2 * (1 / 24 - (0.5 - m) ** 3 / 3) - pq**2 * rise**2,
        "disarm": rise**2 * (1 - m) ** 2 * m * (0.5 - m),
    }


@pytest.mark.parametrize(("p", "t"), [(0.5, 0.45), (0.3, 0.45), (0.3, 0.499), (0.8, 0.1), (0.01, 0.6)])
def test_variances_of_one_coin_are_their_divergences(p: float, t: float) -> None:
    """(arm.3), (arm.4), and two independent samples beside them (score_function.3)."""
    problem = Problem("one coin", COIN, (np.log(p / (1 - p)),), Quadratic(t), 1)
    measured = {
        "score function": moments(score_function, problem)[1],
        "leave-one-out": moments(score_function, problem, samples=2)[1],
        "arm": moments(arm, problem)[1],
        "disarm": moments(disarm, problem)[1],
    }
    for name, expected in divergences(p, t).items():
        np.testing.assert_allclose(measured[name], expected, rtol=1e-10, atol=1e-16, err_msg=name)


def test_the_table_printed_for_one_coin_is_reproduced() -> None:
    """At three states, to the digits in print: REINFORCE, leave-one-out, ARM, DisARM   (arm.4)."""
    for (p, t), expected in {
        (0.5, 0.45): (0.01594, 6.25e-4, 2.08e-4, 0.0),
        (0.3, 0.45): (0.01559, 6.09e-4, 3.39e-4, 2.94e-4),
        (0.3, 0.499): (0.01317, 2.44e-7, 1.36e-7, 1.18e-7),
    }.items():
        np.testing.assert_allclose(list(divergences(p, t).values()), expected, rtol=4e-3, atol=1e-12)


def test_variances_of_many_coins_add_what_the_others_stir() -> None:
    """For f a sum over coins, (arm.4b) and (arm.4c): every other coin adds to the variance of each."""
    p, t = np.array([0.2, 0.55, 0.9]), 0.3
    problem = Problem("three coins", COIN, tuple(np.log(p / (1 - p))), Quadratic(t), 3)
    m, rise, pq = np.minimum(p, 1 - p), 1 - 2 * t, p * (1 - p)
    others = rise**2 * (m.sum() - m)
    of_arm = 2 * rise**2 * (1 / 24 - (0.5 - m) ** 3 / 3) - pq**2 * rise**2 + others / 6
    of_disarm = rise**2 * (1 - m) ** 2 * m * (0.5 - m) + (1 - m) ** 2 * m * others
    np.testing.assert_allclose(moments(arm, problem)[1], of_arm, rtol=1e-10)
    np.testing.assert_allclose(moments(disarm, problem)[1], of_disarm, rtol=1e-10)


@every_problem
def test_disarm_never_has_more_variance_than_arm(problem: Problem) -> None:
    """It is ARM's conditional mean, by Rao and Blackwell   (arm.4)."""
    assert np.all(moments(disarm, problem)[1] < moments(arm, problem)[1])


def test_disarm_is_arm_averaged_over_the_uniforms_of_a_pair() -> None:
    """Cell by cell   (arm.4)."""
    problem = PROBLEMS[2]
    noise, weights = uniform_nodes(problem.at()[0], 1)
    rows = problem.at(len(weights))
    bits, opposite = COIN.sample(rows, noise)[0][0], COIN.sample(rows, 1 - noise)[0][0]
    _, cells = np.unique(np.concatenate([bits, opposite], axis=-1), axis=0, return_inverse=True)
    gradients = []
    for estimator in (arm, disarm):
        _, pullback = estimator(COIN, rows, noise, problem.f, sample_mean)
        weighted = weights[:, None] * pullback(np.ones(len(weights)))[0]
        gradients.append([np.bincount(cells.ravel(), column) for column in weighted.T])
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-14)


def test_refuses_another_reduction() -> None:
    for estimator in (arm, disarm):
        with pytest.raises(InputError, match="arm estimates under sample_mean, got log_mean_exp; score_function"):
            estimator(COIN, np.zeros((1, 1)), np.zeros((1, 1, 1)), Quadratic(), log_mean_exp)


# ---- negative controls


def half_of_the_signs_wrong(
    q: Any, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """DisARM with (-1)^b̃ taken for (-1)^b on every second coordinate."""
    value, pullback = disarm(q, params, noise, f, reduce)
    wrong = np.where(np.arange(params.shape[-1]) % 2 == 0, -1.0, 1.0)

    def broken(dbound: Array) -> tuple[Array, None]:
        direct = f(params, np.concatenate([q.sample(params, u)[0] for u in (noise, 1 - noise)]))[1](
            *reduce(np.zeros((2 * len(noise), len(params))))[1](dbound)
        )[0]
        return direct + wrong * (pullback(dbound)[0] - direct), None

    return value, broken


def uniform_the_wrong_way_round(
    q: Any, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """ARM with (f(b) - f(b̃)) (u - ½)."""
    bits, opposite = q.sample(params, noise)[0], q.sample(params, 1 - noise)[0]
    values, f_pullback = f(params, np.concatenate([bits, opposite]))
    difference = values[: len(noise)] - values[len(noise) :]
    slope = np.mean(difference[..., None] * (noise - 0.5), axis=0)
    bound, reduce_pullback = reduce(values)
    return bound, lambda dbound: (f_pullback(*reduce_pullback(dbound))[0] + dbound[:, None] * slope, None)


@every_problem
@pytest.mark.parametrize("broken", [half_of_the_signs_wrong, uniform_the_wrong_way_round])
def test_a_wrong_sign_is_noticed(broken: Any, problem: Problem) -> None:
    estimates = draw_gradients(broken, problem, 20_000, rng=np.random.default_rng(0))
    assert not check_unbiased(estimates, problem.truth()).ok
