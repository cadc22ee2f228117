"""The Laplace distribution: two exponentials back to back; as a likelihood, absolute errors in place of squared ones.

Derivations: ``derivations/laplace.md``.
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

__all__ = ["Laplace"]

LOG_2 = math.log(2)


@dataclass(frozen=True)
class Laplace:
    """Independent Laplace variables over the last axis, with density exp(-|value - location| / scale) / (2 scale).

    ``params``: (..., 2Z) = [location | log_scale], so that any output of a network is legal.  Values: (..., Z).
    The density has a corner at its location; the gradient given there is the middle one, 0.

    >>> Laplace().kl(np.array([[1.0, 0.0]]), np.array([[0.0, 0.0]]))[0]  # 1 / e
    array([0.36787944])
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
        """z = location + scale e(noise), e the inverse of the standard CDF   (laplace.1); pullback -> (dparams, None).

        Shapes: params (B, 2Z), noise and z (S, B, Z).  A noise of 0 counts as half a step of the generator.
        Source: Kingma and Welling, section 2.4 (location-scale).
        """
        location, log_scale = halves(params)
        scaled_noise = np.exp(log_scale) * standard_quantile(positive_level(noise))
        z = location + scaled_noise  # (laplace.1)

        def pullback(dz: Array) -> tuple[Array, None]:
            dlocation = sum_to_shape(dz, location.shape)  # (laplace.3)
            dlog_scale = sum_to_shape(dz * scaled_noise, log_scale.shape)
            return np.concatenate([dlocation, dlog_scale], axis=-1), None

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ -log 2 - log_scale - |value - location| / scale   (laplace.4); pullback -> (dparams, dvalue).

        Nats, summed over the last axis.
        """
        location, log_scale = halves(params)
        inverse_scale = np.exp(-log_scale)
        residual = value - location
        distance = np.abs(residual) * inverse_scale
        log_density = -np.sum(distance + log_scale, axis=-1) - LOG_2 * value.shape[-1]  # (laplace.4)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            dlocation = d * np.sign(residual) * inverse_scale  # (laplace.5)
            dlog_scale = d * (distance - 1)
            dparams = [sum_to_shape(dlocation, location.shape), sum_to_shape(dlog_scale, log_scale.shape)]
            return np.concatenate(dparams, axis=-1), sum_to_shape(-dlocation, value.shape)

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ ρ (e^-t + t) - log ρ - 1, ρ = scale_q / scale_p, t = |location_q - location_p| / scale_q.

        (laplace.6).  Nats, one per row.  The pullback returns (dparams, dprior_params).
        """
        (location, log_scale), (prior_location, prior_log_scale) = halves(params), halves(prior_params)
        difference, log_ratio = location - prior_location, log_scale - prior_log_scale
        ratio, t = np.exp(log_ratio), np.abs(difference) * np.exp(-log_scale)
        fall = np.expm1(-t)
        kl = np.sum(ratio * (fall + t) + np.expm1(log_ratio) - log_ratio, axis=-1)  # (laplace.6)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None]
            dlocation = -d * np.sign(difference) * fall * np.exp(-prior_log_scale)  # (laplace.7)
            dlog_scale = d * (ratio * (1 + fall) * (1 + t) - 1)
            dprior_log_scale = d * (1 - ratio * (1 + fall + t))
            dparams = [sum_to_shape(dlocation, location.shape), sum_to_shape(dlog_scale, log_scale.shape)]
            dprior = [
                sum_to_shape(-dlocation, prior_location.shape),
                sum_to_shape(dprior_log_scale, prior_log_scale.shape),
            ]
            return np.concatenate(dparams, axis=-1), np.concatenate(dprior, axis=-1)

        return kl, pullback

    def mean(self, params: Array) -> Array:
        """E[z] = location."""
        return halves(params)[0]

    def std(self, params: Array) -> Array:
        """Standard deviation, √2 scale   (laplace.8)."""
        std: Array = math.sqrt(2) * np.exp(halves(params)[1])  # (laplace.8)
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ 1 + log 2 + log_scale   (laplace.9).  Nats."""
        log_scale = halves(params)[1]
        entropy: Array = np.sum(log_scale, axis=-1) + (1 + LOG_2) * log_scale.shape[-1]  # (laplace.9)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate: ½ e^r below the location, 1 - ½ e^-r above   (laplace.10)."""
        location, log_scale = halves(params)
        r = (value - location) * np.exp(-log_scale)
        tail = 0.5 * np.exp(-np.abs(r))
        return np.where(r < 0, tail, 1 - tail)  # (laplace.10)

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level, for levels in (0, 1): (laplace.1) with the level for the noise."""
        location, log_scale = halves(params)
        quantile: Array = location + np.exp(log_scale) * standard_quantile(level)
        return quantile


def standard_quantile(level: Array) -> Array:
    """e(u) = log 2u for u ≤ ½, -log 2(1 - u) above   (laplace.2).

    The nearer end is what counts, so that both tails keep all digits.
    """
    nearer_end = np.minimum(level, 1 - level)
    quantile: Array = np.copysign(np.log(2 * nearer_end), level - 0.5)  # (laplace.2): up to its sign one formula
    return quantile
