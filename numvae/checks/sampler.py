"""Do a family's samples follow its own density?

A finite-difference check proves the gradient of the code: a sampler that uses exp(2 log_std) for the standard
deviation, with the backward pass to match, passes it.  Here it does not.  Derivations: ``derivations/checks.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.checks.reports import Index, Report, Row, at
from numvae.checks.significance import TrialGroup, Trials, grouped, ks_p_value, normal_p_value, t_statistic
from numvae.checks.unbiased import group_row
from numvae.errors import InputError

__all__ = ["Sampled", "SamplerReport", "check_sampler"]

EPSILON = float(np.finfo(np.float64).eps)
GRID = 4001
PAIRS = 200
DISTRIBUTION, SCORE, MEAN, STD = "distribution", "score", "mean", "std"
SAMPLES, ROWS, FEATURES = "independence of samples", "independence of rows", "dependence of features"
MEANINGS = {
    DISTRIBUTION: "the samples do not follow exp(log_prob)",
    SCORE: "the gradient of log_prob does not average to zero over the samples",
    MEAN: "the samples are shifted",
    SAMPLES: "successive samples share their noise",
    ROWS: "rows share their noise",
    FEATURES: "features depend on each other otherwise than the density says",
}


class Sampled(Protocol):
    """The part of a family that is checked; ``cdf``, ``mean`` and ``std`` are used where it has them."""

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any = ...) -> Array:
        """Standard noise of the values' shape."""

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """Values from noise."""

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """Log-density, summed over the last axis; pullback -> (dparams, dvalue)."""


def check_sampler(
    family: Sampled,
    params: Array,
    *,
    shape: tuple[int, ...] | None = None,
    rng: np.random.Generator | None = None,
    samples: int = 20_000,
    significance: float = 1e-4,
) -> SamplerReport:
    """z ~ exp(log_prob): draws S values for each row of ``params`` and tests them against the family's own density.

    - *distribution*: Kolmogorov-Smirnov per coordinate, on ``family.cdf`` or the integrated density   (checks.14);
    - *score*: E[∇_params log p(z)] = 0   (checks.15);
    - *mean*, *std*: against ``family.mean`` and ``family.std``, where it has them   (checks.16);
    - *independence*: of successive samples, and of rows   (checks.17);
    - *dependence of features*: E[∂_j log p (z_k - mean_k)] = 0 for j ≠ k   (checks.18).

    ``params``: (..., P).  ``shape``: that of one value, (..., Z); by default that of ``family.mean(params)``.  All
    tests together fail a right sampler with probability ``significance`` at most (Holm); wrong by some 8 / √S
    standard deviations, one fails for sure.  There is no distribution test for a discrete family, nor
    for features that depend on each other and have no ``cdf``.

    Raises ``InputError`` if the shape is unknown or ``samples`` is below 1,000.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    if samples < 1000:
        raise InputError(f"samples must be at least 1000 for the tests to mean anything, got {samples}")
    params = np.asarray(params, dtype=np.float64)
    shape = _value_shape(family, params) if shape is None else shape
    noise = family.noise(rng, (samples, *shape), dtype=np.float64)
    z, _ = family.sample(params, noise)
    name = type(family).__name__
    problem = _draw_problem(family, params, noise, z, samples, shape)
    if problem:
        return SamplerReport(name, samples, (), (problem,), without_distribution="", std_exponent=math.nan)
    reason = _no_distribution_test(family, params, z)
    score, dvalue = _per_sample_scores(family, params, z)
    kinds = [] if reason else [_distribution(family, params, z)]
    kinds += [_zero_mean(SCORE, score), *_moments(family, params, z)]
    kinds += [_successive(z), _rows(z, rng)]
    if dvalue is not None and z.shape[-1] > 1 and getattr(family, "support", "") != "simplex":
        kinds.append(_features(z, dvalue, rng))
    return SamplerReport(name, samples, grouped(kinds, significance), (), reason, _std_exponent(family, params, z))


@dataclass(frozen=True, repr=False)
class SamplerReport(Report):
    """What ``check_sampler`` found.

    ``without_distribution``: why there is no distribution test; empty where there is one.  ``std_exponent``: k where
    the samples' standard deviation is std^k everywhere, else NaN.
    """

    family: str
    samples: int
    groups: tuple[TrialGroup, ...]
    problems: tuple[str, ...]
    without_distribution: str
    std_exponent: float

    @property
    def ok(self) -> bool:
        """Whether the samples agree with the density."""
        return not self.problems and all(group.ok for group in self.groups)

    @property
    def title(self) -> str:
        """What was checked."""
        return f"samples of {self.family}"

    @property
    def header(self) -> tuple[str, ...]:
        """The names of the table's columns."""
        return ("test", "number", "worst at", "observed", "expected", "z", "p (Holm)", "verdict")

    @property
    def rows(self) -> tuple[Row, ...]:
        """One line per kind of test."""
        return tuple(group_row(group) for group in self.groups)

    @property
    def failures(self) -> tuple[str, ...]:
        """One line per kind of test that is significant; the standard deviation first, as it says most."""
        lines = list(self.problems)
        for group in sorted(self.groups, key=lambda group: group.name != STD):
            if not group.ok:
                seen = f"{at(group.name, group.index)}: observed {group.observed:.4g}, expected {group.expected:.4g}"
                meaning = self._std_meaning if group.name == STD else MEANINGS[group.name]
                lines.append(f"{seen} (z = {group.statistic:.1f}, p = {group.p_value:.1g} after Holm): {meaning}")
        return tuple(lines)

    @property
    def notes(self) -> tuple[str, ...]:
        """How much was drawn."""
        missing = (f"no distribution test: {self.without_distribution}",) if self.without_distribution else ()
        return (f"{self.samples} samples",) * bool(self.groups) + missing

    @property
    def _std_meaning(self) -> str:
        if abs(self.std_exponent - 2) < 0.05:
            return "the samples spread by the variance, exp(2 log_std) where exp(log_std) is meant"
        if abs(self.std_exponent - 0.5) < 0.05:
            return "the samples spread by the root of the standard deviation, as if log_std were log_var"
        return "the samples spread differently from what the family states"


def _value_shape(family: Any, params: Array) -> tuple[int, ...]:
    if not hasattr(family, "mean"):
        raise InputError(f"{type(family).__name__} has no mean to tell the shape of a value; pass shape=(..., Z)")
    return tuple(np.shape(family.mean(params)))


def _draw_problem(family: Sampled, params: Array, noise: Array, z: Array, samples: int, shape: tuple[int, ...]) -> str:
    """What is wrong before any statistics; empty if nothing is."""
    full = (samples, *shape)
    if noise.shape[:-1] != full[:-1] or noise.shape[-1] < full[-1]:
        return f"noise has shape {noise.shape} where {full} was asked for: entries would share it"
    if z.shape != full:
        return f"samples have shape {z.shape} for noise of shape {full}"
    if not np.isfinite(z).all():
        return f"{int((~np.isfinite(z)).sum())} samples are NaN or infinite"
    impossible = int((~np.isfinite(family.log_prob(params, z)[0])).sum())
    if impossible:
        return f"{impossible} samples lie where log_prob is not finite"
    if not np.array_equal(family.sample(params, noise)[0], z):
        return "two samples from the same noise differ: noise is an argument, never drawn inside"
    return ""


def _no_distribution_test(family: Any, params: Array, z: Array) -> str:
    """Why the distribution of single coordinates cannot be tested; empty if it can."""
    if getattr(family, "discrete", False) or len(np.unique(z[:1000])) <= 100:
        return "a discrete family"
    if hasattr(family, "cdf"):
        return ""
    one, other = z[:2]
    for feature in range(z.shape[-1]):  # log p is a sum over features where two points may exchange one
        swapped = np.array([one, other])
        swapped[..., feature] = swapped[::-1, ..., feature]
        log_prob, exchanged = family.log_prob(params, z[:2])[0], family.log_prob(params, swapped)[0]
        if not np.allclose(log_prob.sum(axis=0), exchanged.sum(axis=0), rtol=1e-9, atol=1e-9):
            return "the features depend on each other, and the family has no cdf"
    return ""


def _per_sample_scores(family: Sampled, params: Array, z: Array) -> tuple[Array, Array | None]:
    """∇_params log p and ∇_z log p, one per sample: repeated params keep the pullback from adding them up."""
    repeated = np.array(np.broadcast_to(params, (len(z), *params.shape)))
    log_prob, pullback = family.log_prob(repeated, z)
    score, dvalue = pullback(np.ones_like(log_prob))
    return np.asarray(score), None if dvalue is None else np.asarray(dvalue)


def _distribution(family: Any, params: Array, z: Array) -> Trials:
    """D = sup |F_S - F| with u = F(z) uniform   (checks.14)."""
    cdf = np.asarray(family.cdf(params, z) if hasattr(family, "cdf") else _integrated_cdf(family, params, z))
    u = np.sort(cdf.reshape(len(z), -1), axis=0)
    steps = np.arange(len(z) + 1)[:, None] / len(z)
    distance = np.maximum((steps[1:] - u).max(axis=0), (u - steps[:-1]).max(axis=0))  # (checks.14)
    p_values = ks_p_value(distance, len(z))
    return Trials(
        DISTRIBUTION, distance, np.zeros_like(distance), distance * math.sqrt(len(z)), p_values, _indices(z.shape[1:])
    )


def _integrated_cdf(family: Sampled, params: Array, z: Array) -> Array:
    """F(z) of each coordinate by the trapezoid rule on exp(log_prob), the other features held at their medians."""
    centre = np.median(z, axis=0)
    u = np.empty_like(z)
    for feature in range(z.shape[-1]):

        def log_density(grid: Array, feature: int = feature) -> Array:
            values = np.array(np.broadcast_to(centre, (len(grid), *centre.shape)))
            values[..., feature] = grid
            with np.errstate(all="ignore"):
                log_prob, _ = family.log_prob(params, values)
            return np.asarray(np.where(np.isnan(log_prob), -np.inf, log_prob))

        grid, cdf = _tabulate(log_density, z[..., feature])
        columns = (a.reshape(len(a), -1).T for a in (z[..., feature], grid, cdf))
        u[..., feature] = np.stack([np.interp(*c) for c in zip(*columns, strict=True)], axis=-1).reshape(z.shape[:-1])
    return u


def _tabulate(log_density: Callable[[Array], Array], z: Array) -> tuple[Array, Array]:
    """A grid (GRID, ...) over all of the density that matters, and the distribution function on it."""
    low, high = z.min(axis=0), z.max(axis=0)
    reach = 10 * (high - low)
    wide = np.linspace(low - reach, high + reach, GRID)
    height = log_density(wide)
    inside = height > height.max(axis=0) - 40
    margin = wide[1] - wide[0]
    low, high = np.where(inside, wide, np.inf).min(axis=0), np.where(inside, wide, -np.inf).max(axis=0)
    grid = np.linspace(low - margin, high + margin, GRID)
    height = log_density(grid)
    density = np.exp(height - height.max(axis=0))
    pieces = np.diff(grid, axis=0) * (density[1:] + density[:-1]) / 2
    cdf = np.concatenate([np.zeros_like(pieces[:1]), np.cumsum(pieces, axis=0)])
    return grid, cdf / cdf[-1]


def _zero_mean(name: str, values: Array, indices: list[Index] | None = None) -> Trials:
    """z = mean √S / std of values that should average to zero   (checks.15)."""
    rows = values.reshape(len(values), -1)
    mean, error = rows.mean(axis=0), rows.std(axis=0, ddof=1) / math.sqrt(len(rows))
    z = t_statistic(mean, error, EPSILON * np.abs(rows).max(axis=0, initial=0.0))  # (checks.15)
    where = _indices(values.shape[1:]) if indices is None else indices
    return Trials(name, mean, np.zeros_like(mean), z, normal_p_value(z), where)


def _moments(family: Any, params: Array, z: Array) -> list[Trials]:
    """Sample mean and standard deviation against the stated ones, where they exist   (checks.16)."""
    tests, where = [], _indices(z.shape[1:])
    rows = z.reshape(len(z), -1)
    for name, found in ((MEAN, rows), (STD, (rows - rows.mean(axis=0)) ** 2 * len(rows) / (len(rows) - 1))):
        if not hasattr(family, name):
            continue
        stated = np.broadcast_to(getattr(family, name)(params), z.shape[1:]).ravel()
        finite = np.isfinite(stated)  # a heavy tail has no mean, or no spread, to compare with
        if not finite.any():
            continue
        excess = _zero_mean(name, found[:, finite] - stated[finite] ** (1 if name == MEAN else 2))  # (checks.16)
        observed = rows.mean(axis=0) if name == MEAN else rows.std(axis=0, ddof=1)
        kept = [index for index, known in zip(where, finite, strict=True) if known]
        tests.append(Trials(name, observed[finite], stated[finite], excess.statistics, excess.p_values, tuple(kept)))
    return tests


def _standardized(z: Array) -> Array:
    rows = z.reshape(len(z), -1)
    spread = rows.std(axis=0)
    return np.asarray((rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _successive(z: Array) -> Trials:
    """Correlation of each sample with the next   (checks.17)."""
    rows = _standardized(z)
    return _zero_mean(SAMPLES, rows[1:] * rows[:-1], _indices(z.shape[1:]))  # (checks.17)


def _rows(z: Array, rng: np.random.Generator) -> Trials:
    """Correlation between entries of different rows, in up to PAIRS random pairs   (checks.17)."""
    features, entries = z.shape[-1], int(np.prod(z.shape[1:]))
    pairs = rng.integers(0, entries, (4 * PAIRS, 2))
    pairs = np.unique(np.sort(pairs[pairs[:, 0] // features != pairs[:, 1] // features], axis=1), axis=0)
    pairs = rng.permutation(pairs)[:PAIRS]
    rows = _standardized(z)
    places: list[Index] = [(int(i), int(j)) for i, j in pairs]
    return _zero_mean(ROWS, rows[:, pairs[:, 0]] * rows[:, pairs[:, 1]], places)


def _features(z: Array, dvalue: Array, rng: np.random.Generator) -> Trials:
    """E[∂_j log p (z_k - mean_k)] = 0 for j ≠ k   (checks.18): features depend on each other as the density says."""
    features = z.shape[-1]
    centred, gradient = (z - z.mean(axis=0)).reshape(-1, features), dvalue.reshape(-1, features)
    j, k = np.nonzero(~np.eye(features, dtype=bool))
    chosen = rng.permutation(len(j))[:PAIRS]
    j, k = j[chosen], k[chosen]
    # Rows have different scales, so they are added up sample by sample only after dividing by the spread of each.
    products = (gradient[:, j] * centred[:, k]).reshape(len(z), -1, len(chosen))
    spread = np.sqrt((products**2).mean(axis=0))
    products = (products / np.where(spread > 0, spread, 1.0)).mean(axis=1)  # (checks.18)
    return _zero_mean(FEATURES, products, [(int(a), int(b)) for a, b in zip(j, k, strict=True)])


def _std_exponent(family: Any, params: Array, z: Array) -> float:
    """k with sample std = std^k everywhere."""
    if not hasattr(family, "std"):
        return math.nan
    stated = np.broadcast_to(family.std(params), z.shape[1:]).ravel()
    with np.errstate(divide="ignore", invalid="ignore"):
        found, log_std = np.log(z.reshape(len(z), -1).std(axis=0)), np.log(stated)
    if not np.isfinite(found).all() or not np.isfinite(log_std).all() or float(log_std @ log_std) < 1e-2:
        return math.nan
    exponent = float(found @ log_std / (log_std @ log_std))
    return exponent if np.max(np.abs(found - exponent * log_std)) < 0.1 else math.nan


def _indices(shape: tuple[int, ...]) -> list[Index]:
    return [tuple(int(i) for i in index) for index in np.ndindex(*shape)]
