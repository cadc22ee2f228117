"""Families by location and scale: z = location + scale noise."""

from __future__ import annotations

import numpy as np
from scipy import stats

from numvae.distributions import FixedStdNormal, Normal
from tests.cases.kit import (
    GREYS,
    GREYS_PARAMS,
    LATENTS,
    NOISE,
    OUTPUTS,
    PARAMS,
    Case,
    Divergence,
    Family,
    between,
    blocks,
    noise,
    normal_params,
    reals,
    scipy_normal,
)

ONE_NORMAL = blocks("B, 2", between(-2, 2), between(-1, 1))
LOG_SCALE = between(np.log(1e-3), np.log(1e3))

# fmt: off
CASES = [
    Case("Normal.sample", "normal.1 normal.2", Normal().sample, (PARAMS, NOISE), "S, B, Z"),
    Case("Normal.log_prob", "normal.3 normal.4", Normal().log_prob, (PARAMS, LATENTS), "S, B"),
    Case("Normal.log_prob of data", "normal.3 normal.4", Normal().log_prob, (GREYS_PARAMS, GREYS), "S, B"),
    Case("Normal.kl", "normal.5 normal.6", Normal().kl, (PARAMS, PARAMS), "B"),
    Case("Normal.kl to one prior", "normal.5 normal.6", Normal().kl, (PARAMS, normal_params("1, 2*Z")), "B"),
    Case("FixedStdNormal.sample", "normal.1", FixedStdNormal(0.3).sample, (GREYS, noise("S, B, D")), "S, B, D"),
    Case("FixedStdNormal.log_prob", "normal.9 normal.10", FixedStdNormal(0.3).log_prob, (OUTPUTS, GREYS), "S, B"),
]
# fmt: on

FAMILIES = [
    Family(
        "Normal",
        "normal.1 normal.3 normal.7 normal.8",
        Normal(),
        PARAMS,
        LATENTS,
        scipy_normal,
        wide=blocks("B, 2", between(-1e3, 1e3), LOG_SCALE),
        gradient="quantile",
    ),
    Family(
        "FixedStdNormal",
        "normal.1 normal.7 normal.8 normal.9",
        FixedStdNormal(0.3),
        GREYS,
        GREYS,
        lambda params: stats.norm(params, 0.3),
        wide=reals("B, 1"),
        gradient="quantile",
    ),
]

DIVERGENCES = [
    Divergence("Normal", "normal.5", Normal(), Normal(), ONE_NORMAL, ONE_NORMAL, scipy_normal, scipy_normal),
]
