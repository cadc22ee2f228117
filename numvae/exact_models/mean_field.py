"""Mean field by coordinate ascent, where it exists: a factorised normal q for the posterior of a linear model.

Each coordinate's best factor is found in closed form with the others held, one after the other, round and round: the
way of fitting q before there were gradient estimators.  Derivations: ``derivations/mean_field.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from numvae.arrays import Array
from numvae.distributions.broadcasting import halves
from numvae.distributions.normal import LOG_2PI, Normal
from numvae.exact_models.linear_gaussian import LinearGaussian

__all__ = ["coordinate_ascent", "coordinate_update", "mean_field_bound", "mean_field_gap", "mean_field_optimum"]


def mean_field_bound(model: LinearGaussian, params: Array, x: Array) -> Array:
    """The ELBO of q = N(mean, diag(std²)), in closed form, (B,)   (mean_field.1).

    params (B, 2Z) = [mean | log_std], x (B, D).  Nats.
    """
    mean, log_std = halves(params)
    residual = x - model.b - mean @ model.W
    spread = np.exp(2 * log_std) @ (model.W * model.W)
    log_beta = np.broadcast_to(np.log(model.beta), model.b.shape)
    log_likelihood = 0.5 * np.sum(log_beta - LOG_2PI - model.beta * (residual * residual + spread), axis=-1)
    latents = len(model.W)
    prior = np.repeat([[0.0, -0.5 * math.log(model.alpha)]], latents, axis=-1)
    bound: Array = log_likelihood - Normal().kl(params, prior)[0]  # (mean_field.1)
    return bound


def coordinate_update(model: LinearGaussian, params: Array, x: Array, latent: int) -> Array:
    """``params`` with the factor of one latent replaced by the best one for the others.

    log q_j = E over the other factors of log p(x, z), plus a constant   (mean_field.2): here a normal   (mean_field.3).
    """
    precision, exact = model.precision, model.posterior_mean(x)
    mean, log_std = (half.copy() for half in halves(params))
    pull = (mean - exact) @ precision[:, latent] - (mean - exact)[:, latent] * precision[latent, latent]
    mean[:, latent] = exact[:, latent] - pull / precision[latent, latent]  # (mean_field.3)
    log_std[:, latent] = -0.5 * math.log(precision[latent, latent])
    return np.concatenate([mean, log_std], axis=-1)


def coordinate_ascent(model: LinearGaussian, x: Array) -> Iterator[Array]:
    """The params (B, 2Z) of the prior, and what each further sweep over the latents makes of them, without end.

    The bound never falls, and the params tend to ``mean_field_optimum``.
    """
    latents = len(model.W)
    params: Array = np.zeros((len(x), 2 * latents))
    params[:, latents:] = -0.5 * math.log(model.alpha)
    while True:
        yield params
        for latent in range(latents):
            params = coordinate_update(model, params, x, latent)


def mean_field_optimum(model: LinearGaussian, x: Array) -> Array:
    """Where coordinate ascent ends: the posterior's mean, and variances 1 / diag(precision)   (mean_field.4).

    Those are the variances of each latent with the others *known*, smaller than the posterior's own.
    """
    log_std = -0.5 * np.log(np.diag(model.precision))
    mean = model.posterior_mean(x)
    return np.concatenate([mean, np.broadcast_to(log_std, mean.shape)], axis=-1)  # (mean_field.4)


def mean_field_gap(model: LinearGaussian) -> float:
    """log p(x) - bound at the optimum: ½ (Σ log precision_jj - log |precision|), for every x   (mean_field.5)."""
    precision = model.precision
    return float(0.5 * (np.sum(np.log(np.diag(precision))) - np.linalg.slogdet(precision)[1]))  # (mean_field.5)
