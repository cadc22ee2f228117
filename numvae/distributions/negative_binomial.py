"""The negative binomial distribution: counts that scatter more than Poisson's, as a likelihood.

Derivations: ``derivations/negative_binomial.md``.
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
from numvae.distributions.gamma import log_quantile
from numvae.distributions.noise import positive_level, uniform_noise
from numvae.distributions.poisson import Poisson
from numvae.errors import InputError

__all__ = ["NegativeBinomial", "stirling_rest"]

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
STEPS = 10  # from 10 on five terms of Stirling's series have 13 digits


@dataclass(frozen=True)
class NegativeBinomial:
    """Independent counts with mean m = exp(log_mean) and variance m + m² / size, size = exp(log_size).

    ``params``: (..., 2D) = [log_mean | log_size], so that any output of a network is legal.  Values: (..., D), 0, 1, 2,
    … as floating-point numbers.  It is the Poisson whose rate is itself drawn, from a gamma of shape ``size``; a large
    size is the Poisson, size 1 the geometric.

    Right to ten digits for sizes from 1e-2 to 1e6 and means from 1e-3 to 1e3.  Samples are counts up to 1e7.

    >>> NegativeBinomial().log_prob(np.array([[0.0, 0.0]]), np.array([[0.0]]))[0]  # mean 1, size 1: -log 2
    array([-0.69314718])
    """

    param_names = ("log_mean", "log_size")
    params_per_value = 2
    discrete = True
    support: ClassVar[Support] = "counts"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1), two numbers for each value: [of the rate | of the count] along the last axis."""
        return uniform_noise(rng, (*shape[:-1], 2 * shape[-1]), dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z ~ Poisson(rate), rate = m x / size, x ~ Gamma(size, 1)   (negative_binomial.1).

        Shapes: params (B, 2D), noise (S, B, 2D), z (S, B, D).  A count steps: the pullback refuses.
        """
        log_mean, log_size = halves(params.astype(np.float64))
        of_rate, of_count = halves(noise)
        log_rate = log_mean - log_size + log_quantile(np.exp(log_size), positive_level(of_rate))
        log_rate = np.maximum(log_rate, math.log(least_positive(np.float64)))
        counts, _ = Poisson().sample(log_rate, of_count)  # (negative_binomial.1)

        def pullback(dcounts: Array) -> tuple[Array, None]:
            raise InputError(
                "a negative binomial sample is a step function of its parameters: use score_function, not pathwise"
            )

        return counts.astype(params.dtype), pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ log Γ(value + size) / (Γ(size) value!) + size log size/(size + m) + value log m/(size + m).

        Computed as (negative_binomial.4), in which the large parts of the gamma functions have cancelled on paper;
        pullback -> (dparams, None): a count has no gradient.  Nats, summed over the last axis.  Source of the form:
        Loader 2000, "Fast and accurate computation of binomial probabilities".
        """
        log_mean, log_size = halves(params)
        mean, size = np.exp(log_mean), np.exp(log_size)
        total, counted = size + value, np.maximum(value, 1)  # where nothing was counted, a factor of 0 follows
        found, expected = np.log1p(value / size), np.log1p(mean / size)
        rate_part = value * (np.log1p(size / counted) - np.log1p(size / mean))
        (rest, slope), (size_rest, size_slope) = stirling_rest(total), stirling_rest(size)
        rests = rest - size_rest - 0.5 * found - _log_factorial_rest(value)
        log_mass = np.sum(rate_part + size * (found - expected) + rests, axis=-1)  # (negative_binomial.4)

        def pullback(dlog_mass: Array) -> tuple[Array, None]:
            d = dlog_mass[..., None]
            excess = (value - mean) / (size + mean)
            dlog_mean = d * size * excess  # (negative_binomial.5)
            bend = slope - size_slope + 0.5 * value / (size * total)
            dlog_size = d * size * (found - expected - excess + bend)  # (negative_binomial.6)
            dparams = [sum_to_shape(dlog_mean, log_mean.shape), sum_to_shape(dlog_size, log_size.shape)]
            return np.concatenate(dparams, axis=-1), None

        return log_mass, pullback

    def mean(self, params: Array) -> Array:
        """E[z] = m."""
        mean: Array = np.exp(halves(params)[0])
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation, sqrt(m + m² / size)   (negative_binomial.7)."""
        log_mean, log_size = halves(params)
        std: Array = np.exp(0.5 * log_mean) * np.sqrt(1 + np.exp(log_mean - log_size))  # (negative_binomial.7)
        return std

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, the incomplete beta function of size / (size + m)   (negative_binomial.8)."""
        from scipy.special import betainc, betaincc

        log_mean, log_size = halves(params)
        mean, size = np.exp(log_mean), np.exp(log_size)
        above = np.maximum(np.floor(value), -1) + 1  # how many counts are ≤ value; 0 below all of them
        least = np.maximum(above, 1)
        share = size / (size + mean)
        near_one = betaincc(least, size, mean / (size + mean))  # the same, for a share that rounds to 1
        cdf = np.where(share < 0.5, betainc(size, least, share), near_one)  # (negative_binomial.8)
        return np.asarray(cdf * (above > 0))


def stirling_rest(x: Array) -> tuple[Array, Array]:
    """μ(x) = log Γ(x) - (x - ½) log x + x - ½ log 2π, what Stirling's formula leaves out, and its slope μ'(x).

    By ten steps up, of which each adds (x + ½) log(1 + 1/x) - 1   (negative_binomial.2), and from there by Stirling's
    series   (negative_binomial.3).  To some 13 digits of 1 for all x > 0, and without a function that a device lacks.

    >>> stirling_rest(np.array([1.0, 100.0]))[0].round(10)  # 1 - ½ log 2π, and nearly 1/1200
    array([0.08106147, 0.00083333])
    """
    rest, slope = np.zeros_like(x), np.zeros_like(x)
    inverse = 1 / x
    for _ in range(STEPS):
        rise = np.log1p(inverse)
        rest += (x + 0.5) * rise - 1  # (negative_binomial.2)
        x = x + 1
        following = 1 / x
        slope += rise - 0.5 * (inverse + following)
        inverse = following
    square = inverse * inverse
    series = 1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188)))
    slopes = 1 / 12 - square * (1 / 120 - square * (1 / 252 - square * (1 / 240 - square / 132)))
    return rest + inverse * series, slope - square * slopes  # (negative_binomial.3)


def _log_factorial_rest(count: Array) -> Array:
    """log count! - count log count + count: by Stirling μ(count) + ½ log 2π count, and 0 at no counts at all."""
    least = np.maximum(count, 1)
    rest: Array = (stirling_rest(least)[0] + HALF_LOG_2PI + 0.5 * np.log(least)) * (count > 0)
    return rest
