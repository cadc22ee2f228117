"""Whether a wrong output is right for other arguments: for log σ² read as log σ, noise left out, u taken for 1 - u.

Derivation: ``derivations/diagnosis.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from numvae.exercises.comparing import numeric, same_numbers
from numvae.exercises.contract import Draw, Exercise
from numvae.exercises.explaining import Explanation, Sample, opened, summed
from numvae.exercises.findings import Kind

__all__ = ["Reading", "read_one_term_otherwise", "read_otherwise", "read_the_output_otherwise", "readings"]

CHANGES: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("0", lambda a: 0 * a),
    ("1", lambda a: 0 * a + 1),
    ("-{}", lambda a: -a),
    ("½ {}", lambda a: a / 2),
    ("2 {}", lambda a: 2 * a),
    ("1/{}", lambda a: 1 / a),
    ("{}²", lambda a: a * a),
    ("√{}", np.sqrt),
    ("1 - {}", lambda a: 1 - a),
    ("{} - 1", lambda a: a - 1),
    ("{} + 1", lambda a: a + 1),
    ("exp({})", np.exp),
    ("log {}", np.log),
)
OF_COUNTS = (*(change for change in CHANGES if change[0] not in ("-{}", "1 - {}")), ("∞", lambda a: np.inf))
"""For whole numbers; ∞ is where what fades with their growth is gone."""

OF_OUTPUTS = tuple(change for change in CHANGES if change[0] in ("exp({})", "log {}", "{}²", "√{}", "1/{}"))
"""For an output that was taken for another function of itself."""

OF_ROWS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("{}[0] everywhere", lambda a: np.broadcast_to(a[:1], a.shape).copy()),
    ("{}[-1] everywhere", lambda a: np.broadcast_to(a[-1:], a.shape).copy()),
    ("the mean of {} over its first axis", lambda a: np.broadcast_to(a.mean(axis=0), a.shape).copy()),
    ("{} less its mean over its first axis", lambda a: a - a.mean(axis=0)),
)
"""For arrays with a first axis to be mixed up with one of its entries."""


@dataclass(frozen=True)
class Reading:
    """One way to take the arguments for others.  ``instead``: what stands where ``name`` should."""

    name: str
    instead: str
    change: Callable[[Sample], Draw]

    def __str__(self) -> str:
        return f"{self.instead} for {self.name}"


def read_otherwise(exercise: Exercise, link: str, samples: Sequence[Sample]) -> Explanation | None:
    """yours = right(r(arguments)) at every draw, for the reading r that does it for most outputs   (diagnosis.7)."""
    fit = [r for r in readings(exercise, samples[0]) if all(_explains(exercise, link, r, sample) for sample in samples)]
    if not fit:
        return None
    others = [name for name in samples[0].all_found if name != link]
    best = max(fit, key=lambda r: sum(_explains(exercise, name, r, samples[0]) for name in others))
    line = f"Your {link} would be right with {best.instead} in place of {best.name}."
    return Explanation(Kind.READING, (line,), (str(best),))


def read_one_term_otherwise(exercise: Exercise, link: str, samples: Sequence[Sample]) -> Explanation | None:
    """One term of it so, the others being right."""
    right = [opened(exercise.terms(s.draw)).get(link, {}) if exercise.terms else {} for s in samples]
    for reading in readings(exercise, samples[0]) if len(right[0]) > 1 else ():
        possible = list(right[0])
        for sample, terms in zip(samples, right, strict=True):
            possible = [n for n in _explained_terms(exercise, link, reading, sample, terms) if n in possible]
            if not possible:
                break
        if possible:
            where = (
                f"In {link}, the term “{possible[0]}” would be right with {reading.instead} in place of {reading.name}"
            )
            return Explanation(Kind.READING, (f"{where}; the rest is right.",), (f"{reading} in {possible[0]}",))
    return None


def read_the_output_otherwise(link: str, samples: Sequence[Sample]) -> Explanation | None:
    """yours = f(right), as where a probability stands for its logarithm."""
    for pattern, change in OF_OUTPUTS:
        with np.errstate(all="ignore"):
            changed = [change(np.asarray(s.expected, dtype=np.float64)) for s in samples]
        if all(np.isfinite(c).all() and same_numbers(s.found, c) for s, c in zip(samples, changed, strict=True)):
            instead = pattern.format(link)
            line = f"Your {link} is {instead}, with the right {link} in it."
            return Explanation(Kind.READING, (line,), (f"{instead} for {link}",))
    return None


def readings(exercise: Exercise, sample: Sample) -> Iterator[Reading]:
    """The exercise's own; one argument changed, or another in its place, or two exchanged.

    The gradient that comes in counts as an argument, and the value may have been taken for one.
    """
    for said, turned in exercise.readings.items():
        instead, _, name = said.partition(" for ")
        yield Reading(name, instead, lambda sample, turned=turned: turned(sample.draw))  # type: ignore[misc]
    value, output = next(iter(sample.outputs.items()))
    yield from _changed(sample.draw, f"d{value}")
    arrays = {name: a for name, a in sample.draw.arguments.items() if _real(a) and np.ndim(a) > 0}
    for name, array in arrays.items():
        if np.shape(array) == np.shape(output):
            yield Reading(name, f"{value}, the output,", _taking_the_value(name, value))
        if array.ndim == 2:
            reshaped = _changing(name, lambda a: a.reshape(a.shape[::-1]).T)
            yield Reading(f"{name} transposed", f"{name} reshaped", reshaped)
    alike = [(a, b) for a, b in combinations(arrays, 2) if np.shape(arrays[a]) == np.shape(arrays[b])]
    for a, b in alike:
        yield Reading(f"{a} and {b}", f"{b} and {a}", _putting({a: b, b: a}))
    for a, b in alike:
        yield Reading(a, b, _putting({a: b}))
        yield Reading(b, a, _putting({b: a}))


def _changed(draw: Draw, incoming: str) -> Iterator[Reading]:
    """One argument changed, the plainest changes first."""
    changes = [(name, *change) for name, argument in draw.arguments.items() for change in _of(argument)]
    changes += [("", *change) for change in _of(draw.cotangent)]
    order = [pattern for pattern, _ in (*CHANGES, *OF_COUNTS[-1:], *OF_ROWS)]
    for name, pattern, change in sorted(changes, key=lambda c: order.index(c[1])):
        yield Reading(name or incoming, pattern.format(name or incoming), _changing(name, change))


def _explains(exercise: Exercise, link: str, reading: Reading, sample: Sample) -> bool:
    otherwise = _otherwise(reading, sample)
    if otherwise is None:
        return False
    try:
        with np.errstate(all="ignore"):
            found = exercise.observe(exercise.solution, otherwise)[link]  # (diagnosis.7)
    except Exception:  # an argument that the solution cannot take explains nothing
        return False
    mine = sample.all_found.get(link, sample.found)
    if not (numeric(found) and numeric(mine)):
        return False
    fits = np.shape(sample.allowance) == np.shape(found)
    return same_numbers(mine, found, sample.allowance if fits else 0.0)


def _explained_terms(
    exercise: Exercise, link: str, reading: Reading, sample: Sample, right: Mapping[str, Any]
) -> list[str]:
    """The terms that are the learner's at one draw if they alone are read so."""
    otherwise = _otherwise(reading, sample)
    if otherwise is None or exercise.terms is None:
        return []
    shape = np.shape(sample.expected)
    try:
        with np.errstate(all="ignore"):
            read = opened(exercise.terms(otherwise))[link]
            explained = []
            for name, term in right.items():
                old, new = summed(term, shape), summed(read[name], shape)
                if old is not None and new is not None and np.isfinite(new).all():
                    allowed = sample.allowance + 1e-12 * (np.abs(old) + np.abs(new))
                    if same_numbers(sample.found, sample.expected - old + new, allowed):
                        explained.append(name)
    except Exception:  # as above
        return []
    return explained


def _otherwise(reading: Reading, sample: Sample) -> Draw | None:
    """The draw as it was read; None if that gives no numbers."""
    try:
        with np.errstate(all="ignore"):
            otherwise = reading.change(sample)
    except Exception:  # a reading of numbers that these are not
        return None
    fine = all(not _real(a) or bool(np.isfinite(a).all()) for a in (*otherwise.arguments.values(), otherwise.cotangent))
    return otherwise if fine else None


def _of(argument: Any) -> Sequence[tuple[str, Callable[[Any], Any]]]:
    """The changes that an argument may undergo."""
    if type(argument) is int:
        return OF_COUNTS
    rows = OF_ROWS if isinstance(argument, np.ndarray) and argument.ndim > 1 else ()
    if isinstance(argument, np.ndarray) and argument.dtype.kind == "i":
        return rows[:2]
    return (*CHANGES, *rows) if _real(argument) else ()


def _real(argument: Any) -> bool:
    return isinstance(argument, float) or (isinstance(argument, np.ndarray) and argument.dtype.kind == "f")


def _changing(name: str, change: Callable[[Any], Any]) -> Callable[[Sample], Draw]:
    """One argument changed; the gradient that comes in has no name."""

    def apply(sample: Sample) -> Draw:
        draw = sample.draw
        if not name:
            return replace(draw, cotangent=change(draw.cotangent))
        return replace(draw, arguments={**draw.arguments, name: change(draw.arguments[name])})

    return apply


def _taking_the_value(name: str, value: str) -> Callable[[Sample], Draw]:
    return lambda s: replace(s.draw, arguments={**s.draw.arguments, name: np.asarray(s.outputs[value])})


def _putting(other: dict[str, str]) -> Callable[[Sample], Draw]:
    """Arguments in the place of others."""

    def apply(sample: Sample) -> Draw:
        given = sample.draw.arguments
        return replace(sample.draw, arguments={**given, **{a: given[b] for a, b in other.items()}})

    return apply
