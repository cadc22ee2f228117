"""Reweighted wake-sleep: two forms of one expectation, and what it is the gradient of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae import Bernoulli, Normal, log_mean_exp, pathwise, sample_mean
from numvae.arena.costs import LogRatio
from numvae.arena.problems import Problem, draw_gradients
from numvae.arrays import Array, Pullback
from numvae.checks import check_same_expectation, check_unbiased
from numvae.errors import InputError
from numvae.estimators import Integrand, Reduction, Reparameterized, claims_of
from numvae.estimators.reweighted import doubly_reparameterized_wake_sleep, reweighted_wake_sleep
from tests.cases import Case, estimate, log_ratio
from tests.estimators.rule_proofs import (
    ONE_LATENT,
    PARAMS,
    TARGET,
    by_name,
    every_proof_of_many_samples,
    expected_gradients,
)
from tests.oracles import for_all_rows, gradient_of, noise_nodes

FORMS = {"reweighted.1": reweighted_wake_sleep, "reweighted.2": doubly_reparameterized_wake_sleep}
CASES = [estimate(by_name(e), label, e, log_mean_exp, True) for label, e in FORMS.items()]
BOTH = pytest.mark.parametrize("estimator", FORMS.values(), ids=FORMS)


@every_proof_of_many_samples
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_it_is_a_rule(case: Case, proof: object) -> None:
    proof(case)  # type: ignore[operator]


@BOTH
def test_rows_are_independent(estimator: Any) -> None:
    """A row alone gives what it gives among others."""
    rng = np.random.default_rng(0)
    params, target, noise = rng.standard_normal((5, 6)), rng.standard_normal((5, 6)), rng.standard_normal((4, 5, 3))
    among_others = estimator(Normal(), params, noise, log_ratio(target), log_mean_exp)[1](np.ones(5))
    row = slice(2, 3)
    alone = estimator(Normal(), params[row], noise[:, row], log_ratio(target[row]), log_mean_exp)[1](np.ones(1))
    for whole, part in zip(among_others, alone, strict=True):
        np.testing.assert_allclose(part, whole[row], rtol=1e-12)


@BOTH
@pytest.mark.parametrize("samples", [2, 3])
def test_on_average_it_fits_q_to_the_weighted_samples(estimator: Any, samples: int) -> None:
    """The slope, in the parameters of log q alone, of E Σ w̃ log q(z_s): by finite differences of a quadrature."""
    noise, weights = noise_nodes(samples, 1, count := 40 if samples == 2 else 24)
    rows = for_all_rows(PARAMS, len(weights))
    z, _ = Normal().sample(rows, noise)
    values, _ = log_ratio(for_all_rows(TARGET, len(weights)))(rows, z)
    importance = np.exp(values) / np.exp(values).sum(axis=0)

    def fit(params: Array) -> float:
        log_q, _ = Normal().log_prob(params[None], z)
        return float(np.sum(weights * importance * log_q))

    ours, _ = expected_gradients(estimator, log_mean_exp, samples, count)
    np.testing.assert_allclose(ours, gradient_of(fit, PARAMS[0]), atol=1e-6)


@BOTH
def test_theta_climbs_the_importance_weighted_bound(estimator: Any) -> None:
    ours, theirs = (expected_gradients(e, log_mean_exp, 2)[1] for e in (estimator, pathwise))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@BOTH
def test_with_many_samples_it_climbs_minus_the_divergence_of_the_posterior_from_q(estimator: Any) -> None:
    """To E_p[∇ log q], known for two normals, within the O(1/S) that its claims own up to."""
    mean, log_std, target, target_log_std = 0.3, 0.0, -0.4, -0.5
    problem = Problem("fit", Normal(), (mean, log_std), LogRatio(Normal(), (target, target_log_std)), 1)
    shift, variance = target - mean, np.exp(2 * target_log_std)
    exact = np.array([shift, variance + shift**2 - 1])
    gradients = draw_gradients(estimator, problem, 400, rng=np.random.default_rng(0), samples=500, reduce=log_mean_exp)
    np.testing.assert_allclose(gradients.mean(axis=0), exact, atol=0.01)


@pytest.mark.parametrize("problem", ONE_LATENT, ids=by_name)
def test_both_forms_have_one_expectation(problem: Problem) -> None:
    """For any f, whatever it means   (reweighted.2)."""
    draws = [
        draw_gradients(e, problem, 20_000, rng=np.random.default_rng(seed), samples=3, reduce=log_mean_exp)
        for seed, e in enumerate(FORMS.values())
    ]
    check_same_expectation(*draws).assert_ok()


def with_the_sign_of_descent(
    q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """The planted bug: w̃² - w̃, as it stands where losses are minimised."""
    bound, pullback = doubly_reparameterized_wake_sleep(q, params, noise, f, reduce)
    return bound, lambda dbound: (-pullback(dbound)[0], pullback(dbound)[1])


def test_a_sign_of_descent_is_noticed() -> None:
    problem = ONE_LATENT[-1]
    draws = [
        draw_gradients(e, problem, 20_000, rng=np.random.default_rng(seed), samples=3, reduce=log_mean_exp)
        for seed, e in enumerate((reweighted_wake_sleep, with_the_sign_of_descent))
    ]
    assert not check_same_expectation(*draws).ok


@BOTH
def test_it_is_no_gradient_of_the_bound_and_does_not_claim_to_be(estimator: Any) -> None:
    problem = ONE_LATENT[-1]
    gradients = draw_gradients(estimator, problem, 20_000, rng=np.random.default_rng(0), samples=2, reduce=log_mean_exp)
    assert not check_unbiased(gradients, problem.truth(log_mean_exp, 2)).ok
    assert not claims_of(estimator).unbiased
    assert "KL(p ‖ q)" in claims_of(estimator).bias


def test_discrete_latents_need_no_derivative_of_f() -> None:
    q = Bernoulli()
    f = LogRatio(q, (0.8, -0.3))
    params = np.tile([0.2, -0.5], (4, 1))
    noise = q.noise(np.random.default_rng(0), (50, 4, 2))
    _, pullback = reweighted_wake_sleep(q, params, noise, f, log_mean_exp)
    z, _ = q.sample(params, noise)
    values, _ = f(params, z)
    weights = np.exp(values) / np.exp(values).sum(axis=0)
    np.testing.assert_allclose(
        pullback(np.ones(4))[0], np.sum(weights[..., None] * (z - q.mean(params)), axis=0), rtol=1e-10
    )


@BOTH
def test_one_sample_or_another_reduction_is_refused(estimator: Any) -> None:
    """With one sample the weight is 1, and the mean gradient 0: nothing would be learnt, silently."""
    problem = ONE_LATENT[0]
    with pytest.raises(InputError, match="at least 2 samples, got 1"):
        estimator(problem.q, problem.at(2), np.zeros((1, 2, 1)), problem.f, log_mean_exp)
    with pytest.raises(InputError, match="under log_mean_exp, got sample_mean"):
        estimator(problem.q, problem.at(2), np.zeros((2, 2, 1)), problem.f, sample_mean)
