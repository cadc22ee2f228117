"""The uniform distribution on an interval whose ends are parameters: the simplest support that moves.

Derivations: ``derivations/uniform.md``.
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

__all__ = ["Uniform"]


@dataclass(frozen=True)
class Uniform:
    """Independent uniform variables on [low, low + exp(log_width)] over the last axis.

    ``params``: (..., 2Z) = [low | log_width], so that any output of a network is legal.  Values: (..., Z).

    The parameters move the ends, so E[∇ log p] is not zero and the score function is wrong by what enters and leaves at
    the ends   (uniform.10): ``support_moves`` keeps estimators away that rest on it.

    >>> Uniform().kl(np.array([[0.5, 0.0]]), np.array([[0.0, np.log(4.0)]]))[0]  # log 4: two bits, in nats
    array([1.38629436])
    """

    param_names = ("low", "log_width")
    params_per_value = 2
    discrete = False
    support: ClassVar[Support] = "reals"
    support_moves = True
    noise_kind = "uniform"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = low + width noise   (uniform.1); pullback -> (dparams, None).

        Shapes: params (B, 2Z), noise and z (S, B, Z).  Source: Kingma and Welling, section 2.4 (location-scale).
        """
        low, log_width = halves(params)
        distance = np.exp(log_width) * noise
        z = low + distance  # (uniform.1): rounding keeps the order, so that z never leaves [low, low + width]

        def pullback(dz: Array) -> tuple[Array, None]:
            dlow = sum_to_shape(dz, low.shape)  # (uniform.2)
            dlog_width = sum_to_shape(dz * distance, log_width.shape)
            return np.concatenate([dlow, dlog_width], axis=-1), None

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ -log_width inside the interval, -inf outside   (uniform.3); pullback -> (dparams, dvalue).

        Nats, summed over the last axis.  A value outside has no gradient, and gives none.
        """
        low, log_width = halves(params)
        inside = (low <= value) & (value <= low + np.exp(log_width))
        log_density = np.sum(np.where(inside, -log_width, -math.inf), axis=-1)  # (uniform.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            dlog_width = sum_to_shape(-dlog_density[..., None] * inside, log_width.shape)  # (uniform.4)
            return np.concatenate([np.zeros_like(low), dlog_width], axis=-1), np.zeros_like(value)

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ log(width_p / width_q) where q's interval lies in p's   (uniform.5), otherwise infinite.

        Nats, one per row.  The pullback returns (dparams, dprior_params); an infinite KL has no slope that would lead
        back, and its coordinates give zero.
        """
        (low, log_width), (prior_low, prior_log_width) = halves(params), halves(prior_params)
        high, prior_high = low + np.exp(log_width), prior_low + np.exp(prior_log_width)
        inside = (prior_low <= low) & (high <= prior_high)
        kl = np.sum(np.where(inside, prior_log_width - log_width, math.inf), axis=-1)  # (uniform.5)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            dprior = dkl[..., None] * inside  # (uniform.6)
            dlog_width, dprior_log_width = sum_to_shape(-dprior, low.shape), sum_to_shape(dprior, prior_low.shape)
            dparams = np.concatenate([np.zeros_like(low), dlog_width], axis=-1)
            return dparams, np.concatenate([np.zeros_like(prior_low), dprior_log_width], axis=-1)

        return kl, pullback

    def mean(self, params: Array) -> Array:
        """E[z] = low + width / 2   (uniform.7)."""
        low, log_width = halves(params)
        mean: Array = low + 0.5 * np.exp(log_width)  # (uniform.7)
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation, width / √12."""
        std: Array = np.exp(halves(params)[1]) / math.sqrt(12)
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ log_width   (uniform.8).  Nats; negative for widths below 1."""
        entropy: Array = np.sum(halves(params)[1], axis=-1)  # (uniform.8)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, (value - low) / width between 0 and 1   (uniform.9)."""
        low, log_width = halves(params)
        cdf: Array = np.clip((value - low) * np.exp(-log_width), 0, 1)  # (uniform.9)
        return cdf

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level: (uniform.1)."""
        return self.sample(params, level)[0]
