"""Families on intervals: some of their supports move with the parameters.

Where the support moves, the values and the two members of a KL are drawn so that one lies in the other's interval, far
enough from the ends for finite differences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats
from scipy.special import expit

from numvae.arrays import Array
from numvae.distributions.broadcasting import halves, thirds
from numvae.distributions.kumaraswamy import Kumaraswamy
from numvae.distributions.pareto import Pareto
from numvae.distributions.reciprocal import Reciprocal
from numvae.distributions.triangular import Triangular
from numvae.distributions.uniform import Uniform
from tests.cases.kit import Argument, Case, Divergence, Family, between, blocks, uniforms

NOISE = uniforms("S, B, Z")
WIDE_LOG = between(np.log(1e-3), np.log(1e3))


def drawn(shape: str, least: float, most: float) -> Argument:
    """Values between two numbers."""
    return Argument(shape, lambda rng, numbers, spread: rng.uniform(least, most, numbers))


def off_the_corner(shape: str) -> Argument:
    """Values on both sides of all triangular modes below, none near one: between -1.7 and -0.7, or 0.7 and 1.7."""
    return Argument(
        shape, lambda rng, numbers, spread: rng.choice([-1.0, 1.0], numbers) * rng.uniform(0.7, 1.7, numbers)
    )


# All around [-1, 1], and all within it.
AROUND, WITHIN = (between(-3.0, -1.5), between(1.5, 2.3)), (between(-0.9, -0.4), between(-2.3, 0.2))
UNIFORMS = blocks("B, 2*Z", *AROUND)
TRIANGULARS = blocks("B, 3*Z", between(-2.3, -2.0), between(1.4, 1.5), between(-0.2, 0.2))
ANY_TRIANGULARS = blocks("B, 3*Z", between(-2.0, 2.0), between(-2.3, 2.3), between(-3.0, 3.0))
RECIPROCALS = UNIFORMS
PARETOS = blocks("B, 2*Z", between(-2.3, 0.0), between(-1.6, 2.3))
KUMARASWAMYS = blocks("B, 2*Z", between(-1.6, 2.3), between(-1.6, 2.3))
FRACTIONS, ABOVE_ONE = drawn("S, B, Z", 0.1, 0.9), drawn("S, B, Z", 1.2, 9.0)
NEAR_ONE = Argument("S, B, Z", lambda rng, numbers, spread: np.exp(rng.uniform(-0.9, 0.6, numbers)))
LEAST_PARETOS = blocks("B, 2*Z", between(-2.3, -1.0), between(-1.6, 2.3))
GREATER_PARETOS = blocks("B, 2*Z", between(-0.5, 1.0), between(-1.6, 2.3))

# fmt: off
CASES = [
    Case("Uniform.sample", "uniform.1 uniform.2", Uniform().sample, (UNIFORMS, NOISE), "S, B, Z"),
    Case("Uniform.log_prob", "uniform.3 uniform.4", Uniform().log_prob, (UNIFORMS, drawn("S, B, Z", -1, 1)), "S, B"),
    Case("Uniform.kl", "uniform.5 uniform.6", Uniform().kl, (blocks("B, 2*Z", *WITHIN), UNIFORMS), "B"),
    Case("Uniform.kl to one prior", "uniform.5 uniform.6", Uniform().kl,
         (blocks("B, 2*Z", *WITHIN), blocks("1, 2*Z", *AROUND)), "B"),
    Case("Triangular.sample", "triangular.1 triangular.2 triangular.9", Triangular().sample,
         (ANY_TRIANGULARS, NOISE), "S, B, Z", kinks=True),
    Case("Triangular.log_prob", "triangular.3 triangular.4", Triangular().log_prob,
         (TRIANGULARS, off_the_corner("S, B, Z")), "S, B"),
    Case("Reciprocal.sample", "reciprocal.1 reciprocal.2", Reciprocal().sample, (RECIPROCALS, NOISE), "S, B, Z"),
    Case("Reciprocal.log_prob", "reciprocal.3 reciprocal.4", Reciprocal().log_prob, (RECIPROCALS, NEAR_ONE), "S, B"),
    Case("Reciprocal.kl", "reciprocal.5", Reciprocal().kl, (blocks("B, 2*Z", *WITHIN), RECIPROCALS), "B"),
    Case("Pareto.sample", "pareto.1 pareto.2", Pareto().sample, (PARETOS, NOISE), "S, B, Z"),
    Case("Pareto.log_prob", "pareto.3 pareto.4", Pareto().log_prob, (PARETOS, ABOVE_ONE), "S, B"),
    Case("Pareto.kl", "pareto.5 pareto.6", Pareto().kl, (GREATER_PARETOS, LEAST_PARETOS), "B"),
    Case("Pareto.kl to one prior", "pareto.5 pareto.6", Pareto().kl,
         (GREATER_PARETOS, blocks("1, 2*Z", between(-2.3, -1.0), between(-1.6, 2.3))), "B"),
    Case("Kumaraswamy.sample", "kumaraswamy.1 kumaraswamy.2 kumaraswamy.9", Kumaraswamy().sample,
         (KUMARASWAMYS, NOISE), "S, B, Z"),
    Case("Kumaraswamy.log_prob", "kumaraswamy.3 kumaraswamy.4", Kumaraswamy().log_prob,
         (KUMARASWAMYS, FRACTIONS), "S, B"),
]
# fmt: on


# ---- who knows them without numvae: scipy, made exact near the ends


@dataclass(frozen=True)
class OnInterval:
    """A law of scipy's, moved from [0, 1] to [low, low + width]: a value that rounds past an end is the end."""

    unit: Any
    low: Array
    width: Array

    def logpdf(self, value: Array) -> Array:
        return np.asarray(self.unit.logpdf(self._unit_value(value)) - np.log(self.width))

    def cdf(self, value: Array) -> Array:
        return np.asarray(self.unit.cdf(self._unit_value(value)))

    def sf(self, value: Array) -> Array:
        return np.asarray(self.unit.sf(self._unit_value(value)))

    def ppf(self, level: Any) -> Array:
        return np.asarray(self.low + self.width * self.unit.ppf(level))

    def isf(self, level: Any) -> Array:
        return np.asarray(np.minimum(self.low + self.width * self.unit.isf(level), self.low + self.width))

    def mean(self) -> Array:
        return np.asarray(self.low + self.width * self.unit.mean())

    def std(self) -> Array:
        return np.asarray(self.width * self.unit.std())

    def entropy(self) -> Array:
        return np.asarray(self.unit.entropy() + np.log(self.width))

    def _unit_value(self, value: Array) -> Array:
        return np.asarray(np.clip((value - self.low) / self.width, 0, 1))


@dataclass(frozen=True)
class UnitTriangle:
    """scipy's triang, with the upper quantile from the upper end."""

    mode: Array

    def __getattr__(self, name: str) -> Any:
        return getattr(stats.triang(self.mode), name)

    def isf(self, level: Any) -> Array:
        right = 1 - np.sqrt(level * (1 - self.mode))
        return np.where(np.asarray(level) < 1 - self.mode, right, stats.triang(self.mode).isf(level))


class Triangle(OnInterval):
    """The height of a triangle of area 1, from the nearer end; a value rounded to an end is one unit from it."""

    @property
    def corner_level(self) -> Array:
        """The level of the mode, where the density has a corner."""
        return np.asarray(self.unit.mode)

    def logpdf(self, value: Array) -> Array:
        mode, rounding = self.unit.mode, np.spacing(np.abs(self.low) + self.width)
        distance = np.clip(value - self.low, rounding, self.width - rounding)
        heights = 2 * distance / mode, 2 * (self.width - distance) / (1 - mode)
        return np.log(np.where(distance < mode * self.width, *heights) / self.width**2)


@dataclass(frozen=True)
class ExpOf:
    """exp of a uniform: scipy's loguniform without its cancelling, and without values rounded past the ends."""

    log_low: Array
    log_ratio: Array

    def __getattr__(self, name: str) -> Any:
        low = np.exp(self.log_low)
        return getattr(stats.loguniform(low, low * np.exp(self.log_ratio)), name)

    def logpdf(self, value: Array) -> Array:
        return np.asarray(-np.log(value * self.log_ratio))

    def cdf(self, value: Array) -> Array:
        return np.asarray(np.log(value / np.exp(self.log_low)) / self.log_ratio)

    def sf(self, value: Array) -> Array:
        return np.asarray(np.log(np.exp(self.log_low + self.log_ratio) / value) / self.log_ratio)

    def ppf(self, level: Any) -> Array:
        return np.asarray(np.exp(self.log_low) * np.exp(self.log_ratio) ** level)

    def isf(self, level: Any) -> Array:
        return np.asarray(np.exp(self.log_low + self.log_ratio) * np.exp(-self.log_ratio * level))


@dataclass(frozen=True)
class PowerLaw:
    """scipy's pareto, its density by the exponential law of the logarithm; a quantile no number holds is infinite."""

    shape: Array
    scale: Array

    def __getattr__(self, name: str) -> Any:
        return getattr(stats.pareto(self.shape, scale=self.scale), name)

    def logpdf(self, value: Array) -> Array:
        with np.errstate(over="ignore"):
            log_ratio = np.maximum(np.log(value / self.scale), 0)
        return np.asarray(stats.expon(scale=1 / self.shape).logpdf(log_ratio) - np.log(value))

    def ppf(self, level: Any) -> Array:
        with np.errstate(over="ignore"):
            return np.asarray(stats.pareto(self.shape, scale=self.scale).ppf(level))

    def isf(self, level: Any) -> Array:
        with np.errstate(over="ignore"):
            return np.asarray(stats.pareto(self.shape, scale=self.scale).isf(level))


@dataclass(frozen=True)
class RootOfBeta:
    """The a-th root of a Beta(1, b) variable, 1 - z^a from scipy's ``powm1``."""

    a: Array
    b: Array

    def logpdf(self, value: Array) -> Array:
        return np.asarray(
            np.log(self.a * self.b) + special.xlogy(self.a - 1, value) + self._log_rest(value, self.b - 1)
        )

    def cdf(self, value: Array) -> Array:
        return np.asarray(special.betainc(1, self.b, value**self.a))

    def sf(self, value: Array) -> Array:
        return np.asarray(np.exp(self._log_rest(value, self.b)))

    def ppf(self, level: Any) -> Array:
        return np.asarray(special.betaincinv(1, self.b, level) ** (1 / self.a))

    def isf(self, level: Any) -> Array:
        return np.asarray((-special.powm1(level, 1 / self.b)) ** (1 / self.a))

    def mean(self) -> Array:
        values, weights = self._at_levels()
        return np.asarray(values @ weights)

    def std(self) -> Array:
        values, weights = self._at_levels()
        return np.asarray(np.sqrt((values - self.mean()[..., None]) ** 2 @ weights))

    def entropy(self) -> Array:
        """That of Beta(1, b) plus E[log |dz/dx|] of the root."""
        mean_log = special.psi(1) - special.psi(1 + self.b)
        return np.asarray(stats.beta(1, self.b).entropy() + (1 / self.a - 1) * mean_log - np.log(self.a))

    def _at_levels(self) -> tuple[Array, Array]:
        """Values at the nodes of a quadrature over the levels, and its weights."""
        from tests.oracles import level_nodes, quantile

        lower, upper, weights = level_nodes()
        return quantile(RootOfBeta(self.a[..., None], self.b[..., None]), lower, upper), weights

    def _log_rest(self, value: Array, times: Array) -> Array:
        return np.asarray(special.xlogy(times, -special.powm1(value, self.a)))


def scipy_uniform(params: Array) -> Any:
    """The same distributions, one per coordinate, as scipy sees them."""
    low, log_width = halves(params)
    return OnInterval(stats.uniform(), low, np.exp(log_width))


def scipy_triangular(params: Array) -> Any:
    """The same distributions, one per coordinate, as scipy sees them."""
    low, log_width, mode_logit = thirds(params)
    return Triangle(UnitTriangle(expit(mode_logit)), low, np.exp(log_width))


def scipy_reciprocal(params: Array) -> Any:
    """The same distributions, one per coordinate."""
    log_low, log_log_ratio = halves(params)
    return ExpOf(log_low, np.exp(log_log_ratio))


def scipy_pareto(params: Array) -> Any:
    """The same distributions, one per coordinate, as scipy sees them."""
    log_scale, log_shape = halves(params)
    return PowerLaw(np.exp(log_shape), np.exp(log_scale))


def beta_root(params: Array) -> Any:
    """The same distributions, one per coordinate."""
    log_a, log_b = halves(params)
    return RootOfBeta(np.exp(log_a), np.exp(log_b))


FAMILIES = [
    Family(
        "Uniform",
        "uniform.1 uniform.3 uniform.7 uniform.8 uniform.9",
        Uniform(),
        blocks("B, 2*Z", *AROUND),
        drawn("B, Z", -1, 1),
        scipy_uniform,
        wide=blocks("B, 2", between(-1e3, 1e3), WIDE_LOG),
        gradient="quantile",
    ),
    Family(
        "Triangular",
        "triangular.1 triangular.3 triangular.5 triangular.6 triangular.7 triangular.8",
        Triangular(),
        blocks("B, 3*Z", between(-2.5, -2.0), between(1.5, 2.3), between(-3.0, 3.0)),
        drawn("B, Z", -1.9, 1.9),
        scipy_triangular,
        wide=blocks("B, 3", between(-1e3, 1e3), WIDE_LOG, between(-7, 7)),
        gradient="quantile",
    ),
    Family(
        "Reciprocal",
        "reciprocal.1 reciprocal.3 reciprocal.6 reciprocal.7 reciprocal.8 reciprocal.9 reciprocal.10",
        Reciprocal(),
        RECIPROCALS,
        Argument("B, Z", NEAR_ONE.draw),
        scipy_reciprocal,
        wide=blocks("B, 2", between(-6.9, 6.9), between(-6.9, 4.2)),
        gradient="quantile",
    ),
    Family(
        "Pareto",
        "pareto.1 pareto.3 pareto.7 pareto.8 pareto.9",
        Pareto(),
        blocks("B, 2*Z", between(-2.3, 0.0), between(0.8, 3.0)),
        drawn("B, Z", 1.2, 9.0),
        scipy_pareto,
        wide=blocks("B, 2", WIDE_LOG, between(np.log(1e-2), np.log(1e3))),
        gradient="quantile",
    ),
    Family(
        "Kumaraswamy",
        "kumaraswamy.1 kumaraswamy.3 kumaraswamy.5 kumaraswamy.6 kumaraswamy.7 kumaraswamy.8",
        Kumaraswamy(),
        KUMARASWAMYS,
        drawn("B, Z", 0.1, 0.9),
        beta_root,
        wide=blocks("B, 2", between(np.log(1e-2), np.log(1e3)), between(np.log(1e-2), np.log(1e3))),
        # Smaller shapes put parts of the law below the smallest number, or between 1 and the last number below it.
        sampled=blocks("B, 2", between(np.log(0.03), np.log(1e3)), between(np.log(0.25), np.log(1e3))),
        gradient="quantile",
    ),
]


def within(
    name: str, labels: str, family: Any, oracle: Any, inner: tuple[Any, Any], outer: tuple[Any, Any]
) -> Divergence:
    """KL(q ‖ p) in one family, the support of q inside that of p."""
    return Divergence(name, labels, family, family, blocks("B, 2", *inner), blocks("B, 2", *outer), oracle, oracle)


DIVERGENCES = [
    within("Uniform", "uniform.5 uniform.6", Uniform(), scipy_uniform, WITHIN, AROUND),
    within("Reciprocal", "reciprocal.5", Reciprocal(), scipy_reciprocal, WITHIN, AROUND),
    within(
        "Pareto",
        "pareto.5 pareto.6",
        Pareto(),
        scipy_pareto,
        (between(-0.5, 1.0), between(-1.0, 1.5)),
        (between(-2.3, -1.0), between(-1.0, 1.5)),
    ),
]
