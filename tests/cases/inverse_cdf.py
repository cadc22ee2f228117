"""Families by the inverse of their CDF: z = F⁻¹(uniform noise)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from numvae.arrays import Array
from numvae.distributions import Exponential
from numvae.distributions.cauchy import Cauchy
from numvae.distributions.gompertz import Gompertz
from numvae.distributions.gumbel import Gumbel
from numvae.distributions.logistic import Logistic
from numvae.distributions.rayleigh import Rayleigh
from numvae.distributions.weibull import Weibull
from tests.cases.kit import Case, Divergence, Family, between, blocks, logs, positives, reals, uniforms

RATES, POSITIVE = logs("B, Z", -4.6, 4.6), positives("S, B, Z")
UNIFORM = uniforms("S, B, Z")
LOG_SCALE, LOG_SHAPE = between(np.log(1e-3), np.log(1e3)), between(np.log(1e-2), np.log(1e3))
LOCATED = blocks("B, 2*Z", between(-3, 3), between(-1, 1))  # [location | log_scale]
ONE_LOCATED_PRIOR = blocks("1, 2*Z", between(-3, 3), between(-1, 1))
LOCATED_WIDE = blocks("B, 2", between(-1e3, 1e3), LOG_SCALE)
SHAPED = blocks("B, 2*Z", between(-1, 1), between(-1, 1))  # two logarithms
ONE_SHAPED_PRIOR = blocks("1, 2*Z", between(-1, 1), between(-1, 1))
REALS, NEAR = reals("S, B, Z"), blocks("S, B, Z", between(-4, 4))

# fmt: off
CASES = [
    Case("Exponential.sample", "exponential.1 exponential.2", Exponential().sample, (RATES, UNIFORM), "S, B, Z"),
    Case("Exponential.log_prob", "exponential.3 exponential.4", Exponential().log_prob, (RATES, POSITIVE), "S, B"),
    Case("Exponential.kl", "exponential.5 exponential.6", Exponential().kl, (RATES, RATES), "B"),
    Case("Exponential.kl to one prior", "exponential.5 exponential.6", Exponential().kl, (RATES, logs("1, Z")), "B"),
    Case("Cauchy.sample", "cauchy.1 cauchy.2", Cauchy().sample, (LOCATED, UNIFORM), "S, B, Z"),
    Case("Cauchy.log_prob", "cauchy.3 cauchy.4", Cauchy().log_prob, (LOCATED, REALS), "S, B"),
    Case("Cauchy.kl", "cauchy.5 cauchy.6", Cauchy().kl, (LOCATED, LOCATED), "B"),
    Case("Cauchy.kl to one prior", "cauchy.5 cauchy.6", Cauchy().kl, (LOCATED, ONE_LOCATED_PRIOR), "B"),
    Case("Logistic.sample", "logistic.1 logistic.2", Logistic().sample, (LOCATED, UNIFORM), "S, B, Z"),
    Case("Logistic.log_prob", "logistic.3 logistic.4", Logistic().log_prob, (LOCATED, REALS), "S, B"),
    Case("Gumbel.sample", "gumbel.1 gumbel.2", Gumbel().sample, (LOCATED, UNIFORM), "S, B, Z"),
    Case("Gumbel.log_prob", "gumbel.3 gumbel.4", Gumbel().log_prob, (LOCATED, NEAR), "S, B"),
    Case("Gumbel.kl", "gumbel.5 gumbel.6", Gumbel().kl, (LOCATED, LOCATED), "B"),
    Case("Gumbel.kl to one prior", "gumbel.5 gumbel.6", Gumbel().kl, (LOCATED, ONE_LOCATED_PRIOR), "B"),
    Case("Rayleigh.sample", "rayleigh.1 rayleigh.2", Rayleigh().sample, (RATES, UNIFORM), "S, B, Z"),
    Case("Rayleigh.log_prob", "rayleigh.3 rayleigh.4", Rayleigh().log_prob, (logs("B, Z"), POSITIVE), "S, B"),
    Case("Rayleigh.kl", "rayleigh.5 rayleigh.6", Rayleigh().kl, (RATES, RATES), "B"),
    Case("Rayleigh.kl to one prior", "rayleigh.5 rayleigh.6", Rayleigh().kl, (RATES, logs("1, Z")), "B"),
    Case("Weibull.sample", "weibull.1 weibull.2", Weibull().sample, (SHAPED, UNIFORM), "S, B, Z"),
    Case("Weibull.log_prob", "weibull.3 weibull.4", Weibull().log_prob, (SHAPED, POSITIVE), "S, B"),
    Case("Weibull.kl", "weibull.5 weibull.6", Weibull().kl, (SHAPED, SHAPED), "B"),
    Case("Weibull.kl to one prior", "weibull.5 weibull.6", Weibull().kl, (SHAPED, ONE_SHAPED_PRIOR), "B"),
    Case("Gompertz.sample", "gompertz.1 gompertz.2", Gompertz().sample, (SHAPED, UNIFORM), "S, B, Z"),
    Case("Gompertz.log_prob", "gompertz.3 gompertz.4", Gompertz().log_prob, (SHAPED, POSITIVE), "S, B"),
]
# fmt: on


def scipy_exponential(params: Array) -> Any:
    """The same distributions, one per coordinate, as scipy sees them."""
    return stats.expon(scale=np.exp(-params))


def located(law: Any) -> Any:
    """params = [location | log_scale] -> scipy's distributions of that law, one per coordinate."""

    def frozen(params: Array) -> Any:
        location, log_scale = np.split(params, 2, axis=-1)
        return law(location, np.exp(log_scale))

    return frozen


def scipy_rayleigh(params: Array) -> Any:
    """The same distributions, one per coordinate, as scipy sees them."""
    return stats.rayleigh(scale=np.exp(params))


def scipy_weibull(params: Array) -> Any:
    """The same distributions, one per coordinate, as scipy sees them."""
    log_scale, log_shape = np.split(params, 2, axis=-1)
    return stats.weibull_min(np.exp(log_shape), scale=np.exp(log_scale))


class GompertzByLevels:
    """scipy's distributions, one per coordinate, with moments and entropy by quadrature over the levels of the CDF."""

    def __init__(self, params: Array) -> None:
        from tests.oracles import level_nodes, quantile

        log_shape, log_rate = np.split(params, 2, axis=-1)
        self.law = stats.gompertz(np.exp(log_shape), scale=np.exp(-log_rate))
        lower, upper, self.weights = level_nodes()
        points = stats.gompertz(np.exp(log_shape)[..., None], scale=np.exp(-log_rate)[..., None])
        self.nodes = quantile(points, lower, upper)
        self.log_densities = points.logpdf(self.nodes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.law, name)

    def mean(self) -> Array:
        return np.asarray(self.nodes @ self.weights)

    def std(self) -> Array:
        return np.sqrt((self.nodes - self.mean()[..., None]) ** 2 @ self.weights)

    def entropy(self) -> Array:
        return np.asarray(-self.log_densities @ self.weights)


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
    Family(
        "Cauchy",
        "cauchy.1 cauchy.3 cauchy.7 cauchy.8",
        Cauchy(),
        blocks("B, 2*Z", between(-3, 3), between(-6.9, 6.9)),
        reals("B, Z"),
        located(stats.cauchy),
        wide=LOCATED_WIDE,
        gradient="quantile",
    ),
    Family(
        "Logistic",
        "logistic.1 logistic.3 logistic.5 logistic.6 logistic.7",
        Logistic(),
        LOCATED,
        reals("B, Z"),
        located(stats.logistic),
        wide=LOCATED_WIDE,
        gradient="quantile",
    ),
    Family(
        "Gumbel",
        "gumbel.1 gumbel.3 gumbel.7 gumbel.8 gumbel.9",
        Gumbel(),
        LOCATED,
        blocks("B, Z", between(-4, 4)),
        located(stats.gumbel_r),
        wide=LOCATED_WIDE,
        gradient="quantile",
    ),
    Family(
        "Rayleigh",
        "rayleigh.1 rayleigh.3 rayleigh.7 rayleigh.8 rayleigh.9",
        Rayleigh(),
        logs("B, Z", -6.9, 6.9),
        uniforms("B, Z"),
        scipy_rayleigh,
        wide=logs("B, 1", -6.9, 6.9),
        gradient="quantile",
    ),
    Family(
        "Weibull",
        "weibull.1 weibull.3 weibull.7 weibull.8 weibull.9",
        Weibull(),
        blocks("B, 2*Z", between(-2.3, 2.3), between(-1, 2.3)),
        positives("B, Z"),
        scipy_weibull,
        wide=blocks("B, 2", LOG_SCALE, LOG_SHAPE),
        gradient="quantile",
    ),
    Family(
        "Gompertz",
        "gompertz.1 gompertz.3 gompertz.5 gompertz.7 gompertz.8 gompertz.9",
        Gompertz(),
        blocks("B, 2*Z", LOG_SHAPE, between(-2.3, 2.3)),
        positives("B, Z"),
        GompertzByLevels,
        wide=blocks("B, 2", LOG_SHAPE, LOG_SCALE),
        gradient="quantile",
    ),
]

ONE_RATE = logs("B, 1", -1, 1)
NARROW = blocks("B, 2", between(-0.5, 0.5), between(-0.5, 0.5))
SCIPY_CAUCHY, SCIPY_GUMBEL = located(stats.cauchy), located(stats.gumbel_r)

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
    Divergence("Cauchy", "cauchy.5", Cauchy(), Cauchy(), NARROW, NARROW, SCIPY_CAUCHY, SCIPY_CAUCHY),
    Divergence("Gumbel", "gumbel.5", Gumbel(), Gumbel(), NARROW, NARROW, SCIPY_GUMBEL, SCIPY_GUMBEL),
    Divergence("Rayleigh", "rayleigh.5", Rayleigh(), Rayleigh(), ONE_RATE, ONE_RATE, scipy_rayleigh, scipy_rayleigh),
    Divergence("Weibull", "weibull.5", Weibull(), Weibull(), NARROW, NARROW, scipy_weibull, scipy_weibull),
]
