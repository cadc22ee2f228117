"""The categorical distribution: one of K codes, without an order, as a likelihood.

Derivations: ``derivations/categorical.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import sum_to_shape
from numvae.distributions.contract import Support
from numvae.distributions.noise import uniform_noise
from numvae.errors import InputError

__all__ = ["Categorical"]


@dataclass(frozen=True)
class Categorical:
    """Independent codes 0, …, K - 1 over the last axis, K = ``categories``, with P(code) = softmax(logits).

    ``params``: (..., K·D) = [logits of code 0 | logits of code 1 | …], each block of length D: any real numbers are
    legal.  Adding a number to all K logits of a value changes nothing.  Values: (..., D), codes as floating-point
    numbers; what is no code has log-probability -inf.

    >>> Categorical(4).entropy(np.zeros((1, 8)))  # two values, log 4 each
    array([2.77258872])
    """

    categories: int
    param_names = ("logits",)
    discrete = True
    support: ClassVar[Support] = "codes"

    def __post_init__(self) -> None:
        if self.categories < 2:
            raise InputError(f"categories must be at least 2, got {self.categories}")

    def params_size(self, values: int) -> int:
        """K parameters for each value."""
        return self.categories * values

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """The least code with P(z ≤ code) > noise   (categorical.1).  A step has no slope: the pullback refuses."""
        cumulated = np.cumsum(self.probabilities(params), axis=-2)[..., :-1, :]
        codes = np.sum(noise[..., None, :] >= cumulated, axis=-2).astype(params.dtype)  # (categorical.1)

        def pullback(dcodes: Array) -> tuple[Array, None]:
            raise InputError("a categorical sample is a step function of its logits: use score_function, not pathwise")

        return codes, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ logit[value] - log Σ_k exp(logit[k])   (categorical.2); pullback -> (dparams, None).

        Nats, summed over the last axis.  A code has no gradient.
        """
        log_probabilities = self._log_softmax(params)
        seen = self._codes(params) == value[..., None, :]
        each = np.sum(log_probabilities * seen, axis=-2)  # (categorical.2)
        log_mass = np.sum(np.where(seen.any(axis=-2), each, -np.inf), axis=-1)

        def pullback(dlog_mass: Array) -> tuple[Array, None]:
            surprise = dlog_mass[..., None, None] * (seen - np.exp(log_probabilities))  # (categorical.3)
            return self._to_params(surprise, params), None

        return log_mass.astype(params.dtype), pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ_k q_k (log q_k - log p_k)   (categorical.4).

        Nats, one per row.  The pullback returns (dparams, dprior_params).
        """
        log_q, log_p = self._log_softmax(params), self._log_softmax(prior_params)
        q, log_ratio = np.exp(log_q), log_q - log_p
        each = np.sum(q * log_ratio, axis=-2, keepdims=True)  # (categorical.4)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None, None]
            dlogits = d * q * (log_ratio - each)  # (categorical.5)
            return self._to_params(dlogits, params), self._to_params(d * (np.exp(log_p) - q), prior_params)

        return np.sum(each, axis=(-2, -1)), pullback

    def probabilities(self, params: Array) -> Array:
        """softmax(logits), of shape (..., K, D)."""
        probabilities: Array = np.exp(self._log_softmax(params))
        return probabilities

    def mean(self, params: Array) -> Array:
        """The expected code, Σ_k k p_k   (categorical.6): what a picture of ordered codes, grey levels, shows."""
        mean: Array = np.sum(self._codes(params) * self.probabilities(params), axis=-2)  # (categorical.6)
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation of the code."""
        distance = self._codes(params) - self.mean(params)[..., None, :]
        std: Array = np.sqrt(np.sum(distance * distance * self.probabilities(params), axis=-2))
        return std

    def entropy(self, params: Array) -> Array:
        """H = -Σ_k p_k log p_k   (categorical.7).  Nats."""
        log_probabilities = self._log_softmax(params)
        entropy: Array = -np.sum(np.exp(log_probabilities) * log_probabilities, axis=(-2, -1))  # (categorical.7)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate."""
        cdf: Array = np.sum(self.probabilities(params) * (self._codes(params) <= value[..., None, :]), axis=-2)
        return cdf

    def _logits(self, params: Array) -> Array:
        """(..., K·D) as (..., K, D)."""
        return params.reshape(*params.shape[:-1], self.categories, params.shape[-1] // self.categories)

    def _log_softmax(self, params: Array) -> Array:
        """logit - log Σ exp(logits), with the largest taken out, so that nothing overflows; (..., K, D)."""
        shifted: Array = self._logits(params)
        shifted = shifted - shifted.max(axis=-2, keepdims=True)
        shifted -= np.log(np.sum(np.exp(shifted), axis=-2, keepdims=True))
        return shifted

    def _codes(self, params: Array) -> Array:
        """0, …, K - 1 along the second last axis, counted out where ``params`` lives."""
        codes: Array = np.cumsum(np.ones_like(self._logits(params)[..., :1]), axis=-2) - 1
        return codes

    def _to_params(self, dlogits: Any, params: Array) -> Array:
        """(..., K, D) back as (..., K·D), summed over what broadcasting repeated."""
        return sum_to_shape(dlogits, self._logits(params).shape).reshape(params.shape)
