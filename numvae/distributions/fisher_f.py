"""The F distribution of Fisher and Snedecor: the ratio of two chi-squared variables, each over its degrees of freedom.

Derivations: ``derivations/fisher_f.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import halves, sum_to_shape
from numvae.distributions.contract import Support, greatest_positive, least_positive
from numvae.distributions.gamma import log_quantile, log_quantile_slope
from numvae.distributions.noise import positive_level, uniform_noise

__all__ = ["FisherF"]


@dataclass(frozen=True)
class FisherF:
    """Independent F variables over the last axis, with exp(log_dof_1) and exp(log_dof_2) degrees of freedom.

    ``params``: (..., 2Z) = [log_dof_1 | log_dof_2]: any real numbers are legal.  Values: (..., Z), positive.  The mean
    is infinite up to 2, the standard deviation up to 4 degrees of freedom in the denominator.

    Below some 0.02 degrees of freedom on either side (0.2 in float32) more than a thousandth of the law lies outside
    the range of floating-point numbers; such samples are given as the end of that range, and carry the gradient of the
    logarithm they stand for.

    >>> FisherF().mean(np.log([[3.0, 4.0]]))
    array([[2.]])
    """

    param_names = ("log_dof_1", "log_dof_2")
    params_per_value = 2
    discrete = False
    support: ClassVar[Support] = "positive"
    noise_kind = "uniform"

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
        """Uniform noise on [0, 1), two numbers for each value: [numerator | denominator] along the last axis."""
        return uniform_noise(rng, (*shape[:-1], 2 * shape[-1]), dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """z = (P⁻¹(a, noise) / a) / (P⁻¹(b, noise') / b)   (fisher_f.1), a and b half the degrees of freedom.

        Shapes: params (B, 2Z), noise (S, B, 2Z), z (S, B, Z).  The pullback returns (dparams, None).  Works in float64
        whatever the dtype of ``params``, and gives that.  Source: Kingma and Welling, section 2.4 (composition).
        """
        half = np.exp(params.astype(np.float64)) / 2
        log_gamma = log_quantile(half, positive_level(noise))
        log_1, log_2 = halves(log_gamma - np.log(half))
        least, greatest = math.log(least_positive(params.dtype)), math.log(greatest_positive(params.dtype))
        z = np.exp(np.clip(log_1 - log_2, least, greatest))  # (fisher_f.1)
        z = z.astype(params.dtype)

        def pullback(dz: Array) -> tuple[Array, None]:
            dlog_z = dz * z
            slope = (half * log_quantile_slope(half, log_gamma) - 1).astype(params.dtype)
            dlog_dof = np.concatenate([dlog_z, -dlog_z], axis=-1) * slope  # (fisher_f.2)
            return sum_to_shape(dlog_dof, params.shape), None

        return z, pullback

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """log p = Σ a log y + b log(1 - y) - log B(a, b) - log value, y = a value / (a value + b)   (fisher_f.3).

        With a and b half the degrees of freedom.  Nats, summed over the last axis, for values > 0; pullback ->
        (dparams, dvalue).
        """
        from scipy.special import betaln, psi

        log_dof_1, log_dof_2 = halves(params)
        a, b = np.exp(log_dof_1) / 2, np.exp(log_dof_2) / 2
        log_value = np.log(value)
        logit = log_value + log_dof_1 - log_dof_2
        softplus_of_minus = np.log1p(np.exp(-np.abs(logit)))
        log_y, log_rest = np.minimum(logit, 0) - softplus_of_minus, np.minimum(-logit, 0) - softplus_of_minus
        log_density = np.sum(a * log_y + b * log_rest - betaln(a, b) - log_value, axis=-1)  # (fisher_f.3)

        def pullback(dlog_density: Array) -> tuple[Array, Array]:
            d = dlog_density[..., None]
            dlogit = a * np.exp(log_rest) - b * np.exp(log_y)  # (fisher_f.4)
            dlog_dof_1 = d * (a * (log_y + psi(a + b) - psi(a)) + dlogit)  # (fisher_f.5)
            dlog_dof_2 = d * (b * (log_rest + psi(a + b) - psi(b)) - dlogit)
            dparams = [sum_to_shape(dlog_dof_1, log_dof_1.shape), sum_to_shape(dlog_dof_2, log_dof_2.shape)]
            return np.concatenate(dparams, axis=-1), sum_to_shape(d * ((dlogit - 1) / value), value.shape)

        return log_density, pullback

    def mean(self, params: Array) -> Array:
        """E[z] = dof_2 / (dof_2 - 2)   (fisher_f.6); infinite where dof_2 ≤ 2."""
        _, log_dof_2 = halves(params)
        with np.errstate(divide="ignore"):
            mean: Array = 1 / np.maximum(1 - 2 * np.exp(-log_dof_2), 0)  # (fisher_f.6)
        return mean

    def std(self, params: Array) -> Array:
        """Standard deviation, mean sqrt(2 (1 + (dof_2 - 2) / dof_1) / (dof_2 - 4))   (fisher_f.7).

        Infinite where dof_2 ≤ 4.
        """
        dof_1, dof_2 = halves(np.exp(params))
        with np.errstate(divide="ignore"):
            square = 2 * (1 + np.maximum(dof_2 - 2, 0) / dof_1) / np.maximum(dof_2 - 4, 0)
        std: Array = self.mean(params) * np.sqrt(square)  # (fisher_f.7)
        return std

    def entropy(self, params: Array) -> Array:
        """H = Σ log B(a, b) + log(b / a) + (1 - a) ψ(a) - (1 + b) ψ(b) + (a + b) ψ(a + b)   (fisher_f.8).

        With a and b half the degrees of freedom.  Nats.
        """
        from scipy.special import betaln, psi

        log_dof_1, log_dof_2 = halves(params)
        a, b = np.exp(log_dof_1) / 2, np.exp(log_dof_2) / 2
        terms = log_dof_2 - log_dof_1 + (1 - a) * psi(a) - (1 + b) * psi(b) + (a + b) * psi(a + b)  # (fisher_f.8)
        entropy: Array = np.sum(betaln(a, b) + terms, axis=-1)
        return entropy

    def cdf(self, params: Array, value: Array) -> Array:
        """P(z ≤ value) per coordinate, the regularised incomplete beta function I_y(a, b)   (fisher_f.9)."""
        from scipy.special import betainc

        dof_1, dof_2 = halves(np.exp(params))
        scaled = dof_1 * np.maximum(value, 0)
        return np.asarray(betainc(dof_1 / 2, dof_2 / 2, scaled / (scaled + dof_2)))  # (fisher_f.9)

    def quantile(self, params: Array, level: Array) -> Array:
        """The value with P(z ≤ value) = level per coordinate: y / (1 - y) dof_2 / dof_1, with y of (fisher_f.9)."""
        from scipy.special import betaincinv

        dof_1, dof_2 = halves(np.exp(params))
        y = betaincinv(dof_1 / 2, dof_2 / 2, level)
        # 1 - level has lost the digits of a small level, 1 - y those of a y near 1.
        rest = np.where(level < 1e-3, 1 - y, betaincinv(dof_2 / 2, dof_1 / 2, 1 - level))
        return np.asarray(y / rest * (dof_2 / dof_1))
