"""Families that are of use as likelihoods: of bits, grey values, grey levels, codes and counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import exprel, log_expit, log_softmax

from numvae.arrays import Array
from numvae.distributions import Bernoulli, Poisson
from numvae.distributions.categorical import Categorical
from numvae.distributions.continuous_bernoulli import ContinuousBernoulli
from numvae.distributions.discretized_logistic import DiscretizedLogistic
from numvae.distributions.negative_binomial import NegativeBinomial
from tests.cases.kit import (
    BITS,
    GREYS,
    OUTPUTS,
    Argument,
    Case,
    Divergence,
    Family,
    between,
    blocks,
    counts,
    logs,
    reals,
    uniforms,
)

RATES, COUNTS = logs("B, Z"), counts("S, B, Z")
CODES = Argument("S, B, D", lambda rng, numbers, spread: rng.integers(3, size=numbers).astype(np.float64))
LEVELS = Argument("S, B, D", lambda rng, numbers, spread: rng.integers(8, size=numbers) / 7)
FEW, OF_LEVELS = DiscretizedLogistic(levels=8), blocks("B, 2*D", between(-0.2, 1.2), between(-3.5, 1.0))
LOGITS, GRADES = reals("B, 3*D"), uniforms("S, B, D")
OF_COUNTS = blocks("B, 2*Z", between(-2.3, 2.3), between(-2.3, 4.6))

# fmt: off
CASES = [
    Case("Bernoulli.log_prob", "bernoulli.2 bernoulli.3 bernoulli.4", Bernoulli().log_prob, (OUTPUTS, BITS), "S, B"),
    Case("Bernoulli.relaxed_log_prob", "bernoulli.7", Bernoulli().relaxed_log_prob, (OUTPUTS, BITS), "S, B"),
    Case("Bernoulli.log_prob of one row", "bernoulli.2 bernoulli.4", Bernoulli().log_prob, (reals("1, D"), BITS), "B"),
    Case("Bernoulli.kl", "bernoulli.8 bernoulli.9", Bernoulli().kl, (GREYS, GREYS), "B"),
    Case("Bernoulli.kl to one prior", "bernoulli.8 bernoulli.9", Bernoulli().kl, (GREYS, reals("1, D")), "B"),
    Case("Categorical.log_prob", "categorical.2 categorical.3", Categorical(3).log_prob, (LOGITS, CODES), "S, B"),
    Case("Categorical.kl", "categorical.4 categorical.5", Categorical(3).kl, (LOGITS, LOGITS), "B"),
    Case("Categorical.kl to one prior", "categorical.4 categorical.5", Categorical(3).kl,
         (LOGITS, reals("1, 3*D")), "B"),
    Case("ContinuousBernoulli.sample", "continuous_bernoulli.8 continuous_bernoulli.9", ContinuousBernoulli().sample,
         (GREYS, GRADES), "S, B, D"),
    Case("ContinuousBernoulli.log_prob", "continuous_bernoulli.2 continuous_bernoulli.5",
         ContinuousBernoulli().log_prob, (OUTPUTS, uniforms("B, D")), "S, B"),
    Case("ContinuousBernoulli.kl", "continuous_bernoulli.10 continuous_bernoulli.11", ContinuousBernoulli().kl,
         (GREYS, GREYS), "B"),
    Case("ContinuousBernoulli.kl to one prior", "continuous_bernoulli.10 continuous_bernoulli.11",
         ContinuousBernoulli().kl, (GREYS, reals("1, D")), "B"),
    Case("DiscretizedLogistic.log_prob", "discretized_logistic.3 discretized_logistic.4 discretized_logistic.5",
         FEW.log_prob, (OF_LEVELS, LEVELS), "S, B"),
    Case("NegativeBinomial.log_prob", "negative_binomial.4 negative_binomial.5 negative_binomial.6",
         NegativeBinomial().log_prob, (OF_COUNTS, COUNTS), "S, B"),
    Case("Poisson.log_prob", "poisson.2 poisson.3", Poisson().log_prob, (RATES, COUNTS), "S, B"),
    Case("Poisson.relaxed_log_prob", "poisson.4", Poisson().relaxed_log_prob, (RATES, COUNTS), "S, B"),
    Case("Poisson.kl", "poisson.5 poisson.6", Poisson().kl, (RATES, RATES), "B"),
    Case("Poisson.kl to one prior", "poisson.5 poisson.6", Poisson().kl, (RATES, logs("1, Z")), "B"),
]
# fmt: on


def scipy_poisson(params: Array) -> Any:
    """The same distributions, one per coordinate, as scipy sees them."""
    return stats.poisson(np.exp(params))


def scipy_bernoulli(params: Array) -> Any:
    """The same distributions, one per coordinate, by the logarithms of scipy's sigmoid."""
    return Listed(log_expit(np.stack([-params, params], axis=-1)))


@dataclass(frozen=True)
class OfBetas:
    """Negative binomials; their masses as densities of beta distributions, which keep their digits at any size."""

    mean_count: Array
    size: Array

    def _scipys(self) -> Any:
        return stats.nbinom(self.size, self.size / (self.size + self.mean_count))

    def logpmf(self, count: Array) -> Array:
        """P(k) = share / (size + k) times the density of Beta(size, k + 1) at share = size / (size + mean)."""
        share, rest = self.size / (self.size + self.mean_count), self.mean_count / (self.size + self.mean_count)
        below, above = stats.beta(self.size, count + 1), stats.beta(count + 1, self.size)
        return np.log(np.where(share < 0.5, below.pdf(share), above.pdf(rest)) * share / (self.size + count))

    def cdf(self, count: Array) -> Array:
        """The sum of the masses."""
        return sum(np.exp(self.logpmf(np.full_like(count, k))) * (k <= count) for k in range(int(count.max()) + 1))

    def ppf(self, level: float) -> Array:
        """Near enough to choose counts by."""
        return self._scipys().ppf(level)

    def isf(self, level: float) -> Array:
        """Near enough to choose counts by."""
        return self._scipys().isf(level)

    def mean(self) -> Array:
        """Stated by the parameters."""
        return self.mean_count

    def std(self) -> Array:
        """Of a Poisson whose rate is drawn from a gamma: its mean plus the gamma's variance."""
        return np.sqrt(self.mean_count + stats.gamma(self.size, scale=self.mean_count / self.size).var())


def of_betas(params: Array) -> Any:
    """The same distributions, one per coordinate, from outside."""
    log_mean, log_size = np.split(params, 2, axis=-1)
    return OfBetas(np.exp(log_mean), np.exp(log_size))


@dataclass(frozen=True)
class Listed:
    """Any distributions on finitely many values 0, step, 2 step, …, by the list of their log-masses (..., K)."""

    log_masses: Array
    step: float = 1.0

    @property
    def values(self) -> Array:
        """All of them."""
        return self.step * np.arange(self.log_masses.shape[-1])

    def logpmf(self, value: Array) -> Array:
        """Looked up; -inf at what is not in the list."""
        here = np.abs(np.asarray(value)[..., None] - self.values) < 1e-9
        return np.where(here, self.log_masses, -np.inf).max(axis=-1)

    def mean(self) -> Array:
        """By definition."""
        return np.exp(self.log_masses) @ self.values

    def std(self) -> Array:
        """By definition."""
        return np.sqrt(np.sum(np.exp(self.log_masses) * (self.values - self.mean()[..., None]) ** 2, axis=-1))

    def entropy(self) -> Array:
        """By definition."""
        return stats.entropy(np.exp(self.log_masses), axis=-1)

    def cdf(self, value: Array) -> Array:
        """By definition."""
        return np.sum(np.exp(self.log_masses) * (self.values <= value[..., None] + 1e-9), axis=-1)

    def ppf(self, level: float) -> Array:
        """The least value whose cumulated mass reaches the level."""
        reached = np.cumsum(np.exp(self.log_masses), axis=-1) >= level
        return self.step * np.where(reached.any(axis=-1), reached.argmax(axis=-1), reached.shape[-1] - 1)

    def isf(self, level: float) -> Array:
        """The least value above which no more than the level lies."""
        above = np.cumsum(np.exp(self.log_masses)[..., ::-1], axis=-1)[..., ::-1]
        return self.step * (np.sum(above > level, axis=-1) - 1)


def listed_codes(params: Array) -> Any:
    """Three codes, by scipy's softmax."""
    return Listed(log_softmax(np.stack(np.split(params, 3, axis=-1), axis=-1), axis=-1))


def listed_levels(params: Array) -> Any:
    """All 256 grey levels, σ(b) - σ(a) as sinh((b - a)/2) / (2 cosh(a/2) cosh(b/2)), and scipy's tails at the ends."""
    mean, scale = (
        part[..., None] for part in (np.split(params, 2, axis=-1)[0], np.exp(np.split(params, 2, axis=-1)[1]))
    )
    ends = (np.arange(255) + 0.5) / 255
    law, half = stats.logistic(mean, scale), np.abs(ends - mean) / (2 * scale)
    log_cosh, width = half + np.log1p(np.exp(-2 * half)) - np.log(2), 1 / (510 * scale)
    log_sinh = width + np.log(-np.expm1(-2 * width)) - np.log(2)
    inner = log_sinh - np.log(2) - log_cosh[..., 1:] - log_cosh[..., :-1]
    return Listed(np.concatenate([law.logcdf(ends[:1]), inner, law.logsf(ends[-1:])], axis=-1), step=1 / 255)


@dataclass(frozen=True)
class TruncatedExponential:
    """Continuous Bernoullis as scipy's exponential, cut off at 1 and, for a positive logit, turned round."""

    logit: Array

    @property
    def _rate(self) -> Array:
        return np.maximum(np.abs(self.logit), 1e-9)

    def _scipys(self) -> Any:
        return stats.truncexpon(self._rate, scale=1 / self._rate)

    def logpdf(self, value: Array) -> Array:
        """Of the distance from the steep end, by scipy's (exp(x) - 1) / x."""
        return -self._rate * np.where(self.logit > 0, 1 - value, value) - np.log(exprel(-self._rate))

    def cdf(self, value: Array) -> Array:
        """Turned round where the logit is positive."""
        return np.where(self.logit > 0, self._from_end(1 - value, True), self._from_end(value, False))

    def sf(self, value: Array) -> Array:
        """1 - cdf."""
        return np.where(self.logit > 0, self._from_end(1 - value, False), self._from_end(value, True))

    def _from_end(self, distance: Array, beyond: bool) -> Array:
        """P(distance from the steep end ≤ this), or beyond it, as ratios of (exp(x) - 1) / x."""
        rate, left = self._rate, 1 - distance
        if beyond:
            return left * exprel(-rate * left) * np.exp(-rate * distance) / exprel(-rate)
        return distance * exprel(-rate * distance) / exprel(-rate)

    def ppf(self, level: Array) -> Array:
        """From 0, which is the steep end or the flat one."""
        return np.where(self.logit > 0, self._from_flat_end(level), self._from_steep_end(level))

    def isf(self, level: Array) -> Array:
        """Where sf is the level, from 1."""
        return 1 - np.where(self.logit > 0, self._from_steep_end(level), self._from_flat_end(level))

    def _from_steep_end(self, level: Array) -> Array:
        """The distance with so much of the law nearer; infinite where rounding leaves nothing."""
        with np.errstate(divide="ignore"):
            return -np.log1p(level * np.expm1(-self._rate)) / self._rate

    def _from_flat_end(self, level: Array) -> Array:
        """The same, where the density is least; exp(700) is nearly the largest number."""
        moderate = np.log1p(level * np.expm1(np.minimum(self._rate, 700)))
        return np.where(self._rate < 700, moderate, self._rate + np.log(level)) / self._rate

    def _moment(self, function: Any) -> Array:
        """By Gauss's quadrature over the part of [0, 1] that counts."""
        points, weights = np.polynomial.legendre.leggauss(80)
        reach = np.minimum(1, 60 / self._rate)[..., None]
        distance = reach * (points + 1) / 2
        value = np.where(self.logit[..., None] > 0, 1 - distance, distance)
        density = np.exp(-self._rate[..., None] * distance) / exprel(-self._rate)[..., None]
        return np.sum(function(value) * density * reach * weights / 2, axis=-1)

    def mean(self) -> Array:
        """By quadrature."""
        return self._moment(lambda value: value)

    def std(self) -> Array:
        """By quadrature."""
        return np.sqrt(self._moment(lambda value: (value - self.mean()[..., None]) ** 2))

    def entropy(self) -> Array:
        """By quadrature."""
        return self._moment(lambda value: -TruncatedExponential(self.logit[..., None]).logpdf(value))


def logits_of_any_size(rng: np.random.Generator, numbers: tuple[int, ...]) -> Array:
    """Of both signs, from 1e-3 to 1e3."""
    return rng.choice([-1.0, 1.0], numbers) * np.exp(rng.uniform(-6.9, 6.9, numbers))


FAMILIES = [
    Family(
        "Bernoulli",
        "bernoulli.1 bernoulli.2 bernoulli.5 bernoulli.6",
        Bernoulli(),
        GREYS,
        BITS,
        scipy_bernoulli,
        wide=blocks("B, 1", between(-700, 700)),
    ),
    Family(
        "Categorical",
        "categorical.1 categorical.2 categorical.6 categorical.7",
        Categorical(3),
        reals("B, 3*Z"),
        Argument("B, Z", lambda rng, numbers, spread: rng.integers(3, size=numbers).astype(np.float64)),
        listed_codes,
        wide=blocks("B, 3", between(-300, 300)),
    ),
    Family(
        "ContinuousBernoulli",
        "continuous_bernoulli.1 continuous_bernoulli.2 continuous_bernoulli.3 continuous_bernoulli.4 "
        "continuous_bernoulli.6 continuous_bernoulli.7 continuous_bernoulli.8 continuous_bernoulli.12",
        ContinuousBernoulli(),
        reals("B, Z"),
        uniforms("B, Z"),
        TruncatedExponential,
        wide=blocks("B, 1", logits_of_any_size),
        gradient="quantile",
    ),
    Family(
        "DiscretizedLogistic",
        "discretized_logistic.1 discretized_logistic.2 discretized_logistic.3 discretized_logistic.6",
        DiscretizedLogistic(),
        blocks("B, 2*Z", between(0.1, 0.9), between(-4.5, 2.3)),
        Argument("B, Z", lambda rng, numbers, spread: rng.integers(256, size=numbers) / 255),
        listed_levels,
        wide=blocks("B, 2", between(-1, 2), between(-6.9, 6.9)),
    ),
    Family(
        "NegativeBinomial",
        "negative_binomial.1 negative_binomial.4 negative_binomial.7 negative_binomial.8",
        NegativeBinomial(),
        blocks("B, 2*Z", between(-4.6, 4.6), between(-2.3, 6.9)),
        Argument("B, Z", lambda rng, numbers, spread: rng.poisson(9.0, numbers).astype(np.float64)),
        of_betas,
        wide=blocks("B, 2", between(-6.9, 6.9), between(-4.6, 13.8)),
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

ONE_RATE, ONE_LOGIT, THREE_LOGITS = logs("B, 1", -1, 1), reals("B, 1"), reals("B, 3")

# fmt: off
DIVERGENCES = [
    Divergence("Bernoulli", "bernoulli.8", Bernoulli(), Bernoulli(), ONE_LOGIT, ONE_LOGIT,
               scipy_bernoulli, scipy_bernoulli),
    Divergence("Categorical", "categorical.4", Categorical(3), Categorical(3), THREE_LOGITS, THREE_LOGITS,
               listed_codes, listed_codes),
    Divergence("ContinuousBernoulli", "continuous_bernoulli.10", ContinuousBernoulli(), ContinuousBernoulli(),
               ONE_LOGIT, ONE_LOGIT, TruncatedExponential, TruncatedExponential),
    Divergence("Poisson", "poisson.5", Poisson(), Poisson(), ONE_RATE, ONE_RATE, scipy_poisson, scipy_poisson),
]
# fmt: on
