"""The power mean of S weights as a reduction: a rule, its limits, its order, and what training climbs with it."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from numvae import elbo_monte_carlo, log_mean_exp, mlp_vae, pathwise, sample_mean, score_function
from numvae.arena.problems import Problem, draw_gradients
from numvae.arrays import Array, Pullback
from numvae.checks import check_pullback, check_unbiased
from numvae.errors import InputError
from numvae.estimators.power_means import PowerMean, power_mean
from tests import test_pullbacks
from tests.cases import Case, estimate, reals
from tests.estimators.rule_proofs import LOG_RATIOS, by_name, every_proof
from tests.oracles import for_all_rows, gradient_of, noise_nodes
from tests.strategies import log_likelihoods

POWERS = (-3.0, -1.0, -0.2, 0.3, 0.999, 2.0, 5.0)
LABELS = "power_means.1 power_means.2"
CASES = [Case(f"power_mean of {power}", LABELS, PowerMean(power), (reals("S, B"),), "B") for power in POWERS]
CASES += [estimate(f"pathwise of power_mean {power}", LABELS, pathwise, power_mean(power)) for power in (-0.5, 2.0)]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


@every_case
def test_the_pullback_is_the_derivative(case: Case) -> None:
    test_pullbacks.test_pullback_is_the_derivative(case)


@every_proof
@every_case
def test_it_is_a_rule(case: Case, proof: Any) -> None:
    proof(case)


@pytest.mark.parametrize("power", POWERS)
@given(values=log_likelihoods((5, 3)))
def test_it_is_the_logarithm_of_the_power_mean(power: float, values: Array) -> None:
    """By (1/t) log of a log-mean-exp of t v   (power_means.1), with shares of w^t that sum to one   (power_means.2)."""
    bound, pullback = power_mean(power)(values)
    scale = 1e-12 * (1 + np.abs(values).max())
    np.testing.assert_allclose(bound, log_mean_exp(power * values)[0] / power, rtol=1e-12, atol=scale)
    np.testing.assert_allclose(pullback(np.ones(3))[0], log_mean_exp(power * values)[1](np.ones(3))[0], atol=1e-9)


@given(values=log_likelihoods((5, 3)))
def test_it_grows_with_the_power(values: Array) -> None:
    """From the least of the values to the largest   (power_means.4)."""
    bounds = [power_mean(power)(values)[0] for power in (-50, *POWERS[:3], 0, *POWERS[3:5], 1, *POWERS[5:], 50)]
    slack = 1e-11 * (1 + np.abs(values).max())
    for low, high in pairwise([values.min(axis=0), *bounds, values.max(axis=0)]):
        assert np.all(low <= high + slack)


def test_its_limits_are_the_reductions_there_were() -> None:
    assert power_mean(0) is sample_mean
    assert power_mean(1) is log_mean_exp


@pytest.mark.parametrize("power", [1e-9, -1e-9, 1e-5])
def test_a_small_power_keeps_its_digits(power: float) -> None:
    """Beside the mean plus ½ t times the variance; log mean exp divided by t would lose eight digits of them."""
    values = np.array([[-1000.0], [-1003.0], [-1001.5]])
    expected = values.mean() + 0.5 * power * values.var()
    assert power_mean(power)(values)[0].item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("far", [-1e5, 1e5])
def test_values_of_any_size_are_averaged(far: float) -> None:
    values = far + np.log([[1.0], [3.0]])
    assert power_mean(2.0)(values)[0].item() - far == pytest.approx(0.5 * math.log(5), abs=1e-9)
    assert power_mean(-1.0)(values)[0].item() - far == pytest.approx(math.log(1.5), abs=1e-9)


@pytest.mark.parametrize("power", [math.inf, -math.inf, math.nan])
def test_a_power_that_is_no_number_is_refused(power: float) -> None:
    with pytest.raises(InputError, match="power must be finite and not 0"):
        power_mean(power)


def test_zero_is_left_to_the_mean() -> None:
    with pytest.raises(InputError, match="use sample_mean"):
        PowerMean(0.0)


# ---- its gradient in training


@pytest.mark.parametrize("power", [-0.5, 0.5, 2.0])
def test_a_vae_climbs_it_by_samples(power: float) -> None:
    """``elbo_monte_carlo(..., reduce=power_mean(t))``: values of Rényi's bound, and the gradient in all weights."""
    model = mlp_vae(5, latents=2, hidden=(4,))
    rng = np.random.default_rng(0)
    theta, x, noise = 0.5 * rng.standard_normal(model.layout.size), rng.integers(2, size=(3, 5)) * 1.0, None
    noise = rng.standard_normal((4, 3, 2))
    rule = partial(elbo_monte_carlo, model, reduce=power_mean(power))
    log_w = np.add(*model.log_weights(theta, x, noise))
    np.testing.assert_allclose(rule(theta, x, noise)[0], np.log(np.mean(np.exp(power * log_w), axis=0)) / power)
    check_pullback(lambda theta: _of_theta(rule, theta, x, noise), theta).assert_ok()


def _of_theta(rule: Any, theta: Array, x: Array, noise: Array) -> tuple[Array, Pullback]:
    bound, pullback = rule(theta, x, noise)
    return bound, lambda dbound: (pullback(dbound)[0],)


@pytest.mark.parametrize("power", [0.5, 2.0])
@pytest.mark.parametrize("estimator", [pathwise, score_function], ids=by_name)
def test_the_estimators_are_unbiased_under_it(estimator: Any, power: float) -> None:
    """Against the exact gradient of E M_t of two samples, by quadrature; and the wrong power is noticed."""
    problem = LOG_RATIOS[0]
    gradients = draw_gradients(
        estimator, problem, 20_000, rng=np.random.default_rng(7), samples=2, reduce=power_mean(power)
    )
    check_unbiased(gradients, exact_gradient(problem, power)).assert_ok()
    assert not check_unbiased(gradients, exact_gradient(problem, power - 3)).ok


def exact_gradient(problem: Problem, power: float) -> Array:
    noise, weights = noise_nodes(2, 1)

    def expected(params: Array) -> float:
        rows = for_all_rows(params[None], len(weights))
        z, _ = problem.q.sample(rows, noise)
        return float(weights @ power_mean(power)(problem.f(rows, z)[0])[0])

    return gradient_of(expected, np.array(problem.at(1)[0]))
