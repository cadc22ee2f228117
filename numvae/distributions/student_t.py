"""Student's t distribution: heavy tails of any weight; as a likelihood, robust regression.

Derivations: ``derivations/student_t.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import halves, sum_to_shape, thirds
from numvae.distributions.contract import Support
from numvae.distributions.gamma import log_quantile, log_quantile_slope
from numvae.distributions.noise import normal_noise, positive_level, uniform_noise

__all__ = ["StudentT", "log_one_plus_square"]

SMALL = 1e-290  # below this numbers lose their digits, and a tail is a power law to all of them


@dataclass(frozen=True)
class StudentT:
    """Independent Student t variables over the last axis, with exp(log_dof) degrees of freedom.

    ``params``: (..., 3Z) = [location | log_scale | log_dof], so that any output of a network is legal.
    Values: (..., Z).  One degree of freedom is the Cauchy distribution, many are the normal one.

    With few degrees of freedom much of the law lies beyond the largest floating-point number.  √(dof / chi²) therefore
    ends at 2⁻⁶⁵ of that, and such samples carry the gradient of a sample there: with 0.01 degrees of freedom one in
    800 in float64 and two in three in float32; with 0.06 none in float64.  ``log_prob`` takes whatever is drawn.

    >>> StudentT().log_prob(np.zeros((1, 3)), np.array([[1.0]]))[0]  # Cauchy, one scale out: -log 2π
    array([-1.83787707])
    """

    param_names = ("location", "log_scale", "log_dof")
    params_per_value = 3
    discrete = False
    support: ClassVar[Support] = "reals"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Noise (..., 2Z) for values (..., Z): [standard normal | uniform on [0, 1)]."""
        return np.concatenate([normal_noise(rng, shape, dtype), uniform_noise(rng, shape, dtype)], axis=-1)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = location + scale ε √(dof / chi²)   (student_t.1); pullback -> (dparams, None).

        ε is the normal half of ``noise``, chi² = 2 P⁻¹(dof / 2, u) with u the uniform half: see (gamma.1).  Works in
        logarithms and in float64 whatever the dtype of ``params``, and gives that.

        Shapes: params (B, 3Z), noise (S, B, 2Z), z (S, B, Z).  Source: Kingma and Welling, section 2.4; for the
        gradient in dof, Figurnov et al. 2018 (implicit reparameterisation).
        """
        location, log_scale, log_dof = thirds(params)
        normal, uniform = halves(noise)
        half_dof = 0.5 * np.exp(log_dof.astype(np.float64))
        log_gamma = log_quantile(half_dof, positive_level(uniform))
        log_stretch = 0.5 * (np.log(half_dof) - log_gamma)  # (student_t.2)
        log_largest = math.log(float(np.finfo(params.dtype).max)) - 65 * math.log(2)
        stretch = np.exp(np.minimum(log_stretch, log_largest)).astype(params.dtype)
        scaled_noise = np.exp(log_scale) * normal * stretch
        z = location + scaled_noise  # (student_t.1)

        def pullback(dz: Array) -> tuple[Array, None]:
            dlog_size = dz * scaled_noise
            slope = 0.5 * (1 - half_dof * log_quantile_slope(half_dof, log_gamma)).astype(params.dtype)
            dlocation = sum_to_shape(dz, location.shape)  # (student_t.3)
            dlog_scale = sum_to_shape(dlog_size, log_scale.shape)
            dlog_dof = sum_to_shape(dlog_size * slope, log_dof.shape)
            return np.concatenate([dlocation, dlog_scale, dlog_dof], axis=-1), None

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ -log_scale - ½ log_dof - log B(½ dof, ½) - ½ (dof + 1) log(1 + r² / dof)   (student_t.4).

        r = (value - location) / scale.  Nats, summed over the last axis; pullback -> (dparams, dvalue).
        """
        from scipy.special import betaln, psi

        location, log_scale, log_dof = thirds(params)
        dof, inverse_root = np.exp(log_dof), np.exp(-log_scale - 0.5 * log_dof)
        s = (value - location) * inverse_root
        log_sum, slope = log_one_plus_square(s)  # (student_t.5)
        log_normalizer = log_scale + 0.5 * log_dof + betaln(0.5 * dof, 0.5).astype(dof.dtype)
        log_density = -np.sum(log_normalizer + 0.5 * (dof + 1) * log_sum, axis=-1)  # (student_t.4)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            pull = (dof + 1) * slope
            weight = pull * s
            dlocation = d * pull * inverse_root  # (student_t.6)
            dlog_scale = d * (weight - 1)
            rise = dof * (psi(0.5 * (dof + 1)) - psi(0.5 * dof)) - 1
            dlog_dof = 0.5 * d * (rise + weight - dof * log_sum)
            dparams = [
                sum_to_shape(dlocation, location.shape),
                sum_to_shape(dlog_scale, log_scale.shape),
                sum_to_shape(dlog_dof, log_dof.shape),
            ]
            return np.concatenate(dparams, axis=-1), sum_to_shape(-dlocation, value.shape)

        return log_density, pullback

    def mean(self, params: Array) -> Array:
        """E[z] = location with more than one degree of freedom; with fewer there is none: nan   (student_t.7)."""
        location, _, log_dof = thirds(params)
        return np.where(log_dof > 0, location, math.nan)  # (student_t.7)

    def std(self, params: Array) -> Array:
        """Standard deviation, scale √(dof / (dof - 2)) for dof > 2; inf for 1 < dof ≤ 2, nan below   (student_t.8)."""
        _, log_scale, log_dof = thirds(params)
        dof = np.exp(log_dof)
        with np.errstate(divide="ignore"):
            std: Array = np.exp(log_scale) * np.sqrt(dof / np.maximum(dof - 2, 0))  # (student_t.8)
        return np.where(dof > 1, std, math.nan)

    def entropy(self, params: Array) -> Array:
        """H = Σ log_scale + ½ log_dof + log B(½ dof, ½) + ½ (dof + 1) (ψ(½ (dof + 1)) - ψ(½ dof))   (student_t.9).

        Nats.
        """
        from scipy.special import betaln, psi

        _, log_scale, log_dof = thirds(params)
        dof = np.exp(log_dof)
        log_sum = psi(0.5 * (dof + 1)) - psi(0.5 * dof)
        log_beta = betaln(0.5 * dof, 0.5).astype(dof.dtype)
        terms = log_scale + 0.5 * log_dof + log_beta + 0.5 * (dof + 1) * log_sum
        entropy: Array = np.sum(terms, axis=-1)  # (student_t.9)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, Student's integral of (value - location) / scale   (student_t.10)."""
        from scipy.special import betainc, betaln

        location, log_scale, log_dof = thirds(params.astype(np.float64))
        half_dof, s = 0.5 * np.exp(log_dof), (value - location) * np.exp(-log_scale - 0.5 * log_dof)
        log_sum, _ = log_one_plus_square(s)
        square = np.minimum(np.abs(s), 1) ** 2
        further_out, near_median = (
            betainc(half_dof, 0.5, np.exp(-log_sum)),
            betainc(0.5, half_dof, square / (1 + square)),
        )
        power_law = np.exp(-half_dof * log_sum - betaln(half_dof, 0.5)) / half_dof
        two_tails = np.where((square < 1) & (near_median < 0.5), 1 - near_median, further_out)
        tail = 0.5 * np.where(log_sum < -math.log(SMALL), two_tails, power_law)  # (student_t.10)
        cdf: Array = np.where(s < 0, tail, 1 - tail).astype(params.dtype)
        return cdf

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level, for levels in (0, 1)   (student_t.11); inf beyond the largest number."""
        from scipy.special import betaincinv, betaln

        location, log_scale, log_dof = thirds(params.astype(np.float64))
        half_dof, two_tails = 0.5 * np.exp(log_dof), 2.0 * np.minimum(level, 1 - level)
        x = betaincinv(half_dof, 0.5, two_tails)
        rest = np.where(two_tails < 0.5, 1 - x, betaincinv(0.5, half_dof, 1 - two_tails))  # 1 - x, to all digits
        log_far = (np.log(two_tails * half_dof) + betaln(half_dof, 0.5)) / half_dof  # where x is smaller than numbers
        log_x = np.where(x < SMALL, log_far, np.log(np.maximum(x, SMALL)))
        with np.errstate(over="ignore"):
            size = np.exp(log_scale - 0.5 * log_x) * np.sqrt(2 * half_dof * rest)  # (student_t.11)
            quantile: Array = (location + np.copysign(size, level - 0.5)).astype(params.dtype)
        return quantile


def log_one_plus_square(s: Array) -> tuple[Array, Array]:
    """log(1 + s²) and s / (1 + s²), also where s² is no number   (student_t.5)."""
    size = np.abs(s)
    larger, smaller = np.maximum(size, 1), np.minimum(size, 1)
    ratio = smaller / larger
    squared = ratio * ratio
    return np.log1p(squared) + 2 * np.log(larger), np.copysign(ratio / (1 + squared), s)  # (student_t.5)
