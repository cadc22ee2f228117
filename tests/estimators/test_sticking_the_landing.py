"""Sticking the landing: right for one sample, silent at the posterior, biased under importance weights."""

from __future__ import annotations

import numpy as np
import pytest

from numvae import Normal, elbo_monte_carlo, log_mean_exp, pathwise, sample_mean
from numvae.arena.costs import LogRatio
from numvae.arena.problems import NORMAL, Problem
from numvae.arrays import Array
from numvae.errors import InputError
from numvae.estimators import claims_of
from numvae.estimators.doubly_reparameterized import doubly_reparameterized
from numvae.estimators.sticking_the_landing import sticking_the_landing, sticking_the_landing_iwae
from tests.cases import Case, estimate, log_ratio
from tests.estimators.rule_proofs import (
    LOG_RATIOS,
    NORMALS,
    PARAMS,
    TARGET,
    by_name,
    every_proof,
    expected_gradients,
    report_on,
    variance_by_quadrature,
)
from tests.linear_gaussian import linear_gaussian
from tests.oracles import for_all_rows, noise_nodes

CASES = [
    estimate("sticking_the_landing", "sticking_the_landing.1", sticking_the_landing, sample_mean, True),
    estimate("sticking_the_landing_iwae", "sticking_the_landing.2", sticking_the_landing_iwae, log_mean_exp, True),
]


@every_proof
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_it_is_a_rule(case: Case, proof: object) -> None:
    proof(case)  # type: ignore[operator]


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("problem", NORMALS, ids=by_name)
def test_the_mean_gradient_is_exact(problem: Problem, samples: int) -> None:
    """Where f does not know params it is the pathwise estimator, where f is a log-ratio another one."""
    report_on(sticking_the_landing, problem, samples=samples).assert_ok()


@pytest.mark.parametrize("samples", [1, 2])
def test_the_mean_is_the_pathwise_one_to_the_last_digit(samples: int) -> None:
    """By quadrature; the weights of f too   (sticking_the_landing.1)."""
    ours = expected_gradients(sticking_the_landing, sample_mean, samples)
    for one, other in zip(ours, expected_gradients(pathwise, sample_mean, samples), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-11)


def test_at_the_posterior_nothing_is_left() -> None:
    """Every single draw is zero, where the pathwise estimator still has the score's variance."""
    truth = linear_gaussian()
    noise = np.random.default_rng(0).standard_normal((2, 3, 1))
    encoder = slice(0, truth.model.encoder.layout.size)
    gradients = {}
    for estimator in (sticking_the_landing, pathwise):
        _, pullback = elbo_monte_carlo(truth.model, truth.exact_theta, truth.x, noise, estimator)
        gradients[estimator] = pullback(np.ones(3))[0][encoder]
    np.testing.assert_allclose(gradients[sticking_the_landing], 0, atol=1e-12)
    assert np.abs(gradients[pathwise]).max() > 0.1


@pytest.mark.parametrize(("std", "target_std"), [(1.0, 1.0), (0.7, 0.8), (0.7, 1.1), (1.3, 0.5)])
def test_variance_in_the_mean_is_its_closed_form(std: float, target_std: float) -> None:
    """(1/σ - σ/s²)² against pathwise σ²/s⁴: less where s² < 2 σ², and only there   (sticking_the_landing.1)."""
    problem = Problem("two normals", NORMAL, (0.4, np.log(std)), LogRatio(NORMAL, (-0.1, np.log(target_std))), 1)
    ours, theirs = (variance_by_quadrature(e, problem, sample_mean)[0] for e in (sticking_the_landing, pathwise))
    np.testing.assert_allclose(ours, (1 / std - std / target_std**2) ** 2, atol=1e-12)
    np.testing.assert_allclose(theirs, std**2 / target_std**4, rtol=1e-10)
    assert (ours < theirs) == (target_std**2 < 2 * std**2)


def test_its_bias_under_importance_weights_is_the_dropped_mean() -> None:
    """(sticking_the_landing.2): pathwise minus it is the mean of Σ w̃ times minus the score, which is not zero."""
    for samples in (1, 2, 3):
        count = 40 if samples < 3 else 24
        ours, theirs = (
            expected_gradients(e, log_mean_exp, samples, count)[0] for e in (sticking_the_landing_iwae, pathwise)
        )
        dropped = mean_of_weighted_score(samples, count)
        np.testing.assert_allclose(theirs - ours, -dropped, atol=1e-7)
        assert (np.abs(dropped).max() < 1e-9) == (samples == 1)


def mean_of_weighted_score(samples: int, count: int) -> Array:
    """E Σ_s w̃_s ∇ log q(z_s), by quadrature."""
    noise, weights = noise_nodes(samples, 1, count)
    params, target = for_all_rows(PARAMS, len(weights)), for_all_rows(TARGET, len(weights))
    z, _ = Normal().sample(params, noise)
    values, _ = log_ratio(target)(params, z)
    importance = np.exp(values) / np.exp(values).sum(axis=0)
    score: Array = Normal().log_prob(params, z)[1](importance * weights)[0].sum(axis=0)
    return score


@pytest.mark.parametrize("problem", LOG_RATIOS, ids=by_name)
def test_under_importance_weights_the_bias_is_noticed(problem: Problem) -> None:
    """The negative control: what claims to be unbiased here is caught, and the doubly reparameterised form is not."""
    assert not report_on(sticking_the_landing_iwae, problem, log_mean_exp, samples=2).ok
    report_on(doubly_reparameterized, problem, log_mean_exp, samples=2).assert_ok()


def test_it_refuses_importance_weights_and_says_what_to_use() -> None:
    problem = NORMALS[0]
    with pytest.raises(InputError, match="biased under log_mean_exp: use doubly_reparameterized"):
        sticking_the_landing(problem.q, problem.at(2), np.zeros((1, 2, 1)), problem.f, log_mean_exp)


def test_claims_are_honest() -> None:
    assert claims_of(sticking_the_landing).reductions == ("sample_mean",)
    assert not claims_of(sticking_the_landing_iwae).unbiased
    assert "w̃" in claims_of(sticking_the_landing_iwae).bias
