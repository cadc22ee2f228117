"""Families by the inverse of their CDF: z = F⁻¹(uniform noise)."""

from __future__ import annotations

import numpy as np
from scipy import stats

from numvae.distributions import Exponential
from tests.cases.kit import Case, Family, logs, uniforms

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

FAMILIES = [
    Family(
        "Exponential",
        "exponential.1 exponential.3 exponential.7 exponential.8 exponential.9",
        Exponential(),
        logs("B, Z", -6.9, 6.9),
        uniforms("B, Z"),
        lambda params: stats.expon(scale=np.exp(-params)),
        wide=logs("B, 1", -6.9, 6.9),
        gradient="quantile",
    ),
]
