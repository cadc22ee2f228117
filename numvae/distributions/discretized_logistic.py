"""The logistic distribution cut into grey levels: the likelihood of images as they are stored.

Derivations: ``derivations/discretized_logistic.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import halves, sum_to_shape
from numvae.distributions.contract import Support
from numvae.distributions.noise import positive_level, uniform_noise
from numvae.errors import InputError

__all__ = ["DiscretizedLogistic"]

LOG_2 = math.log(2)


@dataclass(frozen=True)
class DiscretizedLogistic:
    """Independent grey levels: a logistic variable with scale exp(log_scale), rounded to the nearest level.

    ``params``: (..., 2D) = [mean | log_scale], so that any output of a network is legal.  Values: (..., D), the levels
    v / (levels - 1) in [0, 1], as uint8 / 255.  The first and the last level take the tails, so that the masses of all
    levels add up to 1.  ``mean`` is that of the logistic, before it is cut: ``mean(params)`` is that of the levels.

    Finite and right to ten digits for scales from 1e-3 to 1e3, and beyond as long as the float holds their inverse.
    Source: Salimans, Karpathy, Chen and Kingma 2017 (PixelCNN++), section 2.1.

    >>> DiscretizedLogistic(2).log_prob(np.array([[0.5, 0.0]]), np.array([[1.0]]))[0]  # two levels: -log 2
    array([-0.69314718])
    """

    levels: int = 256
    param_names = ("mean", "log_scale")
    params_per_value = 2
    discrete = True
    support: ClassVar[Support] = "grey levels"

    def __post_init__(self) -> None:
        if self.levels < 2:
            raise InputError(f"levels must be at least 2, got {self.levels}")

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """The level nearest to mean + scale log(noise / (1 - noise))   (discretized_logistic.1).

        Shapes: params (B, 2D), noise and values (S, B, D).  A level steps: the pullback refuses.
        """
        mean, log_scale = halves(params)
        level = positive_level(noise)
        logit = np.log(level) - np.log1p(-level)
        whole = np.rint((mean + np.exp(log_scale) * logit) * (self.levels - 1))
        grey = np.clip(whole, 0, self.levels - 1) / (self.levels - 1)  # (discretized_logistic.1)

        def pullback(dgrey: Array) -> tuple[Array, None]:
            raise InputError(
                "a discretized logistic sample is a step function of its parameters: use score_function, not pathwise"
            )

        return grey, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ log σ(above) + log σ(-below) + log(1 - exp(-width))   (discretized_logistic.3).

        ``above`` and ``below`` are the standardized ends of the level's interval, ``width`` their distance; the first
        level has no lower end, the last no upper.  Nats, summed over the last axis; pullback -> (dparams, None).
        """
        mean, log_scale = halves(params)
        half = 0.5 / (self.levels - 1)
        inverse_scale = np.exp(-log_scale)
        above, below = (value - mean + half) * inverse_scale, (value - mean - half) * inverse_scale
        width = 2 * half * inverse_scale
        has_above, has_below = value < 1 - half, value > half
        inner = has_above & has_below
        tails = has_above * _softplus(-above) + has_below * _softplus(below)
        log_mass = np.sum(inner * np.log(-np.expm1(-width)) - tails, axis=-1)  # (discretized_logistic.3)

        def pullback(dlog_mass: Array) -> tuple[Array, None]:
            d = dlog_mass[..., None]
            pull_up, pull_down = has_below * _sigmoid(below), has_above * _sigmoid(-above)
            dmean = d * (pull_up - pull_down) * inverse_scale  # (discretized_logistic.4)
            narrowing = inner * width * np.exp(-width) / np.expm1(-width)  # -width / (exp(width) - 1)
            dlog_scale = d * (below * pull_up - above * pull_down + narrowing)  # (discretized_logistic.5)
            dparams = [sum_to_shape(dmean, mean.shape), sum_to_shape(dlog_scale, log_scale.shape)]
            return np.concatenate(dparams, axis=-1), None

        return log_mass, pullback

    def mean(self, params: Array) -> Array:
        """E[value] = Σ_k≥1 P(value ≥ level k) / (levels - 1)   (discretized_logistic.6)."""
        location, log_scale = halves(params)
        inverse_scale = np.exp(-log_scale)
        mean = np.zeros_like(location)
        for level in range(1, self.levels):
            mean += _sigmoid((location - (level - 0.5) / (self.levels - 1)) * inverse_scale)
        return mean / (self.levels - 1)  # (discretized_logistic.6)

    def std(self, params: Array) -> Array:
        """Standard deviation, by summation over the levels."""
        mean = self.mean(params)
        variance = np.zeros_like(mean)
        for grey, log_mass in self._log_masses(params):
            variance += np.exp(log_mass) * (grey - mean) ** 2
        std: Array = np.sqrt(variance)
        return std

    def entropy(self, params: Array) -> Array:
        """H = -Σ p log p, by summation over the levels.  Nats, at most log(levels) for each value."""
        entropy = np.zeros_like(halves(params)[0])
        for _, log_mass in self._log_masses(params):
            entropy -= np.exp(log_mass) * log_mass
        total: Array = np.sum(entropy, axis=-1)
        return total

    def cdf(self, params: Array, value: Array) -> Array:
        """P(x ≤ value) per coordinate, for levels: σ of the upper end of its interval, and 1 at the last

        (discretized_logistic.2).
        """
        mean, log_scale = halves(params)
        half = 0.5 / (self.levels - 1)
        cdf = np.exp(-_softplus((mean - value - half) * np.exp(-log_scale)))  # (discretized_logistic.2)
        return np.asarray(np.where(value > 1 - half, 1, cdf).astype(params.dtype))

    def _log_masses(self, params: Array) -> Iterator[tuple[float, Array]]:
        """Each level and its log-mass per coordinate."""
        mean, log_scale = halves(params)
        alone = np.concatenate([mean[..., None], log_scale[..., None]], axis=-1)
        for level in range(self.levels):
            grey = level / (self.levels - 1)
            yield grey, self.log_prob(alone, np.full_like(mean[..., None], grey))[0]


def _sigmoid(x: Array) -> Array:
    """σ(x), by tanh so that it cannot overflow."""
    sigmoid: Array = 0.5 + 0.5 * np.tanh(0.5 * x)
    return sigmoid


def _softplus(x: Array) -> Array:
    """log(1 + exp(x)) = -log σ(-x), without overflow."""
    softplus: Array = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return softplus
