"""Wake-sleep: each fit proven by itself, where the two come to rest, and that together they climb nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numvae import (
    VAE,
    Bernoulli,
    Dense,
    FixedStdNormal,
    Normal,
    elbo,
    elbo_monte_carlo,
    importance_weighted,
    initial_theta,
    mlp_vae,
    pathwise,
    score_function,
)
from numvae.arrays import Array, Pullback
from numvae.belief_networks import mlp_belief_network
from numvae.checks import PullbackReport, check_pullback, check_unbiased
from numvae.config import Config
from numvae.distributions import Categorical, Exponential, Uniform
from numvae.distributions.catalogue import LIKELIHOODS, POSTERIORS, natural_prior
from numvae.distributions.contract import inside
from numvae.errors import InputError
from numvae.estimators import reweighted
from numvae.exact_models import LinearGaussian
from numvae.exact_models.linear_gaussian import corner_noise
from numvae.gradcheck import check_model
from numvae.learning.wake_sleep import (
    ReweightedWakeSleep,
    WakeSleep,
    dream,
    reweighted_wake_sleep,
    sleep_phase,
    wake_phase,
    wake_sleep,
)
from numvae.priors import Prior
from numvae.runs import create_run, open_run
from numvae.training import bound_and_gradient, train
from numvae.watching import first_nonfinite
from tests.cases import scipy_normal
from tests.conftest import Elsewhere
from tests.linear_gaussian import linear_gaussian
from tests.oracles import for_all_rows, gradient_of, noise_nodes, normal_nodes
from tests.small_runs import numvae, same_state, write_digits

BITS = mlp_vae(5, latents=2, hidden=(3,))
REWEIGHTED = [ReweightedWakeSleep(phase) for phase in ("wake", "sleep", "both")]
EVERY = pytest.mark.parametrize("objective", [wake_sleep, *REWEIGHTED], ids=repr)


def step_of(model: VAE, objective: Any = wake_sleep, samples: int = 3, rows: int = 4) -> tuple[Array, Array, Array]:
    """Weights, data drawn from the model, noise for the objective."""
    rng = np.random.default_rng(0)
    theta = 0.5 * initial_theta(model.layout, rng=rng)
    theta += 0.1 * rng.standard_normal(theta.shape)
    parts = wake_sleep.draw_noise(model, pathwise, rng, (1, rows))
    _, x = dreams_of(model, theta, parts)
    return theta, x[0], objective.draw_noise(model, pathwise, rng, (samples, rows))


def dreams_of(model: VAE, theta: Array, noise: Array) -> tuple[Array, Array]:
    """The dreams that packed noise makes."""
    of_q, of_prior = (family.noise(np.random.default_rng(0), (1, model.latents)).shape[-1]
                      for family in (model.posterior, model.prior.family))  # fmt: skip
    return dream(model, theta, *np.split(noise[..., of_q:], [of_prior], axis=-1))


def checked(model: VAE, theta: Array, rule: Callable[[Array], tuple[Array, Pullback]]) -> PullbackReport:
    """The pullback of a rule of the weights alone, group by group."""
    return check_pullback(rule, theta, names=["theta"], parts={"theta": model.layout.leaves}, coordinates=0)


def with_samples_held(model: VAE, objective: Any, theta: Array, x: Array, noise: Array) -> PullbackReport:
    """The objective's own pullback against differences of what it says it is the derivative of."""
    value_at = objective.with_samples_held(model, theta, x, noise)

    def rule(weights: Array) -> tuple[Array, Pullback]:
        return value_at(weights), lambda d: objective(model, weights, x, noise)[1](d)[:1]

    return checked(model, theta, rule)


# ---- pullbacks


def test_each_phase_is_the_derivative_of_its_value_and_of_its_network_alone() -> None:
    """(wake_sleep.1), (wake_sleep.3)."""
    theta, x, noise = step_of(BITS)
    z = noise[..., :2]
    dreamt_z, dreamt_x = dreams_of(BITS, theta, noise)
    for phase, data, latents, silent in ((wake_phase, x, z, "encoder"), (sleep_phase, dreamt_x, dreamt_z, "decoder")):

        def rule(weights: Array, phase: Any = phase, data: Array = data, latents: Array = latents) -> Any:
            value, pullback = phase(BITS, weights, data, latents)
            return value, lambda d: pullback(d)[:1]

        checked(BITS, theta, rule).assert_ok()
        gradient = phase(BITS, theta, data, latents)[1](np.ones(4))[0]
        np.testing.assert_array_equal(BITS.layout.views(gradient)[silent], 0)


@EVERY
def test_the_step_is_the_derivative_of_both_phases_with_samples_held(objective: Any) -> None:
    """(wake_sleep.1), (wake_sleep.3), (wake_sleep.4), (wake_sleep.5)."""
    theta, x, noise = step_of(BITS, objective)
    with_samples_held(BITS, objective, theta, x, noise).assert_ok()


CAN_DREAM = [
    name
    for name, family in POSTERIORS.items()
    if not getattr(family, "support_moves", False) and inside(POSTERIORS[natural_prior(name)], family)
]


@pytest.mark.parametrize("name", CAN_DREAM)
def test_every_posterior_with_a_density_at_every_dream_can_sleep(name: str) -> None:
    """Noise of any length, latents of any support   (wake_sleep.2), (wake_sleep.3)."""
    prior = Prior.of(POSTERIORS[natural_prior(name)], {})
    model = mlp_vae(5, latents=2, hidden=(3,), posterior=POSTERIORS[name], prior=prior)
    with_samples_held(model, wake_sleep, *step_of(model, samples=2)).assert_ok()


@pytest.mark.parametrize("likelihood", [*LIKELIHOODS.values(), FixedStdNormal(0.5), Categorical(3)], ids=repr)
def test_every_likelihood_can_be_dreamt_of(likelihood: Any) -> None:
    """(wake_sleep.2)."""
    model = mlp_vae(5, latents=2, hidden=(3,), likelihood=likelihood)
    theta, x, noise = step_of(model, samples=2)
    z, dreamt = dreams_of(model, theta, noise)
    assert (z.shape, dreamt.shape) == ((2, 4, 2), (2, 4, 5))
    assert np.isfinite(likelihood.log_prob(model.decode(theta, z), dreamt)[0]).all()
    with_samples_held(model, wake_sleep, theta, x, noise).assert_ok()


@EVERY
def test_latents_that_are_bits_need_no_path(objective: Any) -> None:
    """The wake-sleep of a Helmholtz machine   (wake_sleep.1), (wake_sleep.3)."""
    prior = Prior.of(Bernoulli(), {})
    model = replace(mlp_vae(5, latents=2, hidden=(3,)), encoder=Dense(5, 2), posterior=Bernoulli(), prior=prior)
    with_samples_held(model, objective, *step_of(model, objective)).assert_ok()


@EVERY
def test_rows_are_independent_and_blocks_add_up(objective: Any) -> None:
    theta, x, noise = step_of(BITS, objective)
    whole, pullback = objective(BITS, theta, x, noise)
    alone = [objective(BITS, theta, x[[row]], noise[:, [row]]) for row in range(4)]
    np.testing.assert_allclose(np.concatenate([bound for bound, _ in alone]), whole, rtol=1e-12)
    total = sum(back(np.ones(1))[0] for _, back in alone)
    np.testing.assert_allclose(pullback(np.ones(4))[0], total, rtol=1e-10, atol=1e-13)


@EVERY
def test_float32_stays_float32(objective: Any) -> None:
    theta, x, _ = (array.astype(np.float32) for array in step_of(BITS))
    noise = objective.draw_noise(BITS, pathwise, np.random.default_rng(0), (2, 4), np.float32)
    bound, pullback = objective(BITS, theta, x, noise)
    assert {noise.dtype, bound.dtype, pullback(np.ones(4, np.float32))[0].dtype} == {np.dtype(np.float32)}


@EVERY
def test_it_runs_on_a_device(elsewhere: Elsewhere, objective: Any) -> None:
    theta, x, noise = step_of(BITS, objective)
    bound, gradient = bound_and_gradient(BITS, theta, x, noise, objective)
    theta, x, noise = (elsewhere.asarray(array) for array in (theta, x, noise))
    there = bound_and_gradient(BITS, theta, x, noise, objective)
    np.testing.assert_allclose(elsewhere.asnumpy(there[0]), bound, rtol=1e-12)
    np.testing.assert_allclose(elsewhere.asnumpy(there[1]), gradient, rtol=1e-10, atol=1e-13)


# ---- what is shown


def test_the_value_is_the_bound() -> None:
    """That of the paper's estimator A on the same samples, and L_S; not what the encoder climbs."""
    theta, x, noise = step_of(BITS)
    z = noise[..., :2]
    np.testing.assert_allclose(wake_sleep(BITS, theta, x, noise)[0], elbo_monte_carlo(BITS, theta, x, z)[0], rtol=1e-13)
    for objective in REWEIGHTED:
        value, _ = objective(BITS, theta, x, noise if objective.dreams else z)
        np.testing.assert_array_equal(value, importance_weighted(BITS, theta, x, z)[0])


def without_the_prior(model: VAE, theta: Array, x: Array, z: Array) -> tuple[Array, Pullback]:
    """The planted bug: log p(x|z) in the place of log p(x, z)."""
    log_likelihood, pullback = model.log_likelihood(theta, z, x)
    return log_likelihood.mean(axis=0), pullback


@pytest.mark.parametrize(("phase", "right"), [(wake_phase, True), (without_the_prior, False)])
def test_at_the_posterior_every_sample_has_the_evidence(phase: Any, right: bool) -> None:
    """log p(x, z) - log q(z|x) is log p(x); without the prior's term it is not   (wake_sleep.1)."""
    L = linear_gaussian()
    params = L.model.encode(L.exact_theta, L.x)
    z, _ = Normal().sample(params, np.random.default_rng(0).standard_normal((2, 3, 1)))
    log_q, _ = Normal().log_prob(params, z)
    found = phase(L.model, L.exact_theta, L.x, z)[0] - log_q.mean(axis=0)
    assert np.allclose(found, L.evidence, rtol=1e-11) == right


# ---- laws, on the linear model

EXACT = LinearGaussian(np.array([[0.8, -0.5]]), np.array([0.3, -0.2]), alpha=1.0, beta=2.0)
MODEL, THETA = EXACT.vae(), EXACT.theta
CORNERS = corner_noise(1 + 1 + 2, rows=3)
X = EXACT.draw(np.random.default_rng(5), 3)[1]


def mean_step(objective: Any, theta: Array = THETA, noise: Array = CORNERS, x: Array = X) -> dict[str, Array]:
    """The expected gradient, summed over the rows, of encoder and decoder: exact with corners as noise."""
    gradient = objective(MODEL, theta, x, noise)[1](np.ones(len(x)))[0]
    return dict(MODEL.layout.views(gradient))


def theta_off() -> Array:
    theta = THETA.copy()
    theta[: MODEL.encoder.layout.size] += [0.2, 0.0, -0.1, 0.0, 0.3, 0.25]
    return theta


def test_awake_at_the_posterior_it_is_the_gradient_of_the_evidence() -> None:
    """Fisher's identity, decoder and noise alike   (wake_sleep.1)."""

    def evidence(weights: Array) -> float:
        W, b, log_std = weights[:2].reshape(1, 2), weights[2:4], weights[4]
        return float(LinearGaussian(W, b, 1.0, float(np.exp(-2 * log_std))).evidence(X).sum())

    truth = gradient_of(evidence, MODEL.layout.views(THETA)["decoder"].copy())
    np.testing.assert_allclose(mean_step(wake_sleep)["decoder"], truth, rtol=1e-7)
    off = mean_step(wake_sleep, theta_off())["decoder"]
    assert np.abs(off - truth).max() > 0.05, "with another q it is the bound's alone"


def test_awake_it_is_the_elbos_gradient_in_the_decoder_whatever_q_is() -> None:
    """(wake_sleep.1)."""
    ours, theirs = (mean_step(o, theta_off(), n) for o, n in ((wake_sleep, CORNERS), (elbo, corner_noise(1, 3))))
    np.testing.assert_allclose(ours["decoder"], theirs["decoder"], rtol=1e-10)


@dataclass(frozen=True)
class Dreaming(WakeSleep):
    """The planted bugs: dreams of other laws."""

    latents: str = "of the data"
    data: str = "dreamt"

    def __call__(self, model: Any, theta: Array, x: Array, noise: Array, estimator: Any = pathwise) -> Any:
        params = model.encode(theta, x)
        z_of_data, _ = model.posterior.sample(params, noise[..., :1])
        z = z_of_data if self.latents == "of the data" else noise[..., 1:2]
        seen = model.likelihood.sample(model.decode(theta, z), noise[..., 2:])[0]
        seen = np.broadcast_to(x, seen.shape) if self.data == "of the data" else seen
        return x[:, 0], sleep_phase(model, theta, seen, z)[1]


@pytest.mark.parametrize(
    ("objective", "at_rest"),
    [
        *((objective, True) for objective in (wake_sleep, REWEIGHTED[1])),
        (Dreaming(), False),
        (Dreaming(latents="of the prior", data="of the data"), False),
    ],
    ids=repr,
)
def test_asleep_the_posterior_is_at_rest(objective: Any, at_rest: bool) -> None:
    """E_p[∇ log q] = 0 where q is the posterior: not so with the data's z, or their x   (wake_sleep.3)."""
    assert np.allclose(mean_step(objective)["encoder"], 0, atol=1e-12) == at_rest


def test_the_weighted_samples_of_the_posterior_are_at_rest_too() -> None:
    """Each weight is 1/S then: a mean of scores   (wake_sleep.4), (wake_sleep.5)."""
    noise = np.concatenate([CORNERS, CORNERS[::-1]])
    for objective in REWEIGHTED:
        given = noise if objective.dreams else noise[..., :1]
        np.testing.assert_allclose(mean_step(objective, noise=given)["encoder"], 0, atol=1e-12)


def expected_log_q(encoder: Array) -> float:
    """E_p(x, z)[log q(z|x)] by quadrature over SciPy's densities, for an encoder's weights   (wake_sleep.3)."""
    nodes, weights = normal_nodes(3, 20)
    z = nodes[:, :1] / np.sqrt(EXACT.alpha)
    x = z @ EXACT.W + EXACT.b + nodes[:, 1:] / np.sqrt(EXACT.beta)
    return float(weights @ scipy_normal(x @ encoder[:4].reshape(2, 2) + encoder[4:]).logpdf(z)[:, 0])


def sleep_truth() -> Array:
    return gradient_of(expected_log_q, theta_off()[: MODEL.encoder.layout.size])


def test_asleep_its_mean_is_the_gradient_of_the_expected_log_q_of_dreams() -> None:
    """Three rows of data, three times: the data play no part   (wake_sleep.2), (wake_sleep.3)."""
    for x in (X, 10 * X):
        np.testing.assert_allclose(mean_step(wake_sleep, theta_off(), x=x)["encoder"], 3 * sleep_truth(), rtol=1e-7)


@dataclass(frozen=True)
class Summed(WakeSleep):
    """The planted bug: the sum over dreams in the place of their mean."""

    def __call__(self, model: Any, theta: Array, x: Array, noise: Array, estimator: Any = pathwise) -> Any:
        bound, pullback = super().__call__(model, theta, x, noise, estimator)
        return bound, lambda d: pullback(len(noise) * d)


@pytest.mark.parametrize(("objective", "right"), [(wake_sleep, True), (Summed(), False)], ids=repr)
def test_asleep_it_is_unbiased(objective: Any, right: bool) -> None:
    """Two dreams a row, drawn as in training   (wake_sleep.2), (wake_sleep.3)."""
    size, theta, repeats = MODEL.encoder.layout.size, theta_off(), 1500
    noise = wake_sleep.draw_noise(MODEL, pathwise, np.random.default_rng(0), (2, repeats))
    draws = [objective(MODEL, theta, X[:1], noise[:, [row]])[1](np.ones(1))[0][:size] for row in range(repeats)]
    assert check_unbiased(np.array(draws), sleep_truth()).ok == right


@pytest.mark.parametrize(("samples", "nodes"), [(2, 32), (3, 16)])
def test_the_decoder_of_the_reweighted_climbs_the_importance_weighted_bound(samples: int, nodes: int) -> None:
    """Exactly its gradient; and of log p(x) it misses less with each sample   (wake_sleep.4)."""
    theta = theta_off()
    noise, weights = noise_nodes(samples, 1, nodes)
    rows = for_all_rows(X[:1], len(weights))

    def decoder_of(objective: Any, *arguments: Any) -> Array:
        gradient = objective(MODEL, theta, rows, *arguments)[1](weights)[0]
        return MODEL.layout.views(gradient)["decoder"]

    ours = decoder_of(reweighted_wake_sleep, noise)
    np.testing.assert_allclose(ours, decoder_of(importance_weighted, noise), rtol=1e-10)
    exact = mean_step(wake_sleep, x=X[:1], noise=CORNERS[:, :1])["decoder"]  # q the posterior: Fisher
    of_one = decoder_of(elbo_monte_carlo, noise[:1])
    of_fewer = decoder_of(reweighted_wake_sleep, noise[:-1]) if samples > 2 else of_one
    assert np.abs(ours - exact).max() < 0.8 * np.abs(of_fewer - exact).max()
    assert np.abs(ours - exact).max() > 1e-3, "biased for every S"


def test_the_phases_of_the_reweighted_encoder_are_those_it_says() -> None:
    """Weighted samples, dreams, and their mean   (wake_sleep.4), (wake_sleep.5)."""
    theta, x, noise = step_of(BITS)
    arguments = (BITS, theta, x)
    dbound = np.random.default_rng(1).standard_normal(4)
    awake, asleep, both = (
        BITS.layout.views(o(*arguments, noise if o.dreams else noise[..., :2])[1](dbound)[0]) for o in REWEIGHTED
    )
    _, pullback = importance_weighted(*arguments, noise[..., :2], reweighted.reweighted_wake_sleep)
    weighted = BITS.layout.views(pullback(dbound)[0])
    dreamt = BITS.layout.views(wake_sleep(*arguments, noise)[1](dbound)[0])
    for found in (awake, asleep, both):
        np.testing.assert_array_equal(found["decoder"], weighted["decoder"])
    np.testing.assert_array_equal(awake["encoder"], weighted["encoder"])
    np.testing.assert_array_equal(asleep["encoder"], dreamt["encoder"])
    np.testing.assert_allclose(both["encoder"], (weighted["encoder"] + dreamt["encoder"]) / 2, rtol=1e-12)


# ---- what it climbs, and what it does not

TWO = VAE(Dense(1, 4), Dense(2, 1), latents=2, likelihood=FixedStdNormal(1.0))
"""x = z_1 + z_2 + noise: latents that depend on each other given x, and a q that knows none of that."""


def two(log_std: float) -> Array:
    return np.array([1 / 3, 1 / 3, 0, 0, 0, 0, log_std, log_std, 1, 1, 0])


@pytest.mark.parametrize(
    ("objective", "variance", "other"), [(wake_sleep, 2 / 3, 1 / 2), (elbo, 1 / 2, 2 / 3)], ids=["sleep", "elbo"]
)
def test_where_q_cannot_be_the_posterior_it_rests_at_a_wider_one(objective: Any, variance: float, other: float) -> None:
    """Σ_jj asleep, 1 / (Σ⁻¹)_jj on the bound, and neither at the other's   (wake_sleep.3)."""
    noise = corner_noise(5, rows=2)[..., : 2 if objective is elbo else 5]
    x = np.array([[1.5], [-0.4]])
    here, there = (
        objective(TWO, two(0.5 * np.log(v)), x, noise)[1](np.ones(2))[0][:8].round(12) for v in (variance, other)
    )
    np.testing.assert_array_equal(here, 0)
    expected = 2 * (variance / other - 1) if objective is wake_sleep else 2 * (1 - other / variance)
    np.testing.assert_allclose(there[6:], expected, rtol=1e-10)


def test_the_wider_one_has_the_lower_bound_and_asks_for_another_model() -> None:
    """By ½ (4/3 - 1 - log 4/3) for each latent; the decoders are pulled to different places   (wake_sleep.1)."""
    x = np.array([[1.5], [-0.4]])
    found = [wake_sleep(TWO, two(0.5 * np.log(variance)), x, corner_noise(5, rows=2)) for variance in (2 / 3, 1 / 2)]
    np.testing.assert_allclose(found[1][0] - found[0][0], 4 / 3 - 1 - np.log(4 / 3), rtol=1e-10)
    (asleep, best) = (pullback(np.ones(2))[0][8:] for _, pullback in found)
    assert np.abs(asleep - best).max() > 0.1


ONE = VAE(Dense(1, 2), Dense(1, 1), latents=1, likelihood=FixedStdNormal(1.0))
SEEN = np.array([0.7, -1.2])
AT = np.array([0.3, 0.1, 0.2, -0.1, 1.2, 0.4])


def field_of(objective: Any, dimensions: int, theta: Array) -> Array:
    """The expected step at ``theta``, by quadrature, mean over the data."""
    noise, weights = noise_nodes(1, dimensions, 16)
    steps = [objective(ONE, theta, np.full((len(weights), 1), x), noise)[1](weights)[0] for x in SEEN]
    return np.asarray(np.mean(steps, axis=0))


def curl(objective: Any, dimensions: int) -> Array:
    """∂(decoder's step)/∂(encoder) less the transpose of ∂(encoder's step)/∂(decoder), (2, 4)."""
    h = 1e-5
    columns = [
        (field_of(objective, dimensions, AT + h * e) - field_of(objective, dimensions, AT - h * e)) / (2 * h)
        for e in np.eye(6)
    ]
    jacobian = np.stack(columns, axis=1)
    return jacobian[4:, :4] - jacobian[:4, 4:].T


def products_of_scores(z: Array, x: Any, weights: Array) -> Array:
    """E[g_θ g_φᵀ], (2, 4), by hand for the model of one latent."""
    residual = x - AT[4] * z - AT[5]
    log_std = AT[1] * x + AT[3]
    standardized = (z - AT[0] * x - AT[2]) * np.exp(-log_std)
    dmean, dlog_std = standardized * np.exp(-log_std), standardized**2 - 1
    of_decoder = np.stack([residual * z, residual])
    of_encoder = np.stack([x * dmean, x * dlog_std, dmean, dlog_std])
    return np.asarray((of_decoder * weights) @ of_encoder.T)


def test_together_they_are_the_gradient_of_nothing() -> None:
    """A gradient's derivatives are symmetric; here scores seen and dreamt stand between   (wake_sleep.3)."""
    np.testing.assert_allclose(curl(elbo, 1), 0, atol=1e-8)
    (nodes, weights) = normal_nodes(2, 30)
    seen = [products_of_scores(AT[0] * x + AT[2] + np.exp(AT[1] * x + AT[3]) * nodes[:, 0], x, weights) for x in SEEN]
    z = nodes[:, 0]
    dreamt = products_of_scores(z, AT[4] * z + AT[5] + nodes[:, 1], weights)
    found = curl(wake_sleep, 3)
    np.testing.assert_allclose(found, np.mean(seen, axis=0) - dreamt, atol=1e-5)
    assert np.abs(found).max() > 0.3


# ---- the check of a whole model


@dataclass(frozen=True)
class Leaking(WakeSleep):
    """The planted bug: the gradient of the dreams' own log-probability runs into the decoder."""

    def __call__(self, model: Any, theta: Array, x: Array, noise: Array, estimator: Any = pathwise) -> Any:
        bound, pullback = super().__call__(model, theta, x, noise, estimator)
        z, dreamt = dreams_of(model, theta, noise)
        _, leak = model.log_likelihood(theta, z, dreamt)
        return bound, lambda d: (pullback(d)[0] + leak(np.broadcast_to(d / len(z), z.shape[:2]))[0], None, None)


@pytest.mark.parametrize(
    ("objective", "group"), [(wake_sleep, ""), *((o, "") for o in REWEIGHTED), (Leaking(), "decoder")], ids=repr
)
def test_the_gradient_check_holds_each_phase_to_its_own_value(objective: Any, group: str) -> None:
    theta, x, _ = step_of(BITS)
    found = check_model(BITS, theta, x, rng=np.random.default_rng(0), objective=objective)
    assert found.ok == (not group), found.to_json()["problems"]
    assert all(f"theta.{group}" in problem for problem in found.to_json()["problems"])
    assert found.pullback.title == f"pullback of {objective.__name__}, its samples held"


def test_the_bound_itself_would_fail_that_check_in_the_encoder() -> None:
    """It is no gradient of what the curve shows   (wake_sleep.3)."""
    theta, x, noise = step_of(BITS)

    def bound(weights: Array) -> tuple[Array, Pullback]:
        value, pullback = wake_sleep(BITS, weights, x, noise)
        return value, lambda d: pullback(d)[:1]

    wrong = {row.name for row in checked(BITS, theta, bound).arguments if not row.ok}
    assert wrong == {f"theta.encoder.{layer}" for layer in ("1.W", "1.b", "3.W", "3.b")}


def test_what_overflows_is_named() -> None:
    theta, x, noise = step_of(BITS)
    theta *= 1e200
    assert first_nonfinite(BITS, theta, x, noise, wake_sleep, pathwise)


# ---- what it refuses


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (mlp_belief_network(5, latents=(2,)), "wake_sleep is for a VAE, got a SigmoidBeliefNetwork; use elbo"),
        (mlp_vae(5, posterior=Uniform()), "dreams can lie outside the support of a Uniform posterior"),
        (mlp_vae(5, posterior=Exponential()), "can lie where a Exponential posterior (over: positive) has no density"),
        (replace(BITS, likelihood=object()), "a object likelihood cannot be sampled, so it has no dreams"),
    ],
)
def test_what_cannot_dream_is_refused_in_one_line(model: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        wake_sleep.draw_noise(model, pathwise, np.random.default_rng(0), (1, 2))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@EVERY
def test_an_estimator_is_no_choice_and_noise_of_q_alone_is_not_enough(objective: Any) -> None:
    theta, x, noise = step_of(BITS, objective)
    with pytest.raises(InputError, match="is no estimate of one gradient; leave score_function out"):
        objective(BITS, theta, x, noise, score_function)
    if objective is wake_sleep or objective.dreams:
        with pytest.raises(
            InputError, match=r"side by side, \(S, 4, 9\), got \(3, 4, 2\); draw it with its draw_noise"
        ):
            objective(BITS, theta, x, noise[..., :2])


def test_one_sample_or_an_unknown_phase_is_refused() -> None:
    theta, x, noise = step_of(BITS, reweighted_wake_sleep, samples=1)
    with pytest.raises(InputError, match="at least 2 samples, got 1"):
        reweighted_wake_sleep(BITS, theta, x, noise)
    with pytest.raises(InputError, match="encoder_phase must be wake, sleep or both, got 'dream'"):
        ReweightedWakeSleep("dream")  # type: ignore[arg-type]


# ---- the command

SETTINGS: dict[str, Any] = {
    "hidden": [16],
    "latent": 2,
    "batch": 30,
    "weight_prior": 1.0,
    "binarize": "fresh",
    "start_at_data": False,
}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"objective": "wake_sleep"}, "from data, the encoder from what the model itself dreams: it climbed no bound"),
        (
            {"objective": "reweighted_wake_sleep", "encoder_phase": "both", "samples": 3},
            "from data, by importance weights, the encoder from the same weighted samples and what the model",
        ),
    ],
    ids=lambda value: value["objective"] if isinstance(value, dict) else "",
)
def test_a_run_learns_resumes_bit_for_bit_and_leaves_its_page(
    settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    config = Config(data=str(write_digits(tmp_path)), optimizer="adagrad", lr=0.1, epochs=10, **SETTINGS, **settings)
    whole, dataset = create_run(config, tmp_path / "whole")
    train(whole.model, dataset, whole.recipe, whole.state)
    parted, _ = create_run(config, tmp_path / "parted")
    steps = iter(range(25))
    train(parted.model, dataset, parted.recipe, parted.state, on_batch=lambda state: next(steps, None) is None)
    parted.save()
    assert numvae("train", "--resume", parted.folder).code == 0
    resumed = open_run(parted.folder)
    assert same_state(resumed.state, whole.state)
    bounds = [row["test_elbo"] for row in resumed.state.history]
    assert bounds[-1] > bounds[0] + 1
    page = (parted.folder / "index.html").read_text()
    assert said in page
    assert f"gradient by {config.objective}, adagrad" in page
    assert "✓ Passed" in page


def test_the_command_checks_each_phase(tmp_path: Path) -> None:
    words = "--objective wake_sleep --hidden 4 --latent 2 --data"
    checked = numvae("gradcheck", *words.split(), write_digits(tmp_path))
    assert checked.code == 0
    assert "pullback of wake_sleep, its samples held: ok" in checked.out
