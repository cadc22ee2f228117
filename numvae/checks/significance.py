"""Many tests at once: p-values, Holm's correction, and the smallest effect that would have been seen.

Derivations: ``derivations/checks.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from numvae.arrays import Array
from numvae.checks.reports import Index

__all__ = ["TrialGroup", "grouped", "holm", "ks_p_value", "normal_p_value", "student_p_value", "t_statistic"]


@dataclass(frozen=True)
class TrialGroup:
    """Tests of one kind: the worst of them, and all their statistics.

    ``statistic`` is a z-score, or √S D for the distribution test; ``p_value`` is Holm-adjusted over every test of the
    report.
    """

    name: str
    count: int
    index: Index
    observed: float
    expected: float
    statistic: float
    p_value: float
    significance: float
    statistics: Array = field(repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether no test of the group is significant."""
        return self.p_value > self.significance


@dataclass(frozen=True)
class Trials:
    """Tests of one kind before the correction: arrays of one shape; ``indices`` says where each stands."""

    name: str
    observed: Array
    expected: Array
    statistics: Array
    p_values: Array
    indices: Sequence[Index]


def grouped(kinds: Sequence[Trials], significance: float) -> tuple[TrialGroup, ...]:
    """Corrects all tests of all kinds together and keeps the worst of each kind."""
    kinds = [tests for tests in kinds if len(tests.indices)]
    adjusted = np.split(
        holm(np.concatenate([t.p_values for t in kinds])), np.cumsum([len(t.indices) for t in kinds])[:-1]
    )
    groups = []
    for tests, p_values in zip(kinds, adjusted, strict=True):
        worst = int(np.lexsort((-np.abs(tests.statistics), p_values))[0])
        groups.append(
            TrialGroup(
                name=tests.name,
                count=len(tests.indices),
                index=tests.indices[worst],
                observed=float(tests.observed[worst]),
                expected=float(tests.expected[worst]),
                statistic=float(tests.statistics[worst]),
                p_value=float(p_values[worst]),
                significance=significance,
                statistics=tests.statistics,
            )
        )
    return tuple(groups)


def holm(p_values: Array) -> Array:
    """p̃₍ₖ₎ = max over j ≤ k of min(1, (m - j + 1) p₍ⱼ₎)   (checks.10).

    Rejecting where p̃ ≤ α errs with probability at most α over all m tests, however they depend on each other.
    Source: Holm 1979.

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, factors * p_values[order]))  # (checks.10)
    return adjusted


def t_statistic(difference: Array, standard_error: Array, rounding: Array) -> Array:
    """difference / standard error; 0 where both are no more than rounding, infinite where only the error is."""
    exact = standard_error <= rounding
    with np.errstate(divide="ignore", invalid="ignore"):
        t = difference / standard_error
    return np.where(exact, np.where(np.abs(difference) <= 8 * rounding, 0.0, np.copysign(np.inf, difference)), t)


def normal_p_value(z: Array) -> Array:
    """P(|Z| ≥ |z|) for a standard normal Z."""
    from scipy.special import erfc

    return np.asarray(erfc(np.abs(z) / np.sqrt(2.0)))


def student_p_value(t: Array, degrees: Array | float) -> Array:
    """P(|T| ≥ |t|) for Student's t with so many degrees of freedom."""
    from scipy.special import stdtr

    return np.asarray(2 * stdtr(degrees, -np.abs(t)))


def ks_p_value(distance: Array, samples: int) -> Array:
    """P(D ≥ distance) for the Kolmogorov-Smirnov distance; asymptotic, with Stephens' correction (1970)."""
    from scipy.special import kolmogorov

    root = np.sqrt(samples)
    return np.asarray(kolmogorov((root + 0.12 + 0.11 / root) * distance))
