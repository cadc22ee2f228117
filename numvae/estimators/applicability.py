"""Estimators held to their own claims before they start, where using them elsewhere would be silently wrong."""

from __future__ import annotations

from typing import Any

from numvae.arrays import Array
from numvae.errors import InputError
from numvae.estimators.contract import claims_of, name_of

__all__ = ["require_applicable", "require_reduction"]


def require_applicable(estimator: Any, q: Any, noise: Array, reduce: Any) -> None:
    """Raise InputError unless the estimator claims to be one for this family, number of samples and reduction.

    >>> from numvae import Normal, sample_mean
    >>> from numvae.estimators.arm import arm
    >>> import numpy as np
    >>> require_applicable(arm, Normal(), np.zeros((1, 1, 1)), sample_mean)
    Traceback (most recent call last):
    numvae.errors.InputError: arm is for Bernoulli latents, got Normal; score_function is for any
    """
    claims, name = claims_of(estimator), name_of(estimator)
    refusal = claims.refusal(q)
    if refusal is not None:
        any_other = "pathwise is for these" if getattr(q, "support_moves", False) else "score_function is for any"
        raise InputError(f"{name} {refusal}; {any_other}")
    if len(noise) < claims.least_samples:
        raise InputError(f"{name} needs at least {claims.least_samples} samples, got {len(noise)}; draw more noise")
    require_reduction(estimator, reduce)


def require_reduction(estimator: Any, reduce: Any) -> None:
    """Raise InputError unless the estimator claims to estimate under this reduction."""
    known, reduction = claims_of(estimator).reductions, name_of(reduce)
    if reduction not in known:
        raise InputError(
            f"{name_of(estimator)} estimates under {' or '.join(known)}, got {reduction}; score_function does under "
            "any reduction"
        )
