"""The Erlang distribution: the time until several exponential waiting times are over, one after the other.

Derivations: ``derivations/erlang.md``.
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
from numvae.distributions.noise import positive_level, uniform_noise
from numvae.errors import InputError

__all__ = ["Erlang"]


@dataclass(frozen=True)
class Erlang:
    """Independent sums of ``order`` waiting times with rate exp(log_rate) over the last axis: gammas of whole shape.

    ``params``: (..., Z) = log_rate: any real number is legal.  Values: (..., Z), positive.  An order of 1 is the
    exponential.

    Raises ``InputError`` if ``order`` is not a whole number of at least 1.

    >>> Erlang(order=4).mean(np.log([[0.5]]))
    array([[8.]])
    """

    order: int = 2

    param_names = ("log_rate",)
    params_per_value = 1
    discrete = False
    support: ClassVar[Support] = "positive"
    noise_kind = "uniform"

    def __post_init__(self) -> None:
        if self.order != int(self.order) or self.order < 1:
            raise InputError(f"order must be a whole number of at least 1, got {self.order}; Gamma takes any shape")

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1), ``order`` numbers for each value: block beside block along the last axis."""
        return uniform_noise(rng, (*shape[:-1], self.order * shape[-1]), dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = -Σ_k log(1 - noise_k) / rate   (erlang.1), a sum of exponentials; pullback -> (dparams, None).

        Shapes: params (B, Z), noise (S, B, order Z), z (S, B, Z).  Source: Kingma and Welling, section 2.4
        (composition).  A noise of 0 counts as half a step of the generator, so that z is positive.
        """
        levels = positive_level(noise).reshape(*noise.shape[:-1], self.order, noise.shape[-1] // self.order)
        z = -np.sum(np.log1p(-levels), axis=-2) * np.exp(-params)  # (erlang.1)
        return z, lambda dz: (sum_to_shape(-dz * z, params.shape), None)  # (erlang.2)

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ order log_rate - log (order - 1)! + (order - 1) log value - rate value   (erlang.3).

        Nats, summed over the last axis, for values > 0; pullback -> (dparams, dvalue).
        """
        rate = np.exp(params)
        scaled, more = rate * value, self.order - 1
        log_factorial = math.lgamma(self.order)
        log_density = np.sum(self.order * params - log_factorial + more * np.log(value) - scaled, axis=-1)  # (erlang.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            dlog_rate = d * (self.order - scaled)  # (erlang.4)
            return sum_to_shape(dlog_rate, params.shape), sum_to_shape(d * (more / value - rate), value.shape)

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ order (log(rate_q / rate_p) + rate_p / rate_q - 1)   (erlang.5), for one order of both.

        Nats, one per row.  The pullback returns (dparams, dprior_params).
        """
        difference = params - prior_params
        excess = np.expm1(-difference)
        kl = self.order * np.sum(difference + excess, axis=-1)  # (erlang.5)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            ddifference = -self.order * dkl[..., None] * excess  # (erlang.6)
            return sum_to_shape(ddifference, params.shape), sum_to_shape(-ddifference, prior_params.shape)

        return kl, pullback

    def mean(self, params: Array) -> Array:
        """E[z] = order / rate   (erlang.7)."""
        mean: Array = self.order * np.exp(-params)  # (erlang.7)
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation, sqrt(order) / rate."""
        std: Array = math.sqrt(self.order) * np.exp(-params)
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ order - log_rate + log (order - 1)! + (1 - order) ψ(order)   (erlang.8).  Nats."""
        from scipy.special import psi

        of_rate_one = self.order + math.lgamma(self.order) + (1 - self.order) * float(psi(self.order))
        entropy: Array = np.sum(of_rate_one - params, axis=-1)  # (erlang.8)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, the regularised incomplete gamma function P(order, rate value)   (erlang.9)."""
        from scipy.special import gammainc

        return np.asarray(
            gammainc(np.full_like(params, self.order), np.exp(params) * np.maximum(value, 0))
        )  # (erlang.9)

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level per coordinate: the inverse of (erlang.9), which has no closed form."""
        from scipy.special import gammaincinv

        return np.asarray(gammaincinv(np.full_like(params, self.order), level) * np.exp(-params))
