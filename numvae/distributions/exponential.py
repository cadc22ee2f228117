"""The exponential distribution: the simplest latent that is positive, and the paper's first example of an inverse CDF.

Derivations: ``derivations/exponential.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import sum_to_shape
from numvae.distributions.contract import Support
from numvae.distributions.noise import positive_level, uniform_noise

__all__ = ["Exponential"]


@dataclass(frozen=True)
class Exponential:
    """Independent waiting times with rate exp(log_rate) over the last axis.

    ``params``: (..., Z) = log_rate: any real number is legal.  Values: (..., Z), positive.

    >>> Exponential().kl(np.array([[0.0]]), np.array([[np.log(2.0)]]))[0]  # 1 - log 2
    array([0.30685282])
    """

    param_names = ("log_rate",)
    params_per_value = 1
    discrete = False
    support: ClassVar[Support] = "positive"
    noise_kind = "uniform"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = -log(1 - noise) / rate   (exponential.1), the inverse of the CDF; pullback -> (dparams, None).

        Shapes: params (B, Z), noise and z (S, B, Z).  A noise of 0 counts as half a step of the generator, so that z
        is positive.  Source: Kingma and Welling, section 2.4 (inverse CDF).
        """
        z = -np.log1p(-positive_level(noise)) * np.exp(-params)  # (exponential.1)
        return z, lambda dz: (sum_to_shape(-dz * z, params.shape), None)  # (exponential.2)

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ log_rate - rate value   (exponential.3), for values ≥ 0; pullback -> (dparams, dvalue).

        Nats, summed over the last axis.
        """
        rate = np.exp(params)
        scaled = rate * value
        log_density = np.sum(params - scaled, axis=-1)  # (exponential.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            dlog_rate = d * (1 - scaled)  # (exponential.4)
            return sum_to_shape(dlog_rate, params.shape), sum_to_shape(-d * rate, value.shape)

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ log(rate_q / rate_p) + rate_p / rate_q - 1   (exponential.5).

        Nats, one per row.  The pullback returns (dparams, dprior_params).
        """
        difference = params - prior_params
        excess = np.expm1(-difference)
        kl = np.sum(difference + excess, axis=-1)  # (exponential.5)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            ddifference = -dkl[..., None] * excess  # (exponential.6)
            return sum_to_shape(ddifference, params.shape), sum_to_shape(-ddifference, prior_params.shape)

        return kl, pullback

    def mean(self, params: Array) -> Array:
        """E[z] = 1 / rate   (exponential.7)."""
        mean: Array = np.exp(-params)  # (exponential.7)
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation, 1 / rate as well."""
        return self.mean(params)

    def entropy(self, params: Array) -> Array:
        """H = Σ 1 - log_rate   (exponential.8).  Nats; negative for rates above e."""
        entropy: Array = np.sum(1 - params, axis=-1)  # (exponential.8)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, 1 - exp(-rate value)   (exponential.9)."""
        cdf: Array = -np.expm1(-np.exp(params) * np.maximum(value, 0))  # (exponential.9)
        return cdf

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level: (exponential.1)."""
        quantile: Array = -np.log1p(-level) * np.exp(-params)
        return quantile
