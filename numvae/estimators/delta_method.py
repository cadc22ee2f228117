"""The delta method: a Taylor expansion of f around q's mean as the control variate of the score function.

Derivations: ``derivations/delta_method.md``.
"""

from __future__ import annotations

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.distributions import Normal
from numvae.estimators.applicability import require_applicable
from numvae.estimators.contract import Integrand, Reduction, declares, hessian_product, value_and_slope

__all__ = ["delta_method", "first_order_delta_method"]


@declares(
    variables="Normal",
    f_calls=lambda S, Z: S + 1,
    pullback_calls=lambda S, Z: S + 1,
    uses_dz=True,
    uses_hessian=True,
    source="Paisley et al. 2012; Mohamed et al. 2020, section 7",
)
def delta_method(q: Normal, params: Array, noise: Array, f: Integrand, reduce: Reduction) -> tuple[Array, Pullback]:
    """Σ_s (f_s - h_s) ∇ log q(z_s) / S + ∇ E[h], h the second-order expansion of f at the mean   (delta_method.2).

    Shapes: params (B, 2Z), noise (S, B, Z), bound (B,).  Unbiased for any f; without variance where f is quadratic.
    Besides S values it asks for S + Z products with the Hessian, all at the mean.
    """
    require_applicable(delta_method, q, noise, reduce)
    return _against_expansion(q, params, noise, f, reduce, curved=True)


@declares(
    variables="Normal",
    f_calls=lambda S, Z: S + 1,
    pullback_calls=lambda S, Z: S + 1,
    uses_dz=True,
    source="Paisley et al. 2012; Mohamed et al. 2020, section 7",
)
def first_order_delta_method(
    q: Normal, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """The same with a linear expansion, which needs no Hessian and leaves ∇ log_std to the score function."""
    require_applicable(first_order_delta_method, q, noise, reduce)
    return _against_expansion(q, params, noise, f, reduce, curved=False)


def _against_expansion(
    q: Normal, params: Array, noise: Array, f: Integrand, reduce: Reduction, *, curved: bool
) -> tuple[Array, Pullback]:
    mean, std = q.mean(params), q.std(params)
    z, _ = q.sample(params, noise)
    values, f_pullback = f(params, z)
    bound, reduce_pullback = reduce(values)
    offset = z - mean
    at_mean, slopes = value_and_slope(f, params, mean[None])
    slope = slopes[0]
    expansion = at_mean + np.sum(slope * offset, axis=-1)  # (delta_method.1)
    dlog_std = np.zeros_like(std)
    if curved:
        bent, diagonal = _curvature(f, params, mean, offset)
        expansion = expansion + 0.5 * np.sum(offset * bent, axis=-1)  # (delta_method.1)
        dlog_std = diagonal * std * std
    dexpected = np.concatenate([slope, dlog_std], axis=-1)  # (delta_method.3)
    _, log_prob_pullback = q.log_prob(params, z)

    def pullback(dbound: Array) -> tuple[Array, Array]:
        (dvalues,) = reduce_pullback(dbound)
        direct, _, dtheta = f_pullback(dvalues)
        score = log_prob_pullback(dvalues * (values - expansion))[0]
        return direct + score + dbound[:, None] * dexpected, dtheta  # (delta_method.2)

    return bound, pullback


def _curvature(f: Integrand, params: Array, mean: Array, offset: Array) -> tuple[Array, Array]:
    """The Hessian at the mean times every offset, (S, B, Z), and its diagonal, (B, Z), in one call."""
    samples, latents = len(offset), mean.shape[-1]
    units = np.zeros_like(mean, shape=(latents, *mean.shape))
    for j in range(latents):
        units[j, :, j] = 1
    directions = np.concatenate([offset, units])
    products = hessian_product(f, params, np.broadcast_to(mean, directions.shape), directions)
    diagonal = np.stack([products[samples + j, :, j] for j in range(latents)], axis=-1)
    return products[:samples], diagonal
