"""The doubly reparameterised gradient: unbiased where sticking the landing is not, with less variance than pathwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae import Normal, elbo_monte_carlo, log_mean_exp, pathwise, sample_mean
from numvae.arena.problems import Problem
from numvae.arrays import Array, Pullback
from numvae.errors import InputError
from numvae.estimators import Integrand, Reduction, Reparameterized
from numvae.estimators.doubly_reparameterized import doubly_reparameterized, path_share
from numvae.estimators.sticking_the_landing import sticking_the_landing
from tests.cases import Case, estimate, log_ratio
from tests.estimators.rule_proofs import (
    LOG_RATIOS,
    NEAR_THE_POSTERIOR,
    NORMALS,
    ONE_LATENT,
    PARAMS,
    REDUCTIONS,
    TARGET,
    by_name,
    every_proof,
    expected_gradients,
    report_on,
    variance_by_quadrature,
)
from tests.linear_gaussian import linear_gaussian
from tests.oracles import for_all_rows, noise_nodes

LABELS = "doubly_reparameterized.2 doubly_reparameterized.3"
CASES = [estimate(f"DReG of {by_name(r)}", LABELS, doubly_reparameterized, r, True) for r in REDUCTIONS]


@every_proof
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_it_is_a_rule(case: Case, proof: object) -> None:
    proof(case)  # type: ignore[operator]


@pytest.mark.parametrize("weighted", ["evenly", "by importance"])
def test_the_score_is_reparameterised_once_more(weighted: str) -> None:
    """E[g(z) ∇ log q(z)] = E[∂g/∂z ∂z/∂params]   (doubly_reparameterized.1), for g = z³ and for g = w̃."""
    noise, weights = noise_nodes(1, 1, 60)
    params = for_all_rows(PARAMS, len(weights))
    z, sample_pullback = Normal().sample(params, noise)
    if weighted == "evenly":
        g, slope = z**3, 3 * z**2
    else:  # two samples, the other held: w̃ = sigmoid(f(z) - f(other)), whose slope is w̃ (1 - w̃) f'
        f, f_pullback = log_ratio(TARGET)(params, z)
        g = 1 / (1 + np.exp(-(f - 0.3)))[..., None]
        slope = g * (1 - g) * f_pullback(np.ones_like(f))[1]
    score = Normal().log_prob(params, z)[1](g[..., 0] * weights)[0].sum(axis=0)
    path = sample_pullback(slope * weights[:, None])[0].sum(axis=0)
    np.testing.assert_allclose(score, path, atol=1e-9)


@pytest.mark.parametrize("reduce", REDUCTIONS, ids=by_name)
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_the_mean_is_the_pathwise_one_by_quadrature(samples: int, reduce: Reduction) -> None:
    """That of the weights of f too   (doubly_reparameterized.2)."""
    count = 40 if samples < 3 else 24
    ours = expected_gradients(doubly_reparameterized, reduce, samples, count)
    for one, other in zip(ours, expected_gradients(pathwise, reduce, samples, count), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6 if samples == 3 else 1e-9)


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("problem", ONE_LATENT, ids=by_name)
def test_the_mean_gradient_is_exact_under_importance_weights(problem: Problem, samples: int) -> None:
    """For every f, log-ratio or not."""
    report_on(doubly_reparameterized, problem, log_mean_exp, samples=samples).assert_ok()


@pytest.mark.parametrize("problem", NORMALS, ids=by_name)
def test_the_mean_gradient_is_exact(problem: Problem) -> None:
    report_on(doubly_reparameterized, problem, samples=2).assert_ok()


def test_near_the_posterior_the_variance_falls_below_the_pathwise_one() -> None:
    for samples in (1, 2):
        ours, theirs = (
            variance_by_quadrature(e, NEAR_THE_POSTERIOR, log_mean_exp, samples)
            for e in (doubly_reparameterized, pathwise)
        )
        assert np.all(ours < 0.05 * theirs)


def test_for_a_log_ratio_it_is_the_sum_of_squared_weights() -> None:
    """Σ w̃² ∂f/∂z ∂z/∂params, written out   (doubly_reparameterized.2), from two gradients of f with two weights."""
    rng = np.random.default_rng(0)
    params, target, noise = rng.standard_normal((5, 6)), rng.standard_normal((5, 6)), rng.standard_normal((4, 5, 3))
    z, sample_pullback = Normal().sample(params, noise)
    values, f_pullback = log_ratio(target)(params, z)
    weights = np.exp(values) / np.exp(values).sum(axis=0)
    expected = sample_pullback(f_pullback(weights**2)[1])[0]
    _, pullback = doubly_reparameterized(Normal(), params, noise, log_ratio(target), log_mean_exp)
    dparams, dtarget = pullback(np.ones(5))
    np.testing.assert_allclose(dparams, expected, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(dtarget, f_pullback(weights)[2], rtol=1e-11, atol=1e-13)


def test_under_the_mean_it_is_sticking_the_landing() -> None:
    """Bit for bit: a linear reduction has no second derivative   (doubly_reparameterized.3)."""
    rng = np.random.default_rng(0)
    params, target, noise = rng.standard_normal((5, 6)), rng.standard_normal((5, 6)), rng.standard_normal((4, 5, 3))
    ours, theirs = (
        e(Normal(), params, noise, log_ratio(target), sample_mean)[1](np.ones(5))[0]
        for e in (doubly_reparameterized, sticking_the_landing)
    )
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(path_share(sample_mean, np.array([[0.5], [0.5]])), 1)


def test_at_the_posterior_nothing_is_left() -> None:
    truth = linear_gaussian()
    noise = np.random.default_rng(0).standard_normal((4, 3, 1))
    _, pullback = elbo_monte_carlo(
        truth.model, truth.exact_theta, truth.x, noise, doubly_reparameterized, reduce=log_mean_exp
    )
    np.testing.assert_allclose(pullback(np.ones(3))[0][: truth.model.encoder.layout.size], 0, atol=1e-12)


def with_squares_for_the_weights_too(
    q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """The planted bug: w̃² where w̃ belongs, in the gradient of theta."""
    bound, reduce_pullback = reduce(f(params, q.sample(params, noise)[0])[0])
    _, right = doubly_reparameterized(q, params, noise, f, reduce)
    _, f_pullback = f(params, q.sample(params, noise)[0])

    def pullback(dbound: Array) -> tuple[Array, Array]:
        (weights,) = reduce_pullback(dbound)
        return right(dbound)[0], f_pullback(weights * weights)[2]

    return bound, pullback


def test_squared_weights_for_theta_are_noticed() -> None:
    right, wrong = (
        expected_gradients(e, log_mean_exp, 2)[1] for e in (doubly_reparameterized, with_squares_for_the_weights_too)
    )
    np.testing.assert_allclose(right, expected_gradients(pathwise, log_mean_exp, 2)[1], atol=1e-9)
    assert np.all(np.abs(wrong - right) > 1e-2)


def once(q: Any, params: Array, noise: Array, f: Integrand, reduce: Reduction) -> tuple[Array, Pullback]:
    """The other planted bug: reparameterised without taking the weights' own slope along, w̃ for w̃²; and no score."""
    z, sample_pullback = q.sample(params, noise)
    values, f_pullback = f(params, z)
    bound, reduce_pullback = reduce(values)

    def pullback(dbound: Array) -> tuple[Array, Array]:
        _, dz, dtheta = f_pullback(*reduce_pullback(dbound))
        return sample_pullback(dz)[0], dtheta

    return bound, pullback


@pytest.mark.parametrize("problem", LOG_RATIOS, ids=by_name)
def test_plain_weights_are_noticed(problem: Problem) -> None:
    assert not report_on(once, problem, log_mean_exp, samples=3).ok


def test_another_reduction_is_refused() -> None:
    def median(values: Array) -> tuple[Array, Pullback]:
        return np.median(values, axis=0), lambda dbound: (np.broadcast_to(dbound, values.shape),)

    problem = NORMALS[0]
    with pytest.raises(InputError, match="needs sample_mean or log_mean_exp, got median"):
        doubly_reparameterized(problem.q, problem.at(2), np.zeros((1, 2, 1)), problem.f, median)
