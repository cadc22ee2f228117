"""The chi-squared distribution: a sum of squares of standard normals, for any number of them above zero.

Derivations: ``derivations/chi_squared.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import sum_to_shape
from numvae.distributions.contract import Support, least_positive
from numvae.distributions.gamma import log_quantile, log_quantile_slope
from numvae.distributions.noise import positive_level, uniform_noise
from numvae.distributions.polygamma import trigamma

__all__ = ["ChiSquared"]

LOG_2 = math.log(2)


@dataclass(frozen=True)
class ChiSquared:
    """Independent chi-squared variables over the last axis, with exp(log_dof) degrees of freedom.

    ``params``: (..., Z) = log_dof: any real number is legal, and so are broken degrees of freedom.  Values: (..., Z),
    positive.

    Below some 0.02 degrees of freedom (0.2 in float32) more than a thousandth of the law lies below the smallest
    floating-point number; such samples are given as that number, and carry the gradient of the sample they stand for.

    >>> ChiSquared().mean(np.log([[3.0]])), ChiSquared().std(np.log([[2.0]]))
    (array([[3.]]), array([[2.]]))
    """

    param_names = ("log_dof",)
    params_per_value = 1
    discrete = False
    support: ClassVar[Support] = "positive"
    noise_kind = "uniform"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = 2 P⁻¹(dof / 2, noise)   (chi_squared.1), the inverse of the CDF; pullback -> (dparams, None).

        Shapes: params (B, Z), noise and z (S, B, Z).  Works in float64 whatever the dtype of ``params``, and gives
        that.  Source: Figurnov et al. 2018 (implicit reparameterisation).
        """
        half = np.exp(params.astype(np.float64)) / 2
        log_half = log_quantile(half, positive_level(noise))
        z = 2 * np.exp(log_half)  # (chi_squared.1)
        z = np.maximum(z, least_positive(params.dtype)).astype(params.dtype)

        def pullback(dz: Array) -> tuple[Array, None]:
            slope = (half * log_quantile_slope(half, log_half)).astype(params.dtype)
            return sum_to_shape(dz * z * slope, params.shape), None  # (chi_squared.2)

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ half log(value / 2) - log Γ(half) - log value - value / 2   (chi_squared.3), half = dof / 2.

        Nats, summed over the last axis, for values > 0; pullback -> (dparams, dvalue).
        """
        from scipy.special import gammaln, psi

        half, log_value = np.exp(params) / 2, np.log(value)
        log_half_value = log_value - LOG_2
        log_density = np.sum(half * log_half_value - gammaln(half) - log_value - value / 2, axis=-1)  # (chi_squared.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            dlog_dof = d * half * (log_half_value - psi(half))  # (chi_squared.4)
            return sum_to_shape(dlog_dof, params.shape), sum_to_shape(d * ((half - 1) / value - 0.5), value.shape)

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ (a - b) ψ(a) - log Γ(a) + log Γ(b)   (chi_squared.5), a and b half the degrees of freedom.

        Nats, one per row.  The pullback returns (dparams, dprior_params).
        """
        from scipy.special import gammaln, psi

        half, prior_half = np.exp(params) / 2, np.exp(prior_params) / 2
        difference = half - prior_half
        kl = np.sum(difference * psi(half) - gammaln(half) + gammaln(prior_half), axis=-1)  # (chi_squared.5)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None]
            dlog_dof = d * half * difference * trigamma(half)  # (chi_squared.6)
            dprior_log_dof = d * prior_half * (psi(prior_half) - psi(half))
            return sum_to_shape(dlog_dof, params.shape), sum_to_shape(dprior_log_dof, prior_params.shape)

        return kl, pullback

    def mean(self, params: Array) -> Array:
        """E[z] = dof   (chi_squared.7)."""
        mean: Array = np.exp(params)  # (chi_squared.7)
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation, sqrt(2 dof)."""
        std: Array = np.exp((params + LOG_2) / 2)
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ half + log 2 + log Γ(half) + (1 - half) ψ(half)   (chi_squared.8), half = dof / 2.  Nats."""
        from scipy.special import gammaln, psi

        half = np.exp(params) / 2
        entropy: Array = np.sum(half + LOG_2 + gammaln(half) + (1 - half) * psi(half), axis=-1)  # (chi_squared.8)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, the regularised incomplete gamma function of value / 2   (chi_squared.9)."""
        from scipy.special import gammainc

        return np.asarray(gammainc(np.exp(params) / 2, np.maximum(value, 0) / 2))  # (chi_squared.9)

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level per coordinate, the inverse of (chi_squared.9)."""
        from scipy.special import gammaincinv

        return np.asarray(2 * gammaincinv(np.exp(params) / 2, level))
