"""The gamma distribution for any shape, reparameterised by implicit differentiation of its CDF, or by the shape boost.

Derivations: ``derivations/gamma.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import halves, sum_to_shape
from numvae.distributions.contract import Support, least_positive
from numvae.distributions.noise import positive_level, uniform_noise
from numvae.distributions.polygamma import trigamma
from numvae.distributions.quadrature import unit_nodes

__all__ = ["BoostedGamma", "Gamma", "log_quantile", "log_quantile_slope"]

NODES = 32
NEGLIGIBLE = 36.0  # e^-36 = 2e-16: where the integrals below are cut off


@dataclass(frozen=True)
class Gamma:
    """Independent gamma variables over the last axis.

    ``params``: (..., 2Z) = [log_shape | log_rate], so that any output of a network is legal.  Values: (..., Z),
    positive.  A shape of 1 is the exponential.

    For shapes below some 0.05 much of the law lies below the smallest floating-point number; such samples are given as
    that number, and carry the gradient of the sample they stand for.

    >>> Gamma().mean(np.log([[3.0, 2.0]]))
    array([[1.5]])
    """

    param_names = ("log_shape", "log_rate")
    params_per_value = 2
    discrete = False
    support: ClassVar[Support] = "positive"
    noise_kind = "uniform"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1) of the values' shape."""
        return uniform_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = P⁻¹(shape, noise) / rate   (gamma.1), the inverse of the CDF; pullback -> (dparams, None).

        Shapes: params (B, 2Z), noise and z (S, B, Z).  Works in float64 whatever the dtype of ``params``, and gives
        that.  Source: Figurnov et al. 2018 (implicit reparameterisation).
        """
        log_shape, log_rate = halves(params)
        shape = np.exp(log_shape.astype(np.float64))
        log_unit = log_quantile(shape, positive_level(noise))
        z = np.exp(log_unit - log_rate)  # (gamma.1)
        z = np.maximum(z, least_positive(params.dtype)).astype(params.dtype)

        def pullback(dz: Array) -> tuple[Array, None]:
            dlog_z = dz * z
            slope = (shape * log_quantile_slope(shape, log_unit)).astype(params.dtype)
            dlog_shape = sum_to_shape(dlog_z * slope, log_shape.shape)  # (gamma.2)
            return np.concatenate([dlog_shape, sum_to_shape(-dlog_z, log_rate.shape)], axis=-1), None

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ shape log_rate - log Γ(shape) + (shape - 1) log value - rate value   (gamma.6), for values > 0.

        Nats, summed over the last axis; pullback -> (dparams, dvalue).
        """
        from scipy.special import gammaln, psi

        log_shape, log_rate = halves(params)
        shape, rate = np.exp(log_shape), np.exp(log_rate)
        log_value, scaled = np.log(value), rate * value
        log_scaled = log_rate + log_value
        log_density = np.sum(shape * log_scaled - gammaln(shape) - log_value - scaled, axis=-1)  # (gamma.6)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            dlog_shape = d * shape * (log_scaled - psi(shape))  # (gamma.7)
            dlog_rate = d * (shape - scaled)
            dvalue = d * ((shape - 1) / value - rate)
            dparams = [sum_to_shape(dlog_shape, log_shape.shape), sum_to_shape(dlog_rate, log_rate.shape)]
            return np.concatenate(dparams, axis=-1), sum_to_shape(dvalue, value.shape)

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ (a - b) ψ(a) - log Γ(a) + log Γ(b) + b log(rate_q / rate_p) + a (rate_p / rate_q - 1).

        (gamma.8), with shapes a of q and b of p.  Nats, one per row.  The pullback returns (dparams, dprior_params).
        """
        from scipy.special import gammaln, psi

        (log_shape, log_rate), (prior_log_shape, prior_log_rate) = halves(params), halves(prior_params)
        shape, prior_shape = np.exp(log_shape), np.exp(prior_log_shape)
        difference, log_ratio = shape - prior_shape, log_rate - prior_log_rate
        excess = np.expm1(-log_ratio)
        normalizers = gammaln(prior_shape) - gammaln(shape)
        terms = difference * psi(shape) + normalizers + prior_shape * log_ratio + shape * excess  # (gamma.8)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None]
            dlog_shape = d * shape * (difference * trigamma(shape) + excess)  # (gamma.9)
            dlog_rate = d * (prior_shape - shape * (1 + excess))
            dprior_log_shape = d * prior_shape * (psi(prior_shape) - psi(shape) + log_ratio)
            dparams = [sum_to_shape(dlog_shape, log_shape.shape), sum_to_shape(dlog_rate, log_rate.shape)]
            dprior = [
                sum_to_shape(dprior_log_shape, prior_log_shape.shape),
                sum_to_shape(-dlog_rate, prior_log_rate.shape),
            ]
            return np.concatenate(dparams, axis=-1), np.concatenate(dprior, axis=-1)

        return np.sum(terms, axis=-1), pullback

    def mean(self, params: Array) -> Array:
        """E[z] = shape / rate   (gamma.10)."""
        log_shape, log_rate = halves(params)
        mean: Array = np.exp(log_shape - log_rate)  # (gamma.10)
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation, sqrt(shape) / rate."""
        log_shape, log_rate = halves(params)
        std: Array = np.exp(0.5 * log_shape - log_rate)
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ shape - log_rate + log Γ(shape) + (1 - shape) ψ(shape)   (gamma.11).  Nats."""
        from scipy.special import gammaln, psi

        log_shape, log_rate = halves(params)
        shape = np.exp(log_shape)
        entropy: Array = np.sum(shape - log_rate + gammaln(shape) + (1 - shape) * psi(shape), axis=-1)  # (gamma.11)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, the regularised incomplete gamma function of rate value   (gamma.12)."""
        from scipy.special import gammainc

        log_shape, log_rate = halves(params)
        return np.asarray(gammainc(np.exp(log_shape), np.exp(log_rate) * np.maximum(value, 0)))  # (gamma.12)

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level per coordinate, the inverse of (gamma.12)."""
        from scipy.special import gammaincinv

        log_shape, log_rate = halves(params)
        return np.asarray(gammaincinv(np.exp(log_shape), level) * np.exp(-log_rate))


@dataclass(frozen=True)
class BoostedGamma(Gamma):
    """The same distribution, sampled by the shape boost: Gamma(shape) = Gamma(shape + 1) uniform^(1 / shape).

    For shapes below 1 it is the step that brings them within reach of samplers made for larger ones.  Each value takes
    two uniform numbers, and its gradient scatters more than that of ``Gamma``, which is its mean given the value.

    >>> z, _ = BoostedGamma().sample(np.zeros((1, 2)), np.array([[[0.5, 0.5]]]))  # the median of Gamma(2), halved
    >>> z
    array([[[0.8391735]]])
    """

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1), two numbers for each value: [of the gamma | of the power] along the last axis."""
        return super().noise(rng, (*shape[:-1], 2 * shape[-1]), dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = P⁻¹(shape + 1, noise) (1 - noise')^(1 / shape) / rate   (gamma.14); pullback -> (dparams, None).

        Shapes: params (B, 2Z), noise (S, B, 2Z), z (S, B, Z).  Source: Marsaglia and Tsang 2000, section 6.
        """
        log_shape, log_rate = halves(params)
        uniform, power = halves(noise)
        shape = np.exp(log_shape.astype(np.float64))
        log_boosted = log_quantile(shape + 1, positive_level(uniform))
        log_power = np.log1p(-power.astype(np.float64)) / shape
        z = np.exp(log_boosted + log_power - log_rate)  # (gamma.14)
        z = np.maximum(z, least_positive(params.dtype)).astype(params.dtype)

        def pullback(dz: Array) -> tuple[Array, None]:
            dlog_z = dz * z
            slope = shape * log_quantile_slope(shape + 1, log_boosted) - log_power  # (gamma.15)
            dlog_shape = sum_to_shape(dlog_z * slope.astype(params.dtype), log_shape.shape)
            return np.concatenate([dlog_shape, sum_to_shape(-dlog_z, log_rate.shape)], axis=-1), None

        return z, pullback


def log_quantile(shape: Array, uniform: Array) -> Array:
    """log x with P(shape, x) = uniform, finite also where x is below the smallest floating-point number   (gamma.3)."""
    from scipy.special import gammaincinv, gammaln

    smallest = np.finfo(np.float64).tiny
    uniform = np.maximum(uniform.astype(np.float64), smallest)
    log_small = (np.log(uniform) + gammaln(shape + 1)) / shape  # (gamma.3), where P is x^shape / Γ(shape + 1)
    x = gammaincinv(shape, uniform)
    small = x < 1e-290
    log_x: Array = np.where(small, log_small, np.log(np.where(small, 1.0, x)))
    return log_x


def log_quantile_slope(shape: Array, log_x: Array) -> Array:
    """∂ log x / ∂ shape at a fixed level of the CDF, -∂P/∂shape / (x p(x)): to some 12 digits, for any shape.

    Below e^ψ(shape + 1) by (gamma.4), above by (gamma.5): each integrand is positive there, so nothing cancels.
    """
    from scipy.special import psi

    x = np.exp(log_x)
    below = psi(shape + 1) - log_x
    lower = below > 0
    above = log_x - psi(shape)
    # Both sides are one integral over s ≥ 0, of (distance + s) exp(power t - x (e^t - 1)) at t = ±s.
    sign = np.where(lower, -1.0, 1.0)
    power = np.where(lower, shape + 1, shape)
    distance = np.where(lower, below, above)
    reach = np.where(lower, *_reaches(shape, x))
    integral = np.zeros_like(reach)
    for node, weight in unit_nodes(NODES):
        s = node * reach
        t = sign * s
        integral += weight * reach * (distance + s) * np.exp(power * t - x * np.expm1(t))
    slope: Array = np.where(lower, (below + x * integral) / shape, integral)  # (gamma.4), (gamma.5)
    return slope


def _reaches(shape: Array, x: Array) -> tuple[Array, Array]:
    """How far out the two integrands still count: at exp(-NEGLIGIBLE) of their start at the latest."""
    slack = NEGLIGIBLE - 2 * (shape + 1 - x)
    lower = (slack + np.sqrt(slack * slack + 8 * (shape + 1) * NEGLIGIBLE)) / (2 * (shape + 1))
    rise = shape - x
    upper = (rise + np.sqrt(rise * rise + 2 * x * NEGLIGIBLE)) / np.maximum(x, 0.5)
    return lower, upper
