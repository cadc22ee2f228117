"""Antithetic gradients for bits: ARM, and DisARM, which takes the uniform number out of it.

Derivations: ``derivations/arm.md``.
"""

from __future__ import annotations

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.distributions import Bernoulli
from numvae.estimators.applicability import require_applicable
from numvae.estimators.contract import Integrand, Reduction, declares

__all__ = ["arm", "disarm"]


@declares(
    variables="Bernoulli",
    f_calls=lambda S, Z: 2 * S,
    pullback_calls=lambda S, Z: 2 * S,
    source="Yin and Zhou 2019",
)
def arm(q: Bernoulli, params: Array, noise: Array, f: Integrand, reduce: Reduction) -> tuple[Array, Pullback]:
    """Augment, REINFORCE, merge: the bits of u against those of 1 - u, weighed by ½ - u   (arm.3).

    Shapes: params (B, Z), noise (S, B, Z), bound (B,); S uniforms make S pairs, and f is asked for 2 S values.  Value,
    dtheta and ∂f/∂params are the mean over both of each pair.  Unbiased for any f; asks for no derivative in z.
    Only under ``sample_mean``.
    """
    require_applicable(arm, q, noise, reduce)
    weights = (0.5 - noise).astype(params.dtype, copy=False)  # (arm.3)
    return _weighted_difference(params, *_pair(q, params, noise), weights, f, reduce)


@declares(
    variables="Bernoulli",
    f_calls=lambda S, Z: 2 * S,
    pullback_calls=lambda S, Z: 2 * S,
    source="Dong, Mnih and Tucker 2020; Yin, Ho, Yan, Qian and Zhou 2020 (U2G)",
)
def disarm(q: Bernoulli, params: Array, noise: Array, f: Integrand, reduce: Reduction) -> tuple[Array, Pullback]:
    """ARM averaged over all uniforms that give the same bits: a pair is weighed by ½ σ(abs(logit)) (b - b̃)   (arm.4).

    Shapes and the rest as for ``arm``, of which it is the Rao-Blackwellisation: the variance is never larger.
    """
    require_applicable(disarm, q, noise, reduce)
    bits, opposite = _pair(q, params, noise)
    weights = 0.5 * q.mean(np.abs(params)) * (bits - opposite)  # (arm.4)
    return _weighted_difference(params, bits, opposite, weights, f, reduce)


def _pair(q: Bernoulli, params: Array, noise: Array) -> tuple[Array, Array]:
    """The bits of u and of 1 - u   (arm.1)."""
    return q.sample(params, noise)[0], q.sample(params, 1 - noise)[0]  # (arm.1)


def _weighted_difference(
    params: Array, bits: Array, opposite: Array, weights: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """dparams = ∂bound/∂params + (1/S) Σ_s (f(b_s) - f(b̃_s)) weight_s   (arm.2); all arrays of bits (S, B, Z)."""
    values, f_pullback = f(params, np.concatenate([bits, opposite]))
    bound, reduce_pullback = reduce(values)
    difference = values[: len(bits)] - values[len(bits) :]
    slope = np.mean(difference[..., None] * weights, axis=0)

    def pullback(dbound: Array) -> tuple[Array, Array]:
        dparams, _, dtheta = f_pullback(*reduce_pullback(dbound))
        return dparams + dbound[:, None] * slope, dtheta  # (arm.2)

    return bound, pullback
