"""Local expectation gradients: every bit is averaged over exactly, the others held at their sample.

Derivations: ``derivations/local_expectation.md``.
"""

from __future__ import annotations

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.distributions import Bernoulli
from numvae.estimators.applicability import require_applicable
from numvae.estimators.contract import Integrand, Reduction, declares

__all__ = ["local_expectation"]

ROWS_AT_ONCE = 1 << 12
"""Flipped rows of bits put through f at a time, which bounds memory: there are S B Z of them, each of Z bits."""


@declares(
    variables="Bernoulli",
    f_calls=lambda S, Z: S * (Z + 1),
    reductions=("sample_mean", "log_mean_exp"),
    source="Titsias and Lázaro-Gredilla 2015",
)
def local_expectation(
    q: Bernoulli, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """E_q[reduce f(z)] ≈ reduce f(params, z); pullback -> (dparams, dtheta).

    Shapes: params (B, Z), noise (S, B, Z), bound (B,).  The sampled row has one of the two values of each bit already;
    the row with that bit flipped has the other: dparams_i = ∂bound/∂params_i + σ' Σ_s (bound where bit i of sample s
    is 1 - bound where it is 0)   (local_expectation.2).  Unbiased for any f, of which it asks Z + 1 values a sample,
    and no derivative in z.  Exact where f is a sum of functions of one bit each.
    """
    require_applicable(local_expectation, q, noise, reduce)
    z, _ = q.sample(params, noise)
    values, f_pullback = f(params, z)
    bound, reduce_pullback = reduce(values)
    fall = bound - _with_one_changed(values, _values_of_flipped(f, params, z), reduce)  # (Z, S, B)
    rise = (2 * z - 1) * np.moveaxis(fall, 0, -1)  # (local_expectation.1)
    slope = q.std(params) ** 2 * np.sum(rise, axis=0)

    def pullback(dbound: Array) -> tuple[Array, Array]:
        dparams, _, dtheta = f_pullback(*reduce_pullback(dbound))
        return dparams + dbound[:, None] * slope, dtheta  # (local_expectation.2)

    return bound, pullback


def _values_of_flipped(f: Integrand, params: Array, z: Array) -> Array:
    """f of every sample with one bit flipped, for each bit in turn: (Z, S, B)."""
    samples, rows, latents = z.shape
    unit = np.zeros_like(z, shape=(latents, latents))
    np.fill_diagonal(unit, 1)
    values = np.empty_like(z, shape=(latents, samples, rows))
    count = max(1, ROWS_AT_ONCE // (samples * rows))
    for first in range(0, latents, count):
        flipped = np.abs(z - unit[first : first + count, None, None])
        values[first : first + count] = f(params, flipped.reshape(-1, rows, latents))[0].reshape(-1, samples, rows)
    return values


def _with_one_changed(values: Array, changed: Array, reduce: Reduction) -> Array:
    """The bound with the value of one sample changed: values (S, B), changed and result (Z, S, B)."""
    latents, samples, rows = changed.shape
    bounds = np.empty_like(changed)
    for s in range(samples):
        others = np.repeat(values[:, None], latents, axis=1)
        others[s] = changed[:, s]
        bounds[:, s] = reduce(others.reshape(samples, -1))[0].reshape(latents, rows)
    return bounds
