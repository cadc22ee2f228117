"""KL divergences in closed form: each with two oracles, against which it is integrated."""

from __future__ import annotations

import numpy as np
from scipy import stats

from numvae.distributions import Exponential, Gamma, Normal, Poisson
from tests.cases.composition import scipy_gamma
from tests.cases.kit import Case, Divergence, between, blocks, logs, scipy_normal

LOCATION_SCALE = blocks("B, 2", between(-2, 2), between(-1, 1))
SHAPE_RATE = blocks("B, 2", between(-0.7, 1.5), between(-1, 1))
RATE = logs("B, 1", -1, 1)

CASES: list[Case] = []


DIVERGENCES = [
    Divergence("Normal", "normal.5", Normal(), Normal(), LOCATION_SCALE, LOCATION_SCALE, scipy_normal, scipy_normal),
    Divergence(
        "Exponential",
        "exponential.5",
        Exponential(),
        Exponential(),
        RATE,
        RATE,
        lambda params: stats.expon(scale=np.exp(-params)),
        lambda params: stats.expon(scale=np.exp(-params)),
    ),
    Divergence("Gamma", "gamma.8", Gamma(), Gamma(), SHAPE_RATE, SHAPE_RATE, scipy_gamma, scipy_gamma),
    Divergence(
        "Poisson",
        "poisson.5",
        Poisson(),
        Poisson(),
        RATE,
        RATE,
        lambda params: stats.poisson(np.exp(params)),
        lambda params: stats.poisson(np.exp(params)),
    ),
]
