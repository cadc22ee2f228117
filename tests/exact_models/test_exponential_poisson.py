"""The exponential latent with counts: quadrature against the closed form, and what an exponential q loses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from numvae import VAE, Activation, Chain, Dense, elbo, layers
from numvae.arrays import Array
from numvae.distributions import Exponential
from numvae.errors import InputError
from numvae.exact_models import ExponentialPoisson
from tests.exact_models.ascent import ascend

MODEL = ExponentialPoisson(features=3, rate=0.5)
ROWS = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 3.0], [9.0, 12.0, 4.0]])
LEVELS = (np.arange(4000) + 0.5) / 4000  # noise as a midpoint rule: E[log z] to 1e-4


def exponential_vae() -> tuple[VAE, Array]:
    """The review's model: an exponential q, its log-rate -log(x W + b) + c; with the weights of the best one."""
    encoder = Chain((Dense(3, 1), Activation(layers.log), Dense(1, 1)))
    model = replace(MODEL.vae(), encoder=encoder, posterior=Exponential())
    theta = np.zeros(model.layout.size)
    weights = dict(model.layout.leaves(theta))
    weights["encoder.1.W"][...] = 1
    weights["encoder.1.b"][...] = 1
    weights["encoder.3.W"][...] = -1
    weights["encoder.3.b"][...] = np.log(MODEL.rate + 3)
    weights["decoder.2.W"][...] = 1
    return model, theta


def bound_of(params: Array, x: Array) -> Array:
    """The ELBO of an exponential q at any params, by the midpoint rule."""
    model, theta = exponential_vae()
    constant = replace(model, encoder=Dense(3, 1))
    flat = np.concatenate([np.zeros(3), params.ravel(), model.layout.views(theta)["decoder"]])
    return elbo(constant, flat, x, np.repeat(LEVELS[:, None, None], len(x), axis=1))[0]


@pytest.mark.parametrize("rate", [1e-3, 0.5, 1.0, 1e3])
@pytest.mark.parametrize("scale", [1, 100, 10_000])
def test_quadrature_agrees_with_the_closed_form(rate: float, scale: int) -> None:
    """(exponential_poisson.2) against (gamma_poisson.3), for counts up to a hundred thousand."""
    model = ExponentialPoisson(3, rate)
    np.testing.assert_allclose(model.evidence(scale * ROWS), model.conjugate.evidence(scale * ROWS), rtol=1e-11)


def test_one_count_is_geometric() -> None:
    """P(x) = rate / (1 + rate)^(x + 1)   (exponential_poisson.1)."""
    counts = np.arange(20.0)
    evidence = ExponentialPoisson(1, rate=0.5).evidence(counts[:, None])
    np.testing.assert_allclose(evidence, np.log(0.5) - (counts + 1) * np.log(1.5), rtol=1e-12)


def test_the_best_exponential_has_the_posteriors_mean_and_the_gap_in_closed_form() -> None:
    """(exponential_poisson.3), (exponential_poisson.4): nothing is lost without counts, something with them."""
    params = MODEL.best_exponential_params(ROWS)
    np.testing.assert_allclose(Exponential().mean(params), MODEL.posterior.mean(MODEL.posterior_params(ROWS)))
    gap = MODEL.exponential_gap(ROWS)
    assert gap[0] == pytest.approx(0, abs=1e-15)
    assert np.all(np.diff(gap) > 0.05)
    for row, param, lost in zip(ROWS[:, None], params, gap, strict=True):
        at_best = bound_of(param, row)
        np.testing.assert_allclose(MODEL.evidence(row) - at_best, lost, atol=1e-2)
        for moved in (param - 0.1, param + 0.1):
            assert bound_of(moved, row) < at_best


def test_a_vae_with_an_exponential_q_learns_it() -> None:
    """Its encoder moved away, the decoder held: back to the best rates, and the ELBO the gap below the evidence."""
    model, best = exponential_vae()
    _, x = MODEL.draw(np.random.default_rng(0), 20)
    start, moving = best.copy(), np.zeros_like(best)
    dict(model.layout.leaves(start))["encoder.3.W"][...] = -0.5
    dict(model.layout.leaves(start))["encoder.3.b"][...] = 0.0
    model.layout.views(moving)["encoder"][...] = 1
    noise = np.repeat(LEVELS[::10, None, None], len(x), axis=1)
    theta = ascend(lambda theta: elbo(model, theta, x, noise), start, steps=600, step_size=0.03, moving=moving)
    np.testing.assert_allclose(model.encode(theta, x), MODEL.best_exponential_params(x), atol=0.02)
    bound, _ = elbo(model, theta, x, np.repeat(LEVELS[:, None, None], len(x), axis=1))
    np.testing.assert_allclose(bound.mean(), np.mean(MODEL.evidence(x) - MODEL.exponential_gap(x)), atol=1e-2)


def test_what_is_not_positive_is_refused() -> None:
    with pytest.raises(InputError, match="must be positive"):
        ExponentialPoisson(3, rate=0.0)
