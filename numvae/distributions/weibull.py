"""The Weibull distribution: a power of the exponential, on the whole positive line.

Derivations: ``derivations/weibull.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import halves, sum_to_shape
from numvae.distributions.contract import Support, greatest_positive, least_positive
from numvae.distributions.gumbel import Gumbel
from numvae.distributions.noise import positive_level, uniform_noise

__all__ = ["Weibull"]


@dataclass(frozen=True)
class Weibull:
    """Independent Weibull variables over the last axis.

    ``params``: (..., 2Z) = [log_scale | log_shape], so that any output of a network is legal.  Values: (..., Z),
    positive.  A shape of 1 is the exponential, a shape of 2 the Rayleigh, and -log z is a Gumbel variable.

    For shapes below some 0.05 (0.2 in single precision) the law leaves the range of floating-point numbers, mostly
    downwards.  Such samples are given as the smallest or the largest positive sample, 1e-304 or 1e298 (1e-34 or 1e28),
    and keep the derivatives of the logarithm they stand for.  Where (value / scale)^shape is above e^700 (e^88), the
    log-density is beyond that range; so is the KL to a prior of 170 (35) times the shape.

    >>> Weibull().kl(np.array([[0.0, 0.0]]), np.array([[np.log(2.0), 0.0]]))[0]  # that of exponentials: log 2 - 1/2
    array([0.19314718])
    """

    param_names = ("log_scale", "log_shape")
    params_per_value = 2
    discrete = False
    support: ClassVar[Support] = "positive"
    noise_kind = "uniform"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = scale (-log(1 - noise))^(1 / shape)   (weibull.1), the inverse of the CDF; pullback -> (dparams, None).

        Shapes: params (B, 2Z), noise and z (S, B, Z).  A noise of 0 counts as half a step of the generator.
        Source: Kingma and Welling, section 2.4 (inverse CDF).
        """
        log_scale, log_shape = halves(params)
        log_ratio = np.log(-np.log1p(-positive_level(noise))) * np.exp(-log_shape)
        least, greatest = math.log(least_positive(params.dtype)), math.log(greatest_positive(params.dtype))
        z = np.exp(np.clip(log_scale + log_ratio, least, greatest))  # (weibull.1)

        def pullback(dz: Array) -> tuple[Array, None]:
            dlog_z = dz * z
            dlog_scale = sum_to_shape(dlog_z, log_scale.shape)  # (weibull.2)
            dlog_shape = sum_to_shape(-dlog_z * log_ratio, log_shape.shape)
            return np.concatenate([dlog_scale, dlog_shape], axis=-1), None

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ log_shape + w - log value - exp(w), w = shape log(value / scale)   (weibull.3), for values > 0.

        Nats, summed over the last axis; pullback -> (dparams, dvalue).
        """
        log_scale, log_shape = halves(params)
        shape, log_value = np.exp(log_shape), np.log(value)
        log_power = shape * (log_value - log_scale)
        excess = np.expm1(log_power)
        log_density = np.sum(log_shape + log_power - log_value - 1 - excess, axis=-1)  # (weibull.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            dlog_scale = d * shape * excess  # (weibull.4)
            dlog_shape = d * (1 - log_power * excess)
            dvalue = -d * (shape * excess + 1) / value
            dparams = [sum_to_shape(dlog_scale, log_scale.shape), sum_to_shape(dlog_shape, log_shape.shape)]
            return np.concatenate(dparams, axis=-1), sum_to_shape(dvalue, value.shape)

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ -log ρ + γ (ρ - 1) + δ + Γ(1 + ρ) exp(-δ) - 1   (weibull.5), that of the Gumbel laws of -log z.

        ρ = shape_p / shape_q and δ = shape_p log(scale_p / scale_q); γ is Euler's constant.  Nats, one per row.  The
        pullback returns (dparams, dprior_params).
        """
        kl, gumbel_pullback = Gumbel().kl(-params, -prior_params)  # (weibull.5)
        return kl, lambda dkl: gumbel_pullback(-dkl)  # (weibull.6)

    def mean(self, params: Array) -> Array:
        """E[z] = scale Γ(1 + 1 / shape)   (weibull.7)."""
        from scipy.special import gammaln

        log_scale, log_shape = halves(params)
        mean: Array = np.exp(log_scale + gammaln(1 + np.exp(-log_shape)))  # (weibull.7)
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation, the mean times √(Γ(1 + 2 / shape) / Γ(1 + 1 / shape)² - 1)."""
        from scipy.special import gammaln

        inverse = np.exp(-halves(params)[1])
        log_moments = gammaln(1 + 2 * inverse) - 2 * gammaln(1 + inverse)
        std: Array = self.mean(params) * np.sqrt(np.expm1(log_moments))  # expm1: a large shape leaves a small variance
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ log_scale - log_shape + γ (1 - 1 / shape) + 1   (weibull.8), γ = 0.5772… Euler's constant.  Nats."""
        log_scale, log_shape = halves(params)
        terms = log_scale - log_shape + np.euler_gamma * (1 - np.exp(-log_shape)) + 1
        entropy: Array = np.sum(terms, axis=-1)  # (weibull.8)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, 1 - exp(-(value / scale)^shape)   (weibull.9)."""
        log_scale, log_shape = halves(params)
        ratio = np.maximum(value, 0) * np.exp(-log_scale)
        cdf: Array = -np.expm1(-(ratio ** np.exp(log_shape)))  # (weibull.9)
        return cdf

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level, for levels in (0, 1): (weibull.1)."""
        log_scale, log_shape = halves(params)
        quantile: Array = np.exp(log_scale + np.log(-np.log1p(-level)) * np.exp(-log_shape))
        return quantile
