"""MuProp: the score function for what a tangent of f at the mean leaves over, and the tangent exactly.

Derivations: ``derivations/muprop.md``.
"""

from __future__ import annotations

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.distributions import Bernoulli
from numvae.estimators.applicability import require_applicable
from numvae.estimators.contract import Integrand, Reduction, declares, value_and_slope

__all__ = ["muprop"]


@declares(
    variables="Bernoulli",
    f_calls=lambda S, Z: S + 1,
    pullback_calls=lambda S, Z: S + 1,
    uses_dz=True,
    source="Gu, Levine, Sutskever and Mnih 2016",
)
def muprop(q: Bernoulli, params: Array, noise: Array, f: Integrand, reduce: Reduction) -> tuple[Array, Pullback]:
    """E_q[f(z)] ≈ (1/S) Σ_s f(params, z_s); pullback -> (dparams, dtheta).

    Shapes: params (B, Z), noise (S, B, Z), bound (B,).  f and its slope at the mean bits give a tangent h
    (muprop.1); dparams = ∂f/∂params + (f - h) ∇log q + slope σ'   (muprop.2).  Unbiased for any f, and any slope.  h is
    a number beside the bits: neither its dparams nor its dtheta enters.  No further baseline.  Only under
    ``sample_mean``.
    """
    require_applicable(muprop, q, noise, reduce)
    z, _ = q.sample(params, noise)
    values, f_pullback = f(params, z)
    bound, reduce_pullback = reduce(values)
    _, log_prob_pullback = q.log_prob(params, z)

    mean = q.mean(params)
    at_mean, slopes = value_and_slope(f, params, mean[None])
    slope = slopes[0]
    tangent = at_mean + np.sum(slope * (z - mean), axis=-1)  # (muprop.1)
    signal = values - tangent
    mean_field = slope * q.std(params) ** 2

    def pullback(dbound: Array) -> tuple[Array, Array]:
        (dvalues,) = reduce_pullback(dbound)
        dparams, _, dtheta = f_pullback(dvalues)
        dparams = dparams + log_prob_pullback(dvalues * signal)[0] + dbound[:, None] * mean_field  # (muprop.2)
        return dparams, dtheta

    return bound, pullback
