"""The bounds, on models whose evidence is exact; the minibatch estimate and the prior on the weights."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae import VAE, Dense, FixedStdNormal, Normal, elbo, elbo_monte_carlo, elbo_terms, importance_weighted, mlp_vae
from numvae.arrays import Array, Pullback
from numvae.belief_networks import mlp_belief_network
from numvae.checks import check_pullback
from numvae.distributions.dirichlet import Dirichlet
from numvae.distributions.kl_table import kl_divergence
from numvae.errors import InputError
from numvae.estimators import context_of
from numvae.objectives import (
    ReconstructionIntegrand,
    denoising_elbo,
    kl_weight_at,
    minibatch_estimate,
    weight_log_prior,
    weighted_elbo,
    with_free_bits,
)
from numvae.priors import Prior
from tests.cases import DIVERGENCES, Divergence
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


# ---- the weight of the KL, free bits, the denoising criterion

SMALL = mlp_vae(4, latents=2, hidden=(3,))


def small_step(samples: int = 3, rows: int = 5) -> tuple[Array, Array, Array]:
    """Weights of the small model, bits, noise."""
    rng = np.random.default_rng(0)
    theta, x = 0.5 * rng.standard_normal(SMALL.layout.size), rng.integers(2, size=(rows, 4)).astype(float)
    return theta, x, rng.standard_normal((samples, rows, 2))


def beside_itself(model: VAE, theta: Array, x: Array, noise: Array, **changes: float) -> tuple[Array, Pullback]:
    """The denoising criterion where nothing is corrupted."""
    return denoising_elbo(model, theta, np.concatenate([x, x], axis=-1), noise, **changes)


@pytest.mark.parametrize("objective", [weighted_elbo, beside_itself])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_with_nothing_changed_they_are_the_elbo_bit_for_bit(objective: Any, dtype: Any) -> None:
    """β = 1, λ = 0, x̃ = x   (objectives.10), (objectives.12), (objectives.14)."""
    theta, x, noise = (array.astype(dtype) for array in small_step())
    (plain, plain_pullback), (changed, pullback) = (rule(SMALL, theta, x, noise) for rule in (elbo, objective))
    np.testing.assert_array_equal(changed, plain)
    np.testing.assert_array_equal(pullback(np.ones_like(changed))[0], plain_pullback(np.ones_like(plain))[0])


@pytest.mark.parametrize("kl_weight", [0.0, 0.5, 4.0])
def test_the_weight_multiplies_the_kl_in_value_and_gradient(kl_weight: float) -> None:
    """L - (β - 1) KL   (objectives.10)."""
    theta, x, noise = small_step()
    (reconstruction, kl), terms_pullback = elbo_terms(SMALL, theta, x, noise)
    value, pullback = weighted_elbo(SMALL, theta, x, noise, kl_weight=kl_weight)
    np.testing.assert_allclose(value, reconstruction - kl_weight * kl, rtol=1e-14)
    one, nothing = np.ones(5), np.zeros(5)
    expected_gradient = terms_pullback((one, nothing))[0] - kl_weight * terms_pullback((nothing, one))[0]
    np.testing.assert_allclose(pullback(one)[0], expected_gradient, rtol=1e-10, atol=1e-13)


def test_a_weight_above_one_and_free_bits_stay_below_the_elbo() -> None:
    """So they are bounds on log p(x); a weight below one is none   (objectives.10), (objectives.12)."""
    plain = expected(elbo, L.exact_theta, L.x)
    for changes in ({"kl_weight": 1.5}, {"free_bits": 3.0}, {"kl_weight": 2.0, "free_bits": 0.5}):
        assert np.all(expected(partial(weighted_elbo, **changes), L.exact_theta, L.x) < plain)
    assert np.all(expected(partial(weighted_elbo, kl_weight=0.5), L.exact_theta, L.x) > L.evidence)


@pytest.mark.parametrize("kl_weight", [0.5, 1.0, 3.0])
def test_a_weighted_kl_wants_the_posterior_of_data_believed_less(kl_weight: float) -> None:
    """m = (w/σ²)/(β + w²/σ²), s² = β/(β + w²/σ²) are where the encoder's gradient is zero   (objectives.10)."""
    w, std, x = 1.3, 0.7, 0.9
    model = VAE(encoder=Dense(1, 2), decoder=Dense(1, 1), latents=1, likelihood=FixedStdNormal(std))
    precision = kl_weight + w**2 / std**2
    theta = np.array([w / std**2 / precision, 0, 0, 0.5 * np.log(kl_weight / precision), w, 0])
    noise, weights = noise_nodes(1, 1, 20)
    _, pullback = weighted_elbo(model, theta, np.full((20, 1), x), noise, kl_weight=kl_weight)
    np.testing.assert_allclose(pullback(weights)[0][:4], 0, atol=1e-12)


def test_the_weight_grows_from_nothing_to_all_and_stays() -> None:
    """(objectives.11)."""
    weights = [kl_weight_at(step, 3.0, warm_up=6) for step in range(9)]
    np.testing.assert_allclose(weights, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3, 3], rtol=1e-15)
    assert kl_weight_at(0, 3.0, warm_up=0) == 3.0


def test_free_bits_by_hand() -> None:
    """N(1, 1) costs ½ nat, N(0.2, 1) costs 0.02   (objectives.12), (objectives.13)."""
    params, prior = np.array([[1.0, 0.2, 0.0, 0.0]]), np.zeros((1, 4))
    for free, charged, moved in ((0.01, 0.52, [1, 0.2]), (0.1, 0.6, [1, 0]), (0.7, 1.4, [0, 0])):
        kl, pullback = with_free_bits(SMALL, free)(params, prior)
        assert kl[0] == pytest.approx(charged, rel=1e-13)
        np.testing.assert_allclose(pullback(np.ones(1))[0], [[*moved, 0, 0]], atol=1e-15)


def test_all_bits_free_leave_the_encoder_the_reconstruction_alone() -> None:
    """(objectives.12), (objectives.13)."""
    theta, x, noise = small_step()
    (reconstruction, _), terms_pullback = elbo_terms(SMALL, theta, x, noise)
    value, pullback = weighted_elbo(SMALL, theta, x, noise, free_bits=1e3)
    np.testing.assert_allclose(value, reconstruction - 2 * 1e3, rtol=1e-13)
    np.testing.assert_allclose(
        pullback(np.ones(5))[0], terms_pullback((np.ones(5), np.zeros(5)))[0], rtol=1e-12, atol=1e-15
    )


PER_LATENT = [
    d
    for d in DIVERGENCES
    if all(hasattr(family, "params_per_value") and family.support != "simplex" for family in (d.q, d.p))
]


@pytest.mark.parametrize("divergence", PER_LATENT, ids=lambda divergence: divergence.id)
def test_every_closed_kl_is_a_sum_over_latents(divergence: Divergence) -> None:
    """Each latent as a row of its own has the KL that it has alone   (objectives.12)."""
    rng, latents, rows = np.random.default_rng(0), 3, 2
    columns = [divergence.q_params.draw(rng, (rows, divergence.q.params_per_value), 1.0) for _ in range(latents)]
    prior_columns = [divergence.p_params.draw(rng, (rows, divergence.p.params_per_value), 1.0) for _ in range(latents)]
    params, prior_params = (np.stack(each, axis=-1).reshape(rows, -1) for each in (columns, prior_columns))
    rule = kl_divergence(divergence.q, divergence.p)
    alone = np.stack([rule(q, p)[0] for q, p in zip(columns, prior_columns, strict=True)])
    model = VAE(Dense(1, 1), Dense(1, 1), latents, posterior=divergence.q, prior=Prior(divergence.p))
    free = float(np.median(alone))
    charged, pullback = with_free_bits(model, free)(params, prior_params)
    np.testing.assert_allclose(charged, np.maximum(alone, free).sum(axis=0), rtol=1e-12)
    of_all, whole_pullback = with_free_bits(model, -1.0)(params, prior_params)
    np.testing.assert_allclose(of_all, rule(params, prior_params)[0], rtol=1e-10, atol=1e-13)
    for each, whole in zip(whole_pullback(np.ones(rows)), rule(params, prior_params)[1](np.ones(rows)), strict=True):
        np.testing.assert_allclose(each, whole, rtol=1e-9, atol=1e-12)
    assert pullback(np.ones(rows))[0].shape == params.shape


def test_what_has_no_kl_per_latent_is_refused() -> None:
    dirichlet = VAE(Dense(4, 2), Dense(2, 4), 2, posterior=Dirichlet(), prior=Prior(Dirichlet()))
    with pytest.raises(
        InputError, match="free bits are per latent, but those of a Dirichlet depend on each other; use kl_weight"
    ):
        with_free_bits(dirichlet, 0.1)
    bits = mlp_belief_network(4, latents=(2,), hidden=(3,))
    with pytest.raises(InputError, match="the KL of a SigmoidBeliefNetwork is no term of its own"):
        weighted_elbo(bits, np.zeros(bits.layout.size), np.zeros((1, 4)), np.zeros((1, 1, 2)))


def test_the_denoising_criterion_encodes_the_one_and_decodes_the_other() -> None:
    """Put together from the model's own parts   (objectives.14)."""
    theta, x, noise = small_step()
    seen = 1 - x
    params = SMALL.encode(theta, seen)
    z, _ = Normal().sample(params, noise)
    by_hand = SMALL.log_likelihood(theta, z, x)[0].mean(axis=0) - Normal().kl(params, np.zeros((1, 4)))[0]
    value, _ = denoising_elbo(SMALL, theta, np.concatenate([x, seen], axis=-1), noise)
    np.testing.assert_allclose(value, by_hand, rtol=1e-13)
    f = ReconstructionIntegrand(SMALL, theta, x, seen)
    np.testing.assert_array_equal(context_of(f, params), seen)


def likelihood_of_the_corrupted(model: VAE, theta: Array, x: Array, noise: Array) -> tuple[Array, Pullback]:
    """Planted: x̃ in the likelihood as well, a consistent pullback behind it."""
    return elbo(model, theta, x[:, x.shape[1] // 2 :], noise)


def denoising_mean(objective: Any, theta: Array, spread: float) -> Array:
    """E over corruption (added normal noise) and z, one number per row of L.x, by quadrature over both."""
    noise, weights = noise_nodes(1, 1, 12)
    shifts, chances = noise_nodes(1, L.x.shape[1], 6)
    values = []
    for row in L.x:
        pairs = np.concatenate([np.broadcast_to(row, shifts[0].shape), row + spread * shifts[0]], axis=-1)
        x, every = np.repeat(pairs, len(weights), axis=0), np.tile(noise, (1, len(pairs), 1))
        values.append(np.kron(chances, weights) @ objective(L.model, theta, x, every)[0])
    return np.array(values)


def test_the_denoising_criterion_is_a_bound_and_its_gap_grows_with_the_noise() -> None:
    """(objectives.14): at the exact posterior it touches log p(x) without corruption, and lies below with it."""
    assert_below_the_evidence(denoising_elbo)


def assert_below_the_evidence(objective: Any) -> None:
    bounds = [denoising_mean(objective, L.exact_theta, spread) for spread in (0.0, 0.3, 1.0)]
    np.testing.assert_allclose(bounds[0], L.evidence, rtol=1e-10)
    assert np.all(bounds[1] < bounds[0] - 1e-3)
    assert np.all(bounds[2] < bounds[1] - 1e-3)
    to_mean = dict(L.model.layout.leaves(L.exact_theta))["encoder.W"][:, 0]
    precision = np.exp(-2 * L.model.encode(L.exact_theta, L.x)[0, 1])
    gap = 0.5 * precision * 0.3**2 * to_mean @ to_mean  # E of KL(q(z|x̃) ‖ q(z|x)) = ½ precision (m(x̃) - m(x))²
    np.testing.assert_allclose(bounds[0] - bounds[1], gap, rtol=1e-9)


def test_a_likelihood_of_the_corrupted_rows_is_rejected_though_its_gradient_is_right() -> None:
    """The negative control of (objectives.14)."""
    theta, x, noise = small_step()
    pair = np.concatenate([x, 1 - x], axis=-1)
    check_pullback(partial(likelihood_of_the_corrupted, SMALL), theta, pair, noise).assert_ok()
    with pytest.raises(AssertionError):
        assert_below_the_evidence(likelihood_of_the_corrupted)


def free_bits_of_the_sum(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
    """Planted: max(λ, Σ KL_j), rightly differentiated."""
    kl, pullback = Normal().kl(params, prior_params)
    return np.maximum(kl, 0.1), lambda dkl: pullback(dkl * (kl > 0.1))


def free_bits_with_the_slope_of_the_kl(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
    """Planted: the value of (objectives.12) with the gradient of the plain KL."""
    return with_free_bits(SMALL, 0.1)(params, prior_params)[0], Normal().kl(params, prior_params)[1]


def test_wrong_free_bits_are_rejected_by_the_law_or_by_the_gradient_check() -> None:
    """(objectives.12), (objectives.13)."""
    params, prior = np.array([[1.0, 0.2, 0.0, 0.0]]), np.zeros((1, 4))
    check_pullback(with_free_bits(SMALL, 0.1), params, prior).assert_ok()
    check_pullback(free_bits_of_the_sum, params, prior).assert_ok()
    assert abs(free_bits_of_the_sum(params, prior)[0][0] - 0.6) > 0.05
    assert not check_pullback(free_bits_with_the_slope_of_the_kl, params, prior).ok


def weighted_without_the_gradients_weight(theta: Array, x: Array, noise: Array) -> tuple[Array, Pullback]:
    """Planted: β in the value, 1 in the gradient."""
    value, _ = weighted_elbo(SMALL, theta, x, noise, kl_weight=4.0)
    return value, elbo(SMALL, theta, x, noise)[1]


def test_a_weight_missing_from_the_gradient_is_rejected() -> None:
    """(objectives.10)."""
    assert not check_pullback(weighted_without_the_gradients_weight, *small_step()).ok
