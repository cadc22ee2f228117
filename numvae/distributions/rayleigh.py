"""The Rayleigh distribution: the length of a vector of two independent normal numbers.

Derivations: ``derivations/rayleigh.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import sum_to_shape
from numvae.distributions.contract import Support
from numvae.distributions.noise import positive_level, uniform_noise

__all__ = ["Rayleigh"]

MEAN = math.sqrt(math.pi / 2)
STD = math.sqrt(2 - math.pi / 2)
ENTROPY = 1 + np.euler_gamma / 2 - math.log(2) / 2


@dataclass(frozen=True)
class Rayleigh:
    """Independent Rayleigh variables over the last axis; their scale is the standard deviation of the two normals.

    ``params``: (..., Z) = log_scale: any real number is legal.  Values: (..., Z), positive.

    >>> Rayleigh().mean(np.array([[0.0]]))  # √(π/2)
    array([[1.25331414]])
    """

    param_names = ("log_scale",)
    params_per_value = 1
    discrete = False
    support: ClassVar[Support] = "positive"
    noise_kind = "uniform"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = scale √(-2 log(1 - noise))   (rayleigh.1), the inverse of the CDF; pullback -> (dparams, None).

        Shapes: params (B, Z), noise and z (S, B, Z).  A noise of 0 counts as half a step of the generator, so that z
        is positive.  Source: Kingma and Welling, section 2.4 (inverse CDF).
        """
        z = np.exp(params) * np.sqrt(-2 * np.log1p(-positive_level(noise)))  # (rayleigh.1)
        return z, lambda dz: (sum_to_shape(dz * z, params.shape), None)  # (rayleigh.2)

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ log value - 2 log_scale - ½ (value / scale)²   (rayleigh.3), for values > 0.

        Nats, summed over the last axis; pullback -> (dparams, dvalue).
        """
        standardized = value * np.exp(-params)
        squares = standardized * standardized
        log_density = np.sum(np.log(value) - 2 * params - 0.5 * squares, axis=-1)  # (rayleigh.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            dlog_scale, dvalue = d * (squares - 2), d * (1 - squares) / value  # (rayleigh.4)
            return sum_to_shape(dlog_scale, params.shape), sum_to_shape(dvalue, value.shape)

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ (scale_q / scale_p)² - 1 - 2 log(scale_q / scale_p)   (rayleigh.5).

        Nats, one per row.  The pullback returns (dparams, dprior_params).
        """
        twice = 2 * (params - prior_params)
        excess = np.expm1(twice)
        kl = np.sum(excess - twice, axis=-1)  # (rayleigh.5)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            dlog_scale = 2 * dkl[..., None] * excess  # (rayleigh.6)
            return sum_to_shape(dlog_scale, params.shape), sum_to_shape(-dlog_scale, prior_params.shape)

        return kl, pullback

    def mean(self, params: Array) -> Array:
        """E[z] = √(π/2) scale   (rayleigh.7)."""
        mean: Array = MEAN * np.exp(params)  # (rayleigh.7)
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation, √(2 - π/2) times the scale."""
        std: Array = STD * np.exp(params)
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ log_scale + 1 + ½ γ - ½ log 2   (rayleigh.8), γ = 0.5772… Euler's constant.  Nats."""
        entropy: Array = np.sum(params + ENTROPY, axis=-1)  # (rayleigh.8)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, 1 - exp(-½ (value / scale)²)   (rayleigh.9)."""
        standardized = np.maximum(value, 0) * np.exp(-params)
        cdf: Array = -np.expm1(-0.5 * standardized * standardized)  # (rayleigh.9)
        return cdf

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level: (rayleigh.1)."""
        quantile: Array = np.exp(params) * np.sqrt(-2 * np.log1p(-level))
        return quantile
