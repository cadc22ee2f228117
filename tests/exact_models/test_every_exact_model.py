"""What holds of every model with a known evidence and posterior, written once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae import elbo_monte_carlo, importance_weighted, log_mean_exp, pathwise, sample_mean
from numvae.arrays import Array
from numvae.estimators.sticking_the_landing import sticking_the_landing
from numvae.exact_models import BetaBernoulli, ExactModel, ExponentialPoisson, GammaPoisson, LinearGaussian
from numvae.objectives import MonteCarloIntegrand

RNG = np.random.default_rng(5)
W, B = RNG.standard_normal((2, 4)), RNG.standard_normal(4)


@dataclass(frozen=True)
class Exact:
    """A model, the labels of its posterior and evidence, and how far ``params`` are moved to miss the posterior."""

    name: str
    labels: str
    model: ExactModel
    off: tuple[float, ...] = (0.3, -0.2)

    @property
    def id(self) -> str:
        return f"{self.labels.replace(' ', '+')} {self.name}"


LINEAR = "linear_gaussian.1 linear_gaussian.3 linear_gaussian.4 linear_gaussian.6"
GAMMA = "gamma_poisson.1 gamma_poisson.2 gamma_poisson.3 gamma_poisson.4"
BETA = "beta_bernoulli.1 beta_bernoulli.2 beta_bernoulli.3 beta_bernoulli.4"
EXPONENTIAL = "exponential_poisson.1 exponential_poisson.2"
FULL = (0.3, -0.2, 0.2, -0.1, 0.2)
EXACT = [
    Exact("identity", LINEAR, LinearGaussian(np.eye(3), np.zeros(3), 2.0, 3.0), (0.3, -0.2, 0.1, 0.2, 0.0, -0.1)),
    Exact("orthogonal rows", LINEAR, LinearGaussian(np.diag([2.0, -1.0]) @ np.eye(2, 4), B, 0.5, 4.0), FULL[:4]),
    Exact("correlated latents", LINEAR, LinearGaussian(W, B, alpha=1.5, beta=2.0), FULL),
    Exact("a noise for each feature", LINEAR, LinearGaussian(W, B, 1.0, np.array([0.5, 1.0, 4.0, 9.0])), FULL),
    Exact("counts", GAMMA, GammaPoisson(features=3, shape=2.5, rate=0.8)),
    Exact("one count, small shape", GAMMA, GammaPoisson(features=1, shape=0.4, rate=0.1)),
    Exact("coins", BETA, BetaBernoulli(features=5, alpha=2.0, beta=3.5)),
    Exact("one coin", BETA, BetaBernoulli(features=1)),
    Exact("waiting times", EXPONENTIAL, ExponentialPoisson(features=3, rate=0.4)),
]
every_model = pytest.mark.parametrize("exact", EXACT, ids=lambda exact: exact.id)


def log_weights(exact: Exact, params: Array, x: Array, noise: Array, reduce: Any) -> Array:
    """A bound at any ``params`` of q, whatever the encoder."""
    model = exact.model.vae()
    return pathwise(model.posterior, params, noise, MonteCarloIntegrand(model, exact.model.theta, x), reduce)[0]


@every_model
def test_every_draw_from_the_posterior_has_the_evidence_as_its_weight(exact: Exact) -> None:
    """To rounding, whatever was drawn: by a network that is the posterior, under both bounds."""
    model, theta = exact.model.vae(), exact.model.theta
    _, x = exact.model.draw(np.random.default_rng(0), 20)
    noise = model.draw_noise(pathwise, np.random.default_rng(1), (7, 20))
    np.testing.assert_allclose(model.encode(theta, x), exact.model.posterior_params(x), rtol=1e-12, atol=1e-12)
    for one in noise:
        bound, _ = elbo_monte_carlo(model, theta, x, one[None])
        np.testing.assert_allclose(bound, exact.model.evidence(x), rtol=1e-10, atol=1e-10)
    bound, _ = importance_weighted(model, theta, x, noise)
    np.testing.assert_allclose(bound, exact.model.evidence(x), rtol=1e-10, atol=1e-10)


@every_model
def test_at_the_posterior_there_is_nothing_to_learn_for_the_encoder(exact: Exact) -> None:
    """log w is constant in z there, so that the path derivative of every single draw is zero."""
    model, theta = exact.model.vae(), exact.model.theta
    _, x = exact.model.draw(np.random.default_rng(0), 5)
    noise = model.draw_noise(pathwise, np.random.default_rng(1), (3, 5))
    _, pullback = elbo_monte_carlo(model, theta, x, noise, sticking_the_landing)
    dtheta = pullback(np.ones(5))[0]
    np.testing.assert_allclose(model.layout.views(dtheta)["encoder"], 0, atol=1e-8)


REPEATS = 4000


def bounds_with_errors(exact: Exact) -> tuple[float, dict[int, tuple[float, float]]]:
    """log p(x) of one row, and L_1 (the ELBO), L_5, L_50 of a q that misses the posterior, with standard errors."""
    _, x = exact.model.draw(np.random.default_rng(2), 1)
    params = exact.model.posterior_params(x) + np.array(exact.off)
    rows, model = np.repeat(x, REPEATS, axis=0), exact.model.vae()
    bounds = {}
    for k in (1, 5, 50):
        noise = model.draw_noise(pathwise, np.random.default_rng(k), (k, REPEATS))
        draws = log_weights(
            exact, np.repeat(params, REPEATS, axis=0), rows, noise, log_mean_exp if k > 1 else sample_mean
        )
        bounds[k] = draws.mean(), draws.std() / REPEATS**0.5
    return exact.model.evidence(x).item(), bounds


def disordered(evidence: float, bounds: dict[int, tuple[float, float]]) -> list[str]:
    """Where ELBO ≤ L_5 ≤ L_50 ≤ log p(x) fails by more than four standard errors."""
    ladder = [*bounds.items(), (0, (evidence, 0.0))]
    return [
        f"L_{k} = {low:.5f} is above {high:.5f}"
        for (k, (low, error)), (_, (high, other)) in pairwise(ladder)
        if low - high > 4 * (error**2 + other**2) ** 0.5
    ]


@every_model
def test_elbo_below_importance_weighted_below_evidence(exact: Exact) -> None:
    """ELBO < L_5 < L_50 ≤ log p(x), k = 1, 5, 50; fifty samples close most of the gap."""
    evidence, bounds = bounds_with_errors(exact)
    assert not disordered(evidence, bounds)
    gaps = [evidence - bound for bound, _ in bounds.values()]
    assert gaps[0] > 0.02
    assert gaps[1] < 0.7 * gaps[0]
    assert gaps[2] < 0.2 * gaps[0]


def test_an_evidence_that_is_too_low_is_noticed() -> None:
    """The negative control: with 0.2 nats too little, L_50 lies above."""
    for exact in EXACT[2::3]:
        evidence, bounds = bounds_with_errors(exact)
        assert disordered(evidence - 0.2, bounds), exact.name


@every_model
def test_the_posterior_is_where_the_prior_drew_from(exact: Exact) -> None:
    """If z, x are drawn from the model, P(Z ≤ z | x) is uniform: Kolmogorov and Smirnov on 5000 draws."""
    z, x = exact.model.draw(np.random.default_rng(3), 5000)
    levels = exact.model.posterior.cdf(exact.model.posterior_params(x), z)
    for level in levels.T:
        assert stats.kstest(level, "uniform").pvalue > 1e-3
    early = exact.model.posterior.cdf(exact.model.posterior_params(x) + np.array(exact.off), z)
    assert min(stats.kstest(level, "uniform").pvalue for level in early.T) < 1e-6  # the negative control


@every_model
def test_the_vae_draws_what_the_model_draws(exact: Exact) -> None:
    """Means of z and x, through the VAE's own prior and decoder, to four standard errors."""
    model, theta, count = exact.model.vae(), exact.model.theta, 20_000
    z, x = exact.model.draw(np.random.default_rng(4), count)
    own_z = model.draw_from_prior(theta, model.prior_noise(np.random.default_rng(5), count))
    for ours, theirs in ((own_z, z), (model.decode_mean(theta, own_z), x)):
        error = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / count)
        assert np.all(np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 4 * error)
