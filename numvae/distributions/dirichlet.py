"""The Dirichlet distribution on the simplex: the shares that several gamma variables have of their sum.

Derivations: ``derivations/dirichlet.md``.
"""

from __future__ import annotations

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

__all__ = ["Dirichlet"]


@dataclass(frozen=True)
class Dirichlet:
    """One point of the simplex per row: Z positive numbers along the last axis that sum to one.

    ``params``: (..., Z) = log_concentration: any real numbers are legal.  Values: (..., Z).  All zeros are the uniform
    distribution on the simplex.  The density is that of the first Z - 1 numbers, as everywhere; with Z = 2 it is the
    beta distribution.

    For concentrations below some 0.01 (0.1 in float32) more than a thousandth of the law may lie below the smallest
    floating-point number; such shares are given as that number, and carry the gradient of the share they stand for.

    >>> Dirichlet().mean(np.log([[1.0, 1.0, 2.0]]))
    array([[0.25, 0.25, 0.5 ]])
    """

    param_names = ("log_concentration",)
    params_per_value = 1
    discrete = False
    support: ClassVar[Support] = "simplex"
    noise_kind = "uniform"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z_k = x_k / Σ_j x_j, with x_k = P⁻¹(concentration_k, noise_k)   (dirichlet.1); pullback -> (dparams, None).

        Shapes: params (B, Z), noise and z (S, B, Z).  Works in float64 whatever the dtype of ``params``, and gives
        that.  Source: Kingma and Welling, section 2.4 (composition; *normalised* gammas, not a weighted sum of them).
        """
        concentration = np.exp(params.astype(np.float64))
        log_gammas = log_quantile(concentration, positive_level(noise))
        gammas = np.exp(log_gammas - log_gammas.max(axis=-1, keepdims=True))
        z = gammas / np.sum(gammas, axis=-1, keepdims=True)  # (dirichlet.1)
        z = np.maximum(z.astype(params.dtype), least_positive(params.dtype))

        def pullback(dz: Array) -> tuple[Array, None]:
            dlog_gammas = z * (dz - np.sum(dz * z, axis=-1, keepdims=True))
            slope = (concentration * log_quantile_slope(concentration, log_gammas)).astype(params.dtype)
            return sum_to_shape(dlog_gammas * slope, params.shape), None  # (dirichlet.2)

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = log Γ(Σ a_k) - Σ log Γ(a_k) + Σ (a_k - 1) log value_k   (dirichlet.3), a the concentrations.

        Nats, one per row; pullback -> (dparams, dvalue), dvalue as if each number of the row could move alone.
        """
        from scipy.special import gammaln, psi

        a, log_value = np.exp(params), np.log(value)
        total = np.sum(a, axis=-1)
        log_density = gammaln(total) + np.sum((a - 1) * log_value - gammaln(a), axis=-1)  # (dirichlet.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            dlog_a = d * a * (psi(total)[..., None] - psi(a) + log_value)  # (dirichlet.4)
            return sum_to_shape(dlog_a, params.shape), sum_to_shape(d * (a - 1) / value, value.shape)

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = log Γ(Σ a) - log Γ(Σ b) + Σ log Γ(b) - log Γ(a) + (a - b) (ψ(a) - ψ(Σ a))   (dirichlet.5).

        With concentrations a of q and b of p.  Nats, one per row.  The pullback returns (dparams, dprior_params).
        """
        from scipy.special import gammaln, psi

        a, b = np.exp(params), np.exp(prior_params)
        total, prior_total = np.sum(a, axis=-1, keepdims=True), np.sum(b, axis=-1, keepdims=True)
        difference, log_z = a - b, psi(a) - psi(total)
        terms = gammaln(b) - gammaln(a) + difference * log_z
        totals = (gammaln(total) - gammaln(prior_total))[..., 0]
        kl = totals + np.sum(terms, axis=-1)  # (dirichlet.5)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None]
            dlog_a = d * a * (difference * trigamma(a) - (total - prior_total) * trigamma(total))  # (dirichlet.6)
            dlog_b = d * b * (psi(b) - psi(prior_total) - log_z)  # (dirichlet.7)
            return sum_to_shape(dlog_a, params.shape), sum_to_shape(dlog_b, prior_params.shape)

        return kl, pullback

    def mean(self, params: Array) -> Array:
        """E[z_k] = a_k / Σ a   (dirichlet.8)."""
        a = np.exp(params)
        mean: Array = a / np.sum(a, axis=-1, keepdims=True)  # (dirichlet.8)
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation of each share, sqrt(a_k (Σ a - a_k) / (Σ a + 1)) / Σ a   (dirichlet.9)."""
        a = np.exp(params)
        total = np.sum(a, axis=-1, keepdims=True)
        std: Array = np.sqrt(a * (total - a) / (total + 1)) / total  # (dirichlet.9)
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ log Γ(a_k) - log Γ(Σ a) - Σ (a_k - 1) (ψ(a_k) - ψ(Σ a))   (dirichlet.10).  Nats, one per row."""
        from scipy.special import gammaln, psi

        a = np.exp(params)
        total = np.sum(a, axis=-1, keepdims=True)
        terms = gammaln(a) - (a - 1) * (psi(a) - psi(total))
        entropy: Array = np.sum(terms, axis=-1) - gammaln(total)[..., 0]  # (dirichlet.10)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z_k ≤ value_k) of each share by itself: it is beta(a_k, Σ a - a_k)   (dirichlet.11)."""
        from scipy.special import betainc

        a = np.exp(params)
        others = np.sum(a, axis=-1, keepdims=True) - a
        return np.asarray(betainc(a, others, np.clip(value, 0, 1)))  # (dirichlet.11)
