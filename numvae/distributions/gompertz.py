"""The Gompertz distribution: a lifetime whose hazard grows exponentially.

Derivations: ``derivations/gompertz.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import halves, sum_to_shape
from numvae.distributions.contract import Support
from numvae.distributions.noise import positive_level, uniform_noise
from numvae.distributions.quadrature import unit_nodes

__all__ = ["Gompertz", "scaled_exp1"]

BORDER = 10.0
LEVELS = 30  # of the continued fraction: at BORDER it has all digits
NODES = 64
NEGLIGIBLE = 40.0  # e^-40 = 4e-18: where the integral of the second moment is cut off


@dataclass(frozen=True)
class Gompertz:
    """Independent Gompertz variables over the last axis, with hazard shape rate exp(rate z).

    ``params``: (..., 2Z) = [log_shape | log_rate], so that any output of a network is legal.  Values: (..., Z),
    positive.  For a large shape it is the exponential of rate shape times rate.  The standard deviation is an integral,
    taken to twelve digits for shapes from 1e-9 on.  The KL between two of them has no simple form.  Some 700 times
    1 / rate (88 in single precision) out, the log-density leaves the range of floating-point numbers.

    >>> Gompertz().cdf(np.array([[0.0, 0.0]]), np.log([[2.0]]))  # 1 - 1/e
    array([[0.63212056]])
    """

    param_names = ("log_shape", "log_rate")
    params_per_value = 2
    discrete = False
    support: ClassVar[Support] = "positive"
    noise_kind = "uniform"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = log(1 - log(1 - noise) / shape) / rate   (gompertz.1), the inverse of the CDF.

        Shapes: params (B, 2Z), noise and z (S, B, Z); pullback -> (dparams, None).  A noise of 0 counts as half a step
        of the generator, so that z is positive.  Source: Kingma and Welling, section 2.4 (inverse CDF).
        """
        log_shape, log_rate = halves(params)
        scale, exponential = np.exp(-log_rate), -np.log1p(-positive_level(noise))
        z = np.log1p(exponential * np.exp(-log_shape)) * scale  # (gompertz.1)

        def pullback(dz: Array) -> tuple[Array, None]:
            share = exponential / (exponential + np.exp(log_shape))
            dlog_shape = sum_to_shape(-dz * share * scale, log_shape.shape)  # (gompertz.2)
            return np.concatenate([dlog_shape, sum_to_shape(-dz * z, log_rate.shape)], axis=-1), None

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ log_shape + log_rate + rate value - shape (exp(rate value) - 1)   (gompertz.3), for values ≥ 0.

        Nats, summed over the last axis; pullback -> (dparams, dvalue).
        """
        log_shape, log_rate = halves(params)
        shape, rate = np.exp(log_shape), np.exp(log_rate)
        age = rate * value
        hazard = shape * np.expm1(age)
        log_density = np.sum(log_shape + log_rate + age - hazard, axis=-1)  # (gompertz.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            dage = d * (1 - shape - hazard)
            dlog_shape, dlog_rate = d * (1 - hazard), d + dage * age  # (gompertz.4)
            dparams = [sum_to_shape(dlog_shape, log_shape.shape), sum_to_shape(dlog_rate, log_rate.shape)]
            return np.concatenate(dparams, axis=-1), sum_to_shape(dage * rate, value.shape)

        return log_density, pullback

    def mean(self, params: Array) -> Array:
        """E[z] = exp(shape) E₁(shape) / rate   (gompertz.5), with the exponential integral E₁."""
        log_shape, log_rate = halves(params)
        mean: Array = scaled_exp1(np.exp(log_shape)) * np.exp(-log_rate)  # (gompertz.5)
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation, by the integral of the second moment   (gompertz.7)."""
        log_shape, log_rate = halves(params)
        shape = np.exp(log_shape)
        reach = np.log1p(NEGLIGIBLE / shape)
        second_moment = np.zeros_like(shape)
        for node, weight in unit_nodes(NODES):
            age = node * reach
            second_moment += 2 * weight * reach * age * np.exp(-shape * np.expm1(age))  # (gompertz.7)
        std: Array = np.sqrt(second_moment - scaled_exp1(shape) ** 2) * np.exp(-log_rate)
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ 1 - log_shape - log_rate - exp(shape) E₁(shape)   (gompertz.8).  Nats."""
        log_shape, log_rate = halves(params)
        entropy: Array = np.sum(1 - log_shape - log_rate - scaled_exp1(np.exp(log_shape)), axis=-1)  # (gompertz.8)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, 1 - exp(-shape (exp(rate value) - 1))   (gompertz.9)."""
        log_shape, log_rate = halves(params)
        cdf: Array = -np.expm1(-np.exp(log_shape) * np.expm1(np.exp(log_rate) * np.maximum(value, 0)))  # (gompertz.9)
        return cdf

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level: (gompertz.1)."""
        log_shape, log_rate = halves(params)
        quantile: Array = np.log1p(-np.log1p(-level) * np.exp(-log_shape)) * np.exp(-log_rate)
        return quantile


def scaled_exp1(x: Array) -> Array:
    """exp(x) E₁(x) = ∫ exp(-t) / (x + t) dt over t > 0, for x > 0: finite where E₁ has long underflowed.

    From BORDER on by a continued fraction   (gompertz.6).

    >>> scaled_exp1(np.array([1.0, 1e6])).round(8)
    array([5.9634736e-01, 1.0000000e-06])
    """
    from scipy.special import exp1

    rest = np.zeros_like(x)
    for k in range(LEVELS, 0, -1):
        rest = k * k / (x + (2 * k + 1) - rest)
    near = np.minimum(x, BORDER)
    scaled: Array = np.where(x < BORDER, np.exp(near) * exp1(near), 1 / (x + 1 - rest))  # (gompertz.6)
    return scaled
