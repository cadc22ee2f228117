"""The Poisson distribution: counts, as latents or as data.

Derivations: ``derivations/poisson.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import sum_to_shape
from numvae.distributions.contract import Support
from numvae.distributions.noise import uniform_noise
from numvae.errors import InputError

__all__ = ["Poisson"]

REACH = 16  # how far the first guess at a quantile may be off; a power of two
FARTHEST = 8.5  # standard deviations; beyond lies less than the last digit of a uniform number


@dataclass(frozen=True)
class Poisson:
    """Independent counts with mean exp(log_rate) over the last axis.

    ``params``: (..., Z) = log_rate: any real number is legal.  Values: (..., Z), 0, 1, 2, … as floating-point numbers.

    >>> Poisson().log_prob(np.array([[0.0]]), np.array([[1.0]]))[0]
    array([-1.])
    """

    param_names = ("log_rate",)
    params_per_value = 1
    discrete = True
    support: ClassVar[Support] = "counts"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """The least count with P(z ≤ count) > noise   (poisson.1).  A step has no derivative: the pullback refuses."""
        counts = _quantile(np.exp(params.astype(np.float64)), noise.astype(np.float64))  # (poisson.1)

        def pullback(dcounts: Array) -> tuple[Array, None]:
            raise InputError("a Poisson sample is a step function of its rate: use poisson_difference, not pathwise")

        return counts.astype(params.dtype), pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ value log_rate - rate - log value!   (poisson.2); pullback -> (dparams, None).

        Nats, summed over the last axis.  A count has no gradient.
        """
        from scipy.special import gammaln

        rate = np.exp(params)
        log_mass = np.sum(value * params - rate - gammaln(value + 1), axis=-1)  # (poisson.2)

        def pullback(dlog_mass: Array) -> tuple[Array, None]:
            surprise = dlog_mass[..., None] * (value - rate)  # (poisson.3)
            return sum_to_shape(surprise, params.shape), None

        return log_mass, pullback

    def relaxed_log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """(poisson.2) for any values ≥ 0, with value! = Γ(value + 1)   (poisson.4); pullback -> (dparams, dvalue).

        The log-probability at counts: what a relaxation puts in the place of log p.
        """
        from scipy.special import psi

        log_mass, pullback = self.log_prob(params, value)

        def relaxed_pullback(dlog_mass: Array) -> tuple[Array, Array]:
            dvalue = dlog_mass[..., None] * (params - psi(value + 1))  # (poisson.4)
            return pullback(dlog_mass)[0], sum_to_shape(dvalue, value.shape)

        return log_mass, relaxed_pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ rate_q log(rate_q / rate_p) - rate_q + rate_p   (poisson.5).

        Nats, one per row.  The pullback returns (dparams, dprior_params).
        """
        rate, log_ratio = np.exp(params), params - prior_params
        excess = rate * np.expm1(-log_ratio)  # rate_p - rate_q
        kl = np.sum(rate * log_ratio + excess, axis=-1)  # (poisson.5)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None]
            dparams = sum_to_shape(d * rate * log_ratio, params.shape)  # (poisson.6)
            return dparams, sum_to_shape(d * excess, prior_params.shape)

        return kl, pullback

    def mean(self, params: Array) -> Array:
        """E[z] = rate   (poisson.7)."""
        mean: Array = np.exp(params)  # (poisson.7)
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation, sqrt(rate)."""
        std: Array = np.exp(0.5 * params)
        return std

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, Q(⌊value⌋ + 1, rate) of the incomplete gamma function   (poisson.8)."""
        return _cdf(np.exp(params), np.floor(value))


def _cdf(rate: Array, count: Array) -> Array:
    from scipy.special import gammaincc

    cdf: Array = gammaincc(np.maximum(count + 1, 0), rate)  # (poisson.8)
    return cdf


def _quantile(rate: Array, uniform: Array) -> Array:
    """A normal guess with a correction for skewness, within REACH of the count; bisection then finds it."""
    from scipy.special import ndtri

    normal = np.clip(ndtri(uniform), -FARTHEST, FARTHEST)
    count: Array = np.floor(rate + np.sqrt(rate) * normal + (normal * normal - 1) / 6) - REACH
    step = REACH
    while step:  # P(z ≤ count) ≤ uniform holds, and is kept, for ``count``; the least one above is sought
        count = count + step * (_cdf(rate, count + step) <= uniform)
        step //= 2
    count = np.maximum(count + 1, 0)
    return count
