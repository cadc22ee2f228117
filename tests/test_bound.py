"""The three ways to the bound, on models whose evidence and posterior are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from numvae import Normal, elbo, elbo_monte_carlo, importance_weighted, pathwise
from numvae.arrays import Array
from numvae.exact_models import BetaBernoulli, LinearGaussian, corner_noise
from numvae.objectives import MonteCarloIntegrand
from tests.exact_models.test_every_exact_model import EXACT, Exact, every_model
from tests.linear_gaussian import linear_gaussian
from tests.oracles import for_all_rows, noise_nodes

L = linear_gaussian()
LINEAR = LinearGaussian(np.array([[1.5, -0.4, 0.3]]), np.array([0.2, -0.1, 0.6]), alpha=1.5, beta=2.0)


def expected(objective: Any, theta: Array, x: Array, samples: int) -> Array:
    """E over the noise, one number per row of x, by quadrature."""
    noise, weights = noise_nodes(samples, L.model.latents, {1: 60, 2: 40, 3: 24}[samples])
    values = [objective(L.model, theta, for_all_rows(row[None], len(weights)), noise)[0] for row in x]
    return np.stack(values) @ weights


def log_weights(exact: Exact, params: Array, x: Array, noise: Array) -> tuple[Array, Array]:
    """log w of every sample, and the samples: (S, B) and (S, B, Z)."""
    model = exact.model.vae()
    z, _ = model.posterior.sample(params, noise)
    return MonteCarloIntegrand(model, exact.model.theta, x)(params, z)[0], z


def off(exact: Exact, rows: int) -> tuple[Array, Array]:
    """Data, and params of a q that misses the posterior."""
    _, x = exact.model.draw(np.random.default_rng(2), rows)
    return x, exact.model.posterior_params(x) + np.array(exact.off)


@every_model
def test_each_weight_is_the_evidence_over_the_posterior_ratio(exact: Exact) -> None:
    """log w = log p(x) - log q(z) + log p(z|x): Bayes' rule, for every single draw   (bound.1)."""
    x, params = off(exact, 5)
    model, q = exact.model.vae(), exact.model.posterior
    log_w, z = log_weights(exact, params, x, model.draw_noise(pathwise, np.random.default_rng(3), (7, 5)))
    log_ratio = q.log_prob(params, z)[0] - q.log_prob(exact.model.posterior_params(x), z)[0]
    np.testing.assert_allclose(log_w, exact.model.evidence(x) - log_ratio, rtol=1e-9, atol=1e-9)


@every_model
def test_the_evidence_is_the_bound_and_the_gap(exact: Exact) -> None:
    """log p(x) = L + KL(q ‖ p(z|x)) with the KL in closed form, L by 20 000 draws; less without it   (bound.3)."""
    x, params = off(exact, 1)
    model, draws = exact.model.vae(), 20_000
    noise = model.draw_noise(pathwise, np.random.default_rng(4), (draws, 1))
    log_w, _ = log_weights(exact, params, x, noise)
    gap, _ = exact.model.posterior.kl(params, exact.model.posterior_params(x))
    bound, error = log_w.mean(), log_w.std() / draws**0.5
    assert abs(bound + gap[0] - exact.model.evidence(x)[0]) < 4 * error
    assert exact.model.evidence(x)[0] - bound > 10 * error  # the negative control: the gap is seen


@given(shift=st.floats(-2, 2), log_factor=st.floats(-1, 1))
def test_identity_to_rounding(shift: float, log_factor: float) -> None:
    """For any normal q on the linear model, both forms of the bound   (bound.2), (bound.3), (bound.4)."""
    theta = L.theta_off_by(shift, log_factor)
    gap, _ = Normal().kl(L.model.encode(theta, L.x), L.model.encode(L.exact_theta, L.x))
    noise = corner_noise(L.model.latents, len(L.x))
    for objective in (elbo, elbo_monte_carlo):
        bound, _ = objective(L.model, theta, L.x, noise)  # no error: log w is a quadratic of the noise
        np.testing.assert_allclose(bound + gap, L.evidence, rtol=1e-11)


@given(shift=st.floats(-2, 2), log_factor=st.floats(-1, 0.3))
def test_weights_are_unbiased_and_their_logarithm_is_too_low(shift: float, log_factor: float) -> None:
    """E[w] = p(x), E[log w] ≤ log E[w]: Jensen, by quadrature over q   (bound.1), (bound.2).

    A q wider than twice the posterior's variance or far from it has weights no forty nodes can hold.
    """
    exact = Exact("linear", "", LINEAR)
    x = np.array([[0.4, -1.0, 0.7]])
    params = LINEAR.posterior_params(x) + np.array([0.3 * shift, 0.3 + 0.3 * log_factor])
    noise, weights = noise_nodes(1, 1, 60)
    log_w, _ = log_weights(exact, for_all_rows(params, 60), for_all_rows(x, 60), noise)
    evidence = LINEAR.evidence(x)[0]
    np.testing.assert_allclose(weights @ np.exp(log_w[0] - evidence), 1, rtol=1e-9)
    assert weights @ log_w[0] <= evidence + 1e-12


@pytest.mark.parametrize(("shift", "log_factor"), [(0.2, 0.3), (-0.4, 0.1), (0.0, 0.5)])
def test_the_bound_never_falls_with_the_samples(shift: float, log_factor: float) -> None:
    """L = L_1 < L_2 < L_3 < log p(x), by quadrature over all draws   (bound.5)."""
    theta = L.theta_off_by(shift, log_factor)
    bounds = [expected(importance_weighted, theta, L.x, k) for k in (1, 2, 3)]
    np.testing.assert_allclose(bounds[0], expected(elbo, theta, L.x, 1), rtol=1e-12)
    assert np.all(np.diff([*bounds, L.evidence], axis=0) > 1e-4)


def test_a_mean_of_logarithms_does_not_climb() -> None:
    """The negative control: the logarithm inside the mean gives the ELBO for any number of samples   (bound.5)."""
    theta = L.theta_off_by(0.2, log_factor=0.3)
    for k in (2, 3):
        np.testing.assert_allclose(expected(elbo_monte_carlo, theta, L.x, k), expected(elbo, theta, L.x, 1), rtol=1e-12)


def test_every_model_of_bits_has_its_evidence_by_enumeration() -> None:
    """Σ over all x of p(x) = 1, and p(x) = ∫ p(x|z) p(z) dz over a grid: what evidence means   (bound.1)."""
    model = BetaBernoulli(features=4, alpha=2.0, beta=3.5)
    x = (np.arange(16)[:, None] >> np.arange(4) & 1).astype(np.float64)
    np.testing.assert_allclose(np.exp(model.evidence(x)).sum(), 1, rtol=1e-12)
    z, weights = special.roots_sh_jacobi(12, 4.5, 2.0)  # of ∫ z (1 - z)^2.5 g(z) dz, exact for this likelihood
    ones = x.sum(axis=-1, keepdims=True)
    likelihood = z**ones * (1 - z) ** (4 - ones)
    np.testing.assert_allclose(np.exp(model.evidence(x)), likelihood @ weights / special.beta(2.0, 3.5), rtol=1e-12)


def test_the_models_above_are_those_of_the_exact_table() -> None:
    """Each has a q that misses its posterior, so that no inequality is an equality in disguise   (bound.3)."""
    for exact in EXACT:
        x, params = off(exact, 3)
        gap, _ = exact.model.posterior.kl(params, exact.model.posterior_params(x))
        assert (gap > 0.005).all()
