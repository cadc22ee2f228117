"""The normal distribution, diagonal: as posterior, as prior and as likelihood.

Derivations: ``derivations/normal.md``.
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
from numvae.distributions.noise import normal_noise
from numvae.errors import InputError

__all__ = ["FixedStdNormal", "Normal"]

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Normal:
    """N(mean, diag(exp(2 log_std))) over the last axis.

    ``params``: (..., 2Z) = [mean | log_std], so that any output of a network is legal.  Values: (..., Z).
    ``params`` and values broadcast: (B, 2Z) beside (S, B, Z).

    >>> Normal().kl(np.array([[1.0, 0.0]]), np.array([[0.0, 0.0]]))[0]
    array([0.5])
    """

    param_names = ("mean", "log_std")
    params_per_value = 2
    discrete = False
    support: ClassVar[Support] = "reals"
    noise_kind = "normal"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Standard normal noise of the values' shape."""
        return normal_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = mean + exp(log_std) noise   (normal.1); pullback -> (dparams, None).

        Shapes: params (B, 2Z), noise and z (S, B, Z).  Source: Kingma and Welling, section 2.4 (location-scale).
        """
        mean, log_std = halves(params)
        scaled_noise = np.exp(log_std) * noise
        z = mean + scaled_noise  # (normal.1)

        def pullback(dz: Array) -> tuple[Array, None]:
            dmean = sum_to_shape(dz, mean.shape)  # (normal.2)
            dlog_std = sum_to_shape(dz * scaled_noise, log_std.shape)
            return np.concatenate([dmean, dlog_std], axis=-1), None

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log N(value) = Σ -½ log 2π - log_std - ½ ((value - mean) / std)²   (normal.3); pullback -> (dparams, dvalue).

        Nats, summed over the last axis.
        """
        mean, log_std = halves(params)
        precision_root = np.exp(-log_std)
        standardized = (value - mean) * precision_root
        squares = np.sum(standardized * standardized, axis=-1)
        log_density = -0.5 * squares - np.sum(log_std, axis=-1) - 0.5 * LOG_2PI * value.shape[-1]  # (normal.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            dmean = d * standardized * precision_root  # (normal.4)
            dlog_std = d * (standardized * standardized - 1)
            dparams = np.concatenate([sum_to_shape(dmean, mean.shape), sum_to_shape(dlog_std, log_std.shape)], axis=-1)
            return dparams, sum_to_shape(-dmean, value.shape)

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ log(std_p / std_q) + ½ (std_q² + (mean_q - mean_p)²) / std_p² - ½   (normal.5).

        Nats, one per row.  The pullback returns (dparams, dprior_params).  With p = N(0, I) this is the paper's
        appendix B, with p = N(0, I/α) the review's; both are worked out in ``derivations/normal.md``.
        """
        mean, log_std = halves(params)
        prior_mean, prior_log_std = halves(prior_params)
        prior_precision = np.exp(-2 * prior_log_std)
        difference = mean - prior_mean
        variance_ratio = np.exp(2 * log_std) * prior_precision
        distance = difference * difference * prior_precision
        kl = np.sum(prior_log_std - log_std + 0.5 * (variance_ratio + distance - 1), axis=-1)  # (normal.5)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None]
            dmean = d * difference * prior_precision  # (normal.6)
            dlog_std = d * (variance_ratio - 1)
            dprior_log_std = d * (1 - variance_ratio - distance)
            dparams = np.concatenate([sum_to_shape(dmean, mean.shape), sum_to_shape(dlog_std, log_std.shape)], axis=-1)
            dprior = [
                sum_to_shape(-dmean, prior_mean.shape),
                sum_to_shape(dprior_log_std, prior_log_std.shape),
            ]
            return dparams, np.concatenate(dprior, axis=-1)

        return kl, pullback

    def mean(self, params: Array) -> Array:
        """E[z] = mean."""
        return halves(params)[0]

    def std(self, params: Array) -> Array:
        """Standard deviation, exp(log_std): not exp(2 log_std), which is the variance."""
        std: Array = np.exp(halves(params)[1])
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ log_std + ½ log 2πe   (normal.7).  Nats."""
        log_std = halves(params)[1]
        entropy: Array = np.sum(log_std, axis=-1) + 0.5 * (LOG_2PI + 1) * log_std.shape[-1]  # (normal.7)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, Φ((value - mean) / std)   (normal.8)."""
        from scipy.special import ndtr

        return np.asarray(ndtr((value - self.mean(params)) / self.std(params)))  # (normal.8)

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level, mean + std Φ⁻¹(level)   (normal.11)."""
        from scipy.special import ndtri

        return np.asarray(self.mean(params) + self.std(params) * ndtri(level))  # (normal.11)


@dataclass(frozen=True)
class FixedStdNormal:
    """N(mean, std² I) with a known standard deviation: the homoscedastic likelihood.

    ``params``: (..., D) = mean.  The review's precision is β = 1 / std².
    """

    fixed_std: float = 1.0
    param_names = ("mean",)
    params_per_value = 1
    discrete = False
    support: ClassVar[Support] = "reals"
    noise_kind = "normal"

    def __post_init__(self) -> None:
        if not 0 < self.fixed_std < math.inf:
            raise InputError(f"fixed_std must be a positive number, got {self.fixed_std!r}")

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Standard normal noise of the values' shape."""
        return normal_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """x = mean + std noise, (normal.1) with std held; pullback -> (dparams, None)."""
        return params + self.fixed_std * noise, lambda dx: (sum_to_shape(dx, params.shape), None)

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log N(value) = -½ β Σ (value - mean)² - D log std - ½ D log 2π   (normal.9)."""
        residual = value - params
        beta = 1 / self.fixed_std**2
        constant = (math.log(self.fixed_std) + 0.5 * LOG_2PI) * value.shape[-1]
        log_density = -0.5 * beta * np.sum(residual * residual, axis=-1) - constant  # (normal.9)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            dmean = (beta * dlog_density)[..., None] * residual  # (normal.10)
            return sum_to_shape(dmean, params.shape), sum_to_shape(-dmean, value.shape)

        return log_density, pullback

    def mean(self, params: Array) -> Array:
        """E[x] = mean."""
        return params

    def std(self, params: Array) -> Array:
        """The fixed standard deviation, in the shape of ``params``."""
        return np.full_like(params, self.fixed_std)

    def entropy(self, params: Array) -> Array:
        """H = D (log std + ½ log 2πe), (normal.7) with std held.  Nats."""
        nats = (math.log(self.fixed_std) + 0.5 * (LOG_2PI + 1)) * params.shape[-1]
        return np.full_like(params[..., 0], nats)

    def cdf(self, params: Array, value: Array) -> Array:
        """P(x ≤ value) per coordinate, (normal.8)."""
        from scipy.special import ndtr

        return np.asarray(ndtr((value - params) / self.fixed_std))
