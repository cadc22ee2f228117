"""Families by the inverse of their CDF: z = F⁻¹(uniform noise)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from numvae.arrays import Array
from numvae.distributions import Exponential
from tests.cases.kit import Case, Divergence, Family, logs, uniforms

RATES, POSITIVE = logs("B, Z", -4.6, 4.6), logs("S, B, Z")
UNIFORM = uniforms("S, B, Z")

# fmt: off
CASES = [
    Case("Exponential.sample", "exponential.1 exponential.2", Exponential().sample, (RATES, UNIFORM), "S, B, Z"),
    Case("Exponential.log_prob", "exponential.3 exponential.4", Exponential().log_prob, (RATES, POSITIVE), "S, B"),
    Case("Exponential.kl", "exponential.5 exponential.6", Exponential().kl, (RATES, RATES), "B"),
    Case("Exponential.kl to one prior", "exponential.5 exponential.6", Exponential().kl, (RATES, logs("1, Z")), "B"),
]
# fmt: on


def scipy_exponential(params: Array) -> Any:
    """The same distributions, one per coordinate, as scipy sees them."""
    return stats.expon(scale=np.exp(-params))


FAMILIES = [
    Family(
        "Exponential",
        "exponential.1 exponential.3 exponential.7 exponential.8 exponential.9",
        Exponential(),
        logs("B, Z", -6.9, 6.9),
        uniforms("B, Z"),
        scipy_exponential,
        wide=logs("B, 1", -6.9, 6.9),
        gradient="quantile",
    ),
]

ONE_RATE = logs("B, 1", -1, 1)

DIVERGENCES = [
    Divergence(
        "Exponential",
        "exponential.5",
        Exponential(),
        Exponential(),
        ONE_RATE,
        ONE_RATE,
        scipy_exponential,
        scipy_exponential,
    ),
]
