"""The Bernoulli distribution from logits: the likelihood of black-and-white images.

Derivations: ``derivations/bernoulli.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import sum_to_shape
from numvae.distributions.contract import Support
from numvae.distributions.noise import uniform_noise
from numvae.errors import InputError

__all__ = ["Bernoulli"]

LOG_2 = math.log(2)


@dataclass(frozen=True)
class Bernoulli:
    """Independent bits with P(1) = sigmoid(logit) over the last axis.

    ``params``: (..., D) = logits: any real number is legal, and nothing is ever clipped.

    >>> Bernoulli().log_prob(np.array([[0.0]]), np.array([[1.0]]))[0]  # a fair coin: -log 2
    array([-0.69314718])
    """

    param_names = ("logit",)
    params_per_value = 1
    discrete = True
    support: ClassVar[Support] = "bits"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """A bit is 1 where noise < sigmoid(logit)   (bernoulli.1).  A step has no derivative: the pullback refuses."""
        bits = (noise < self.mean(params)).astype(params.dtype)  # (bernoulli.1)

        def pullback(dbits: Array) -> tuple[Array, None]:
            raise InputError("a Bernoulli sample is a step function of its logits: use score_function, not pathwise")

        return bits, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ value logit - softplus(logit)   (bernoulli.2); pullback -> (dparams, None): a bit has no gradient.

        Nats, summed over the last axis.  Source: Kingma and Welling, appendix C.1 (equation 11), in logits.
        With t = tanh(logit / 2), softplus = logit / 2 + abs(logit) / 2 + log 2 - log(1 + abs(t))   (bernoulli.3): one
        tanh serves value and gradient, and nothing overflows.
        """
        half = 0.5 * params
        half_tanh = np.tanh(half)
        centred = value - 0.5
        terms = centred * params
        terms -= np.abs(half, out=half)
        terms += np.log1p(np.abs(half_tanh, out=half), out=half)  # value logit - softplus + LOG_2, by (bernoulli.3)
        log_mass = np.sum(terms, axis=-1) - LOG_2 * params.shape[-1]  # (bernoulli.2)

        def pullback(dlog_mass: Array) -> tuple[Array, None]:
            surprise = centred - 0.5 * half_tanh  # value - sigmoid(logit)
            surprise *= dlog_mass[..., None]  # (bernoulli.4)
            return sum_to_shape(surprise, params.shape), None

        return log_mass, pullback

    def relaxed_log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """(bernoulli.2) for values anywhere in [0, 1]   (bernoulli.7); pullback -> (dparams, dvalue).

        Linear in each value, and the log-probability at bits: what a relaxation puts in the place of log p.
        """
        log_mass, pullback = self.log_prob(params, value)

        def relaxed_pullback(dlog_mass: Array) -> tuple[Array, Array]:
            dvalue = dlog_mass[..., None] * params  # (bernoulli.7)
            return pullback(dlog_mass)[0], sum_to_shape(dvalue, value.shape)

        return log_mass, relaxed_pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ P_q(1) log P_q(1) / P_p(1) + P_q(0) log P_q(0) / P_p(0)   (bernoulli.8).

        Nats, one per row.  The pullback returns (dparams, dprior_params).  It keeps its digits where probabilities
        round to 1.
        """
        (one, zero), (prior_one, prior_zero) = _log_probabilities(params), _log_probabilities(prior_params)
        probability_of_one, probability_of_zero = np.exp(one), np.exp(zero)
        terms = probability_of_one * (one - prior_one) + probability_of_zero * (zero - prior_zero)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None]
            dlogit = d * probability_of_one * probability_of_zero * (params - prior_params)  # (bernoulli.9)
            dprior_logit = d * (np.exp(prior_one) * probability_of_zero - probability_of_one * np.exp(prior_zero))
            return sum_to_shape(dlogit, params.shape), sum_to_shape(dprior_logit, prior_params.shape)

        return np.sum(terms, axis=-1), pullback  # (bernoulli.8)

    def mean(self, params: Array) -> Array:
        """E[x] = sigmoid(logit)   (bernoulli.5), by tanh so that it cannot overflow."""
        mean: Array = np.tanh(0.5 * params)
        mean *= 0.5
        mean += 0.5  # (bernoulli.5)
        return mean

    def std(self, params: Array) -> Array:
        """sqrt(p (1 - p)) = r / (1 + r²) with r = exp(-abs(logit) / 2): exact in the tails, where 1 - p rounds to 0."""
        root: Array = np.exp(-0.5 * np.abs(params))
        return root / (1 + root * root)

    def entropy(self, params: Array) -> Array:
        """H = Σ softplus(logit) - logit sigmoid(logit)   (bernoulli.6).  Nats."""
        at_mean, _ = self.log_prob(params, self.mean(params))
        return -at_mean  # (bernoulli.6): log p is linear in the bit


def _log_probabilities(logits: Array) -> tuple[Array, Array]:
    """log P(1) and log P(0), -softplus(-logit) and -softplus(logit), each to all its digits however small."""
    rest = np.log1p(np.exp(-np.abs(logits)))
    return np.minimum(logits, 0) - rest, np.minimum(-logits, 0) - rest
