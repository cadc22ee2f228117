"""Local expectation gradients: every bit is averaged over exactly, the others held at their sample.

Derivations: ``derivations/local_expectation.md``.
"""

from __future__ import annotations

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.distributions import Bernoulli
from numvae.estimators.applicability import require_applicable
from numvae.estimators.contract import Integrand, Reduction, declares
from numvae.estimators.neighbours import neighbouring_bounds

__all__ = ["local_expectation"]


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
    (flipped,) = neighbouring_bounds(f, reduce, params, z, values, [1 - z])
    rise = (2 * z - 1) * np.moveaxis(bound - flipped, 0, -1)  # (local_expectation.1)
    slope = q.std(params) ** 2 * np.sum(rise, axis=0)

    def pullback(dbound: Array) -> tuple[Array, Array]:
        dparams, _, dtheta = f_pullback(*reduce_pullback(dbound))
        return dparams + dbound[:, None] * slope, dtheta  # (local_expectation.2)

    return bound, pullback
