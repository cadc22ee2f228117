"""The Cauchy distribution: tails so heavy that it has no mean, and yet a sample, a KL and an entropy in closed form.

Derivations: ``derivations/cauchy.md``.
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
from numvae.distributions.student_t import log_one_plus_square

__all__ = ["Cauchy"]

LOG_PI = math.log(math.pi)
LOG_4PI = math.log(4 * math.pi)


@dataclass(frozen=True)
class Cauchy:
    """Independent Cauchy variables over the last axis: the tangent of a uniform angle, scaled and moved.

    ``params``: (..., 2Z) = [location | log_scale]: any real numbers are legal.  Values: (..., Z).  It has neither a
    mean nor a standard deviation, so it offers none; location is the median, and half of the law lies within one scale
    of it.

    >>> Cauchy().kl(np.array([[3.0, 0.0]]), np.array([[0.0, 0.0]]))[0]  # log(1 + 9/4)
    array([1.178655])
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
        """z = location + scale tan(π (noise - ½))   (cauchy.1), the inverse of the CDF; pullback -> (dparams, None).

        Shapes: params (B, 2Z), noise and z (S, B, Z).  A noise of 0 counts as half a step of the generator.
        Source: Kingma and Welling, section 2.4 (inverse CDF).
        """
        location, log_scale = halves(params)
        deviation = np.exp(log_scale) * _tangent(positive_level(noise))
        z = location + deviation  # (cauchy.1)

        def pullback(dz: Array) -> tuple[Array, None]:
            dlocation = sum_to_shape(dz, location.shape)  # (cauchy.2)
            dlog_scale = sum_to_shape(dz * deviation, log_scale.shape)
            return np.concatenate([dlocation, dlog_scale], axis=-1), None

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ -log π - log_scale - log(1 + ((value - location) / scale)²)   (cauchy.3).

        Nats, summed over the last axis; pullback -> (dparams, dvalue).
        """
        location, log_scale = halves(params)
        inverse_scale = np.exp(-log_scale)
        standardized = (value - location) * inverse_scale
        log_sum, slope = log_one_plus_square(standardized)  # also where the square is above all numbers
        log_density = -np.sum(log_scale + log_sum, axis=-1) - LOG_PI * value.shape[-1]  # (cauchy.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            pull = 2 * d * slope
            dlocation = pull * inverse_scale  # (cauchy.4)
            dlog_scale = pull * standardized - d
            dparams = [sum_to_shape(dlocation, location.shape), sum_to_shape(dlog_scale, log_scale.shape)]
            return np.concatenate(dparams, axis=-1), sum_to_shape(-dlocation, value.shape)

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ log(((scale_q + scale_p)² + (location_q - location_p)²) / (4 scale_q scale_p))   (cauchy.5).

        Nats, one per row; the same in both directions.  The pullback returns (dparams, dprior_params).
        Source: Chyzak and Nielsen 2019.
        """
        (location, log_scale), (prior_location, prior_log_scale) = halves(params), halves(prior_params)
        log_ratio = log_scale - prior_log_scale
        inverse_width = 0.5 * np.exp(-0.5 * (log_scale + prior_log_scale))
        distance = (location - prior_location) * inverse_width
        sinh, squares = np.sinh(0.5 * log_ratio), distance * distance
        excess = sinh * sinh + squares
        kl = np.sum(np.log1p(excess), axis=-1)  # (cauchy.5)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None] / (1 + excess)
            dlocation = 2 * d * distance * inverse_width  # (cauchy.6)
            towards = 0.5 * np.sinh(log_ratio)
            dlog_scale, dprior_log_scale = d * (towards - squares), d * (-towards - squares)
            dparams = [sum_to_shape(dlocation, location.shape), sum_to_shape(dlog_scale, log_scale.shape)]
            dprior = [
                sum_to_shape(-dlocation, prior_location.shape),
                sum_to_shape(dprior_log_scale, prior_log_scale.shape),
            ]
            return np.concatenate(dparams, axis=-1), np.concatenate(dprior, axis=-1)

        return kl, pullback

    def entropy(self, params: Array) -> Array:
        """H = Σ log_scale + log 4π   (cauchy.7).  Nats."""
        log_scale = halves(params)[1]
        entropy: Array = np.sum(log_scale, axis=-1) + LOG_4PI * log_scale.shape[-1]  # (cauchy.7)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, the angle under which value is seen, over π   (cauchy.8)."""
        location, log_scale = halves(params)
        standardized = (value - location) * np.exp(-log_scale)
        cdf: Array = np.arctan2(np.ones_like(standardized), -standardized) / math.pi  # (cauchy.8)
        return cdf

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level, for levels in (0, 1): (cauchy.1)."""
        location, log_scale = halves(params)
        return location + np.exp(log_scale) * _tangent(level)


def _tangent(level: Array) -> Array:
    """tan(π (level - ½)), by the cotangent of the distance from the nearer end: exact in both tails   (cauchy.1)."""
    nearer = np.minimum(level, 1 - level)
    tangent: Array = np.sign(level - 0.5) / np.tan(math.pi * nearer)
    return tangent
