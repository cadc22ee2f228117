"""The bounds, on models whose evidence is exact; the minibatch estimate and the prior on the weights."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae import FixedStdNormal, Normal, elbo, elbo_monte_carlo, elbo_terms, importance_weighted, mlp_vae
from numvae.arrays import Array
from numvae.objectives import minibatch_estimate, weight_log_prior
from tests.linear_gaussian import linear_gaussian
from tests.oracles import for_all_rows, noise_nodes

L = linear_gaussian()


def expected(objective: Any, theta: Array, x: Array, samples: int = 1) -> Array:
    """E over the noise, one number per row of x, by quadrature."""
    noise, weights = noise_nodes(samples, L.model.latents, {1: 60, 2: 40, 3: 24}[samples])
    values = [objective(L.model, theta, for_all_rows(row[None], len(weights)), noise)[0] for row in x]
    return np.stack(values) @ weights


@pytest.mark.parametrize("learned_std", [False, True])
@pytest.mark.parametrize("latents", [1, 2])
def test_at_the_exact_posterior_every_draw_gives_the_evidence(latents: int, learned_std: bool) -> None:
    """log p(x, z) - log q(z|x) is log p(x) for every z; B varies (erratum 002-4)   (objectives.4), (objectives.6)."""
    exact = linear_gaussian(features=4, latents=latents, learned_std=learned_std)
    noise = np.random.default_rng(0).standard_normal((5, 3, latents))
    for objective in (elbo_monte_carlo, importance_weighted):
        bound, _ = objective(exact.model, exact.exact_theta, exact.x, noise)
        np.testing.assert_allclose(bound, exact.evidence, rtol=1e-12)
    with_analytic_kl, _ = elbo(exact.model, exact.exact_theta, exact.x, noise)
    assert np.all(np.abs(with_analytic_kl - exact.evidence) > 1e-3)


def test_at_the_exact_posterior_the_elbo_is_the_evidence() -> None:
    """(objectives.1), (objectives.2)."""
    np.testing.assert_allclose(expected(elbo, L.exact_theta, L.x), L.evidence, rtol=1e-12)


def test_elbo_below_importance_weighted_below_evidence() -> None:
    """ELBO < L_2 < L_3 < log p(x) for a q that misses the posterior   (objectives.6)."""
    theta = L.theta_off_by(0.2, log_factor=0.3)
    bounds = [
        expected(elbo, theta, L.x),
        expected(importance_weighted, theta, L.x, samples=2),
        expected(importance_weighted, theta, L.x, samples=3),
        L.evidence,
    ]
    assert np.all(np.diff(bounds, axis=0) > 1e-3)


def test_one_importance_sample_is_the_elbo() -> None:
    """(objectives.6)."""
    theta = L.theta_off_by(0.2, log_factor=0.3)
    np.testing.assert_allclose(expected(importance_weighted, theta, L.x), expected(elbo, theta, L.x), rtol=1e-12)


def test_the_gap_is_the_kl_to_the_posterior() -> None:
    """log p(x) - ELBO = KL(q ‖ p(z|x)), not the KL to the prior (erratum 004-3)   (objectives.2)."""
    theta = L.theta_off_by(0.2, log_factor=0.3)
    gap, _ = Normal().kl(L.model.encode(theta, L.x), L.model.encode(L.exact_theta, L.x))
    np.testing.assert_allclose(L.evidence - expected(elbo, theta, L.x), gap, rtol=1e-10)


def test_many_importance_samples_reach_the_evidence() -> None:
    """E[p(x, z) / q(z)] = p(x): unbiased before the logarithm, to four standard errors   (objectives.6)."""
    theta = L.theta_off_by(0.2, log_factor=0.3)
    noise = np.random.default_rng(0).standard_normal((20_000, 3, 1))
    params = L.model.encode(theta, L.x)
    z, _ = Normal().sample(params, noise)
    log_weights = (
        L.model.log_likelihood(theta, z, L.x)[0]
        + Normal().log_prob(L.model.prior_params(params), z)[0]
        - Normal().log_prob(params, z)[0]
    )
    weights = np.exp(log_weights - L.evidence)
    standard_error = weights.std(axis=0) / np.sqrt(len(weights))
    bound, _ = importance_weighted(L.model, theta, L.x, noise)
    assert np.all(np.abs(np.exp(bound - L.evidence) - 1) < 4 * standard_error)


def test_both_of_the_papers_estimators_have_the_same_expectation() -> None:
    """(objectives.2), (objectives.4)."""
    theta = L.theta_off_by(-0.4, log_factor=-0.2)
    np.testing.assert_allclose(expected(elbo_monte_carlo, theta, L.x), expected(elbo, theta, L.x), rtol=1e-12)


def test_both_of_the_papers_estimators_have_the_same_expected_gradient() -> None:
    """(objectives.3), (objectives.5)."""
    theta, (noise, weights) = L.theta_off_by(-0.4, log_factor=-0.2), noise_nodes(1, 1, count=20)
    x = for_all_rows(L.x[:1], len(weights))
    with_analytic_kl, all_monte_carlo = (
        objective(L.model, theta, x, noise)[1](weights)[0] for objective in (elbo, elbo_monte_carlo)
    )
    np.testing.assert_allclose(all_monte_carlo, with_analytic_kl, atol=1e-12)


def test_the_terms_are_the_elbo_and_their_gradients_add_up() -> None:
    """(objectives.2), (objectives.3)."""
    model = mlp_vae(4, latents=2, hidden=(3,))
    rng = np.random.default_rng(0)
    theta, x = rng.standard_normal(model.layout.size), rng.integers(2, size=(5, 4)).astype(float)
    noise, delbo = rng.standard_normal((3, 5, 2)), rng.standard_normal(5)
    value, pullback = elbo(model, theta, x, noise)
    (reconstruction, kl), terms_pullback = elbo_terms(model, theta, x, noise)
    np.testing.assert_array_equal(value, reconstruction - kl)
    nothing = np.zeros(5)
    parts = [terms_pullback(terms)[0] for terms in ((delbo, nothing), (nothing, -delbo))]
    np.testing.assert_allclose(pullback(delbo)[0], sum(parts), rtol=1e-10, atol=1e-13)
    np.testing.assert_array_equal(model.layout.views(parts[1])["decoder"], 0)


def test_more_samples_average() -> None:
    """L samples at once are the mean of L single ones   (objectives.2), (objectives.4)."""
    model, rng = mlp_vae(4, latents=2, hidden=(3,)), np.random.default_rng(0)
    theta, x = rng.standard_normal(model.layout.size), rng.integers(2, size=(5, 4)).astype(float)
    noise = rng.standard_normal((3, 5, 2))
    for objective in (elbo, elbo_monte_carlo):
        singles = [objective(model, theta, x, one[None])[0] for one in noise]
        np.testing.assert_allclose(objective(model, theta, x, noise)[0], np.mean(singles, axis=0), rtol=1e-13)


@pytest.mark.parametrize("precision", [1.0, 4.0])
def test_prior_on_the_weights_is_scipys(precision: float) -> None:
    """(objectives.8), (objectives.9)."""
    theta = np.random.default_rng(0).standard_normal(7)
    log_prior, pullback = weight_log_prior(theta, precision)
    assert log_prior == pytest.approx(stats.norm(scale=precision**-0.5).logpdf(theta).sum(), rel=1e-13)
    np.testing.assert_allclose(pullback(np.float64(2.0))[0], -2 * precision * theta)


def full_data_objective(theta: Array, x: Array, noise: Array) -> tuple[Any, Array]:
    """MAP on all the data: Σ elbo + log p(theta), and its gradient."""
    bound, bound_pullback = elbo(L.model, theta, x, noise)
    log_prior, prior_pullback = weight_log_prior(theta, precision=2.0)
    return bound.sum() + log_prior, bound_pullback(np.ones_like(bound))[0] + prior_pullback(1.0)[0]


def minibatch_objective(theta: Array, x: Array, noise: Array, dataset_rows: int) -> tuple[Any, Array]:
    """MAP on a minibatch: (N/M) Σ elbo + log p(theta), and its gradient."""
    bound, bound_pullback = elbo(L.model, theta, x, noise)
    estimate, estimate_pullback = minibatch_estimate(bound, dataset_rows)
    log_prior, prior_pullback = weight_log_prior(theta, precision=2.0)
    return estimate + log_prior, bound_pullback(estimate_pullback(1.0)[0])[0] + prior_pullback(1.0)[0]


def assert_minibatches_average_to_the_whole(objective: Any) -> None:
    """The mean over all ten minibatches of 2 of 5 rows is the whole data's objective, in value and gradient."""
    rng = np.random.default_rng(0)
    theta, x, noise = L.theta_off_by(0.3), rng.standard_normal((5, 3)), rng.standard_normal((2, 5, 1))
    minibatches = [
        objective(theta, x[list(rows)], noise[:, list(rows)], dataset_rows=5) for rows in combinations(range(5), 2)
    ]
    value, gradient = full_data_objective(theta, x, noise)
    np.testing.assert_allclose(np.mean([v for v, _ in minibatches]), value, rtol=1e-12)
    np.testing.assert_allclose(np.mean([g for _, g in minibatches], axis=0), gradient, rtol=1e-11, atol=1e-12)


def test_minibatches_average_to_the_whole_data() -> None:
    """The N/M of equation 8, M the minibatch's size (erratum 002-1), and none on the prior   (objectives.7)."""
    assert_minibatches_average_to_the_whole(minibatch_objective)


def test_a_learned_std_finds_the_noise_of_the_data() -> None:
    """The gradient of a shared log-std is Σ residual²/std² - 1, which is zero at the truth   (networks.3)."""
    fixed = FixedStdNormal(0.5)
    mean = np.zeros((1, 4))
    x = fixed.sample(mean, np.random.default_rng(0).standard_normal((50_000, 4)))[0]
    params = np.concatenate([mean, np.full((1, 4), np.log(0.5))], axis=-1)
    dparams = Normal().log_prob(params, x)[1](np.ones(len(x)))[0]
    assert abs(dparams[0, 4:].sum()) < 4 * np.sqrt(2 * x.size)
