"""Families made of others: sums, ratios and powers of simpler samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special, stats

from numvae.arrays import Array
from numvae.distributions.beta import Beta
from numvae.distributions.broadcasting import halves
from numvae.distributions.chi_squared import ChiSquared
from numvae.distributions.dirichlet import Dirichlet
from numvae.distributions.erlang import Erlang
from numvae.distributions.fisher_f import FisherF
from numvae.distributions.gamma import BoostedGamma, Gamma
from tests.cases.kit import Argument, Case, Divergence, Family, between, blocks, logs, uniforms

GAMMA_PARAMS, UNIFORM, TWO_UNIFORMS = logs("B, 2*Z", -1.6, 2.3), uniforms("S, B, Z"), uniforms("S, B, 2*Z")
TO_ONE_GAMMA = logs("1, 2*Z", -1.6, 2.3)
GAMMA_VALUES = Argument("S, B, Z", lambda rng, numbers, spread: np.exp(rng.uniform(-2.3, 2.3, numbers)))
RATES, ONE_RATE, DOFS, ONE_DOF = logs("B, Z"), logs("1, Z"), logs("B, Z", -1, 3), logs("1, Z", -1, 3)
SHARES = uniforms("S, B, Z")
ERLANG = Erlang(order=3)

# fmt: off
CASES = [
    Case("Gamma.sample", "gamma.1 gamma.2 gamma.4 gamma.5", Gamma().sample, (GAMMA_PARAMS, UNIFORM), "S, B, Z"),
    Case("Gamma.log_prob", "gamma.6 gamma.7", Gamma().log_prob, (GAMMA_PARAMS, GAMMA_VALUES), "S, B"),
    Case("Gamma.kl", "gamma.8 gamma.9", Gamma().kl, (GAMMA_PARAMS, GAMMA_PARAMS), "B"),
    Case("Gamma.kl to one prior", "gamma.8 gamma.9", Gamma().kl, (GAMMA_PARAMS, TO_ONE_GAMMA), "B"),
    Case("BoostedGamma.sample", "gamma.14 gamma.15", BoostedGamma().sample, (GAMMA_PARAMS, TWO_UNIFORMS), "S, B, Z"),
    Case("Erlang.sample", "erlang.1 erlang.2", ERLANG.sample, (RATES, uniforms("S, B, 3*Z")), "S, B, Z"),
    Case("Erlang.log_prob", "erlang.3 erlang.4", ERLANG.log_prob, (RATES, GAMMA_VALUES), "S, B"),
    Case("Erlang.kl", "erlang.5 erlang.6", ERLANG.kl, (RATES, RATES), "B"),
    Case("Erlang.kl to one prior", "erlang.5 erlang.6", ERLANG.kl, (RATES, ONE_RATE), "B"),
    Case("ChiSquared.sample", "chi_squared.1 chi_squared.2", ChiSquared().sample, (DOFS, UNIFORM), "S, B, Z"),
    Case("ChiSquared.log_prob", "chi_squared.3 chi_squared.4", ChiSquared().log_prob, (DOFS, GAMMA_VALUES), "S, B"),
    Case("ChiSquared.kl", "chi_squared.5 chi_squared.6", ChiSquared().kl, (DOFS, DOFS), "B"),
    Case("ChiSquared.kl to one prior", "chi_squared.5 chi_squared.6", ChiSquared().kl, (DOFS, ONE_DOF), "B"),
    Case("FisherF.sample", "fisher_f.1 fisher_f.2", FisherF().sample, (logs("B, 2*Z", 0, 3), TWO_UNIFORMS), "S, B, Z"),
    Case(
        "FisherF.log_prob", "fisher_f.3 fisher_f.4 fisher_f.5", FisherF().log_prob,
        (GAMMA_PARAMS, GAMMA_VALUES), "S, B",
    ),
    Case("Beta.sample", "beta.1 beta.2", Beta().sample, (GAMMA_PARAMS, TWO_UNIFORMS), "S, B, Z"),
    Case("Beta.log_prob", "beta.3 beta.4", Beta().log_prob, (GAMMA_PARAMS, SHARES), "S, B"),
    Case("Beta.kl", "beta.5 beta.6 beta.7", Beta().kl, (GAMMA_PARAMS, GAMMA_PARAMS), "B"),
    Case("Beta.kl to one prior", "beta.5 beta.6 beta.7", Beta().kl, (GAMMA_PARAMS, TO_ONE_GAMMA), "B"),
    Case("Dirichlet.sample", "dirichlet.1 dirichlet.2", Dirichlet().sample, (DOFS, UNIFORM), "S, B, Z"),
    Case("Dirichlet.log_prob", "dirichlet.3 dirichlet.4", Dirichlet().log_prob, (DOFS, SHARES), "S, B"),
    Case("Dirichlet.kl", "dirichlet.5 dirichlet.6 dirichlet.7", Dirichlet().kl, (DOFS, DOFS), "B"),
    Case("Dirichlet.kl to one prior", "dirichlet.5 dirichlet.6 dirichlet.7", Dirichlet().kl, (DOFS, ONE_DOF), "B"),
]
# fmt: on


def scipy_gamma(params: Array) -> Any:
    """The same distributions, one per coordinate, as scipy sees them."""
    log_shape, log_rate = halves(params)
    return stats.gamma(np.exp(log_shape), scale=np.exp(-log_rate))


def scipy_erlang(params: Array) -> Any:
    """Of order 3."""
    return stats.erlang(3, scale=np.exp(-params))


def scipy_chi_squared(params: Array) -> Any:
    """One per coordinate."""
    return stats.chi2(np.exp(params))


class ScipyF:
    """scipy's F distribution, but for its quantiles: those keep six digits, Boost's incomplete beta function all."""

    def __init__(self, params: Array) -> None:
        self.dof_1, self.dof_2 = halves(np.exp(params))
        self.law = stats.f(self.dof_1, self.dof_2)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.law, name)

    def ppf(self, level: Array) -> Array:
        """y / (1 - y), with 1 - y from the other end."""
        a, b = self.dof_1 / 2, self.dof_2 / 2
        with np.errstate(divide="ignore"):  # a level of 1
            odds: Array = special.betaincinv(a, b, level) / special.betainccinv(b, a, level) * b / a
        return odds

    def isf(self, level: Array) -> Array:
        """The same from above."""
        a, b = self.dof_1 / 2, self.dof_2 / 2
        with np.errstate(divide="ignore"):  # a level of 1
            odds: Array = special.betainccinv(a, b, level) / special.betaincinv(b, a, level) * b / a
        return odds


def scipy_beta(params: Array) -> Any:
    """One per coordinate."""
    return stats.beta(*halves(np.exp(params)))


class LogOddsOfBeta:
    """The law of log(z / (1 - z)): it has the same divergences, and a z that no number tells from 1 is no end to it."""

    def __init__(self, params: Array) -> None:
        self.alpha, self.beta = halves(np.exp(params))

    def ppf(self, level: Array) -> Array:
        """From below."""
        return self._from_below(self.alpha, self.beta, level)

    def isf(self, level: Array) -> Array:
        """From above: that of 1 - z from below."""
        return -self._from_below(self.beta, self.alpha, level)

    @staticmethod
    def _from_below(a: Array, b: Array, level: Array) -> Array:
        """By z^a / (a B(a, b)) = level where Boost's incomplete beta function gives up."""
        with np.errstate(divide="ignore"):  # where a level is 1
            first_term = (np.log(level) + np.log(a) + special.betaln(a, b)) / a
            log_z = np.where(level < 1e-15, first_term, np.log(special.betaincinv(a, b, np.maximum(level, 1e-15))))
            log_odds: Array = log_z - np.log1p(-np.exp(log_z))
        return log_odds

    def logpdf(self, log_odds: Array) -> Array:
        """Of the log-odds: the factors z (1 - z) raise both powers by one."""
        a, b = self.alpha, self.beta
        log_z, log_rest = special.log_expit(log_odds), special.log_expit(-log_odds)
        log_density: Array = a * log_z + b * log_rest + special.gammaln(a + b) - special.gammaln(a) - special.gammaln(b)
        return log_density


WIDE_SHAPES = between(np.log(1e-2), np.log(1e3))

FAMILIES = [
    Family(
        "Gamma",
        "gamma.1 gamma.6 gamma.10 gamma.11 gamma.12",
        Gamma(),
        logs("B, 2*Z", -2.3, 3.0),
        Argument("B, Z", GAMMA_VALUES.draw),
        scipy_gamma,
        wide=blocks("B, 2", WIDE_SHAPES, between(-6.9, 6.9)),
        gradient="quantile",
    ),
    Family(
        "BoostedGamma",
        "gamma.14 gamma.15",
        BoostedGamma(),
        logs("B, 2*Z", -2.3, 3.0),
        Argument("B, Z", GAMMA_VALUES.draw),
        scipy_gamma,
        wide=blocks("B, 2", WIDE_SHAPES, between(-6.9, 6.9)),
        gradient="expectation",
    ),
    Family(
        "Erlang",
        "erlang.1 erlang.3 erlang.7 erlang.8 erlang.9",
        ERLANG,
        logs("B, Z", -6.9, 6.9),
        Argument("B, Z", GAMMA_VALUES.draw),
        scipy_erlang,
        wide=logs("B, 1", -6.9, 6.9),
        gradient="quantile",
    ),
    Family(
        "ChiSquared",
        "chi_squared.1 chi_squared.3 chi_squared.7 chi_squared.8 chi_squared.9",
        ChiSquared(),
        logs("B, Z", -2.3, 3.0),
        Argument("B, Z", GAMMA_VALUES.draw),
        scipy_chi_squared,
        wide=logs("B, 1", np.log(0.02), np.log(1e3)),
        gradient="quantile",
    ),
    Family(
        "FisherF",
        "fisher_f.1 fisher_f.3 fisher_f.6 fisher_f.7 fisher_f.8 fisher_f.9",
        FisherF(),
        blocks("B, 2*Z", between(-1, 3), between(1.5, 3)),
        Argument("B, Z", GAMMA_VALUES.draw),
        ScipyF,
        wide=logs("B, 2", np.log(0.02), np.log(1e3)),
        sampled=logs("B, 2", np.log(0.05), np.log(1e3)),
        gradient="expectation",
    ),
    Family(
        "Beta",
        "beta.1 beta.3 beta.8 beta.9 beta.10 beta.11",
        Beta(),
        logs("B, 2*Z", -1, 3.0),
        uniforms("B, Z"),
        scipy_beta,
        wide=blocks("B, 2", WIDE_SHAPES, WIDE_SHAPES),
        sampled=blocks("B, 2", WIDE_SHAPES, between(np.log(0.25), np.log(1e3))),
        gradient="expectation",
    ),
]

ONE_GAMMA = blocks("B, 2", between(-0.7, 1.5), between(-1, 1))
ONE_ERLANG, ONE_CHI_SQUARED, ONE_BETA = logs("B, 1", -1, 1), logs("B, 1", 0, 3), logs("B, 2", -0.7, 1.5)

# fmt: off
DIVERGENCES = [
    Divergence("Gamma", "gamma.8", Gamma(), Gamma(), ONE_GAMMA, ONE_GAMMA, scipy_gamma, scipy_gamma),
    Divergence("Erlang", "erlang.5", ERLANG, ERLANG, ONE_ERLANG, ONE_ERLANG, scipy_erlang, scipy_erlang),
    Divergence(
        "ChiSquared", "chi_squared.5", ChiSquared(), ChiSquared(),
        ONE_CHI_SQUARED, ONE_CHI_SQUARED, scipy_chi_squared, scipy_chi_squared,
    ),
    Divergence("Beta", "beta.5", Beta(), Beta(), ONE_BETA, ONE_BETA, LogOddsOfBeta, LogOddsOfBeta),
]
# fmt: on
