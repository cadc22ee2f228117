"""Entropy and a few expectations of each family, per coordinate, as rules: what KL divergences to others are made of.

    (entropy, …), pullback = rule(params)        dparams = pullback(dentropy, …)

Three tables say for which families which expectations are known: of z and its square, of z and log z, of log z and its
square.  A family enters a table with one function.  Derivations: ``derivations/expectations.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from numvae.arrays import Array
from numvae.distributions.beta import Beta
from numvae.distributions.broadcasting import halves, thirds
from numvae.distributions.chi_squared import ChiSquared
from numvae.distributions.exponential import Exponential
from numvae.distributions.gamma import Gamma
from numvae.distributions.gumbel import Gumbel
from numvae.distributions.laplace import Laplace
from numvae.distributions.log_normal import LogNormal
from numvae.distributions.logistic import Logistic
from numvae.distributions.normal import Normal
from numvae.distributions.pareto import Pareto
from numvae.distributions.polygamma import tetragamma, trigamma
from numvae.distributions.rayleigh import Rayleigh
from numvae.distributions.reciprocal import Reciprocal
from numvae.distributions.triangular import Triangular
from numvae.distributions.uniform import Uniform
from numvae.distributions.weibull import Weibull

__all__ = ["LOG_MOMENTS", "MEAN_AND_LOG", "MOMENTS"]

EULER = np.euler_gamma
LOG_2 = math.log(2)
LOG_2PI_E = math.log(2 * math.pi) + 1
ZETA_2 = math.pi**2 / 6

Three: TypeAlias = tuple[Array, Array, Array]
ThreePullback: TypeAlias = Callable[[Array, Array, Array], Array]
Expectations: TypeAlias = Callable[[Array], tuple[Three, ThreePullback]]


def _beside(*blocks: Array) -> Array:
    return np.concatenate(blocks, axis=-1)


# ---- entropy, mean, variance


def location_scale(entropy: float, mean: float, variance: float) -> Expectations:
    """Of z = location + scale e, from the three numbers of e   (expectations.1), (expectations.2)."""

    def rule(params: Array) -> tuple[Three, ThreePullback]:
        location, log_scale = halves(params)
        scale = np.exp(log_scale)
        of_z = (log_scale + entropy, location + mean * scale, variance * scale * scale)  # (expectations.1)

        def pullback(dentropy: Array, dmean: Array, dvariance: Array) -> Array:
            dlog_scale = dentropy + dmean * (mean * scale) + dvariance * (2 * of_z[2])  # (expectations.2)
            return _beside(dmean, dlog_scale)

        return of_z, pullback

    return rule


def triangular_moments(params: Array) -> tuple[Three, ThreePullback]:
    """½ + log(width / 2),  low + width (1 + c) / 3,  width² (1 - c + c²) / 18 for the mode at c   (expectations.3)."""
    low, log_width, mode_logit = thirds(params)
    width, c = np.exp(log_width), 0.5 * (1 + np.tanh(0.5 * mode_logit))
    third, eighteenth = width * (1 / 3), width * width * (1 / 18)
    variance = eighteenth * (1 - c + c * c)
    of_z = (log_width + (0.5 - LOG_2), low + third * (1 + c), variance)  # (expectations.3)

    def pullback(dentropy: Array, dmean: Array, dvariance: Array) -> Array:
        dlog_width = dentropy + dmean * third * (1 + c) + 2 * dvariance * variance
        dc = dmean * third + dvariance * eighteenth * (2 * c - 1)
        return _beside(dmean, dlog_width, dc * c * (1 - c))

    return of_z, pullback


def exponential_moments(params: Array) -> tuple[Three, ThreePullback]:
    """1 - log_rate,  1 / rate,  1 / rate²   (expectations.4)."""
    mean = np.exp(-params)
    variance = mean * mean
    of_z = (1 - params, mean, variance)  # (expectations.4)
    return of_z, lambda dentropy, dmean, dvariance: -dentropy - dmean * mean - 2 * dvariance * variance


def gamma_entropy(shape: Array, log_rate: Array) -> tuple[Array, Array]:
    """shape - log_rate + log Γ(shape) + (1 - shape) ψ(shape), and its slope in shape   (expectations.5)."""
    from scipy.special import gammaln, psi

    entropy = shape - log_rate + gammaln(shape) + (1 - shape) * psi(shape)
    return entropy, 1 + (1 - shape) * trigamma(shape)  # (expectations.5)


def gamma_moments(params: Array) -> tuple[Three, ThreePullback]:
    """Entropy (gamma.11), shape / rate, shape / rate²   (expectations.6)."""
    log_shape, log_rate = halves(params)
    shape = np.exp(log_shape)
    entropy, slope = gamma_entropy(shape, log_rate)
    mean = np.exp(log_shape - log_rate)
    variance = mean * np.exp(-log_rate)  # (expectations.6)

    def pullback(dentropy: Array, dmean: Array, dvariance: Array) -> Array:
        dlog_shape = dentropy * slope * shape + dmean * mean + dvariance * variance
        return _beside(dlog_shape, -dentropy - dmean * mean - 2 * dvariance * variance)

    return (entropy, mean, variance), pullback


def rayleigh_moments(params: Array) -> tuple[Three, ThreePullback]:
    """1 + log_scale - ½ log 2 + ½ γ,  scale sqrt(π/2),  scale² (2 - π/2)   (expectations.7)."""
    mean = math.sqrt(math.pi / 2) * np.exp(params)
    variance = (4 / math.pi - 1) * mean * mean
    of_z = (params + (1 - 0.5 * LOG_2 + 0.5 * EULER), mean, variance)  # (expectations.7)
    return of_z, lambda dentropy, dmean, dvariance: dentropy + dmean * mean + 2 * dvariance * variance


def weibull_entropy(log_scale: Array, log_shape: Array) -> Array:
    """γ (1 - 1/shape) + log_scale - log_shape + 1   (expectations.8)."""
    return EULER * (1 - np.exp(-log_shape)) + log_scale - log_shape + 1  # (expectations.8)


def weibull_moments(params: Array) -> tuple[Three, ThreePullback]:
    """Entropy, scale Γ(1 + 1/shape), scale² (Γ(1 + 2/shape) - Γ(1 + 1/shape)²)   (expectations.9)."""
    from scipy.special import gamma, psi

    log_scale, log_shape = halves(params)
    scale, inverse = np.exp(log_scale), np.exp(-log_shape)
    first, second = gamma(1 + inverse), gamma(1 + 2 * inverse)
    mean, square = scale * first, scale * scale * second
    variance = square - mean * mean  # (expectations.9)

    def pullback(dentropy: Array, dmean: Array, dvariance: Array) -> Array:
        dlog_scale = dentropy + dmean * mean + 2 * dvariance * variance
        dmean_all, slope = dmean - 2 * dvariance * mean, psi(1 + inverse)
        dinverse = -EULER * dentropy + dmean_all * mean * slope + 2 * dvariance * square * psi(1 + 2 * inverse)
        return _beside(dlog_scale, -dentropy - dinverse * inverse)

    return (weibull_entropy(log_scale, log_shape), mean, variance), pullback


def log_normal_moments(params: Array) -> tuple[Three, ThreePullback]:
    """mean + log_std + ½ log 2πe,  exp(mean + ½ std²),  (exp(std²) - 1) E[z]²   (expectations.10)."""
    location, log_std = halves(params)
    square = np.exp(2 * log_std)
    mean = np.exp(location + 0.5 * square)
    excess = np.expm1(square)
    variance = excess * mean * mean
    of_z = (location + log_std + 0.5 * LOG_2PI_E, mean, variance)  # (expectations.10)

    def pullback(dentropy: Array, dmean: Array, dvariance: Array) -> Array:
        through_mean = dmean * mean + 2 * dvariance * variance
        dsquare = 0.5 * through_mean + dvariance * (excess + 1) * mean * mean
        return _beside(dentropy + through_mean, dentropy + 2 * dsquare * square)

    return of_z, pullback


MOMENTS: dict[type, Expectations] = {
    Exponential: exponential_moments,
    Gamma: gamma_moments,
    Gumbel: location_scale(1 + EULER, EULER, ZETA_2),
    Laplace: location_scale(1 + LOG_2, 0.0, 2.0),
    LogNormal: log_normal_moments,
    Logistic: location_scale(2.0, 0.0, 2 * ZETA_2),
    Normal: location_scale(0.5 * LOG_2PI_E, 0.0, 1.0),
    Rayleigh: rayleigh_moments,
    Triangular: triangular_moments,
    Uniform: location_scale(0.0, 0.5, 1 / 12),
    Weibull: weibull_moments,
}
"""Family -> (entropy, E[z], Var[z])."""


# ---- entropy, mean, mean of the logarithm


def with_log(
    moments: Expectations, mean_log: Callable[[Array], tuple[Array, Callable[[Array], Array]]]
) -> Expectations:
    """(entropy, E[z], E[log z]) from (entropy, E[z], Var[z]) and a rule for E[log z]."""

    def rule(params: Array) -> tuple[Three, ThreePullback]:
        (entropy, mean, _), moments_pullback = moments(params)
        log, log_pullback = mean_log(params)

        def pullback(dentropy: Array, dmean: Array, dlog: Array) -> Array:
            return moments_pullback(dentropy, dmean, np.zeros_like(dmean)) + log_pullback(dlog)

        return (entropy, mean, log), pullback

    return rule


def exponential_log(params: Array) -> tuple[Array, Any]:
    """E[log z] = -γ - log_rate   (expectations.11)."""
    return -EULER - params, lambda dlog: -dlog  # (expectations.11)


def gamma_log(params: Array) -> tuple[Array, Any]:
    """E[log z] = ψ(shape) - log_rate   (expectations.12)."""
    from scipy.special import psi

    log_shape, log_rate = halves(params)
    shape = np.exp(log_shape)
    return psi(shape) - log_rate, lambda dlog: _beside(dlog * trigamma(shape) * shape, -dlog)  # (expectations.12)


def rayleigh_log(params: Array) -> tuple[Array, Any]:
    """E[log z] = log_scale + ½ (log 2 - γ)   (expectations.13)."""
    return params + 0.5 * (LOG_2 - EULER), lambda dlog: dlog  # (expectations.13)


def weibull_log(params: Array) -> tuple[Array, Any]:
    """E[log z] = log_scale - γ / shape   (expectations.14)."""
    log_scale, log_shape = halves(params)
    inverse = np.exp(-log_shape)
    return log_scale - EULER * inverse, lambda dlog: _beside(dlog, dlog * EULER * inverse)  # (expectations.14)


def log_normal_log(params: Array) -> tuple[Array, Any]:
    """E[log z] = mean   (expectations.15)."""
    location, log_std = halves(params)
    return location, lambda dlog: _beside(dlog, np.zeros_like(log_std))  # (expectations.15)


def of_gamma(shape_rate: Callable[[Array], Array], back: Callable[[Array], Array], rule: Expectations) -> Expectations:
    """The expectations of a family whose members are gammas: params in the gamma's, and the gradient back."""

    def of_member(params: Array) -> tuple[Three, ThreePullback]:
        of_z, pullback = rule(shape_rate(params))
        return of_z, lambda *gradients: back(pullback(*gradients))

    return of_member


def chi_squared_as_gamma(params: Array) -> Array:
    """[log(dof / 2) | log ½]   (expectations.16)."""
    return _beside(params - LOG_2, np.full_like(params, -LOG_2))  # (expectations.16)


def beta_log(params: Array) -> tuple[Three, ThreePullback]:
    """Entropy, α / (α + β), ψ(α) - ψ(α + β)   (expectations.17)."""
    from scipy.special import betaln, psi

    log_alpha, log_beta = halves(params)
    alpha, beta = np.exp(log_alpha), np.exp(log_beta)
    total = alpha + beta
    mean = alpha / total
    log, other = psi(alpha) - psi(total), psi(beta) - psi(total)
    entropy = betaln(alpha, beta) - (alpha - 1) * log - (beta - 1) * other  # (expectations.17)

    def pullback(dentropy: Array, dmean: Array, dlog: Array) -> Array:
        of_total, of_alpha, of_beta = trigamma(total), trigamma(alpha), trigamma(beta)
        shared = dentropy * (total - 2) * of_total - dlog * of_total
        dalpha = shared - dentropy * (alpha - 1) * of_alpha + dmean * beta / (total * total) + dlog * of_alpha
        dbeta = shared - dentropy * (beta - 1) * of_beta - dmean * mean / total
        return _beside(dalpha * alpha, dbeta * beta)

    return (entropy, mean, log), pullback


MEAN_AND_LOG: dict[type, Expectations] = {
    Beta: beta_log,
    ChiSquared: of_gamma(chi_squared_as_gamma, lambda dparams: halves(dparams)[0], with_log(gamma_moments, gamma_log)),
    Exponential: with_log(exponential_moments, exponential_log),
    Gamma: with_log(gamma_moments, gamma_log),
    LogNormal: with_log(log_normal_moments, log_normal_log),
    Rayleigh: with_log(rayleigh_moments, rayleigh_log),
    Weibull: with_log(weibull_moments, weibull_log),
}
"""Family -> (entropy, E[z], E[log z])."""


# ---- entropy, mean and variance of the logarithm


def log_moments(with_mean_log: Expectations, variance: float) -> Expectations:
    """(entropy, E[log z], Var[log z]) where the variance is a number, the same for all members   (expectations.18)."""

    def rule(params: Array) -> tuple[Three, ThreePullback]:
        (entropy, _, log), pullback = with_mean_log(params)
        of_z = (entropy, log, np.full_like(log, variance))  # (expectations.18)
        return of_z, lambda dentropy, dlog, dvariance: pullback(dentropy, np.zeros_like(dlog), dlog)

    return rule


def gamma_log_moments(params: Array) -> tuple[Three, ThreePullback]:
    """Var[log z] = ψ'(shape)   (expectations.19)."""
    (entropy, _, log), pullback = MEAN_AND_LOG[Gamma](params)
    shape = np.exp(halves(params)[0])
    variance = trigamma(shape)  # (expectations.19)

    def with_variance(dentropy: Array, dlog: Array, dvariance: Array) -> Array:
        slope = dvariance * tetragamma(shape) * shape
        return pullback(dentropy, np.zeros_like(dlog), dlog) + _beside(slope, np.zeros_like(slope))

    return (entropy, log, variance), with_variance


def weibull_log_moments(params: Array) -> tuple[Three, ThreePullback]:
    """Var[log z] = π² / (6 shape²)   (expectations.20)."""
    (entropy, _, log), pullback = MEAN_AND_LOG[Weibull](params)
    variance = ZETA_2 * np.exp(-2 * halves(params)[1])  # (expectations.20)

    def with_variance(dentropy: Array, dlog: Array, dvariance: Array) -> Array:
        dlog_shape = -2 * dvariance * variance
        return pullback(dentropy, np.zeros_like(dlog), dlog) + _beside(np.zeros_like(dlog_shape), dlog_shape)

    return (entropy, log, variance), with_variance


def reciprocal_log_moments(params: Array) -> tuple[Three, ThreePullback]:
    """log z is uniform: E = log_low + ½ length, Var = length² / 12, H = log length + E[log z]   (expectations.21)."""
    (of_log, mean, variance), pullback = location_scale(0.0, 0.5, 1 / 12)(params)
    of_z = (of_log + mean, mean, variance)  # (expectations.21)
    return of_z, lambda dentropy, dlog, dvariance: pullback(dentropy, dlog + dentropy, dvariance)


def log_normal_log_moments(params: Array) -> tuple[Three, ThreePullback]:
    """log z is normal: E = mean, Var = std², entropy that of the normal + E[log z]   (expectations.22)."""
    (of_log, mean, variance), pullback = MOMENTS[Normal](params)
    of_z = (of_log + mean, mean, variance)  # (expectations.22)
    return of_z, lambda dentropy, dlog, dvariance: pullback(dentropy, dlog + dentropy, dvariance)


def pareto_log_moments(params: Array) -> tuple[Three, ThreePullback]:
    """log z = log_scale + e / shape with e a standard exponential, of mean and variance 1   (expectations.23)."""
    log_scale, log_shape = halves(params)
    (of_log, mean, variance), pullback = location_scale(1.0, 1.0, 1.0)(_beside(log_scale, -log_shape))
    of_z = (of_log + mean, mean, variance)  # (expectations.23)

    def of_shape(dentropy: Array, dlog: Array, dvariance: Array) -> Array:
        dlog_scale, dlog_inverse_shape = halves(pullback(dentropy, dlog + dentropy, dvariance))
        return _beside(dlog_scale, -dlog_inverse_shape)

    return of_z, of_shape


LOG_MOMENTS: dict[type, Expectations] = {
    Exponential: log_moments(MEAN_AND_LOG[Exponential], ZETA_2),
    Gamma: gamma_log_moments,
    LogNormal: log_normal_log_moments,
    Pareto: pareto_log_moments,
    Rayleigh: log_moments(MEAN_AND_LOG[Rayleigh], ZETA_2 / 4),
    Reciprocal: reciprocal_log_moments,
    Weibull: weibull_log_moments,
}
"""Family -> (entropy, E[log z], Var[log z])."""
