"""Implicit reparameterisation: the same gradient as the explicit one, from the CDF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from numvae import Bernoulli, Normal, log_mean_exp, pathwise, sample_mean
from numvae.arena.costs import Quadratic
from numvae.arena.problems import NORMAL, Problem, draw_gradients
from numvae.arrays import Array
from numvae.checks import check_unbiased
from numvae.distributions.exponential import Exponential
from numvae.distributions.gamma import Gamma
from numvae.errors import InputError
from numvae.estimators import Reduction, claims_of
from numvae.estimators.implicit import IMPLICIT_PULLBACKS, implicit, normal_implicit_pullback
from tests.cases import Case, estimate, log_ratio
from tests.estimators.rule_proofs import NORMALS, ONE_LATENT, REDUCTIONS, by_name, every_proof, report_on

CASES = [estimate(f"implicit of {by_name(r)}", "implicit.1 implicit.2", implicit, r) for r in REDUCTIONS]


@every_proof
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_it_is_a_rule(case: Case, proof: object) -> None:
    proof(case)  # type: ignore[operator]


@pytest.mark.parametrize("reduce", REDUCTIONS, ids=by_name)
def test_for_a_normal_it_is_the_explicit_gradient(reduce: Reduction) -> None:
    """For every single draw, not on average   (implicit.2)."""
    rng = np.random.default_rng(0)
    params, target, noise = rng.standard_normal((5, 6)), rng.standard_normal((5, 6)), rng.standard_normal((4, 5, 3))
    results = []
    for estimator in (implicit, pathwise):
        bound, pullback = estimator(Normal(), params, noise, log_ratio(target), reduce)
        results.append((bound, *pullback(np.ones(5))))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("q", "parameters"), [(Exponential(), 3), (Gamma(), 6)], ids=["implicit.3", "implicit.4"])
def test_for_positive_latents_it_is_the_explicit_gradient(q: Any, parameters: int) -> None:
    rng = np.random.default_rng(0)
    params, noise = rng.standard_normal((5, parameters)), q.noise(rng, (4, 5, 3))
    ours, theirs = (e(q, params, noise, Quadratic(0.3), sample_mean)[1](np.ones(5))[0] for e in (implicit, pathwise))
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


def test_it_is_minus_the_slope_of_the_cdf_over_the_density() -> None:
    """Against finite differences of the family's own CDF   (implicit.1)."""
    q, step = Normal(), 1e-6
    params = np.array([[0.7, -0.4]])
    for z in np.linspace(-1.5, 2.5, 9)[:, None, None]:
        density = np.exp(q.log_prob(params, z)[0])
        for i, unit in enumerate(np.eye(2)):
            slope = (q.cdf(params + step * unit, z) - q.cdf(params - step * unit, z)) / (2 * step)
            ours = normal_implicit_pullback(params, z, np.ones_like(z))[0, i]
            np.testing.assert_allclose(ours, -slope[0, 0] / density[0], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("problem", NORMALS, ids=by_name)
def test_the_mean_gradient_is_exact(problem: Problem) -> None:
    report_on(implicit, problem).assert_ok()


@pytest.mark.parametrize("problem", ONE_LATENT, ids=by_name)
def test_the_mean_gradient_of_the_importance_weighted_bound_is_exact(problem: Problem) -> None:
    report_on(implicit, problem, log_mean_exp, samples=2).assert_ok()


@dataclass(frozen=True)
class ForgetsTheDensity(Normal):
    """The planted bug: -∂F/∂params, not divided by q(z)."""

    def implicit_pullback(self, params: Array, z: Array, dz: Array) -> Array:
        return normal_implicit_pullback(params, z, dz * np.exp(self.log_prob(params, z)[0])[..., None])


def test_a_forgotten_density_is_noticed() -> None:
    """And a family's own method goes before the table."""
    problem = NORMALS[0]
    wrong = Problem("wrong", ForgetsTheDensity(), problem.params, problem.f, 1)
    gradients = draw_gradients(implicit, wrong, 2000, rng=np.random.default_rng(0))
    assert not check_unbiased(gradients, problem.truth()).ok


def test_far_tails_stay_finite() -> None:
    """Where CDF and density both underflow, their quotient does not."""
    params = np.array([[0.0, -10.0], [0.0, 10.0]])
    noise = np.full((1, 2, 1), 40.0)
    _, pullback = implicit(NORMAL, params, noise, NORMALS[0].f, sample_mean)
    assert np.isfinite(pullback(np.ones(2))[0]).all()


def test_a_family_without_it_says_so() -> None:
    with pytest.raises(InputError, match="Bernoulli has no implicit derivative"):
        implicit(Bernoulli(), np.zeros((1, 1)), np.zeros((1, 1, 1)), NORMALS[0].f, sample_mean)
    assert Normal in IMPLICIT_PULLBACKS
    assert claims_of(implicit).cover(Normal())
