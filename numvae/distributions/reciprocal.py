"""The reciprocal (log-uniform) distribution: every order of magnitude between two positive numbers is equally likely.

Derivations: ``derivations/reciprocal.md``.
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
from numvae.distributions.noise import uniform_noise
from numvae.distributions.uniform import Uniform

__all__ = ["Reciprocal"]

TERMS = 9


@dataclass(frozen=True)
class Reciprocal:
    """Independent variables on [a, b] with density 1 / (z log(b / a)), over the last axis: exp of a ``Uniform``.

    ``params``: (..., 2Z) = [log_low | log_log_ratio]: a = exp(log_low), log(b / a) = exp(log_log_ratio), so that any
    output of a network is legal as long as b is a floating-point number: log_low + exp(log_log_ratio) below 700, and
    below 85 in single precision.  Values: (..., Z), positive.

    The parameters move both ends, so the score function is wrong here as it is for the uniform   (uniform.10).

    >>> Reciprocal().quantile(np.array([[0.0, np.log(np.log(100.0))]]), np.array([[0.5]]))  # from 1 to 100
    array([[10.]])
    """

    param_names = ("log_low", "log_log_ratio")
    params_per_value = 2
    discrete = False
    support: ClassVar[Support] = "positive"
    support_moves = True
    noise_kind = "uniform"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = a (b / a)^noise   (reciprocal.1), the inverse of the CDF; pullback -> (dparams, None).

        Shapes: params (B, 2Z), noise and z (S, B, Z).  Source: Kingma and Welling, section 2.4 (inverse CDF).
        """
        low, high = ends(params)
        log_z, uniform_pullback = Uniform().sample(params, noise)
        z = np.minimum(np.maximum(np.exp(log_z), low), high)  # (reciprocal.1), where exp may round past an end
        return z, lambda dz: uniform_pullback(dz * z)  # (reciprocal.2)

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ -log value - log_log_ratio inside [a, b], -inf outside   (reciprocal.3).

        Nats, summed over the last axis; pullback -> (dparams, dvalue).  A value outside gives no gradient.
        """
        log_low, log_log_ratio = halves(params)
        low, high = ends(params)
        inside = (low <= value) & (value <= high)
        within = np.where(inside, value, low)
        log_density = np.sum(np.where(inside, -np.log(within) - log_log_ratio, -math.inf), axis=-1)  # (reciprocal.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            dlog_log_ratio = -dlog_density[..., None] * inside  # (reciprocal.4)
            dvalue = dlog_log_ratio / within
            dparams = [np.zeros_like(log_low), sum_to_shape(dlog_log_ratio, log_low.shape)]
            return np.concatenate(dparams, axis=-1), sum_to_shape(dvalue, value.shape)

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ log_log_ratio_p - log_log_ratio_q where q's interval lies in p's   (reciprocal.5).

        Nats, one per row; the logarithm changes no KL, so it is that of two uniforms, (uniform.5): infinite, without
        gradient, where q's interval is not inside.  The pullback returns (dparams, dprior_params).
        """
        return Uniform().kl(params, prior_params)  # (reciprocal.5)

    def mean(self, params: Array) -> Array:
        """E[z] = (b - a) / log(b / a) = a (e^R - 1) / R,  R = log(b / a)   (reciprocal.6)."""
        log_low, log_log_ratio = halves(params)
        log_ratio = np.exp(log_log_ratio)
        mean: Array = np.exp(log_low) * np.expm1(log_ratio) / log_ratio  # (reciprocal.6)
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation, a e^h √((sinh h / h)(cosh h - sinh h / h)),  h = log(b / a) / 2   (reciprocal.7)."""
        log_low, log_log_ratio = halves(params)
        half = 0.5 * np.exp(log_log_ratio)
        relative_sinh = np.sinh(half) / half
        std: Array = np.exp(log_low + half) * np.sqrt(relative_sinh * excess_cosh(half))  # (reciprocal.7)
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ log_low + ½ log(b / a) + log_log_ratio   (reciprocal.9).  Nats."""
        log_low, log_log_ratio = halves(params)
        entropy: Array = np.sum(log_low + 0.5 * np.exp(log_log_ratio) + log_log_ratio, axis=-1)  # (reciprocal.9)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, log(value / a) / log(b / a) between 0 and 1   (reciprocal.10)."""
        low, _ = ends(params)
        return Uniform().cdf(params, np.log(np.maximum(value, low)))  # (reciprocal.10)

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level: (reciprocal.1)."""
        return self.sample(params, level)[0]


def ends(params: Array) -> tuple[Array, Array]:
    """a and b."""
    log_low, log_log_ratio = halves(params)
    return np.exp(log_low), np.exp(log_low + np.exp(log_log_ratio))


def excess_cosh(half: Array) -> Array:
    """cosh h - sinh h / h, for small h by its series, Σ_k 2k h^2k / (2k + 1)!   (reciprocal.8): nothing cancels."""
    square = np.minimum(half, 1) ** 2
    series = np.zeros_like(half)
    for k in range(TERMS, 0, -1):
        series = square * (2 * k / math.factorial(2 * k + 1) + series)  # (reciprocal.8)
    excess: Array = np.where(half < 1, series, np.cosh(half) - np.sinh(half) / half)
    return excess
