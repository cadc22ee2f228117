"""Families by location and scale: z = location + scale noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from numvae.arrays import Array
from numvae.distributions import FixedStdNormal, Normal
from numvae.distributions.laplace import Laplace
from numvae.distributions.log_normal import LogNormal
from numvae.distributions.multivariate_normal import MultivariateNormal, kl_to_diagonal
from numvae.distributions.student_t import StudentT
from tests.cases.kit import (
    GREYS,
    GREYS_PARAMS,
    LATENTS,
    NOISE,
    OUTPUTS,
    PARAMS,
    Argument,
    Case,
    Divergence,
    Family,
    between,
    blocks,
    noise,
    normal_params,
    positives,
    scipy_normal,
    uniforms,
)

ONE_NORMAL = blocks("B, 2", between(-2, 2), between(-1, 1))
LOG_SCALE = between(np.log(1e-3), np.log(1e3))


def draw_normal(rng: np.random.Generator, numbers: tuple[int, ...]) -> Array:
    """A part of ``blocks``, standard normal."""
    return rng.standard_normal(numbers)


STUDENTS = (draw_normal, between(-2.3, 2.3), between(-1.6, 3.4))
NORMAL_AND_UNIFORM = blocks("S, B, 2*Z", draw_normal, between(0.02, 0.98))
POSITIVE = positives("S, B, Z")


def dependent(shape: str) -> Argument:
    """[mean | log_diagonal | below] of normals whose coordinates depend on each other."""

    def draw(rng: np.random.Generator, numbers: tuple[int, ...], spread: float) -> Array:
        values = (math.isqrt(9 + 8 * numbers[-1]) - 3) // 2
        params = rng.standard_normal(numbers)
        params[..., :values] *= spread
        params[..., 2 * values :] *= 0.5
        return params

    return Argument(shape, draw)


FULL = dependent("B, Z*(Z + 3)//2")
MVN = MultivariateNormal()
FEW_ORDERS = blocks("B, 2*Z", draw_normal, between(-2.3, 0.7))

# fmt: off
CASES = [
    Case("Normal.sample", "normal.1 normal.2", Normal().sample, (PARAMS, NOISE), "S, B, Z"),
    Case("Normal.log_prob", "normal.3 normal.4", Normal().log_prob, (PARAMS, LATENTS), "S, B"),
    Case("Normal.log_prob of data", "normal.3 normal.4", Normal().log_prob, (GREYS_PARAMS, GREYS), "S, B"),
    Case("Normal.kl", "normal.5 normal.6", Normal().kl, (PARAMS, PARAMS), "B"),
    Case("Normal.kl to one prior", "normal.5 normal.6", Normal().kl, (PARAMS, normal_params("1, 2*Z")), "B"),
    Case("FixedStdNormal.sample", "normal.1", FixedStdNormal(0.3).sample, (GREYS, noise("S, B, D")), "S, B, D"),
    Case("FixedStdNormal.log_prob", "normal.9 normal.10", FixedStdNormal(0.3).log_prob, (OUTPUTS, GREYS), "S, B"),
    Case("Laplace.sample", "laplace.1 laplace.2 laplace.3", Laplace().sample, (PARAMS, uniforms("S, B, Z")), "S, B, Z"),
    Case("Laplace.log_prob", "laplace.4 laplace.5", Laplace().log_prob, (PARAMS, LATENTS), "S, B", kinks=True),
    Case("Laplace.log_prob of data", "laplace.4", Laplace().log_prob, (GREYS_PARAMS, GREYS), "S, B", kinks=True),
    Case("Laplace.kl", "laplace.6 laplace.7", Laplace().kl, (PARAMS, PARAMS), "B"),
    Case("Laplace.kl to one prior", "laplace.6 laplace.7", Laplace().kl, (PARAMS, normal_params("1, 2*Z")), "B"),
    Case(
        "StudentT.sample",
        "student_t.1 student_t.2 student_t.3",
        StudentT().sample,
        (blocks("B, 3*Z", *STUDENTS), NORMAL_AND_UNIFORM),
        "S, B, Z",
    ),
    Case(
        "StudentT.log_prob",
        "student_t.4 student_t.5 student_t.6",
        StudentT().log_prob,
        (blocks("B, 3*Z", *STUDENTS), LATENTS),
        "S, B",
    ),
    Case(
        "StudentT.log_prob of data",
        "student_t.4 student_t.6",
        StudentT().log_prob,
        (blocks("S, B, 3*D", *STUDENTS), GREYS),
        "S, B",
    ),
    Case("LogNormal.sample", "log_normal.1 log_normal.2", LogNormal().sample, (FEW_ORDERS, NOISE), "S, B, Z"),
    Case("LogNormal.log_prob", "log_normal.3 log_normal.4", LogNormal().log_prob, (PARAMS, POSITIVE), "S, B"),
    Case(
        "LogNormal.log_prob of data",
        "log_normal.3 log_normal.4",
        LogNormal().log_prob,
        (GREYS_PARAMS, positives("B, D")),
        "S, B",
    ),
    Case("LogNormal.kl", "log_normal.5", LogNormal().kl, (PARAMS, normal_params("1, 2*Z")), "B"),
    Case(
        "MultivariateNormal.sample",
        "multivariate_normal.1 multivariate_normal.2 multivariate_normal.3",
        MVN.sample,
        (FULL, NOISE),
        "S, B, Z",
    ),
    Case(
        "MultivariateNormal.log_prob",
        "multivariate_normal.4 multivariate_normal.5 multivariate_normal.3",
        MVN.log_prob,
        (FULL, LATENTS),
        "S, B",
    ),
    Case(
        "MultivariateNormal.log_prob of data",
        "multivariate_normal.4 multivariate_normal.5",
        MVN.log_prob,
        (dependent("S, B, D*(D + 3)//2"), GREYS),
        "S, B",
    ),
    Case("MultivariateNormal.kl", "multivariate_normal.6 multivariate_normal.7", MVN.kl, (FULL, FULL), "B"),
    Case(
        "MultivariateNormal.kl to one prior",
        "multivariate_normal.6 multivariate_normal.7",
        MVN.kl,
        (FULL, dependent("1, Z*(Z + 3)//2")),
        "B",
    ),
    Case(
        "MultivariateNormal.kl from one posterior",
        "multivariate_normal.6 multivariate_normal.7",
        MVN.kl,
        (dependent("1, Z*(Z + 3)//2"), FULL),
        "B",
    ),
    Case(
        "MultivariateNormal.kl_to_diagonal",
        "multivariate_normal.11 multivariate_normal.12",
        kl_to_diagonal,
        (FULL, PARAMS),
        "B",
    ),
    Case(
        "MultivariateNormal.kl_to_diagonal to one prior",
        "multivariate_normal.11 multivariate_normal.12",
        kl_to_diagonal,
        (FULL, normal_params("1, 2*Z")),
        "B",
    ),
]
# fmt: on


def scipy_laplace(params: Array) -> Any:
    """The same distributions, one per coordinate, by scipy's generalised normal, whose tails keep their digits."""
    location, log_scale = np.split(params, 2, axis=-1)
    return stats.gennorm(1.0, location, np.exp(log_scale))


def scipy_log_normal(params: Array) -> Any:
    """The same distributions, one per coordinate, as scipy sees them."""
    mean, log_std = np.split(params, 2, axis=-1)
    return stats.lognorm(np.exp(log_std), scale=np.exp(mean))


@dataclass(frozen=True)
class BetaStudent:
    """Student's t by the beta distribution of dof / (dof + r²), in logarithms; scipy's own ends at r = 1e154."""

    location: Array
    scale: Array
    dof: Array

    def logpdf(self, value: Array) -> Array:
        """log p, by Pochhammer's symbol and a hypotenuse."""
        stretched = np.hypot(1, (value - self.location) / self.scale / np.sqrt(self.dof))
        constant = np.log(special.poch(0.5 * self.dof, 0.5)) - 0.5 * np.log(np.pi * self.dof) - np.log(self.scale)
        log_density: Array = constant - (self.dof + 1) * np.log(stretched)
        return log_density

    def cdf(self, value: Array) -> Array:
        """P(z ≤ value)."""
        r = (value - self.location) / self.scale
        return np.where(r < 0, self._tail(np.abs(r)), 1 - self._tail(np.abs(r)))

    def sf(self, value: Array) -> Array:
        """P(z > value)."""
        return self.cdf(2 * self.location - value)

    def ppf(self, level: Array) -> Array:
        """The value with P(z ≤ value) = level; infinite where no number is as large."""
        half, tail = 0.5 * self.dof, 2 * np.minimum(level, 1 - np.asarray(level))
        with np.errstate(divide="ignore", over="ignore"):  # at the levels 0, ½ and 1
            x = special.betaincinv(half, 0.5, tail)
            log_far = (np.log(tail) + np.log(half) + special.betaln(half, 0.5)) / half
            log_x = np.where(x < 1e-290, log_far, np.log(np.maximum(x, 1e-290)))
            log_size = 0.5 * (np.log(self.dof) + np.log(-np.expm1(log_x)) - log_x) + np.log(self.scale)
            size = np.exp(log_size)
        return self.location + np.where(level < 0.5, -size, size)

    def isf(self, level: Array) -> Array:
        """The value with P(z > value) = level."""
        return 2 * self.location - self.ppf(level)

    def mean(self) -> Array:
        """E[z]."""
        return np.asarray(stats.t(self.dof, self.location, self.scale).mean())

    def std(self) -> Array:
        """Standard deviation."""
        return np.asarray(stats.t(self.dof, self.location, self.scale).std())

    def entropy(self) -> Array:
        """-E[log p]."""
        return np.asarray(stats.t(self.dof, self.location, self.scale).entropy())

    def _tail(self, size: Array) -> Array:
        half, root = 0.5 * self.dof, np.hypot(1, size / np.sqrt(self.dof))
        near = special.betainc(half, 0.5, np.minimum(root, 1e140) ** -2.0)
        far = np.exp(-self.dof * np.log(root) - np.log(half) - special.betaln(half, 0.5))
        tail: Array = 0.5 * np.where(root < 1e140, near, far)
        return tail


def beta_student(params: Array) -> Any:
    """The same distributions, one per coordinate."""
    location, log_scale, log_dof = np.split(params, 3, axis=-1)
    return BetaStudent(location, np.exp(log_scale), np.exp(log_dof))


FAMILIES = [
    Family(
        "Normal",
        "normal.1 normal.3 normal.7 normal.8 normal.11",
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
        wide=blocks("B, 1", between(-1e3, 1e3)),
        gradient="quantile",
    ),
    Family(
        "Laplace",
        "laplace.1 laplace.2 laplace.4 laplace.8 laplace.9 laplace.10",
        Laplace(),
        PARAMS,
        LATENTS,
        scipy_laplace,
        wide=blocks("B, 2", between(-1e3, 1e3), LOG_SCALE),
        gradient="quantile",
    ),
    Family(
        "StudentT",
        "student_t.1 student_t.2 student_t.4 student_t.5 student_t.7 student_t.8 student_t.9 student_t.10 student_t.11",
        StudentT(),
        blocks("B, 3*Z", draw_normal, between(-2.3, 2.3), between(1.6, 4)),
        LATENTS,
        beta_student,
        wide=blocks("B, 3", between(-1e3, 1e3), LOG_SCALE, between(np.log(1e-2), np.log(1e3))),
        gradient="expectation",
    ),
    Family(
        "LogNormal",
        "log_normal.1 log_normal.3 log_normal.6 log_normal.7 log_normal.8 log_normal.9 log_normal.10",
        LogNormal(),
        FEW_ORDERS,
        POSITIVE,
        scipy_log_normal,
        wide=blocks("B, 2", between(-20, 20), between(np.log(1e-3), np.log(80.0))),  # further out than numbers reach
        gradient="quantile",
    ),
]

DIVERGENCES = [
    Divergence("Normal", "normal.5", Normal(), Normal(), ONE_NORMAL, ONE_NORMAL, scipy_normal, scipy_normal),
    Divergence("Laplace", "laplace.6", Laplace(), Laplace(), ONE_NORMAL, ONE_NORMAL, scipy_laplace, scipy_laplace),
    Divergence(
        "LogNormal",
        "log_normal.5",
        LogNormal(),
        LogNormal(),
        ONE_NORMAL,
        ONE_NORMAL,
        scipy_log_normal,
        scipy_log_normal,
    ),
]
