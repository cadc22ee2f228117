"""The Gumbel distribution: the law of the largest of very many.

Derivations: ``derivations/gumbel.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import halves, sum_to_shape
from numvae.distributions.contract import Support
from numvae.distributions.noise import positive_level, uniform_noise

__all__ = ["Gumbel"]

STD = math.pi / math.sqrt(6)


@dataclass(frozen=True)
class Gumbel:
    """Independent Gumbel variables (of maxima) over the last axis.

    ``params``: (..., 2Z) = [location | log_scale]: any real numbers are legal.  Values: (..., Z).  The lower tail
    falls off doubly exponentially: some 700 scales below the location (88 in single precision) the log-density itself
    leaves the range of floating-point numbers, and so does a KL to a prior whose scale is 170 (35) times narrower.

    >>> Gumbel().mean(np.array([[1.0, 0.0]]))
    array([[1.57721566]])
    """

    param_names = ("location", "log_scale")
    params_per_value = 2
    discrete = False
    support: ClassVar[Support] = "reals"
    noise_kind = "uniform"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = location - scale log(-log noise)   (gumbel.1), the inverse of the CDF; pullback -> (dparams, None).

        Shapes: params (B, 2Z), noise and z (S, B, Z).  A noise of 0 counts as half a step of the generator.
        Source: Kingma and Welling, section 2.4 (inverse CDF).
        """
        location, log_scale = halves(params)
        deviation = -np.exp(log_scale) * np.log(-np.log(positive_level(noise)))
        z = location + deviation  # (gumbel.1)

        def pullback(dz: Array) -> tuple[Array, None]:
            dlocation = sum_to_shape(dz, location.shape)  # (gumbel.2)
            dlog_scale = sum_to_shape(dz * deviation, log_scale.shape)
            return np.concatenate([dlocation, dlog_scale], axis=-1), None

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ -log_scale - r - exp(-r), r = (value - location) / scale   (gumbel.3).

        Nats, summed over the last axis; pullback -> (dparams, dvalue).
        """
        location, log_scale = halves(params)
        inverse_scale = np.exp(-log_scale)
        standardized = (value - location) * inverse_scale
        excess = np.expm1(-standardized)
        log_density = np.sum(-log_scale - standardized - 1 - excess, axis=-1)  # (gumbel.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            dvalue = d * excess * inverse_scale  # (gumbel.4)
            dlog_scale = -d * (1 + standardized * excess)
            dparams = [sum_to_shape(-dvalue, location.shape), sum_to_shape(dlog_scale, log_scale.shape)]
            return np.concatenate(dparams, axis=-1), sum_to_shape(dvalue, value.shape)

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ -log ρ + γ (ρ - 1) + δ + Γ(1 + ρ) exp(-δ) - 1   (gumbel.5).

        ρ = scale_q / scale_p and δ = (location_q - location_p) / scale_p; γ is Euler's constant.  Nats, one per row.
        The pullback returns (dparams, dprior_params).
        """
        from scipy.special import gammaln, psi

        (location, log_scale), (prior_location, prior_log_scale) = halves(params), halves(prior_params)
        log_ratio, inverse_scale = log_scale - prior_log_scale, np.exp(-prior_log_scale)
        ratio, distance = np.exp(log_ratio), (location - prior_location) * inverse_scale
        excess = np.expm1(gammaln(1 + ratio) - distance)
        terms = np.euler_gamma * (ratio - 1) - log_ratio + distance + excess  # (gumbel.5)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None]
            dlocation = -d * excess * inverse_scale  # (gumbel.6)
            dlog_scale = d * (ratio * (np.euler_gamma + (1 + excess) * psi(1 + ratio)) - 1)
            dprior_log_scale = d * distance * excess - dlog_scale
            dparams = [sum_to_shape(dlocation, location.shape), sum_to_shape(dlog_scale, log_scale.shape)]
            dprior = [
                sum_to_shape(-dlocation, prior_location.shape),
                sum_to_shape(dprior_log_scale, prior_log_scale.shape),
            ]
            return np.concatenate(dparams, axis=-1), np.concatenate(dprior, axis=-1)

        return np.sum(terms, axis=-1), pullback

    def mean(self, params: Array) -> Array:
        """E[z] = location + γ scale   (gumbel.7), γ = 0.5772… Euler's constant."""
        location, log_scale = halves(params)
        mean: Array = location + np.euler_gamma * np.exp(log_scale)  # (gumbel.7)
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation, π / √6 times the scale."""
        std: Array = STD * np.exp(halves(params)[1])
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ log_scale + γ + 1   (gumbel.8).  Nats."""
        entropy: Array = np.sum(halves(params)[1] + (np.euler_gamma + 1), axis=-1)  # (gumbel.8)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, exp(-exp(-(value - location) / scale))   (gumbel.9)."""
        location, log_scale = halves(params)
        standardized = (value - location) * np.exp(-log_scale)
        cdf: Array = np.exp(-np.exp(np.minimum(-standardized, 10.0)))  # (gumbel.9): exp(-exp(10)) is 0 already
        return cdf

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level, for levels in (0, 1): (gumbel.1)."""
        location, log_scale = halves(params)
        quantile: Array = location - np.exp(log_scale) * np.log(-np.log(level))
        return quantile
