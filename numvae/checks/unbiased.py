"""Is a gradient estimator right on average?  One z-score per coordinate, corrected for their number.

Derivations: ``derivations/checks.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array
from numvae.checks.reports import Grade, Report, Row, at, name_ratio, number
from numvae.checks.significance import TrialGroup, Trials, grouped, student_p_value, t_statistic
from numvae.errors import InputError

__all__ = ["ExpectationReport", "UnbiasedReport", "check_same_expectation", "check_unbiased"]

Estimates = npt.ArrayLike | Callable[[np.random.Generator], npt.ArrayLike]
EPSILON = float(np.finfo(np.float64).eps)
POWER_QUANTILE = 0.8416212335729143  # Φ⁻¹(0.8)


def check_unbiased(
    estimates: Estimates,
    truth: npt.ArrayLike,
    *,
    repeats: int = 1000,
    rng: np.random.Generator | None = None,
    significance: float = 1e-4,
    projections: int = 8,
    rounding: npt.ArrayLike = 0.0,
    name: str = "estimator",
) -> UnbiasedReport:
    """E[estimate] = truth, coordinate by coordinate: t = (mean - truth) √R / std   (checks.8).

    ``estimates``: R independent estimates as an array (R, ...), or a function ``draw(rng)`` of one, called
    ``repeats`` times. ``truth``: the exact expectation, in the shape of one estimate.  A bias that cancels in the
    mean over coordinates is seen, since each has its own test; one spread thinly over all is looked for along the
    truth and along ``projections`` random directions. A right estimator fails with probability ``significance`` at
    most, all tests together (Holm).  The report says how large a bias would have been noticed in each coordinate; an
    estimator can only be called unbiased to that.  ``rounding``: of one estimate or of the truth, where that is more
    than its size shows, as large terms cancel in it; it matters for estimators whose variance is zero.

    Raises ``InputError`` for fewer than 8 estimates, shapes that do not fit, NaN or infinity.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    samples = _collect(estimates, repeats, rng, "estimates")
    exact = np.asarray(truth, dtype=np.float64)
    if samples.shape[1:] != exact.shape:
        expected = ", ".join(["R", *map(str, exact.shape)])
        raise InputError(f"estimates must have shape ({expected}) to fit the truth, got {samples.shape}")
    if not np.isfinite(exact).all():
        raise InputError("truth must be finite, got NaN or infinity")
    rows, target = samples.reshape(len(samples), -1), exact.ravel()
    columns = np.ascontiguousarray(rows.T)  # each is then summed pairwise, and rounds no more than one estimate does
    mean, standard_error = columns.mean(axis=1), columns.std(axis=1, ddof=1) / math.sqrt(len(rows))
    inexact = 8 * EPSILON * (np.abs(mean) + np.abs(target)) + np.ravel(np.broadcast_to(rounding, exact.shape))
    standard_error = np.where(standard_error > inexact, standard_error, 0.0)
    t = t_statistic(mean - target, standard_error, inexact)  # (checks.8)
    kinds = [
        _coordinates(mean, target, t, len(rows) - 1.0, exact.shape),
        _projections(rows, target, standard_error, projections, rng),
    ]
    tested = sum(len(tests.indices) for tests in kinds)
    return UnbiasedReport(
        name=name,
        repeats=len(rows),
        groups=grouped(kinds, significance),
        ratio=_ratio(mean, target, standard_error),
        mean=mean.reshape(exact.shape),
        truth=exact,
        standard_error=standard_error.reshape(exact.shape),
        detectable_bias=detectable(standard_error, significance, tested).reshape(exact.shape),
    )


def check_same_expectation(
    estimates_a: Estimates,
    estimates_b: Estimates,
    *,
    repeats: int = 1000,
    rng: np.random.Generator | None = None,
    significance: float = 1e-4,
    rounding: npt.ArrayLike = 0.0,
    names: tuple[str, str] = ("a", "b"),
) -> ExpectationReport:
    """E[a] = E[b] for two independent estimators: t = (mean_a - mean_b) / √(var_a / R_a + var_b / R_b)   (checks.12).

    As ``check_unbiased``, for when the truth is unknown: score-function against pathwise gradients.  Estimates that
    share their noise are not independent; compare those by ``check_unbiased(a - b, 0 * truth)``, which is sharper
    too.  ``rounding``: of one estimate, where that is more than its size shows, as large terms cancel in it.

    Raises ``InputError`` as ``check_unbiased`` does.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    samples = [
        _collect(e, repeats, rng, f"estimates of {n}") for e, n in zip((estimates_a, estimates_b), names, strict=True)
    ]
    shape = samples[0].shape[1:]
    if samples[1].shape[1:] != shape:
        raise InputError(f"both must estimate arrays of one shape, got {shape} and {samples[1].shape[1:]}")
    a, b = (s.reshape(len(s), -1) for s in samples)
    mean_a, mean_b, variance_a, variance_b = (
        a.mean(axis=0),
        b.mean(axis=0),
        a.var(axis=0, ddof=1),
        b.var(axis=0, ddof=1),
    )
    share_a, share_b = variance_a / len(a), variance_b / len(b)
    standard_error = np.sqrt(share_a + share_b)
    inexact = 8 * EPSILON * (np.abs(mean_a) + np.abs(mean_b)) + np.ravel(np.broadcast_to(rounding, shape))
    t = t_statistic(mean_a - mean_b, standard_error, inexact)  # (checks.12)
    with np.errstate(invalid="ignore"):
        degrees = (share_a + share_b) ** 2 / (share_a**2 / (len(a) - 1) + share_b**2 / (len(b) - 1))
    kinds = [_coordinates(mean_a, mean_b, t, np.nan_to_num(degrees, nan=1.0), shape)]
    return ExpectationReport(
        names=names,
        repeats=(len(a), len(b)),
        groups=grouped(kinds, significance),
        ratio=_ratio(mean_a, mean_b, standard_error),
        mean_a=mean_a.reshape(shape),
        mean_b=mean_b.reshape(shape),
        variance_a=variance_a.reshape(shape),
        variance_b=variance_b.reshape(shape),
        detectable_difference=detectable(standard_error, significance, mean_a.size).reshape(shape),
    )


def detectable(standard_error: Array, significance: float, tests: int) -> Array:
    """b = (Φ⁻¹(1 - α / 2m) + Φ⁻¹(0.8)) std / √R   (checks.11): the bias that is noticed four times out of five."""
    from scipy.special import ndtri

    return (-float(ndtri(significance / (2 * tests))) + POWER_QUANTILE) * standard_error  # (checks.11)


@dataclass(frozen=True, repr=False)
class _MeansReport(Report):
    """What the two reports share: groups of tests, and the common factor between the means."""

    groups: tuple[TrialGroup, ...] = field(kw_only=True)
    ratio: float = field(kw_only=True)

    @property
    def ok(self) -> bool:
        """Whether no test is significant."""
        return all(group.ok for group in self.groups)

    @property
    def header(self) -> tuple[str, ...]:
        """The names of the table's columns."""
        return ("test", "number", "worst at", "mean", "expected", "z", "p (Holm)", "verdict")

    @property
    def rows(self) -> tuple[Row, ...]:
        """One line per kind of test."""
        return tuple(group_row(group) for group in self.groups)

    @property
    def failures(self) -> tuple[str, ...]:
        """One line per kind of test that is significant."""
        lines = []
        for group in self.groups:
            if not group.ok:
                line = f"{at(group.name, group.index)}: mean {group.observed:.4g}, expected {group.expected:.4g}"
                lines.append(
                    f"{line} (z = {group.statistic:.1f}, p = {group.p_value:.1g} after Holm){self._common_factor}"
                )
        return tuple(lines)

    @property
    def _common_factor(self) -> str:
        if math.isnan(self.ratio):
            return ""
        return f": {name_ratio(self.ratio, tolerance=0.02) or f'off by about the factor {self.ratio:.3g}'}, everywhere"


@dataclass(frozen=True, repr=False)
class UnbiasedReport(_MeansReport):
    """What ``check_unbiased`` found.  The arrays have the shape of one estimate.

    ``ratio``: the factor by which mean and truth differ, where one factor explains every coordinate; else NaN.
    """

    name: str
    repeats: int
    mean: Array
    truth: Array
    standard_error: Array
    detectable_bias: Array

    @property
    def title(self) -> str:
        """What was checked."""
        return f"bias of {self.name}"

    @property
    def variance(self) -> Array:
        """Of one estimate, per coordinate."""
        return np.asarray(self.standard_error**2 * self.repeats)

    @property
    def signal_to_noise(self) -> Array:
        """|truth| / std of one estimate, per coordinate; 0 for 0 / 0."""
        return _quotient(np.abs(self.truth), np.sqrt(self.variance))

    @property
    def notes(self) -> tuple[str, ...]:
        """How much was seen."""
        return (
            f"{self.repeats} estimates; smallest detectable bias (80 % power): {_range(self.detectable_bias)}",
            f"variance {_range(self.variance)}; signal to noise {_range(self.signal_to_noise)}",
        )

    def to_json(self) -> dict[str, Any]:
        """The report in plain Python types."""
        more = {"variance": self.variance.tolist(), "signal_to_noise": np.nan_to_num(self.signal_to_noise).tolist()}
        return super().to_json() | more


@dataclass(frozen=True, repr=False)
class ExpectationReport(_MeansReport):
    """What ``check_same_expectation`` found.  The arrays have the shape of one estimate."""

    names: tuple[str, str]
    repeats: tuple[int, int]
    mean_a: Array
    mean_b: Array
    variance_a: Array
    variance_b: Array
    detectable_difference: Array

    @property
    def title(self) -> str:
        """What was checked."""
        return f"expectations of {self.names[0]} and {self.names[1]}"

    @property
    def variance_ratio(self) -> float:
        """Σ var_a / Σ var_b over the coordinates   (checks.13)."""
        return float(_quotient(self.variance_a.sum(), self.variance_b.sum()))  # (checks.13)

    @property
    def variance_ratios(self) -> Array:
        """var_a / var_b, per coordinate; 0 for 0 / 0."""
        return _quotient(self.variance_a, self.variance_b)

    @property
    def notes(self) -> tuple[str, ...]:
        """How the variances compare, and how much was seen."""
        a, b = self.names
        return (
            f"variance of {a} / variance of {b}: {self.variance_ratio:.4g} in all, "
            f"{_range(self.variance_ratios)} by coordinate",
            f"{self.repeats[0]} and {self.repeats[1]} estimates; "
            f"smallest detectable difference (80 % power): {_range(self.detectable_difference)}",
        )

    def to_json(self) -> dict[str, Any]:
        """The report in plain Python types, ``variance_ratio`` among them."""
        return super().to_json() | {
            "variance_ratio": self.variance_ratio if math.isfinite(self.variance_ratio) else None
        }


def group_row(group: TrialGroup) -> Row:
    """A group of tests as one line of a table."""
    grade = Grade.HAPPY if group.ok else Grade.WRONG
    place = str(list(group.index)) if group.index else "–"
    numbers = (number(group.observed), number(group.expected), number(group.statistic, 3), number(group.p_value, 2))
    return Row((group.name, str(group.count), place, *numbers, "ok" if group.ok else "rejected"), grade)


def _collect(estimates: Estimates, repeats: int, rng: np.random.Generator, what: str) -> Array:
    drawn = [estimates(rng) for _ in range(repeats)] if callable(estimates) else estimates
    samples = np.asarray(drawn, dtype=np.float64)
    if samples.ndim == 0 or len(samples) < 8:
        raise InputError(f"{what} must be at least 8 along the first axis, got shape {samples.shape}; draw more")
    if not np.isfinite(samples).all():
        bad = tuple(int(i) for i in np.argwhere(~np.isfinite(samples))[0])
        raise InputError(f"{what} must be finite, got {samples[bad]} at {list(bad)}")
    return samples


def _coordinates(mean: Array, expected: Array, t: Array, degrees: Array | float, shape: tuple[int, ...]) -> Trials:
    indices = [tuple(int(i) for i in np.unravel_index(k, shape)) if shape else () for k in range(mean.size)]
    return Trials("coordinate", mean, expected, t, student_p_value(t, degrees), indices)


def _projections(rows: Array, target: Array, standard_error: Array, count: int, rng: np.random.Generator) -> Trials:
    """Sums of standardised coordinates: along the truth first, then with random signs   (checks.9)."""
    noisy = standard_error > 0
    weights = np.zeros((target.size, 1 + count))
    inverse = 1 / standard_error[noisy]
    weights[noisy, 0] = target[noisy] * inverse**2
    weights[noisy, 1:] = rng.choice([-1.0, 1.0], (int(noisy.sum()), count)) * inverse[:, None]
    length = np.linalg.norm(weights, axis=0)
    weights = weights[:, length > 0] / length[length > 0]
    projected, expected = rows @ weights, target @ weights  # (checks.9)
    mean, error = projected.mean(axis=0), projected.std(axis=0, ddof=1) / math.sqrt(len(rows))
    t = t_statistic(mean - expected, error, 8 * EPSILON * (np.abs(mean) + np.abs(expected)))
    labels = [(k,) for k in range(weights.shape[1])]
    return Trials("projection", mean, expected, t, student_p_value(t, len(rows) - 1.0), labels)


def _ratio(mean: Array, target: Array, standard_error: Array) -> float:
    """The factor ρ in mean = ρ · target, by least squares; NaN where ρ = 1 or where no factor explains all means."""
    weights = 1 / np.maximum(standard_error, 1e-12 * max(float(np.max(np.abs(target), initial=0.0)), EPSILON)) ** 2
    signal = float(np.sum(weights * target**2))
    if signal < 100:
        return math.nan
    ratio = float(np.sum(weights * target * mean)) / signal
    rest = (mean - ratio * target) * np.sqrt(weights)
    return ratio if np.max(np.abs(rest)) < 5 and abs(ratio - 1) > 5 / math.sqrt(signal) else math.nan


def _quotient(a: Any, b: Any) -> Array:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((a == 0) & (b == 0), 0.0, a / b)


def _range(values: Array) -> str:
    low, high = float(np.min(values, initial=math.inf)), float(np.max(values, initial=-math.inf))
    return f"{low:.2g}" if low == high else f"{low:.2g} to {high:.2g}"
