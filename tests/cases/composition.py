"""Families made of others: sums, ratios and powers of simpler samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from numvae.arrays import Array
from numvae.distributions import Gamma
from numvae.distributions.broadcasting import halves
from tests.cases.kit import Argument, Case, Divergence, Family, between, blocks, logs, uniforms

GAMMA_PARAMS, UNIFORM = logs("B, 2*Z", -1.6, 2.3), uniforms("S, B, Z")
GAMMA_VALUES = Argument("S, B, Z", lambda rng, numbers, spread: np.exp(rng.uniform(-2.3, 2.3, numbers)))

# fmt: off
CASES = [
    Case("Gamma.sample", "gamma.1 gamma.2 gamma.4 gamma.5", Gamma().sample, (GAMMA_PARAMS, UNIFORM), "S, B, Z"),
    Case("Gamma.log_prob", "gamma.6 gamma.7", Gamma().log_prob, (GAMMA_PARAMS, GAMMA_VALUES), "S, B"),
    Case("Gamma.kl", "gamma.8 gamma.9", Gamma().kl, (GAMMA_PARAMS, GAMMA_PARAMS), "B"),
    Case("Gamma.kl to one prior", "gamma.8 gamma.9", Gamma().kl, (GAMMA_PARAMS, logs("1, 2*Z", -1.6, 2.3)), "B"),
]
# fmt: on


def scipy_gamma(params: Array) -> Any:
    """The same distributions, one per coordinate, as scipy sees them."""
    log_shape, log_rate = halves(params)
    return stats.gamma(np.exp(log_shape), scale=np.exp(-log_rate))


FAMILIES = [
    Family(
        "Gamma",
        "gamma.1 gamma.6 gamma.10 gamma.11 gamma.12",
        Gamma(),
        logs("B, 2*Z", -2.3, 3.0),
        Argument("B, Z", GAMMA_VALUES.draw),
        scipy_gamma,
        wide=blocks("B, 2", between(np.log(1e-2), np.log(1e3)), between(-6.9, 6.9)),
        gradient="quantile",
    ),
]

ONE_GAMMA = blocks("B, 2", between(-0.7, 1.5), between(-1, 1))

DIVERGENCES = [
    Divergence("Gamma", "gamma.8", Gamma(), Gamma(), ONE_GAMMA, ONE_GAMMA, scipy_gamma, scipy_gamma),
]
