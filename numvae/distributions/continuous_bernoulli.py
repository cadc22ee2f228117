"""The continuous Bernoulli distribution: grey values in [0, 1] under Bernoulli's formula, with its normaliser.

Derivations: ``derivations/continuous_bernoulli.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import sum_to_shape
from numvae.distributions.contract import Support, least_positive
from numvae.distributions.noise import positive_level, uniform_noise

__all__ = ["ContinuousBernoulli"]

FLAT = 1e-20  # a logit this small is 0 to all digits: the uniform distribution
STEEP = 30.0  # from this logit on exp(-logit) is small enough to work from the upper end
LEVELS = 9  # of the continued fraction
GENTLE = 0.02  # below this logit differences are taken term by term


@dataclass(frozen=True)
class ContinuousBernoulli:
    """Independent values in [0, 1] with density proportional to exp(logit value), over the last axis.

    ``params``: (..., D) = logits: any real number is legal.  Values: (..., D), both ends included.  Logit 0 is the
    uniform distribution.  Samples lie strictly inside.

    It is what an image of grey values needs where a Bernoulli is often put, whose masses do not add up there.
    Source: Loaiza-Ganem and Cunningham 2019, "The continuous Bernoulli", with λ = sigmoid(logit).

    >>> ContinuousBernoulli().mean(np.array([[-1000.0, 0.0, 1000.0]]))
    array([[0.001, 0.5  , 0.999]])
    """

    param_names = ("logit",)
    params_per_value = 1
    discrete = False
    support: ClassVar[Support] = "unit interval"
    noise_kind = "uniform"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """x = log(1 + noise (exp(logit) - 1)) / logit   (continuous_bernoulli.8), the inverse of the CDF.

        Shapes: params (B, D), noise and x (S, B, D); pullback -> (dparams, None).
        """
        x = self.quantile(params, positive_level(noise))
        x = np.clip(x, least_positive(params.dtype), 1 - float(np.finfo(params.dtype).epsneg))
        return x, lambda dx: (sum_to_shape(dx * self._quantile_slope(params, x), params.shape), None)

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ logit value - log((exp(logit) - 1) / logit)   (continuous_bernoulli.2).

        Nats, summed over the last axis; pullback -> (dparams, dvalue).
        """
        log_density = np.sum(params * value - _log_normalizer(params), axis=-1)  # (continuous_bernoulli.2)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            dlogit = d * (value - self.mean(params))  # (continuous_bernoulli.5)
            return sum_to_shape(dlogit, params.shape), sum_to_shape(d * params, value.shape)

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ (logit_q - logit_p) E_q[x] - A(logit_q) + A(logit_p)   (continuous_bernoulli.10).

        A is the log-normaliser.  Nats, one per row.  The pullback returns (dparams, dprior_params).
        """
        difference, mean = params - prior_params, self.mean(params)
        normalizers = _log_normalizer(prior_params) - _log_normalizer(params)
        kl = np.sum(difference * mean + normalizers, axis=-1)  # (continuous_bernoulli.10)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None]
            dlogit = d * difference * self.std(params) ** 2  # (continuous_bernoulli.11)
            dprior_logit = d * (self.mean(prior_params) - mean)
            return sum_to_shape(dlogit, params.shape), sum_to_shape(dprior_logit, prior_params.shape)

        return kl, pullback

    def mean(self, params: Array) -> Array:
        """E[x] = ½ + ½ (coth(logit / 2) - 2 / logit)   (continuous_bernoulli.3)."""
        return 0.5 + 0.5 * _langevin(0.5 * params)  # (continuous_bernoulli.3)

    def std(self, params: Array) -> Array:
        """Standard deviation, ½ sqrt(4 / logit² - 1 / sinh²(logit / 2))   (continuous_bernoulli.6)."""
        half = 0.5 * np.abs(params)
        near, far = np.minimum(half, 1), np.maximum(half, 1)
        langevin = _langevin(near)
        twice_third = 2 / _langevin_denominator(near * near)  # 2 L(h) / h, which is 2/3 at h = 0
        inverse_sinh = 2 * np.exp(-far) / -np.expm1(-2 * far)
        steep = (1 / far - inverse_sinh) * (1 / far + inverse_sinh)
        slope = np.where(half < 1, 1 - langevin * langevin - twice_third, steep)  # (continuous_bernoulli.6)
        std: Array = 0.5 * np.sqrt(slope)
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ A(logit) - logit E[x]   (continuous_bernoulli.12).  Nats; 0 at logit 0, negative elsewhere."""
        entropy: Array = np.sum(_log_normalizer(params) - params * self.mean(params), axis=-1)
        return entropy  # (continuous_bernoulli.12)

    def cdf(self, params: Array, value: Array) -> Array:
        """P(x ≤ value) per coordinate, (exp(logit value) - 1) / (exp(logit) - 1)   (continuous_bernoulli.7)."""
        value, size = np.clip(value, 0, 1), np.maximum(np.abs(params), FLAT)
        upwards = np.exp(-np.maximum(params, 0) * (1 - value))
        cdf: Array = upwards * np.expm1(-size * value) / np.expm1(-size)  # (continuous_bernoulli.7)
        return cdf

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(x ≤ value) = level < 1 per coordinate, the inverse of (continuous_bernoulli.7)."""
        logit = np.where(np.abs(params) < FLAT, FLAT, params)
        direct = np.log1p(level * np.expm1(np.minimum(logit, STEEP)))
        rest = level + (1 - level) * np.exp(-np.maximum(logit, STEEP))
        steep = (logit + np.log(np.maximum(rest, least_positive(params.dtype)))) * (level > 0)
        quantile: Array = np.where(logit < STEEP, direct, steep) / logit  # (continuous_bernoulli.8)
        return quantile.astype(params.dtype)

    def _quantile_slope(self, params: Array, x: Array) -> Array:
        """∂x/∂logit at a fixed level, (F(x; -logit) - x) / logit   (continuous_bernoulli.9), and its series at 0."""
        spread, lean = x * (1 - x), 0.5 - x
        small = np.clip(params, -GENTLE, GENTLE)
        terms = lean / 6 - small * (
            spread / 24 + small * (lean * (spread + 1 / 3) / 120 - small * spread * (spread + 0.5) / 720)
        )
        gentle = spread * (0.5 + small * terms)
        logit = np.where(np.abs(params) < GENTLE, GENTLE, params)
        slope: Array = np.where(np.abs(params) < GENTLE, gentle, (self.cdf(-logit, x) - x) / logit)
        return slope  # (continuous_bernoulli.9)


def _log_normalizer(logit: Array) -> Array:
    """A = log((exp(logit) - 1) / logit) = max(logit, 0) + log((1 - exp(-t)) / t), t = abs(logit)

    (continuous_bernoulli.1).
    """
    size = np.maximum(np.abs(logit), FLAT)
    normalizer: Array = np.maximum(logit, 0) + np.log(-np.expm1(-size) / size)  # (continuous_bernoulli.1)
    return normalizer


def _langevin(x: Array) -> Array:
    """L(x) = coth x - 1 / x: within (-1, 1) by Lambert's continued fraction, where the two terms cancel

    (continuous_bernoulli.4).
    """
    far = np.where(np.abs(x) < 1, 1.0, x)
    near = np.clip(x, -1, 1)
    langevin: Array = np.where(np.abs(x) < 1, near / _langevin_denominator(near * near), 1 / np.tanh(far) - 1 / far)
    return langevin


def _langevin_denominator(square: Array) -> Array:
    """3 + x² / (5 + x² / (7 + …))   (continuous_bernoulli.4)."""
    denominator = np.full_like(square, 2 * LEVELS + 1)
    for odd in range(2 * LEVELS - 1, 1, -2):
        denominator = odd + square / denominator  # (continuous_bernoulli.4)
    return denominator
