"""The beta distribution on the unit interval: the share that one gamma variable has of two.

Derivations: ``derivations/beta.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import halves, sum_to_shape
from numvae.distributions.contract import Support, least_positive
from numvae.distributions.gamma import log_quantile, log_quantile_slope
from numvae.distributions.noise import positive_level, uniform_noise
from numvae.distributions.polygamma import trigamma

__all__ = ["Beta"]


@dataclass(frozen=True)
class Beta:
    """Independent beta variables over the last axis.

    ``params``: (..., 2Z) = [log_alpha | log_beta]: any real numbers are legal.  Values: (..., Z), inside (0, 1); the
    density need not be finite at the ends.  Two zeros are the uniform distribution.

    Samples lie strictly inside, between the smallest positive number and the largest below 1, which is only 1e-16 away
    from it (6e-8 in float32).  For a beta below some 0.2 (0.4), or an alpha below 0.01 (0.1), more than a thousandth of
    the law may lie beyond these; such samples are given as the end, and carry the gradient of the log-odds they stand
    for.

    >>> Beta().mean(np.log([[3.0, 1.0]])), Beta().std(np.log([[1.0, 1.0]])) ** 2 * 12
    (array([[0.75]]), array([[1.]]))
    """

    param_names = ("log_alpha", "log_beta")
    params_per_value = 2
    discrete = False
    support: ClassVar[Support] = "unit interval"
    noise_kind = "uniform"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1), two numbers for each value: [first gamma | second gamma] along the last axis."""
        return uniform_noise(rng, (*shape[:-1], 2 * shape[-1]), dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = x / (x + y), with x = P⁻¹(alpha, noise) and y = P⁻¹(beta, noise')   (beta.1).

        Shapes: params (B, 2Z), noise (S, B, 2Z), z (S, B, Z).  The pullback returns (dparams, None).  Works in float64
        whatever the dtype of ``params``, and gives that.  Source: Kingma and Welling, section 2.4 (composition).
        """
        shapes = np.exp(params.astype(np.float64))
        log_gammas = log_quantile(shapes, positive_level(noise))
        log_x, log_y = halves(log_gammas)
        log_odds = log_x - log_y
        z = np.exp(np.minimum(log_odds, 0)) / (1 + np.exp(-np.abs(log_odds)))  # (beta.1)
        largest = 1 - float(np.finfo(params.dtype).epsneg)
        z = np.minimum(np.maximum(z.astype(params.dtype), least_positive(params.dtype)), largest)

        def pullback(dz: Array) -> tuple[Array, None]:
            dlog_odds = dz * z * (1 - z)
            slope = (shapes * log_quantile_slope(shapes, log_gammas)).astype(params.dtype)
            dparams = np.concatenate([dlog_odds, -dlog_odds], axis=-1) * slope  # (beta.2)
            return sum_to_shape(dparams, params.shape), None

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ (alpha - 1) log value + (beta - 1) log(1 - value) - log B(alpha, beta)   (beta.3).

        Nats, summed over the last axis, for 0 < value < 1; pullback -> (dparams, dvalue).
        """
        from scipy.special import betaln, psi

        alpha, beta = halves(np.exp(params))
        log_value, log_rest = np.log(value), np.log1p(-value)
        log_density = np.sum((alpha - 1) * log_value + (beta - 1) * log_rest - betaln(alpha, beta), axis=-1)  # (beta.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            psi_of_sum = psi(alpha + beta)
            dlog_alpha = d * alpha * (log_value + psi_of_sum - psi(alpha))  # (beta.4)
            dlog_beta = d * beta * (log_rest + psi_of_sum - psi(beta))
            dvalue = d * ((alpha - 1) / value - (beta - 1) / (1 - value))
            dparams = [sum_to_shape(dlog_alpha, alpha.shape), sum_to_shape(dlog_beta, beta.shape)]
            return np.concatenate(dparams, axis=-1), sum_to_shape(dvalue, value.shape)

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ log B(a', b') - log B(a, b) + (a - a') E[log z] + (b - b') E[log(1 - z)]   (beta.5).

        With a, b of q and a', b' of p; E[log z] = ψ(a) - ψ(a + b).  Nats, one per row.  The pullback returns (dparams,
        dprior_params).
        """
        from scipy.special import betaln, psi

        (a, b), (prior_a, prior_b) = halves(np.exp(params)), halves(np.exp(prior_params))
        more_a, more_b = a - prior_a, b - prior_b
        log_z, log_rest = psi(a) - psi(a + b), psi(b) - psi(a + b)
        terms = betaln(prior_a, prior_b) - betaln(a, b) + more_a * log_z + more_b * log_rest  # (beta.5)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None]
            shared = (more_a + more_b) * trigamma(a + b)
            dlog_a = d * a * (more_a * trigamma(a) - shared)  # (beta.6)
            dlog_b = d * b * (more_b * trigamma(b) - shared)
            prior_psi = psi(prior_a + prior_b)
            dprior_log_a = d * prior_a * (psi(prior_a) - prior_psi - log_z)  # (beta.7)
            dprior_log_b = d * prior_b * (psi(prior_b) - prior_psi - log_rest)
            dparams = [sum_to_shape(dlog_a, a.shape), sum_to_shape(dlog_b, b.shape)]
            dprior = [sum_to_shape(dprior_log_a, prior_a.shape), sum_to_shape(dprior_log_b, prior_b.shape)]
            return np.concatenate(dparams, axis=-1), np.concatenate(dprior, axis=-1)

        return np.sum(terms, axis=-1), pullback

    def mean(self, params: Array) -> Array:
        """E[z] = alpha / (alpha + beta)   (beta.8)."""
        alpha, beta = halves(np.exp(params))
        mean: Array = alpha / (alpha + beta)  # (beta.8)
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation, sqrt(alpha beta / (alpha + beta + 1)) / (alpha + beta)   (beta.9)."""
        alpha, beta = halves(np.exp(params))
        total = alpha + beta
        std: Array = np.sqrt(alpha * beta / (total + 1)) / total  # (beta.9)
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ log B(alpha, beta) - (alpha - 1) E[log z] - (beta - 1) E[log(1 - z)]   (beta.10).  Nats, at most 0."""
        from scipy.special import betaln, psi

        alpha, beta = halves(np.exp(params))
        psi_of_sum = psi(alpha + beta)
        terms = (alpha - 1) * (psi(alpha) - psi_of_sum) + (beta - 1) * (psi(beta) - psi_of_sum)
        entropy: Array = np.sum(betaln(alpha, beta) - terms, axis=-1)  # (beta.10)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, the regularised incomplete beta function I_value(alpha, beta)   (beta.11)."""
        from scipy.special import betainc

        alpha, beta = halves(np.exp(params))
        return np.asarray(betainc(alpha, beta, np.clip(value, 0, 1)))  # (beta.11)

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level per coordinate, the inverse of (beta.11)."""
        from scipy.special import betaincinv

        alpha, beta = halves(np.exp(params))
        return np.asarray(betaincinv(alpha, beta, level))
