"""Every estimator on every latent of the parameter file: unbiased where it claims to be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae.adaptation import is_adaptive
from numvae.arrays import Array, Pullback
from numvae.distributions.catalogue import POSTERIORS
from numvae.distributions.contract import params_size
from numvae.errors import InputError
from numvae.estimators import claims_of, draw_noise, pathwise, sample_mean
from numvae.estimators.catalogue import ESTIMATORS

LATENTS, ROWS = 3, 4000
WEIGHTS = np.array([1.0, -0.7, 0.5])


def cost(params: Array, z: Array) -> tuple[Array, Pullback]:
    """f = s² + sin s with s = Σ w tanh(z - ½): bounded, with all moments even under a Cauchy."""
    t = np.tanh(z - 0.5)
    s = t @ WEIGHTS

    def pullback(d: Array) -> tuple[float, Array, None]:
        return 0.0, (d * (2 * s + np.cos(s)))[..., None] * WEIGHTS * (1 - t * t), None

    return s * s + np.sin(s), pullback


def estimates(estimator: Any, q: Any, params: Array, rng: np.random.Generator) -> Array:
    """One estimate of four samples for each row."""
    if is_adaptive(estimator):
        eta = estimator.start(params, params, LATENTS, rng=rng)
        estimator = estimator.at(eta + 0.3 * rng.standard_normal(eta.shape))
    noise = draw_noise(estimator, q, rng, (4, len(params), LATENTS))
    _, pullback = estimator(q, params, noise, cost, sample_mean)
    dparams: Array = pullback(np.ones(len(params)))[0]
    return dparams


@pytest.mark.parametrize("name", POSTERIORS)
def test_estimators_agree_with_the_pathwise_one(name: str) -> None:
    """To within 4.5 standard errors for some thirty estimators and up to nine parameters."""
    q, rng = POSTERIORS[name], np.random.default_rng(7)
    params = np.repeat(0.3 * rng.standard_normal((1, params_size(q, LATENTS))), ROWS, axis=0)
    reference = estimates(pathwise, q, params, rng)
    for each, estimator in ESTIMATORS.items():
        claims = claims_of(estimator)
        if not claims.cover(q) or not claims.unbiased:
            continue
        try:
            found = estimates(estimator, q, params, rng)
        except InputError:  # it wants more of f or of q than there is here
            continue
        error = np.sqrt((found.var(axis=0) + reference.var(axis=0)) / ROWS)
        distance = np.abs(found.mean(axis=0) - reference.mean(axis=0))
        assert (distance < 4.5 * error + 1e-12).all(), (each, distance / error)
