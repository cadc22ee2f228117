"""KL divergences between two families: each with two oracles, against which it is integrated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special, stats

from numvae.arrays import Array
from numvae.distributions import (
    Beta,
    ChiSquared,
    Exponential,
    Gamma,
    Gumbel,
    Kumaraswamy,
    Laplace,
    Logistic,
    LogNormal,
    Normal,
    Pareto,
    Rayleigh,
    Reciprocal,
    Triangular,
    Uniform,
    Weibull,
)
from numvae.distributions.broadcasting import halves
from numvae.distributions.kl_table import kl_divergence
from tests.cases.bounded import scipy_pareto, scipy_reciprocal, scipy_triangular, scipy_uniform
from tests.cases.composition import LogOddsOfBeta
from tests.cases.kit import Argument, Case, Divergence, between, blocks, logs

Oracle = Callable[[Array], Any]


def of_two(law: Callable[[Array, Array], Any]) -> Oracle:
    """An oracle of the two blocks of the parameters."""
    return lambda params: law(params[..., :1], params[..., 1:2])


class LogOddsOfKumaraswamy:
    """The law of log(z / (1 - z)), by 1 - F = (1 - z^a)^b: it has the same divergences, and no ends."""

    def __init__(self, params: Array) -> None:
        self.a, self.b = halves(np.exp(params))

    def ppf(self, level: Array) -> Array:
        """From the level."""
        with np.errstate(divide="ignore"):
            return self._from_log_upper(np.log1p(-level))

    def isf(self, level: Array) -> Array:
        """From its distance to one."""
        with np.errstate(divide="ignore"):
            return self._from_log_upper(np.log(level))

    def logpdf(self, log_odds: Array) -> Array:
        """Of the log-odds, with the factors z (1 - z)."""
        log_z, log_rest = special.log_expit(log_odds), special.log_expit(-log_odds)
        power = np.log(-np.expm1(self.a * log_z))
        log_density: Array = np.log(self.a * self.b) + self.a * log_z + (self.b - 1) * power + log_rest
        return log_density

    def _from_log_upper(self, log_upper: Array) -> Array:
        log_rest = log_upper / self.b  # of y = z^a
        log_y = np.where(log_rest < -1, np.log1p(-np.exp(log_rest)), np.log(-np.expm1(log_rest)))
        log_z = log_y / self.a
        log_odds: Array = log_z - np.log(-np.expm1(log_z))
        return log_odds


class InLogOdds:
    """Any law, seen by one on the unit interval that is given by its log-odds."""

    def __init__(self, law: Any) -> None:
        self.law = law

    def ppf(self, level: float) -> Array:
        """A place to cut an integral in two."""
        return np.zeros_like(self.law.ppf(level))

    def logpdf(self, log_odds: Array) -> Array:
        """With the factors z (1 - z)."""
        log_density: Array = self.law.logpdf(special.expit(log_odds))
        return log_density + special.log_expit(log_odds) + special.log_expit(-log_odds)


LOCATION = blocks("B, 2", between(-1.5, 1.5), between(-0.7, 0.7))
SHAPES = blocks("B, 2", between(-0.5, 1.5), between(-0.7, 0.7))
ONE = logs("B, 1", -0.7, 0.7)
THREE = blocks("B, 3", between(-1, 1), between(-0.7, 0.7), between(-1, 1))

OF: dict[type, tuple[Any, Argument, Oracle]] = {
    Beta: (Beta(), LOCATION, LogOddsOfBeta),
    ChiSquared: (ChiSquared(), logs("B, 1", 0, 1.5), lambda params: stats.chi2(np.exp(params))),
    Exponential: (Exponential(), ONE, lambda params: stats.expon(scale=np.exp(-params))),
    Gamma: (Gamma(), SHAPES, of_two(lambda a, r: stats.gamma(np.exp(a), scale=np.exp(-r)))),
    Gumbel: (Gumbel(), LOCATION, of_two(lambda m, s: stats.gumbel_r(m, np.exp(s)))),
    Kumaraswamy: (Kumaraswamy(), LOCATION, LogOddsOfKumaraswamy),
    Laplace: (Laplace(), LOCATION, of_two(lambda m, s: stats.laplace(m, np.exp(s)))),
    LogNormal: (LogNormal(), LOCATION, of_two(lambda m, s: stats.lognorm(np.exp(s), scale=np.exp(m)))),
    Logistic: (Logistic(), LOCATION, of_two(lambda m, s: stats.logistic(m, np.exp(s)))),
    Normal: (Normal(), LOCATION, of_two(lambda m, s: stats.norm(m, np.exp(s)))),
    Pareto: (Pareto(), SHAPES, scipy_pareto),
    Rayleigh: (Rayleigh(), ONE, lambda params: stats.rayleigh(scale=np.exp(params))),
    Reciprocal: (Reciprocal(), LOCATION, scipy_reciprocal),
    Triangular: (Triangular(), THREE, scipy_triangular),
    Uniform: (Uniform(), LOCATION, scipy_uniform),
    Weibull: (Weibull(), SHAPES, of_two(lambda s, k: stats.weibull_min(np.exp(k), scale=np.exp(s)))),
}

TO_NORMAL = "divergences.1 divergences.2"
TO_GAMMA = "divergences.3 divergences.4"
TO_EXPONENTIAL = "divergences.5 divergences.6"
LABELS: list[tuple[type, type, str]] = [
    (Laplace, Normal, f"{TO_NORMAL} expectations.1 expectations.2"),
    (Logistic, Normal, f"{TO_NORMAL} expectations.1 expectations.2"),
    (Gumbel, Normal, f"{TO_NORMAL} expectations.1 expectations.2"),
    (Uniform, Normal, f"{TO_NORMAL} expectations.1 expectations.2"),
    (Triangular, Normal, f"{TO_NORMAL} expectations.3"),
    (Exponential, Normal, f"{TO_NORMAL} expectations.4"),
    (Gamma, Normal, f"{TO_NORMAL} expectations.5 expectations.6"),
    (Rayleigh, Normal, f"{TO_NORMAL} expectations.7"),
    (Weibull, Normal, f"{TO_NORMAL} expectations.8 expectations.9"),
    (LogNormal, Normal, f"{TO_NORMAL} expectations.10"),
    (Exponential, Gamma, f"{TO_GAMMA} expectations.11"),
    (Rayleigh, Gamma, f"{TO_GAMMA} expectations.13"),
    (Weibull, Gamma, f"{TO_GAMMA} expectations.14"),
    (LogNormal, Gamma, f"{TO_GAMMA} expectations.15"),
    (ChiSquared, Gamma, f"{TO_GAMMA} expectations.16"),
    (Beta, Gamma, f"{TO_GAMMA} expectations.17"),
    (Gamma, Exponential, f"{TO_EXPONENTIAL} expectations.12"),
    (Rayleigh, Exponential, TO_EXPONENTIAL),
    (Weibull, Exponential, TO_EXPONENTIAL),
    (LogNormal, Exponential, TO_EXPONENTIAL),
    (ChiSquared, Exponential, TO_EXPONENTIAL),
    (Beta, Exponential, TO_EXPONENTIAL),
    (Exponential, LogNormal, "divergences.7 expectations.18"),
    (Rayleigh, LogNormal, "divergences.7 expectations.18"),
    (Gamma, LogNormal, "divergences.7 expectations.19"),
    (Weibull, LogNormal, "divergences.7 expectations.20"),
    (Reciprocal, LogNormal, "divergences.7 expectations.21"),
    (Pareto, LogNormal, "divergences.7 expectations.23"),
    (Normal, Laplace, "divergences.8 divergences.9 divergences.10"),
    (Logistic, Laplace, "divergences.8 divergences.9 divergences.11"),
    (Normal, Gumbel, "divergences.12 divergences.13"),
    (Kumaraswamy, Beta, "divergences.14 divergences.15 divergences.16 divergences.17"),
]


def divergence(q: type, p: type, labels: str) -> Divergence:
    """KL(q ‖ p), on log-odds where q lies on the unit interval."""
    (q_family, q_params, q_oracle), (p_family, p_params, p_oracle) = OF[q], OF[p]
    of_log_odds = q is Beta and p is not Beta
    seen: Oracle = (lambda params: InLogOdds(p_oracle(params))) if of_log_odds else p_oracle
    return Divergence(f"{q.__name__} to {p.__name__}", labels, q_family, p_family, q_params, p_params, q_oracle, seen)


def to_one_prior(q: type, p: type, labels: str) -> Case:
    """The same as a rule, with one prior for all rows, as in training."""
    (q_family, q_params, _), (p_family, p_params, _) = OF[q], OF[p]
    one = Argument(p_params.shape.replace("B", "1"), p_params.draw)
    return Case(f"{q.__name__} to one {p.__name__}", labels, kl_divergence(q_family, p_family), (q_params, one), "B")


DIVERGENCES = [divergence(*line) for line in LABELS]
CASES = [to_one_prior(*line) for line in LABELS]
