"""Factor analysis: the linear model with a noise for each feature, fitted by expectation and maximisation (EM).

Derivations: ``derivations/factor_analysis.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from numvae.arrays import Array
from numvae.exact_models.linear_gaussian import LinearGaussian
from numvae.exact_models.probabilistic_pca import probabilistic_pca

__all__ = ["em_step", "em_steps", "factor_analysis"]

MOST_STEPS = 10_000


def factor_analysis(x: Array, latents: int, *, tolerance: float = 1e-8, least_variance: float = 1e-6) -> LinearGaussian:
    """The model that EM reaches from the principal axes.  x: (N, D).  Source: Rubin and Thayer 1982.

    It stops where a step gains less than ``tolerance`` nats per row.  ``least_variance``, in units of each feature's
    own, is how small a noise may become: without it the likelihood of some data has no maximum (a Heywood case).

    >>> x = np.random.default_rng(0).standard_normal((500, 1)) * [1.0, 2.0, 3.0] + [5.0, 0.0, 0.0]
    >>> x += np.random.default_rng(1).standard_normal((500, 3)) * [0.1, 0.2, 0.3]
    >>> (factor_analysis(x, latents=1).beta ** -0.5).round(1)
    array([0.1, 0.2, 0.3])
    """
    steps = em_steps(probabilistic_pca(x, latents), x, least_variance=least_variance)
    for _, (before, after) in zip(range(MOST_STEPS), pairwise(steps), strict=False):
        gain = np.mean(after.evidence(x)) - np.mean(before.evidence(x))
        if gain < tolerance:
            break
    return after


def em_steps(model: LinearGaussian, x: Array, *, least_variance: float = 1e-6) -> Iterator[LinearGaussian]:
    """The model, and what each further step of EM makes of it, without end: the evidence never falls."""
    model = replace(model, b=x.mean(axis=0))
    while True:
        yield model
        model = em_step(model, x, least_variance=least_variance)


def em_step(model: LinearGaussian, x: Array, *, least_variance: float = 1e-6) -> LinearGaussian:
    """One step of EM: the W and the noise that are best for the posterior of the model as it is.

    The mean ``b`` stays: the data's own is the best, and ``em_steps`` begins there.
    """
    centred = x - model.b
    mean, covariance = model.posterior_mean(x), np.linalg.inv(model.precision)
    second = mean.T @ mean + len(x) * covariance  # Σ E[zᵀ z]   (factor_analysis.1)
    W = np.linalg.solve(second, mean.T @ centred)  # (factor_analysis.2)
    residual = centred - mean @ W
    variance = np.mean(residual * residual, axis=0) + np.sum(W * (covariance @ W), axis=0)  # (factor_analysis.3)
    return replace(model, W=W, beta=1 / np.maximum(variance, least_variance * np.var(x, axis=0)))
