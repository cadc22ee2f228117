"""The Pareto distribution: a power law above a least value, with tails so heavy that moments may be infinite.

Derivations: ``derivations/pareto.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import halves, sum_to_shape
from numvae.distributions.contract import Support, greatest_positive
from numvae.distributions.noise import uniform_noise

__all__ = ["Pareto"]


@dataclass(frozen=True)
class Pareto:
    """Independent Pareto variables over the last axis: density shape scale^shape / z^(shape + 1) for z ≥ scale.

    ``params``: (..., 2Z) = [log_scale | log_shape], so that any output of a network is legal.  Values: (..., Z),
    positive.  log(z / scale) is an ``Exponential`` of rate shape.

    For shapes below some 0.05 (0.3 in single precision) a part of the law lies above the largest floating-point number;
    such samples are given as a number near it, and carry the gradient of the sample they stand for.
    The scale moves the lower end, so the score function is wrong by what leaves there   (pareto.10).

    >>> Pareto().mean(np.log([[2.0, 3.0]]))
    array([[3.]])
    """

    param_names = ("log_scale", "log_shape")
    params_per_value = 2
    discrete = False
    support: ClassVar[Support] = "positive"
    support_moves = True
    noise_kind = "uniform"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = scale (1 - noise)^(-1 / shape)   (pareto.1), the inverse of the CDF; pullback -> (dparams, None).

        Shapes: params (B, 2Z), noise and z (S, B, Z).  Source: Kingma and Welling, section 2.4 (inverse CDF).
        """
        log_scale, log_shape = halves(params)
        log_ratio = -np.log1p(-noise) * np.exp(-log_shape)
        greatest = math.log(greatest_positive(params.dtype))
        z = np.exp(np.minimum(log_scale + log_ratio, greatest))  # (pareto.1)
        z = np.maximum(z, np.exp(log_scale))  # exp may round past the end

        def pullback(dz: Array) -> tuple[Array, None]:
            dlog_z = dz * z
            dlog_scale = sum_to_shape(dlog_z, log_scale.shape)  # (pareto.2)
            dlog_shape = sum_to_shape(-dlog_z * log_ratio, log_shape.shape)
            return np.concatenate([dlog_scale, dlog_shape], axis=-1), None

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ log_shape - log value - shape log(value / scale) for values ≥ scale, -inf below   (pareto.3).

        Nats, summed over the last axis; pullback -> (dparams, dvalue).  A value below gives no gradient.
        """
        log_scale, log_shape = halves(params)
        scale, shape = np.exp(log_scale), np.exp(log_shape)
        inside = value >= scale
        within = np.where(inside, value, scale)
        log_value = np.log(within)
        log_ratio = log_value - log_scale
        terms = log_shape - log_value - shape * log_ratio
        log_density = np.sum(np.where(inside, terms, -math.inf), axis=-1)  # (pareto.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None] * inside
            dlog_scale = sum_to_shape(d * shape, log_scale.shape)  # (pareto.4)
            dlog_shape = sum_to_shape(d * (1 - shape * log_ratio), log_shape.shape)
            dvalue = -d * (shape + 1) / within
            return np.concatenate([dlog_scale, dlog_shape], axis=-1), sum_to_shape(dvalue, value.shape)

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ Δ + e^-Δ - 1 + shape_p log(scale_q / scale_p),  Δ = log(shape_q / shape_p)   (pareto.5).

        Where scale_q ≥ scale_p; otherwise infinite, and without gradient.  Nats, one per row.  The pullback returns
        (dparams, dprior_params).
        """
        (log_scale, log_shape), (prior_log_scale, prior_log_shape) = halves(params), halves(prior_params)
        difference = log_shape - prior_log_shape
        excess = np.expm1(-difference)
        prior_shape = np.exp(prior_log_shape)
        log_ratio = log_scale - prior_log_scale
        terms = difference + excess + prior_shape * log_ratio
        kl = np.sum(np.where(log_ratio >= 0, terms, math.inf), axis=-1)  # (pareto.5)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None] * (log_ratio >= 0)
            dlog_scale, dlog_shape = d * prior_shape, -d * excess  # (pareto.6)
            dprior_log_shape = d * (excess + prior_shape * log_ratio)
            dparams = [sum_to_shape(dlog_scale, log_scale.shape), sum_to_shape(dlog_shape, log_shape.shape)]
            dprior = [
                sum_to_shape(-dlog_scale, prior_log_scale.shape),
                sum_to_shape(dprior_log_shape, prior_log_shape.shape),
            ]
            return np.concatenate(dparams, axis=-1), np.concatenate(dprior, axis=-1)

        return kl, pullback

    def mean(self, params: Array) -> Array:
        """E[z] = scale shape / (shape - 1), infinite for shapes up to 1   (pareto.7)."""
        log_scale, log_shape = halves(params)
        finite = log_shape > 0
        less_one = np.expm1(np.where(finite, log_shape, 1))
        mean: Array = np.where(finite, np.exp(log_scale + log_shape) / less_one, math.inf)  # (pareto.7)
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation, mean / √(shape (shape - 2)), infinite for shapes up to 2."""
        log_shape = halves(params)[1]
        finite = log_shape > math.log(2)
        shape = np.exp(np.where(finite, log_shape, 2))
        less_two = 2 * np.expm1(np.where(finite, log_shape, 2) - math.log(2))
        std: Array = np.where(finite, self.mean(params) / np.sqrt(shape * less_two), math.inf)
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ log_scale - log_shape + 1 + 1 / shape   (pareto.8).  Nats."""
        log_scale, log_shape = halves(params)
        entropy: Array = np.sum(log_scale - log_shape + 1 + np.exp(-log_shape), axis=-1)  # (pareto.8)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, 1 - (scale / value)^shape for values ≥ scale   (pareto.9)."""
        log_scale, log_shape = halves(params)
        log_ratio = np.log(np.maximum(value, np.exp(log_scale))) - log_scale
        cdf: Array = -np.expm1(-np.exp(log_shape) * np.maximum(log_ratio, 0))  # (pareto.9)
        return cdf

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level: (pareto.1)."""
        return self.sample(params, level)[0]
