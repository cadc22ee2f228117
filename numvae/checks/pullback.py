"""Is the pullback the derivative of the value?  Finite differences along random directions and along coordinates.

Derivations: ``derivations/checks.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from numvae.arrays import Array
from numvae.checks.contract import Subject, gradient_problem, observe
from numvae.checks.probes import Indices, Measurement, Probe
from numvae.checks.reports import Grade, Index, Report, Row, grade_of, name_ratio, number
from numvae.errors import InputError

__all__ = ["ArgumentCheck", "Parts", "PullbackReport", "check_pullback"]

Parts: TypeAlias = Callable[[Array], Mapping[str, Array] | Iterable[tuple[str, Array]]]
"""Names the pieces of an argument: takes the array and gives a view under each name, as ``Layout.leaves`` does."""

LOCALISE_UP_TO = 256


def check_pullback(
    rule: Callable[..., Any],
    *arguments: Any,
    names: Sequence[str] | None = None,
    parts: Mapping[str, Parts] | None = None,
    rng: np.random.Generator | None = None,
    directions: int = 6,
    coordinates: int = 16,
    tolerance: float = 1e-8,
) -> PullbackReport:
    """⟨da, u⟩ = d/dt ⟨c, V(a + t u)⟩ at t = 0   (checks.1), for each argument a of ``rule``.

    ``value, pullback = rule(*arguments)``.  The value V is an array of any shape, or a tuple of arrays whose pullback
    takes one cotangent each.  c is a random cotangent; u are ``directions`` random directions per argument, which
    cost the same whatever its size, and up to ``coordinates`` of its entries.  All is done on copies in float64.
    ``rng`` defaults to a fixed seed.

    Floating-point arrays and floats are checked; those whose gradient is None are listed, and whatever else the rule
    takes passes through untouched.  ``parts`` splits an argument into named pieces with one line each, say
    ``parts={"theta": layout.leaves}``.  A relative error (checks.4) up to ``tolerance`` passes.  Directions that
    cross a kink (ReLU at zero) are skipped and counted; where too few are left to judge by, the check is inconclusive,
    and that is not ok.

    Checked besides: shapes, dtypes, NaN and infinity of the gradients; that the pullback is linear in the cotangent
    and gives the same when called twice and after another call of the rule; that the rule gives the same value again
    (noise must be an argument); that neither arguments nor cotangents are written; that float32 in gives float32 out.

    Raises ``InputError`` where ``rule`` returns no (value, pullback) of numbers, where no argument is floating-point,
    or where the names do not fit.  Source: the CS231n notes.

    >>> def square(x):
    ...     return x**2, lambda dy: (x * dy,)
    >>> check_pullback(square, np.array([1.0, 2.0])).ok
    False
    """
    rng = np.random.default_rng(0) if rng is None else rng
    subject = Subject.of(rule, arguments, names)
    parts = {} if parts is None else parts
    unknown = sorted(set(parts) - set(subject.names))
    if unknown:
        raise InputError(f"parts names {unknown[0]!r}, which is none of the arguments {', '.join(subject.names)}")
    if directions < 1 > coordinates:
        raise InputError("directions and coordinates are both 0: there is nothing to check along")
    observed = observe(subject, rng)
    rows = []
    for position, (argument, gradient) in enumerate(zip(subject.names, observed.gradients, strict=False)):
        measurement = Measurement(observed, position, tolerance)
        for name, positions in _pieces(argument, measurement.point, parts.get(argument)):
            rows.append(_check_part(name, measurement, positions, gradient, rng, directions, coordinates))
    problems = observed.problems
    if not problems and all(row.grade is Grade.NONE for row in rows):
        problems = ("nothing was checked: the pullback returns None for every floating-point argument",)
    return PullbackReport(subject.rule_name, tuple(rows), problems, tolerance)


@dataclass(frozen=True)
class ArgumentCheck:
    """One argument, or one named part of it, as its worst probe shows it.

    ``scale``: what the relative error is relative to, relative_error = |analytic - numeric| / scale   (checks.4).
    ``index``: the coordinate of that probe, None for a random direction.  ``step``: the last displacement used there.
    ``probes`` counts the directions tried; ``kinks`` those skipped at a kink, ``unresolved`` those that differences
    cannot judge; where too few are left, ``problem`` says so and there are no numbers.
    """

    name: str
    shape: tuple[int, ...]
    grade: Grade = Grade.NONE
    problem: str = ""
    analytic: float = math.nan
    numeric: float = math.nan
    error_bar: float = math.nan
    scale: float = math.nan
    relative_error: float = math.nan
    step: float = math.nan
    index: Index | None = None
    probes: int = 0
    kinks: int = 0
    unresolved: int = 0

    @property
    def ok(self) -> bool:
        """Whether it was judged and nothing is wrong with it; an argument without a gradient is ok."""
        return not self.problem

    @property
    def inconclusive(self) -> bool:
        """Whether it could not be judged."""
        return self.grade is Grade.INCONCLUSIVE


@dataclass(frozen=True, repr=False)
class PullbackReport(Report):
    """What ``check_pullback`` found.  ``problems`` are those of the rule as a whole."""

    rule: str
    arguments: tuple[ArgumentCheck, ...]
    problems: tuple[str, ...]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the pullback is right and keeps the contract, as far as every argument could be judged."""
        return not self.failures and not self.doubts

    @property
    def worst_relative_error(self) -> float:
        """The largest relative error of all arguments; NaN where none was measured."""
        return max((a.relative_error for a in self.arguments if not math.isnan(a.relative_error)), default=math.nan)

    @property
    def title(self) -> str:
        """What was checked."""
        return f"pullback of {self.rule}"

    @property
    def failures(self) -> tuple[str, ...]:
        """The problems of the rule, then those of each argument."""
        return self.problems + tuple(a.problem for a in self.arguments if a.problem and not a.inconclusive)

    @property
    def doubts(self) -> tuple[str, ...]:
        """The arguments that could not be judged."""
        return tuple(a.problem for a in self.arguments if a.inconclusive)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was skipped, and which arguments have no gradient."""
        skipped = [
            f"d{a.name}: {what}={count} of {a.probes} directions skipped"
            for a in self.arguments
            for what, count in (("kinks", a.kinks), ("unresolved", a.unresolved))
            if count
        ]
        bare = [a.name for a in self.arguments if a.grade is Grade.NONE]
        return tuple(skipped + ([f"no gradient: {', '.join(bare)}"] if bare else []))

    @property
    def header(self) -> tuple[str, ...]:
        """The names of the table's columns."""
        return ("gradient", "shape", "at", "analytic", "numeric", "±", "relative error", "step", "grade")

    @property
    def rows(self) -> tuple[Row, ...]:
        """One line per argument or part that has a gradient."""
        return tuple(_row(a) for a in self.arguments if a.grade is not Grade.NONE)

    def to_json(self) -> dict[str, Any]:
        """The report in plain Python types, ``worst_relative_error`` among them."""
        worst = self.worst_relative_error
        return super().to_json() | {"worst_relative_error": worst if math.isfinite(worst) else None}


def _row(a: ArgumentCheck) -> Row:
    place = "–" if not a.probes else "direction" if a.index is None else str(list(a.index))
    numbers = [
        number(a.analytic, 6),
        number(a.numeric, 6),
        number(a.error_bar, 1),
        number(a.relative_error, 2),
        number(a.step, 1),
    ]
    return Row((f"d{a.name}", str(a.shape), place, *numbers, str(a.grade)), a.grade)


def _pieces(name: str, point: Any, parts: Parts | None) -> list[tuple[str, Indices]]:
    """Names and positions of the parts of one argument, in their shapes; found by naming the parts of its positions."""
    everything = np.arange(np.size(point)).reshape(np.shape(point))
    if parts is None:
        return [(name, everything)]
    views = dict(parts(everything.astype(np.float64)))
    return [(f"{name}.{part}", np.asarray(view).astype(np.intp)) for part, view in views.items()]


def _check_part(
    name: str,
    measurement: Measurement,
    positions: Indices,
    gradient: Any,
    rng: np.random.Generator,
    directions: int,
    coordinates: int,
) -> ArgumentCheck:
    blank, indices = ArgumentCheck(name, positions.shape), np.ravel(positions)
    if gradient is None or not measurement.differentiable or not len(indices):
        return blank
    problem = gradient_problem(name, measurement.point, gradient)
    if problem:
        return replace(blank, grade=Grade.WRONG, problem=problem)
    chosen = np.sort(rng.permutation(indices)[: coordinates if len(indices) > 1 else 1])
    probes = measurement.probes(gradient, measurement.coordinates(chosen))
    if len(indices) > 1:
        probes += _random_probes(measurement, gradient, [indices] * directions, rng)
    if any(probe.wrong for probe in probes):
        probes += _localise(measurement, gradient, indices)
    return _verdict(blank, probes, measurement, gradient)


def _random_probes(
    measurement: Measurement, gradient: Array, supports: list[Indices], rng: np.random.Generator
) -> list[Probe]:
    """Random directions over these entries; one that meets a kink is followed by one over half of its entries."""
    probes: list[Probe] = []
    while supports:
        found = measurement.probes(gradient, [measurement.random_direction(support, rng) for support in supports])
        crossing = [s for s, probe in zip(supports, found, strict=True) if probe.at_kink or not probe.resolved]
        supports = [rng.permutation(s)[: len(s) // 2] for s in crossing if len(s) > 3]
        probes += found
    return probes


def _localise(measurement: Measurement, gradient: Array, indices: Indices) -> list[Probe]:
    """Every coordinate of a small part; of a large one those near the coordinate that halving leads to."""
    while len(indices) > LOCALISE_UP_TO:
        halves = np.array_split(indices, 2)
        rng = np.random.default_rng(len(indices))
        first, second = measurement.probes(gradient, [measurement.random_direction(half, rng) for half in halves])
        indices = halves[0] if first.deviation >= second.deviation else halves[1]
    return measurement.probes(gradient, measurement.coordinates(indices))


def _verdict(blank: ArgumentCheck, probes: list[Probe], measurement: Measurement, gradient: Array) -> ArgumentCheck:
    smooth = [probe for probe in probes if not probe.at_kink]
    judged = [probe for probe in smooth if probe.resolved]
    kinks, unresolved = len(probes) - len(smooth), len(smooth) - len(judged)
    counted = replace(blank, probes=len(probes), kinks=kinks, unresolved=unresolved)
    wrong = [probe for probe in judged if probe.wrong]
    if not wrong and not _enough(probes):
        why = f"of {len(probes)} directions {kinks} cross kinks and {unresolved} are beyond what differences resolve"
        problem = f"d{blank.name}: inconclusive, {why}; check at another point"
        return replace(counted, grade=Grade.INCONCLUSIVE, problem=problem)

    located = [probe for probe in wrong if probe.index is not None]
    worst = max(located or wrong or judged, key=lambda probe: (probe.relative_error, probe.deviation))
    unit = 1.0 if worst.index is None else float(worst.direction.steps[0])  # along a coordinate: per unit of the entry
    found = replace(
        counted,
        grade=grade_of(worst.relative_error),
        analytic=worst.analytic / unit,
        numeric=worst.slope.value / unit,
        error_bar=worst.slope.error_bar / unit,
        scale=worst.scale / unit,
        relative_error=worst.relative_error,
        step=worst.slope.step * worst.direction.length,
        index=worst.index,
    )
    return replace(found, problem=_problem(found, _diagnosis(judged, measurement, gradient))) if wrong else found


def _enough(probes: list[Probe]) -> bool:
    """Whether half of the coordinates, or half of the directions over all entries, could be judged."""
    full = max(len(probe.direction.indices) for probe in probes)
    coordinates = [probe for probe in probes if probe.index is not None]
    directions = [probe for probe in probes if len(probe.direction.indices) == full]
    return any(
        2 * sum(probe.resolved and not probe.at_kink for probe in tried) >= len(tried) > 0
        for tried in (coordinates, directions)
    )


def _problem(found: ArgumentCheck, diagnosis: str) -> str:
    place = f" at {list(found.index)}" if found.index else ""
    ratio = f", ratio {found.analytic / found.numeric:.4g}" if found.numeric else ""
    numbers = f"analytic {found.analytic:.4g}, numeric {found.numeric:.4g} (±{found.error_bar:.0e})"
    return f"d{found.name}{place}: {numbers}{ratio}: {diagnosis}"


def _diagnosis(judged: list[Probe], measurement: Measurement, gradient: Array) -> str:
    """What the numbers have in common: one factor everywhere, a transpose, or how many entries are wrong."""
    clear = [p for p in judged if abs(p.slope.value) > max(1e-3 * p.size, 1e6 * p.slope.error_bar)]
    ratios = np.array([p.analytic / p.slope.value for p in clear])
    if len(ratios) and np.ptp(ratios) <= 1e-5 * max(float(np.max(np.abs(ratios))), 0.1):
        ratio = float(np.median(ratios))
        shapes = [np.shape(a) for a in measurement.observed.subject.arguments if isinstance(a, np.ndarray)]
        meaning = name_ratio(ratio, {length for shape in shapes for length in shape})
        if abs(ratio - 1) > 1e-5:
            return f"{meaning or f'off by the factor {ratio:.5g}'}, everywhere"
    located = [probe for probe in judged if probe.index is not None]
    if gradient.ndim == 2 and gradient.shape[0] == gradient.shape[1] and located:
        transposed = measurement.probes(np.ascontiguousarray(gradient.T), [probe.direction for probe in located])
        if not any(probe.wrong for probe in transposed):
            return "it is transposed"
    count = sum(probe.wrong for probe in located)
    return f"wrong at {count} of the {len(located)} entries tried" if count else "wrong along random directions"
