"""The log-normal distribution: a positive number whose logarithm is normal.

Derivations: ``derivations/log_normal.md``.
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
from numvae.distributions.noise import normal_noise
from numvae.distributions.normal import Normal

__all__ = ["LogNormal"]


@dataclass(frozen=True)
class LogNormal:
    """Independent variables over the last axis, log z ~ N(mean, exp(2 log_std)).

    ``params``: (..., 2Z) = [mean | log_std] of log z, so that any output of a network is legal.  Values: (..., Z),
    positive.

    With a |mean| + 8 std beyond 680 (65 in float32) a sample may leave the floating-point range.  It is then given as
    the smallest or the largest positive sample, and carries the gradient of a sample there.

    >>> LogNormal().mean(np.array([[0.0, 0.0]]))  # not e^0: the long tail pulls it up to √e
    array([[1.64872127]])
    """

    param_names = ("mean", "log_std")
    params_per_value = 2
    discrete = False
    support: ClassVar[Support] = "positive"
    noise_kind = "normal"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Standard normal noise of the values' shape."""
        return normal_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = exp(mean + exp(log_std) noise)   (log_normal.1); pullback -> (dparams, None).

        Shapes: params (B, 2Z), noise and z (S, B, Z).  Source: Kingma and Welling, section 2.4 (composition).
        """
        log_z, normal_pullback = Normal().sample(params, noise)
        least, greatest = math.log(least_positive(log_z.dtype)), math.log(greatest_positive(log_z.dtype))
        z = np.exp(np.clip(log_z, least, greatest))  # (log_normal.1)
        return z, lambda dz: normal_pullback(dz * z)  # (log_normal.2)

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = log N(log value) - Σ log value   (log_normal.3), for values > 0; pullback -> (dparams, dvalue).

        Nats, summed over the last axis.
        """
        log_value = np.log(value)
        log_normal, normal_pullback = Normal().log_prob(params, log_value)
        log_density = log_normal - np.sum(log_value, axis=-1)  # (log_normal.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            dparams, dlog_value = normal_pullback(dlog_density)
            dvalue = (dlog_value - sum_to_shape(dlog_density[..., None], value.shape)) / value  # (log_normal.4)
            return dparams, dvalue

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) is that of the logarithms, (normal.5)   (log_normal.5).  Nats, one per row.

        The pullback returns (dparams, dprior_params).
        """
        return Normal().kl(params, prior_params)  # (log_normal.5)

    def mean(self, params: Array) -> Array:
        """E[z] = exp(mean + ½ std²)   (log_normal.6)."""
        mean, log_std = halves(params)
        expected: Array = np.exp(mean + 0.5 * np.exp(2 * log_std))  # (log_normal.6)
        return expected

    def std(self, params: Array) -> Array:
        """Standard deviation, exp(mean + std²) √(1 - exp(-std²))   (log_normal.7)."""
        mean, log_std = halves(params)
        variance = np.exp(2 * log_std)
        std: Array = np.exp(mean + variance) * np.sqrt(-np.expm1(-variance))  # (log_normal.7)
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ mean + log_std + ½ log 2πe   (log_normal.8).  Nats."""
        mean, _ = halves(params)
        entropy: Array = np.sum(mean, axis=-1) + Normal().entropy(params)  # (log_normal.8)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, Φ((log value - mean) / std)   (log_normal.9); 0 for values that are not > 0."""
        positive = value > 0
        log_value = np.log(np.where(positive, value, 1))
        return np.where(positive, Normal().cdf(params, log_value), 0)  # (log_normal.9)

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level, exp(mean + std Φ⁻¹(level))   (log_normal.10)."""
        from scipy.special import ndtri

        mean, log_std = halves(params)
        quantile: Array = np.exp(mean + np.exp(log_std) * ndtri(level))  # (log_normal.10)
        return quantile
