"""The Kumaraswamy distribution: as flexible as the beta on the unit interval, and with an inverse CDF in closed form.

Derivations: ``derivations/kumaraswamy.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import halves, sum_to_shape
from numvae.distributions.contract import Support, least_positive
from numvae.distributions.noise import positive_level, uniform_noise

__all__ = ["Kumaraswamy"]

LOG_2 = math.log(2)


@dataclass(frozen=True)
class Kumaraswamy:
    """Independent variables on the unit interval with CDF 1 - (1 - z^a)^b, over the last axis.

    ``params``: (..., 2Z) = [log_a | log_b], so that any output of a network is legal.  Values: (..., Z), strictly
    between 0 and 1.  a = b = 1 is the uniform.

    Nearer to 1 than the last floating-point number below it, 1 - ε, lies a part (a ε)^b of the law: above a thousandth
    for b below some 0.2 (0.4 in single precision).  Below the smallest number lies b smallest^a: above a thousandth for
    a below some 0.01 (0.1).  Such samples are given as these numbers, and carry the gradient of the sample they stand
    for.

    >>> Kumaraswamy().cdf(np.log([[2.0, 3.0]]), np.array([[0.5]]))  # 1 - (3/4)³
    array([[0.578125]])
    """

    param_names = ("log_a", "log_b")
    params_per_value = 2
    discrete = False
    support: ClassVar[Support] = "unit interval"
    noise_kind = "uniform"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = (1 - (1 - noise)^(1/b))^(1/a)   (kumaraswamy.1), the inverse of the CDF; pullback -> (dparams, None).

        Shapes: params (B, 2Z), noise and z (S, B, Z), strictly between 0 and 1.  Source: Kumaraswamy 1980; as a latent
        in Nalisnick and Smyth 2017.
        """
        log_a, log_b = halves(params)
        least, last = least_positive(params.dtype), 1 - float(np.finfo(params.dtype).epsneg)
        log_rest = np.log1p(-positive_level(noise)) * np.exp(-log_b)  # log(1 - z^a)
        log_z = log_one_minus_exp(log_rest) * np.exp(-log_a)
        z = np.minimum(np.maximum(np.exp(log_z), least), last)  # (kumaraswamy.1)

        def pullback(dz: Array) -> tuple[Array, None]:
            dlog_z = dz * z
            dlog_a = sum_to_shape(-dlog_z * log_z, log_a.shape)  # (kumaraswamy.2)
            slope = -log_rest * np.exp(log_rest) / np.expm1(log_rest) * np.exp(-log_a)
            return np.concatenate([dlog_a, sum_to_shape(dlog_z * slope, log_b.shape)], axis=-1), None

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ log_a + log_b + (a - 1) log value + (b - 1) log(1 - value^a)   (kumaraswamy.3).

        For values strictly between 0 and 1.  Nats, summed over the last axis; pullback -> (dparams, dvalue).
        """
        log_a, log_b = halves(params)
        a, b = np.exp(log_a), np.exp(log_b)
        log_value = np.log(value)
        log_power = a * log_value  # log z^a
        log_rest = log_one_minus_exp(log_power)
        log_density = np.sum(log_a + log_b + log_power - log_value + (b - 1) * log_rest, axis=-1)  # (kumaraswamy.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            odds = -np.exp(log_power) / np.expm1(log_power)  # z^a / (1 - z^a)
            bend = 1 - (b - 1) * odds
            dlog_a = d * (1 + log_power * bend)  # (kumaraswamy.4)
            dlog_b = d * (1 + b * log_rest)
            dvalue = d * (a * bend - 1) / value
            dparams = [sum_to_shape(dlog_a, log_a.shape), sum_to_shape(dlog_b, log_b.shape)]
            return np.concatenate(dparams, axis=-1), sum_to_shape(dvalue, value.shape)

        return log_density, pullback

    def mean(self, params: Array) -> Array:
        """E[z] = b B(1 + 1/a, b)   (kumaraswamy.5)."""
        return np.exp(self._log_moment(params, 1))

    def std(self, params: Array) -> Array:
        """Standard deviation, √(E[z²] - E[z]²)   (kumaraswamy.6).

        The difference cancels: a standard deviation of a hundredth of the mean has four digits less than the mean.
        """
        excess = np.expm1(self._log_moment(params, 2) - 2 * self._log_moment(params, 1))
        std: Array = self.mean(params) * np.sqrt(np.maximum(excess, 0))  # (kumaraswamy.6)
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ (1 - 1/a) (ψ(b + 1) + γ) + 1 - 1/b - log_a - log_b   (kumaraswamy.7).  Nats."""
        from scipy.special import psi

        log_a, log_b = halves(params)
        harmonic = psi(np.exp(log_b) + 1) + np.euler_gamma
        entropy: Array = np.sum(-np.expm1(-log_a) * harmonic - np.expm1(-log_b) - log_a - log_b, axis=-1)
        return entropy  # (kumaraswamy.7)

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, 1 - (1 - value^a)^b   (kumaraswamy.8), for values strictly between 0 and 1."""
        log_a, log_b = halves(params)
        log_rest = log_one_minus_exp(np.exp(log_a) * np.log(value))
        cdf: Array = -np.expm1(np.exp(log_b) * log_rest)  # (kumaraswamy.8)
        return cdf

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level, for levels in (0, 1): (kumaraswamy.1)."""
        log_a, log_b = halves(params)
        log_rest = np.log1p(-level) * np.exp(-log_b)
        quantile: Array = np.exp(log_one_minus_exp(log_rest) * np.exp(-log_a))
        return quantile

    def _log_moment(self, params: Array, order: int) -> Array:
        """log E[z^n] = log_b + log B(1 + n/a, b)   (kumaraswamy.5)."""
        from scipy.special import betaln

        log_a, log_b = halves(params)
        log_moment: Array = log_b + betaln(1 + order * np.exp(-log_a), np.exp(log_b))  # (kumaraswamy.5)
        return log_moment


def log_one_minus_exp(x: Array) -> Array:
    """log(1 - e^x) for x < 0   (kumaraswamy.9): above -log 2 by expm1, below by log1p, so that nothing cancels.

    >>> log_one_minus_exp(np.array([-1e-20, -50.0]))
    array([-4.60517019e+01, -1.92874985e-22])
    """
    far = np.log1p(-np.exp(np.minimum(x, -LOG_2)))
    result: Array = np.where(x > -LOG_2, np.log(-np.expm1(x)), far)  # (kumaraswamy.9)
    return result
