"""The normal distribution with any covariance, by its Cholesky factor: coordinates may depend on each other.

Derivations: ``derivations/multivariate_normal.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import halves, sum_to_shape
from numvae.distributions.contract import Support
from numvae.distributions.noise import normal_noise
from numvae.distributions.normal import LOG_2PI
from numvae.errors import InputError

__all__ = ["MultivariateNormal", "kl_to_diagonal"]


@dataclass(frozen=True)
class MultivariateNormal:
    """N(mean, L Lᵀ) over the last axis, L lower triangular with a positive diagonal: every covariance has one such L.

    ``params``: (..., Z (Z + 3) / 2) = [mean | log_diagonal | below]: the diagonal of L is exp(log_diagonal), below it
    stand the entries of ``below``, row by row.  Any output of a network is legal, and with ``below`` = 0 this is
    ``Normal`` with the same params.  Values: (..., Z).

    A P that is no Z (Z + 3) / 2 raises ``InputError``.

    >>> MultivariateNormal().covariance(np.array([0.0, 0.0, 0.0, 0.0, 0.5]))
    array([[1.  , 0.5 ],
           [0.5 , 1.25]])
    """

    param_names = ("mean", "log_diagonal", "below")
    discrete = False
    support: ClassVar[Support] = "reals"
    noise_kind = "normal"

    def params_size(self, values: int) -> int:
        """P = Z (Z + 3) / 2 parameters for Z values.

        >>> MultivariateNormal().params_size(20)
        230
        """
        return values * (values + 3) // 2

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Standard normal noise of the values' shape."""
        return normal_noise(rng, shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = mean + L noise   (multivariate_normal.1); pullback -> (dparams, None).

        Shapes: params (B, P), noise and z (S, B, Z).  Source: Kingma and Welling, section 2.4; Rezende et al. 2014.
        """
        mean, _, factor = mean_and_factor(params)
        z = mean + np.einsum("...ij,...j->...i", factor, noise)  # (multivariate_normal.1)

        def pullback(dz: Array) -> tuple[Array, None]:
            dfactor = _outer(dz, noise)  # (multivariate_normal.2)
            return _gathered(mean, factor, dz, dfactor), None

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log N(value) = -½ |w|² - Σ log_diagonal - ½ Z log 2π, L w = value - mean   (multivariate_normal.4).

        Nats; pullback -> (dparams, dvalue).
        """
        mean, log_diagonal, factor = mean_and_factor(params)
        w = solve_lower(factor, value - mean)
        terms = -0.5 * w * w - log_diagonal
        log_density = np.sum(terms, axis=-1) - 0.5 * LOG_2PI * mean.shape[-1]  # (multivariate_normal.4)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            dmean = d * solve_transposed(factor, w)  # (multivariate_normal.5)
            dparams = _gathered(mean, factor, dmean, _outer(dmean, w), dlog_determinant=-d)
            return dparams, sum_to_shape(-dmean, value.shape)

        return log_density, pullback

    def kl(self, params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        """KL(q ‖ p) = Σ log_diagonal_p - log_diagonal_q + ½ (|M|² + |w|² - Z)   (multivariate_normal.6).

        M = L_p⁻¹ L_q, w = L_p⁻¹ (mean_q - mean_p).  Nats, one per row.  The pullback returns (dparams, dprior_params).
        """
        mean, log_diagonal, factor = mean_and_factor(params)
        prior_mean, prior_log_diagonal, prior_factor = mean_and_factor(prior_params)
        every_column = prior_factor[..., None, :, :]
        ratio = solve_lower(every_column, np.swapaxes(factor, -1, -2))  # Mᵀ: a row for each column of M
        w = solve_lower(prior_factor, mean - prior_mean)
        squares = np.sum(ratio * ratio, axis=-1) + w * w - 1
        kl = np.sum(prior_log_diagonal - log_diagonal + 0.5 * squares, axis=-1)  # (multivariate_normal.6)

        def pullback(dkl: Array) -> tuple[Array, Array]:
            d = dkl[..., None]
            dmean = d * solve_transposed(prior_factor, w)  # (multivariate_normal.7)
            dfactor = d[..., None] * np.swapaxes(solve_transposed(every_column, ratio), -1, -2)
            dprior_factor = -dfactor @ ratio - _outer(dmean, w)
            dparams = _gathered(mean, factor, dmean, dfactor, dlog_determinant=-d)
            return dparams, _gathered(prior_mean, prior_factor, -dmean, dprior_factor, dlog_determinant=d)

        return kl, pullback

    def mean(self, params: Array) -> Array:
        """E[z] = mean."""
        return mean_and_factor(params)[0]

    def covariance(self, params: Array) -> Array:
        """Cov z = L Lᵀ, (..., Z, Z)   (multivariate_normal.8)."""
        _, _, factor = mean_and_factor(params)
        covariance: Array = factor @ np.swapaxes(factor, -1, -2)  # (multivariate_normal.8)
        return covariance

    def std(self, params: Array) -> Array:
        """Standard deviation of each coordinate, the root of the diagonal of the covariance: the length of L's rows."""
        _, _, factor = mean_and_factor(params)
        std: Array = np.sqrt(np.sum(factor * factor, axis=-1))
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ log_diagonal + ½ Z log 2πe   (multivariate_normal.9).  Nats."""
        _, log_diagonal, _ = mean_and_factor(params)
        entropy: Array = np.sum(log_diagonal + 0.5 * (LOG_2PI + 1), axis=-1)  # (multivariate_normal.9)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z_i ≤ value_i) of each coordinate by itself, Φ((value - mean) / std)   (multivariate_normal.10)."""
        from scipy.special import ndtr

        return np.asarray(ndtr((value - self.mean(params)) / self.std(params)))  # (multivariate_normal.10)


def kl_to_diagonal(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
    """KL(MultivariateNormal q ‖ Normal p) = Σ log_std_p - log_diagonal_q + ½ (std_q² + d²) / std_p² - ½.

    (multivariate_normal.11), with d = mean_q - mean_p and std_q that of each coordinate.  Nats, one per row.  The
    pullback returns (dparams, dprior_params).
    """
    mean, log_diagonal, factor = mean_and_factor(params)
    prior_mean, prior_log_std = halves(prior_params)
    precision = np.exp(-2 * prior_log_std)
    difference = mean - prior_mean
    spread = (np.sum(factor * factor, axis=-1) + difference * difference) * precision
    kl = np.sum(prior_log_std - log_diagonal + 0.5 * (spread - 1), axis=-1)  # (multivariate_normal.11)

    def pullback(dkl: Array) -> tuple[Array, Array]:
        d = dkl[..., None]
        dmean = d * difference * precision  # (multivariate_normal.12)
        dfactor = (d * precision)[..., None] * factor
        dprior_log_std = sum_to_shape(d * (1 - spread), prior_log_std.shape)
        dparams = _gathered(mean, factor, dmean, dfactor, dlog_determinant=-d)
        return dparams, np.concatenate([sum_to_shape(-dmean, prior_mean.shape), dprior_log_std], axis=-1)

    return kl, pullback


def mean_and_factor(params: Array) -> tuple[Array, Array, Array]:
    """What ``params`` (..., P) stand for: the mean (..., Z), log_diagonal (..., Z), and L (..., Z, Z)."""
    size = params.shape[-1]
    values = (math.isqrt(9 + 8 * size) - 3) // 2
    if values * (values + 3) != 2 * size or not size:
        raise InputError(
            f"params of a MultivariateNormal over Z values must have Z (Z + 3) / 2 entries (2, 5, 9, 14, ...) on their "
            f"last axis, got {size}; MultivariateNormal().params_size(Z) says how many"
        )
    mean, log_diagonal, below = params[..., :values], params[..., values : 2 * values], params[..., 2 * values :]
    factor = np.zeros_like(params, shape=(*params.shape[:-1], values, values))
    for row in range(values):
        start = row * (row - 1) // 2
        factor[..., row, :row] = below[..., start : start + row]
        factor[..., row, row] = np.exp(log_diagonal[..., row])
    return mean, log_diagonal, factor


def solve_lower(factor: Array, right: Array) -> Array:
    """w with L w = right, row by row from the top: forward substitution."""
    w = right + np.zeros_like(factor[..., 0])  # a copy, as wide as both
    for row in range(w.shape[-1]):
        known = np.sum(factor[..., row, :row] * w[..., :row], axis=-1)
        w[..., row] = (w[..., row] - known) / factor[..., row, row]
    return w


def solve_transposed(factor: Array, right: Array) -> Array:
    """w with Lᵀ w = right: turned about both axes, Lᵀ is lower triangular."""
    turned = np.swapaxes(factor, -1, -2)[..., ::-1, ::-1]
    return solve_lower(turned, right[..., ::-1])[..., ::-1]


def _outer(left: Array, right: Array) -> Array:
    outer: Array = left[..., :, None] * right[..., None, :]
    return outer


def _gathered(mean: Array, factor: Array, dmean: Array, dfactor: Array, dlog_determinant: Array | None = None) -> Array:
    """dparams from the gradients of mean, L and log |L| = Σ log_diagonal   (multivariate_normal.3).

    What stands above the diagonal of ``dfactor`` has no parameter, and is left out.
    """
    dmean, dfactor = sum_to_shape(dmean, mean.shape), sum_to_shape(dfactor, factor.shape)
    diagonal, ddiagonal = (np.diagonal(array, axis1=-2, axis2=-1) for array in (factor, dfactor))
    dlog_diagonal = ddiagonal * diagonal  # (multivariate_normal.3)
    if dlog_determinant is not None:
        dlog_diagonal = dlog_diagonal + sum_to_shape(dlog_determinant, mean.shape)
    below = [dfactor[..., row, :row] for row in range(1, mean.shape[-1])]
    return np.concatenate([dmean, dlog_diagonal, *below], axis=-1)
