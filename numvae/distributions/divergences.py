"""KL divergences between two families, entered into the table of ``kl_table.py``.

KL(q ‖ p) = -H(q) - E_q[log p]: where log p is made of z, z², log z, … it takes q's entropy and the expectations of
those, which ``expectations.py`` has for whole rows of families.  Derivations: ``derivations/divergences.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.distributions.beta import Beta
from numvae.distributions.broadcasting import halves, sum_to_shape
from numvae.distributions.expectations import LOG_MOMENTS, MEAN_AND_LOG, MOMENTS, Expectations, Three, ThreePullback
from numvae.distributions.exponential import Exponential
from numvae.distributions.gamma import Gamma
from numvae.distributions.gumbel import Gumbel
from numvae.distributions.kl_table import CLOSED_FORMS, Divergence, between
from numvae.distributions.kumaraswamy import Kumaraswamy
from numvae.distributions.laplace import Laplace
from numvae.distributions.log_normal import LogNormal
from numvae.distributions.logistic import Logistic
from numvae.distributions.multivariate_normal import MultivariateNormal, kl_to_diagonal
from numvae.distributions.normal import Normal
from numvae.distributions.polygamma import trigamma

__all__ = ["to_exponential", "to_gamma", "to_log_normal", "to_normal"]

LOG_2 = math.log(2)
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
STEP, FIRST_NODE, LAST_NODE = 1 / 16, -64, 124  # of the quadrature of ``log_complement``
FARTHEST = 690.0  # exp(-FARTHEST) is nearly the smallest number


# ---- to a family whose log-density takes few expectations, from all that know them


def to_normal(moments: Expectations) -> Divergence:
    """KL(q ‖ N) = Σ -H + ½ log 2π + log_std_p + ½ (Var z + (E z - mean_p)²) / std_p²   (divergences.1)."""

    def divergence(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        (entropy, mean, variance), moments_pullback = moments(params)
        prior_mean, prior_log_std = halves(prior_params)
        precision = np.exp(-2 * prior_log_std)
        difference = mean - prior_mean
        ratio = (variance + difference * difference) * precision
        kl = np.sum(0.5 * ratio + prior_log_std - entropy + HALF_LOG_2PI, axis=-1)  # (divergences.1)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None]
            dmean = d * difference * precision  # (divergences.2)
            dparams = _through(moments_pullback, entropy, -d, dmean, 0.5 * d * precision)
            dlog_std = d * (1 - ratio)
            return dparams, _prior(prior_params, -dmean, dlog_std)

        return kl, pullback

    return divergence


def to_gamma(expectations: Expectations) -> Divergence:
    """KL(q ‖ Gamma(b, rate r)) = Σ -H - b log r + log Γ(b) - (b - 1) E[log z] + r E[z]   (divergences.3)."""

    def divergence(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        from scipy.special import gammaln, psi

        (entropy, mean, log), expectations_pullback = expectations(params)
        log_shape, log_rate = halves(prior_params)
        shape, scaled = np.exp(log_shape), np.exp(log_rate) * mean
        terms = gammaln(shape) - shape * log_rate - (shape - 1) * log + scaled - entropy
        kl = np.sum(terms, axis=-1)  # (divergences.3)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None]
            dparams = _through(expectations_pullback, entropy, -d, d * np.exp(log_rate), d * (1 - shape))
            dlog_shape = d * shape * (psi(shape) - log_rate - log)  # (divergences.4)
            return dparams, _prior(prior_params, dlog_shape, d * (scaled - shape))

        return kl, pullback

    return divergence


def to_exponential(expectations: Expectations) -> Divergence:
    """KL(q ‖ Exponential(r)) = Σ -H - log r + r E[z]   (divergences.5)."""

    def divergence(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        (entropy, mean, _), expectations_pullback = expectations(params)
        scaled = np.exp(prior_params) * mean
        kl = np.sum(scaled - prior_params - entropy, axis=-1)  # (divergences.5)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None]
            dparams = _through(expectations_pullback, entropy, -d, d * np.exp(prior_params), 0 * d)
            return dparams, sum_to_shape(d * (scaled - 1), prior_params.shape)  # (divergences.6)

        return kl, pullback

    return divergence


def to_log_normal(log_moments: Expectations) -> Divergence:
    """KL(q ‖ LogNormal) = KL(law of log z ‖ N), and H(log z) = H(z) - E[log z]   (divergences.7)."""

    def of_log(params: Array) -> tuple[Three, ThreePullback]:
        (entropy, mean, variance), log_pullback = log_moments(params)

        def pullback(dentropy: Array, dmean: Array, dvariance: Array) -> Array:
            return log_pullback(dentropy, dmean - dentropy, dvariance)

        return (entropy - mean, mean, variance), pullback  # (divergences.7)

    return to_normal(of_log)


CLOSED_FORMS |= {(q, Normal): to_normal(moments) for q, moments in MOMENTS.items() if q is not Normal}
CLOSED_FORMS |= {(q, Gamma): to_gamma(rule) for q, rule in MEAN_AND_LOG.items() if q is not Gamma}
CLOSED_FORMS |= {(q, Exponential): to_exponential(rule) for q, rule in MEAN_AND_LOG.items() if q is not Exponential}
CLOSED_FORMS |= {(q, LogNormal): to_log_normal(rule) for q, rule in LOG_MOMENTS.items() if q is not LogNormal}
between(MultivariateNormal, Normal)(kl_to_diagonal)


# ---- pair by pair


def to_laplace(entropy: float, absolute: Callable[[Array, Array], tuple[Array, Array]]) -> Divergence:
    """KL(q ‖ Laplace) = Σ -H + log 2 + log_scale_p + E|z - location_p| / scale_p   (divergences.8).

    ``absolute(d, scale)``: E|z - c| and its slope in d = location - c, for q with the entropy log scale + ``entropy``.
    """

    def divergence(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        location, log_scale = halves(params)
        prior_location, prior_log_scale = halves(prior_params)
        difference, inverse = location - prior_location, np.exp(-prior_log_scale)
        distance, slope = absolute(difference, np.exp(log_scale))
        scaled = distance * inverse
        kl = np.sum(scaled + prior_log_scale - log_scale + (LOG_2 - entropy), axis=-1)  # (divergences.8)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None]
            dlocation = d * inverse * slope
            dlog_scale = d * ((distance - difference * slope) * inverse - 1)  # (divergences.9)
            dparams = np.concatenate(
                [sum_to_shape(dlocation, location.shape), sum_to_shape(dlog_scale, log_scale.shape)], axis=-1
            )
            return dparams, _prior(prior_params, -dlocation, d * (1 - scaled))

        return kl, pullback

    return divergence


def normal_distance(difference: Array, std: Array) -> tuple[Array, Array]:
    """E|z - c| = std sqrt(2/π) exp(-½ t²) + d erf(t / sqrt 2),  t = d / std   (divergences.10)."""
    from scipy.special import erf

    t = difference / std
    slope = erf(t * math.sqrt(0.5))
    return std * math.sqrt(2 / math.pi) * np.exp(-0.5 * t * t) + difference * slope, slope  # (divergences.10)


def logistic_distance(difference: Array, scale: Array) -> tuple[Array, Array]:
    """E|z - c| = scale (|t| + 2 log(1 + exp(-|t|))),  t = d / scale, with slope tanh(t / 2)   (divergences.11)."""
    t = difference / scale
    size = np.abs(t)
    return scale * (size + 2 * np.log1p(np.exp(-size))), np.tanh(0.5 * t)  # (divergences.11)


between(Normal, Laplace)(to_laplace(HALF_LOG_2PI + 0.5, normal_distance))
between(Logistic, Laplace)(to_laplace(2.0, logistic_distance))


@between(Normal, Gumbel)
def normal_to_gumbel(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
    """KL = Σ -H + log_scale_p + E[t] + E[exp(-t)], t = (z - location_p) / scale_p   (divergences.12).

    E[exp(-t)] = exp(-E[t] + ½ Var t), the mean of a log-normal.
    """
    mean, log_std = halves(params)
    location, log_scale = halves(prior_params)
    inverse = np.exp(-log_scale)
    t, variance = (mean - location) * inverse, np.exp(2 * (log_std - log_scale))
    tail = np.exp(0.5 * variance - t)
    kl = np.sum(t + tail + log_scale - log_std - (HALF_LOG_2PI + 0.5), axis=-1)  # (divergences.12)

    def pullback(dkl: Array) -> tuple[Array, Array]:
        d = dkl[..., None]
        dmean = d * (1 - tail) * inverse
        dlog_std = d * (tail * variance - 1)  # (divergences.13)
        dlog_scale = d * (1 - t + tail * (t - variance))
        dparams = np.concatenate([sum_to_shape(dmean, mean.shape), sum_to_shape(dlog_std, log_std.shape)], axis=-1)
        return dparams, _prior(prior_params, -dmean, dlog_scale)

    return kl, pullback


@between(Kumaraswamy, Beta)
def kumaraswamy_to_beta(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
    """KL = Σ log ab + (a - α) E[log z] - (b - 1)/b - (β - 1) E[log(1 - z)] + log B(α, β)   (divergences.14).

    The series of E[log(1 - z)] goes down as slowly as m^-(1+b); ``log_complement`` integrates instead.
    """
    from scipy.special import betaln, psi

    log_a, log_b = halves(params)
    log_alpha, log_beta = halves(prior_params)
    a, b, alpha, beta = np.exp(log_a), np.exp(log_b), np.exp(log_alpha), np.exp(log_beta)
    log_z = -(psi(b + 1) + np.euler_gamma) / a  # (divergences.16)
    log_rest, of_log_a, of_log_b = (array.astype(params.dtype) for array in log_complement(a, b))
    terms = log_a + log_b + (a - alpha) * log_z - (b - 1) / b - (beta - 1) * log_rest + betaln(alpha, beta)
    kl = np.sum(terms, axis=-1)  # (divergences.14)

    def pullback(dkl: Array) -> tuple[Array, Array]:
        d = dkl[..., None]
        dlog_a = d * (1 + alpha * log_z - (beta - 1) * of_log_a)  # (divergences.17)
        dlog_b = d * (1 - (a - alpha) * b * trigamma(b + 1) / a - 1 / b - (beta - 1) * of_log_b)
        dlog_alpha = d * alpha * (psi(alpha) - psi(alpha + beta) - log_z)
        dlog_beta = d * beta * (psi(beta) - psi(alpha + beta) - log_rest)
        dparams = np.concatenate([sum_to_shape(dlog_a, log_a.shape), sum_to_shape(dlog_b, log_b.shape)], axis=-1)
        return dparams, _prior(prior_params, dlog_alpha, dlog_beta)

    return kl, pullback


def log_complement(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """E[log(1 - z)] for Kumaraswamy(a, b), and its slopes in log a and log b   (divergences.15).

    With y = z^a, whose density is b (1 - y)^(b - 1), and y = sigmoid(π sinh t): nodes in t reach both ends, the upper
    one so far that (1 - y)^b is nothing there for b from 0.01 on.  To eleven digits for both from 1e-2 to 1e3.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    log_a, total, of_log_a, of_log_b = np.log(a), np.zeros_like(a * b), np.zeros_like(a * b), np.zeros_like(a * b)
    for k in range(FIRST_NODE, LAST_NODE + 1):
        t = k * STEP
        logit = math.pi * math.sinh(t)
        both = math.log1p(math.exp(-abs(logit)))
        log_y, log_rest = min(logit, 0) - both, -max(logit, 0) - both
        weight = STEP * math.pi * math.cosh(t) * b * np.exp(log_y + b * log_rest)
        log_size = (
            math.log(-log_y) if logit < FARTHEST else -logit
        ) - log_a  # of log z, which may be below all numbers
        size = np.exp(np.maximum(log_size, -FARTHEST))
        complement = -np.expm1(-size)  # 1 - z
        value = np.log(complement) + np.minimum(log_size + FARTHEST, 0)
        total += weight * value  # (divergences.15)
        of_log_a -= weight * size * np.exp(-size) / complement
        of_log_b += weight * value * (1 + b * log_rest)
    return total, of_log_a, of_log_b


def _through(pullback: ThreePullback, like: Array, *gradients: Array) -> Array:
    """dparams from the gradients of three expectations, each brought to the expectations' shape."""
    wide = np.zeros_like(like)
    return pullback(*(sum_to_shape(gradient + wide, like.shape) for gradient in gradients))


def _prior(prior_params: Array, first: Array, second: Array) -> Array:
    """The two blocks of the prior's gradient, summed over the rows that share it."""
    half = (*prior_params.shape[:-1], prior_params.shape[-1] // 2)
    return np.concatenate([sum_to_shape(first, half), sum_to_shape(second, half)], axis=-1)
