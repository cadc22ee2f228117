"""The triangular distribution: density zero at both ends of an interval, highest at a mode between them.

Derivations: ``derivations/triangular.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import sum_to_shape, thirds
from numvae.distributions.contract import Support, least_positive
from numvae.distributions.noise import positive_level, uniform_noise

__all__ = ["Triangular"]

LOG_2 = math.log(2)


@dataclass(frozen=True)
class Triangular:
    """Independent triangular variables over the last axis: on [low, low + width], the mode at low + width c.

    ``params``: (..., 3Z) = [low | log_width | mode_logit], width = exp(log_width), c = sigmoid(mode_logit), so that any
    output of a network is legal.  Values: (..., Z).

    The score has mean zero, as the density vanishes at both ends, but its variance in low and log_width is infinite
    (triangular.10): ``support_moves`` keeps estimators away that rest on it.  There must be room for samples: a width
    of less than some units of rounding at low has none.

    >>> Triangular().mean(np.array([[0.0, np.log(6.0), 0.0]]))
    array([[3.]])
    """

    param_names = ("low", "log_width", "mode_logit")
    params_per_value = 3
    discrete = False
    support: ClassVar[Support] = "reals"
    support_moves = True
    noise_kind = "uniform"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = low + width x,  x = √(c noise) below the mode, 1 - √((1 - c)(1 - noise)) above   (triangular.1).

        Shapes: params (B, 3Z), noise and z (S, B, Z); pullback -> (dparams, None).  A sample is never an end itself,
        where the density is zero.  Source: Kingma and Welling, section 2.4 (location-scale).
        """
        low, log_width, mode_logit = thirds(params)
        width, (below, above) = np.exp(log_width), sides(mode_logit)
        eps = float(np.finfo(params.dtype).eps)
        x = unit_quantile(positive_level(noise), below, above)
        first, last = np.nextafter(low, math.inf), np.nextafter(low + (1 - eps) * width, -math.inf)
        z = np.minimum(np.maximum(low + width * x, first), last)  # (triangular.1)

        def pullback(dz: Array) -> tuple[Array, None]:
            scaled = dz * width
            dmode_logit = scaled * (0.5 * np.minimum(above * x, below * (1 - x)))  # (triangular.2)
            gradients = zip((dz, scaled * x, dmode_logit), (low, log_width, mode_logit), strict=True)
            return np.concatenate([sum_to_shape(d, part.shape) for d, part in gradients], axis=-1), None

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ log 2 - log_width + min(log x - log c, log(1 - x) - log(1 - c)),  x = (value - low) / width.

        (triangular.3); -inf where x is not inside (0, 1), and no gradient there.  Nats, summed over the last axis;
        pullback -> (dparams, dvalue).  The density has a corner at the mode, whose two slopes it does not mix.
        """
        low, log_width, mode_logit = thirds(params)
        width, (below, above) = np.exp(log_width), sides(mode_logit)
        from_low = value - low
        inside = (from_low > 0) & (from_low < width)
        from_low = np.where(inside, from_low, 0.5 * width)
        from_high = width - from_low  # exact near the end, where low + width - value has lost its digits
        rising, falling = np.log(from_low) - np.log(below), np.log(from_high) - np.log(above)
        terms = np.minimum(rising, falling) + (LOG_2 - 2 * log_width)
        log_density = np.sum(np.where(inside, terms, -math.inf), axis=-1)  # (triangular.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None] * inside
            left = rising < falling
            slope = np.where(left, 1 / from_low, -1 / from_high)
            dvalue = d * slope  # (triangular.4)
            gradients = zip(
                (-dvalue, -d * (1 + from_low * slope), d * (below - left)), (low, log_width, mode_logit), strict=True
            )
            dparams = np.concatenate([sum_to_shape(d, part.shape) for d, part in gradients], axis=-1)
            return dparams, sum_to_shape(dvalue, value.shape)

        return log_density, pullback

    def mean(self, params: Array) -> Array:
        """E[z] = low + width (1 + c) / 3   (triangular.5)."""
        low, log_width, mode_logit = thirds(params)
        mean: Array = low + np.exp(log_width) * (1 + sides(mode_logit)[0]) / 3  # (triangular.5)
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation, width √((1 - c (1 - c)) / 18)   (triangular.6)."""
        _, log_width, mode_logit = thirds(params)
        below, above = sides(mode_logit)
        std: Array = np.exp(log_width) * np.sqrt((1 - below * above) / 18)  # (triangular.6)
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ log_width + ½ - log 2   (triangular.7), wherever the mode is.  Nats."""
        log_width = thirds(params)[1]
        entropy: Array = np.sum(log_width, axis=-1) + (0.5 - LOG_2) * log_width.shape[-1]  # (triangular.7)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, x² / c below the mode, 1 - (1 - x)² / (1 - c) above   (triangular.8)."""
        low, log_width, mode_logit = thirds(params)
        below, above = sides(mode_logit)
        x = np.clip((value - low) * np.exp(-log_width), 0, 1)
        cdf: Array = np.where(x < below, x * x / below, 1 - (1 - x) * (1 - x) / above)  # (triangular.8)
        return cdf

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level: (triangular.1)."""
        low, log_width, mode_logit = thirds(params)
        value: Array = low + np.exp(log_width) * unit_quantile(level, *sides(mode_logit))
        return value


def sides(mode_logit: Array) -> tuple[Array, Array]:
    """c = sigmoid(mode_logit) and 1 - c, both with all their digits, and never quite 0   (triangular.9)."""
    tail, least = np.exp(-np.abs(mode_logit)), least_positive(mode_logit.dtype)
    below = np.maximum(np.exp(np.minimum(mode_logit, 0)) / (1 + tail), least)  # (triangular.9)
    above = np.maximum(np.exp(np.minimum(-mode_logit, 0)) / (1 + tail), least)
    return below, above


def unit_quantile(level: Array, below: Array, above: Array) -> Array:
    """x with x² / c = level, or (1 - x)² / (1 - c) = 1 - level: (triangular.1) on the unit interval."""
    rest = np.sqrt(above * (1 - level))
    right = (below + above * level) / (1 + rest)  # 1 - rest, where a small difference keeps its digits
    x: Array = np.where(level < below, np.sqrt(below * level), right)
    return x
