"""Families that are of use as likelihoods alone: of bits and counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats
from scipy.special import expit

from numvae.arrays import Array
from numvae.distributions import Bernoulli, Poisson
from tests.cases.kit import BITS, GREYS, OUTPUTS, Argument, Case, Divergence, Family, counts, logs, reals

RATES, COUNTS = logs("B, Z"), counts("S, B, Z")

# fmt: off
CASES = [
    Case("Bernoulli.log_prob", "bernoulli.2 bernoulli.3 bernoulli.4", Bernoulli().log_prob, (OUTPUTS, BITS), "S, B"),
    Case("Bernoulli.relaxed_log_prob", "bernoulli.7", Bernoulli().relaxed_log_prob, (OUTPUTS, BITS), "S, B"),
    Case("Bernoulli.log_prob of one row", "bernoulli.2 bernoulli.4", Bernoulli().log_prob, (reals("1, D"), BITS), "B"),
    Case("Poisson.log_prob", "poisson.2 poisson.3", Poisson().log_prob, (RATES, COUNTS), "S, B"),
    Case("Poisson.relaxed_log_prob", "poisson.4", Poisson().relaxed_log_prob, (RATES, COUNTS), "S, B"),
    Case("Poisson.kl", "poisson.5 poisson.6", Poisson().kl, (RATES, RATES), "B"),
    Case("Poisson.kl to one prior", "poisson.5 poisson.6", Poisson().kl, (RATES, logs("1, Z")), "B"),
]
# fmt: on


def scipy_poisson(params: Array) -> Any:
    """The same distributions, one per coordinate, as scipy sees them."""
    return stats.poisson(np.exp(params))


FAMILIES = [
    Family(
        "Bernoulli",
        "bernoulli.1 bernoulli.2 bernoulli.5 bernoulli.6",
        Bernoulli(),
        GREYS,
        BITS,
        lambda params: stats.bernoulli(expit(params)),
        spreads=(0.01, 1.0),
        wide=reals("B, 1"),
    ),
    Family(
        "Poisson",
        "poisson.1 poisson.2 poisson.7 poisson.8",
        Poisson(),
        logs("B, Z", -4.6, 6.9),
        Argument("B, Z", lambda rng, numbers, spread: rng.poisson(9.0, numbers).astype(np.float64)),
        scipy_poisson,
        wide=logs("B, 1", -6.9, 6.9),
    ),
]

ONE_RATE = logs("B, 1", -1, 1)

DIVERGENCES = [
    Divergence("Poisson", "poisson.5", Poisson(), Poisson(), ONE_RATE, ONE_RATE, scipy_poisson, scipy_poisson),
]
