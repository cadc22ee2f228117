"""Rényi's bound and the χ upper bound of trained models: estimates with what is wrong with them, and exact values.

Derivations: ``derivations/power_means.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from numvae.arrays import Array
from numvae.blocks import blocks
from numvae.devices import Device
from numvae.distributions.multivariate_normal import MultivariateNormal
from numvae.errors import InputError
from numvae.exact_models.cholesky_params import cholesky_params
from numvae.exact_models.linear_gaussian import LinearGaussian
from numvae.marginal_likelihood.importance import variance_of_weights
from numvae.marginal_likelihood.streaming import EffectiveSamples, GroupedMean, Weighed, log_weight_chunks

__all__ = ["PowerMeanBound", "chi_upper_bound", "linear_gaussian_power_mean", "power_mean_bound", "renyi_bound"]


@dataclass(frozen=True, eq=False)
class PowerMeanBound:
    """An estimate of M_t = (1/t) log E_q[w^t] for each row, from S samples.  Nats, (B,) each."""

    power: float
    """t."""
    samples: int
    estimate: Array
    """(1/t) log (1/S) Σ w^t.  Its mean lies between the ELBO and M_t: for t > 1 below what it estimates, and perhaps
    below log p(x)."""
    effective_samples: Array
    """(Σ w^t)² / Σ w^2t   (importance.4): of the weights that this mean averages, fewer than for log p(x) if t > 1."""

    @property
    def missing(self) -> Array:
        """M_t less what the estimate is on average, v / 2St to first order   (power_means.5); v: the variance of w^t.

        Positive for t > 0.  From the weights that were seen: where effective samples are few, those that make up E[w^t]
        were not, and far more is missing.
        """
        variance = variance_of_weights(self.effective_samples, self.samples)
        return variance / (2 * self.samples * (self.power or math.inf))  # (power_means.5)

    @property
    def monte_carlo_error(self) -> Array:
        """The standard deviation of the estimate over other samples for the same row, to first order.

        Not for t = 0, a plain mean.
        """
        variance = variance_of_weights(self.effective_samples, self.samples)
        error: Array = np.sqrt(variance / self.samples) / (abs(self.power) or math.nan)
        return error


def renyi_bound(
    model: Weighed,
    theta: Array,
    x: Array,
    *,
    rng: np.random.Generator,
    samples: int,
    alpha: float,
    device: Device = "cpu",
) -> PowerMeanBound:
    """log p(x) - D_α(q ‖ p(z|x)) = (1/(1-α)) log E_q[w^(1-α)], estimated   (power_means.3).

    A lower bound for α > 0, which falls with α: α → 0 is log p(x), α = 1 the ELBO.  For α ≤ 0 see ``chi_upper_bound``.
    The estimate's own mean is below log p(x) for every α ≥ 0, whatever the number of samples.
    Source: Li and Turner 2016, section 3.
    """
    return power_mean_bound(model, theta, x, rng=rng, samples=samples, power=1 - alpha, device=device)


def chi_upper_bound(
    model: Weighed,
    theta: Array,
    x: Array,
    *,
    rng: np.random.Generator,
    samples: int,
    order: float = 2.0,
    device: Device = "cpu",
) -> PowerMeanBound:
    """(1/n) log E_q[w^n], estimated: at least log p(x) for n ≥ 1 if the expectation is known   (power_means.3).

    **The estimate is no upper bound.**  Its mean is that of a logarithm of a mean, too low by Jensen: with one sample
    it is the ELBO   (power_means.4a), and it reaches the upper bound from below as S grows, slowly.  Trust it where
    ``effective_samples``, those of w^n, are many, a hundred say; ``missing`` is then what is left to go.  Unbiased
    is exp(n · estimate), of E[w^n].
    For a linear model and a normal q ``linear_gaussian_power_mean`` knows the bound itself.
    Source: Dieng et al. 2017 (CUBO).

    Raises:
        InputError: the order is below 1, where it is a lower bound.
    """
    if not order >= 1:
        raise InputError(f"order must be at least 1 for an upper bound, got {order}; below it, use renyi_bound")
    return power_mean_bound(model, theta, x, rng=rng, samples=samples, power=order, device=device)


@np.errstate(all="ignore")  # what overflows shows in the result
def power_mean_bound(
    model: Weighed,
    theta: Array,
    x: Array,
    *,
    rng: np.random.Generator,
    samples: int,
    power: float,
    device: Device = "cpu",
) -> PowerMeanBound:
    """(1/t) log (1/S) Σ w^t by rows, t = ``power``, streamed   (power_means.1).  x: (B, D).

    Raises:
        InputError: no samples, or a power that is not finite.
    """
    if samples < 1 or not math.isfinite(power):
        raise InputError(f"samples must be at least 1 and the order finite, got {samples} and power {power}")
    parts = []
    for block in blocks(len(x), samples):
        rows = x[block]
        mean, effective = GroupedMean(len(rows), samples, power), EffectiveSamples(len(rows), power)
        for log_likelihood, log_ratio in log_weight_chunks(model, theta, rows, samples, rng=rng, device=device):
            log_w = log_likelihood + log_ratio  # (bound.1)
            mean.add(log_w)
            effective.add(log_w)
        parts.append((mean.mean, effective.value))
    estimate, effective_samples = map(np.concatenate, zip(*parts, strict=True))
    return PowerMeanBound(power, samples, estimate, effective_samples)


def linear_gaussian_power_mean(exact: LinearGaussian, params: Array, x: Array, power: float) -> Array:
    """(1/t) log E_q[w^t] itself, (B,), for a normal q and the linear model   (power_means.6).

    ``params``: (B, P) of a ``Normal`` or ``MultivariateNormal`` q, told apart by their number.  For t > 1 a true upper
    bound, infinite where q is too narrow; for t < 0 minus infinity where q is too wide.

    >>> exact = LinearGaussian(W=np.eye(1), b=np.zeros(1))  # p(z|x) = N(x/2, 1/2), log p(1) = -1.5155
    >>> wide, narrow = np.array([[0.5, 0.0]]), np.array([[0.5, -0.8]])
    >>> [linear_gaussian_power_mean(exact, q, np.ones((1, 1)), 2.0).item() for q in (wide, narrow)]
    [-1.4435916053717002, inf]
    """
    q = MultivariateNormal()
    full = np.zeros((len(params), q.params_size(len(exact.W))))
    full[:, : params.shape[-1]] = params  # a Normal is a MultivariateNormal with nothing below its diagonal
    if power == 0:
        target = cholesky_params(exact.posterior_mean(x), np.linalg.inv(exact.precision))
        return exact.evidence(x) - q.kl(full, target)[0]
    precision, q_precision = exact.precision, np.linalg.inv(q.covariance(full))
    both = power * precision + (1 - power) * q_precision
    infinite = np.linalg.eigvalsh(both)[:, 0] <= 1e-12 * np.linalg.eigvalsh(precision)[0]
    both[infinite] = precision  # of which nothing will be seen
    shift = (q.mean(full) - exact.posterior_mean(x))[..., None]
    quadratic = precision @ np.linalg.solve(both, q_precision @ shift)
    distance = power * (1 - power) * (shift.swapaxes(-1, -2) @ quadratic)[..., 0, 0]
    log_determinants = power * _log_determinant(precision) + (1 - power) * _log_determinant(q_precision)
    log_moment = 0.5 * (log_determinants - _log_determinant(both) - distance)
    log_moment[infinite] = math.inf
    bound: Array = exact.evidence(x) + log_moment / power  # (power_means.6)
    return bound


def _log_determinant(matrix: Array) -> Array:
    log_determinant: Array = np.linalg.slogdet(matrix)[1]
    return log_determinant
