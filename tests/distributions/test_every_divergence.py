"""Every KL divergence of the table: against quadrature and Monte Carlo, zero at equality, never negative."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numvae.arrays import Array
from numvae.distributions.kl_table import kl_divergence
from tests.cases import DIVERGENCES, Argument, Divergence, Sizes
from tests.oracles import level_nodes, quantile

every_divergence = pytest.mark.parametrize("divergence", DIVERGENCES, ids=lambda divergence: divergence.id)
seeds = st.integers(0, 2**32 - 1)


def rows(argument: Argument, rng: np.random.Generator, count: int = 4) -> Array:
    """Rows of parameters of one coordinate."""
    return argument.draw(rng, (count, Sizes().shape(argument.shape)[1]), 1.0)


def drawn(divergence: Divergence, seed: int) -> tuple[Array, Array]:
    """Parameters of q and of p."""
    rng = np.random.default_rng(seed)
    return rows(divergence.q_params, rng), rows(divergence.p_params, rng)


def integral_over_levels(q: Any, p: Any) -> Array:
    """∫ log q - log p over the levels of q, in pieces: densities may have corners, Laplace's at its median."""
    lower, upper, weights = level_nodes()
    median = p.ppf(0.5)
    corner = np.clip(q.cdf(median), 1e-9, 1 - 1e-9) if hasattr(q, "cdf") else np.full_like(median, 0.5)
    own = getattr(q, "corner_level", 0.5)
    first, second = np.minimum(corner, own), np.maximum(corner, own)
    total = np.zeros(len(corner))
    for start, end in ((np.zeros_like(first), first), (first, second), (second, np.ones_like(second))):
        width = end - start
        z = quantile(q, start + width * lower, 1 - end + width * upper)
        total += (q.logpdf(z) - p.logpdf(z)) @ weights * width[:, 0]
    return total


def by_integral(divergence: Divergence, params: Array, prior: Array) -> Array:
    """∫ log q(F⁻¹(u)) - log p(F⁻¹(u)) du over the levels of q, or the sum over its values: what a KL is."""
    q, p = divergence.q_oracle(params), divergence.p_oracle(prior)
    if not divergence.q.discrete:
        return integral_over_levels(q, p)
    values = np.arange(0, int(q.isf(1e-15).max()) + 20)
    log_q, log_p = q.logpmf(values), p.logpmf(values)
    log_ratio = np.subtract(log_q, log_p, out=np.zeros_like(log_q), where=log_q > -700)
    total: Array = np.sum(np.exp(log_q) * log_ratio, axis=-1)
    return total


@every_divergence
@settings(max_examples=8)
@given(seed=seeds)
def test_kl_is_its_integral(divergence: Divergence, seed: int) -> None:
    """Over the levels of q, or over its values; never negative."""
    params, prior = drawn(divergence, seed)
    found, _ = kl_divergence(divergence.q, divergence.p)(params, prior)
    np.testing.assert_allclose(found, by_integral(divergence, params, prior), rtol=1e-8, atol=1e-8)
    assert (found > -1e-12).all()


@every_divergence
def test_kl_is_its_mean_over_samples(divergence: Divergence) -> None:
    """Within four standard errors, by the families' own samples and densities."""
    params, prior = drawn(divergence, 0)
    rng = np.random.default_rng(1)
    z, _ = divergence.q.sample(params, divergence.q.noise(rng, (50_000, len(params), 1)))
    log_ratio = divergence.q.log_prob(params, z)[0] - divergence.p.log_prob(prior, z)[0]
    found, _ = kl_divergence(divergence.q, divergence.p)(params, prior)
    error = log_ratio.std(axis=0) / np.sqrt(len(z))
    np.testing.assert_array_less(np.abs(log_ratio.mean(axis=0) - found), 4 * error + 1e-11)


@pytest.mark.parametrize("divergence", [d for d in DIVERGENCES if d.q == d.p], ids=lambda divergence: divergence.id)
@settings(max_examples=8)
@given(seed=seeds)
def test_kl_is_zero_at_equality_with_zero_gradient(divergence: Divergence, seed: int) -> None:
    params = rows(divergence.q_params, np.random.default_rng(seed))
    kl, pullback = kl_divergence(divergence.q, divergence.p)(params, params.copy())
    np.testing.assert_allclose(kl, 0, atol=1e-12)
    if getattr(divergence.q, "support_moves", False):
        return  # KL is finite on one side alone, and has a corner there
    for gradient in pullback(np.ones_like(kl)):
        np.testing.assert_allclose(gradient, 0, atol=1e-11)
