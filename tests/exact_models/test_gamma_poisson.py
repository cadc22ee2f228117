"""Counts of an unknown rate: against quadrature and the negative binomial, and q learned row by row."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from numvae import pathwise, sample_mean
from numvae.errors import InputError
from numvae.estimators.sticking_the_landing import sticking_the_landing
from numvae.exact_models import GammaPoisson
from numvae.objectives import MonteCarloIntegrand
from tests.exact_models.ascent import ascend


@pytest.mark.parametrize(("shape", "rate"), [(2.5, 0.8), (0.3, 3.0), (40.0, 10.0)])
def test_evidence_is_the_integral(shape: float, rate: float) -> None:
    """(gamma_poisson.1), (gamma_poisson.3), by a quadrature that knows no closed form."""
    model = GammaPoisson(3, shape, rate)
    x = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 4.0], [7.0, 9.0, 2.0]])
    log_z = np.linspace(-400, 20, 400_001)  # the trapezoidal rule in log z, finer and wider than needed
    z = np.exp(log_z)
    log_prior = shape * np.log(rate) - special.gammaln(shape) + shape * log_z - rate * z
    for row, evidence in zip(x, model.evidence(x), strict=True):
        log_terms = log_prior + special.xlogy(row.sum(), z) - 3 * z - special.gammaln(row + 1).sum()
        assert evidence == pytest.approx(special.logsumexp(log_terms) + np.log(420 / 400_000), rel=1e-11)


def test_one_count_is_negative_binomial() -> None:
    """(gamma_poisson.3) with D = 1, against scipy."""
    counts = np.arange(30.0)
    evidence = GammaPoisson(1, shape=2.5, rate=0.8).evidence(counts[:, None])
    np.testing.assert_allclose(evidence, stats.nbinom(2.5, 0.8 / 1.8).logpmf(counts), rtol=1e-12)


def test_posterior_is_proportional_to_the_joint() -> None:
    """(gamma_poisson.2): joint over posterior is the evidence at every z."""
    model, x = GammaPoisson(3, shape=2.5, rate=0.8), np.array([[1.0, 0.0, 4.0]])
    z = np.array([[0.1], [1.0], [5.0]])
    log_joint = stats.gamma(2.5, scale=1 / 0.8).logpdf(z[:, 0]) + stats.poisson(z).logpmf(x).sum(axis=-1)
    log_posterior, _ = model.posterior.log_prob(model.posterior_params(x), z)
    np.testing.assert_allclose(log_joint - log_posterior, model.evidence(x).item(), rtol=1e-12)


def test_q_learned_row_by_row_is_the_posterior() -> None:
    """Free parameters for each row, from the prior, by the pathwise gradient: to rounding, since at the posterior no
    draw has a path derivative   (gamma_poisson.2), (gamma_poisson.4).
    """
    exact = GammaPoisson(3, shape=2.0, rate=1.0)
    _, x = exact.draw(np.random.default_rng(0), 6)
    f, rng = MonteCarloIntegrand(exact.vae(), exact.theta, x), np.random.default_rng(1)

    def bound(params: np.ndarray) -> object:
        noise = exact.posterior.noise(rng, (2, 6, 1))
        return sticking_the_landing(exact.posterior, params, noise, f, sample_mean)

    start = np.log(np.tile([2.0, 1.0], (6, 1)))
    params = ascend(bound, start, steps=1000, step_size=0.2)  # type: ignore[arg-type]
    np.testing.assert_allclose(params, exact.posterior_params(x), atol=1e-6)
    noise = exact.posterior.noise(rng, (1, 6, 1))
    learned, _ = pathwise(exact.posterior, params, noise, f, sample_mean)
    np.testing.assert_allclose(learned, exact.evidence(x), rtol=1e-6)


@pytest.mark.parametrize("numbers", [(0, 1.0, 1.0), (3, 0.0, 1.0), (3, 1.0, -1.0)], ids=["features", "shape", "rate"])
def test_what_is_not_positive_is_refused(numbers: tuple[int, float, float]) -> None:
    with pytest.raises(InputError, match="must be positive"):
        GammaPoisson(*numbers)
