"""The logistic distribution: the law whose CDF is the sigmoid.

Derivations: ``derivations/logistic.md``.
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

__all__ = ["Logistic"]

LOG_4 = math.log(4)
STD = math.pi / math.sqrt(3)


@dataclass(frozen=True)
class Logistic:
    """Independent logistic variables over the last axis.

    ``params``: (..., 2Z) = [location | log_scale]: any real numbers are legal.  Values: (..., Z).  The KL between two
    logistics has no simple form; the paper's estimator A needs none.

    >>> Logistic().cdf(np.array([[0.0, 0.0]]), np.array([[np.log(3.0)]]))
    array([[0.75]])
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
        """z = location + scale log(noise / (1 - noise))   (logistic.1), the inverse of the CDF.

        Shapes: params (B, 2Z), noise and z (S, B, Z); pullback -> (dparams, None).  A noise of 0 counts as half a step
        of the generator.  Source: Kingma and Welling, section 2.4 (inverse CDF).
        """
        location, log_scale = halves(params)
        deviation = np.exp(log_scale) * _log_odds(positive_level(noise))
        z = location + deviation  # (logistic.1)

        def pullback(dz: Array) -> tuple[Array, None]:
            dlocation = sum_to_shape(dz, location.shape)  # (logistic.2)
            dlog_scale = sum_to_shape(dz * deviation, log_scale.shape)
            return np.concatenate([dlocation, dlog_scale], axis=-1), None

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ -log_scale - |r| + 2 log(1 + |tanh(r/2)|) - log 4, r = (value - location) / scale   (logistic.3).

        Nats, summed over the last axis; pullback -> (dparams, dvalue).  One tanh serves the value and its gradient.
        """
        location, log_scale = halves(params)
        inverse_scale = np.exp(-log_scale)
        standardized = (value - location) * inverse_scale
        tanh = np.tanh(0.5 * standardized)
        terms = 2 * np.log1p(np.abs(tanh)) - np.abs(standardized) - log_scale
        log_density = np.sum(terms, axis=-1) - LOG_4 * value.shape[-1]  # (logistic.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            dlocation = d * tanh * inverse_scale  # (logistic.4)
            dlog_scale = d * (standardized * tanh - 1)
            dparams = [sum_to_shape(dlocation, location.shape), sum_to_shape(dlog_scale, log_scale.shape)]
            return np.concatenate(dparams, axis=-1), sum_to_shape(-dlocation, value.shape)

        return log_density, pullback

    def mean(self, params: Array) -> Array:
        """E[z] = location."""
        return halves(params)[0]

    def std(self, params: Array) -> Array:
        """Standard deviation, π / √3 times the scale   (logistic.5)."""
        std: Array = STD * np.exp(halves(params)[1])  # (logistic.5)
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ log_scale + 2   (logistic.6).  Nats."""
        entropy: Array = np.sum(halves(params)[1] + 2, axis=-1)  # (logistic.6)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, sigmoid((value - location) / scale)   (logistic.7)."""
        from scipy.special import expit

        location, log_scale = halves(params)
        return np.asarray(expit((value - location) * np.exp(-log_scale)))  # (logistic.7)

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level, for levels in (0, 1): (logistic.1)."""
        location, log_scale = halves(params)
        return location + np.exp(log_scale) * _log_odds(level)


def _log_odds(level: Array) -> Array:
    """log(level / (1 - level)), the inverse of the sigmoid."""
    log_odds: Array = np.log(level) - np.log1p(-level)
    return log_odds
