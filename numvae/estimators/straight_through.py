"""Straight-through gradients: bits on the way there, and on the way back as if they had been their probabilities.

Derivations: ``derivations/straight_through.md``.
"""

from __future__ import annotations

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.distributions import Bernoulli
from numvae.estimators.applicability import require_applicable
from numvae.estimators.contract import Integrand, Reduction, declares
from numvae.estimators.pathwise import through_samples

__all__ = ["identity_straight_through", "straight_through"]

SOURCE = "Bengio, Léonard and Courville 2013, who name Hinton's lectures of 2012"


@declares(
    variables="Bernoulli",
    unbiased=False,
    bias="the slope of f at the bit stands for f(1) - f(0); exact only where f is linear in each bit",
    uses_dz=True,
    reductions=("sample_mean", "log_mean_exp"),
    source=SOURCE,
)
def straight_through(
    q: Bernoulli, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """The gradient of bits taken for σ(logit): dparams = ∂bound/∂params + σ' Σ_s dz_s   (straight_through.1).

    Shapes: params (B, Z), noise (S, B, Z), bound (B,).  The value is that of the bits, and unbiased; dparams is not,
    unless the bound is linear in each bit by itself.
    """
    require_applicable(straight_through, q, noise, reduce)
    slope = q.std(params) ** 2
    bits, _ = q.sample(params, noise)
    return through_samples(params, bits, lambda dz: slope * np.sum(dz, axis=0), f, reduce)  # (straight_through.1)


@declares(
    variables="Bernoulli",
    unbiased=False,
    bias="the derivative of the bit in its logit is taken for 1: not even linear f have a right gradient",
    uses_dz=True,
    reductions=("sample_mean", "log_mean_exp"),
    source=SOURCE,
)
def identity_straight_through(
    q: Bernoulli, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """The gradient of bits taken for their logits: dparams = ∂bound/∂params + Σ_s dz_s   (straight_through.2).

    As ``straight_through`` without σ', which Bengio et al. found to work better.  For linear f a direction, not a
    gradient: each coordinate is too long by 1 / σ'.
    """
    require_applicable(identity_straight_through, q, noise, reduce)
    bits, _ = q.sample(params, noise)
    return through_samples(params, bits, lambda dz: np.sum(dz, axis=0), f, reduce)  # (straight_through.2)
