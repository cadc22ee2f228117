"""Whether a wrong output is right for other arguments: for log σ² read as log σ, noise left out, u taken for 1 - u.

Derivation: ``derivations/diagnosis.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from numvae.exercises.comparing import numeric, same_numbers
from numvae.exercises.contract import Draw, Exercise
from numvae.exercises.explaining import Explanation, Sample
from numvae.exercises.findings import Kind

__all__ = ["Reading", "read_otherwise", "readings"]

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
    ("exp({})", np.exp),
    ("log {}", np.log),
)


@dataclass(frozen=True)
class Reading:
    """One way to take the arguments for others.  ``instead``: what stands where ``name`` should."""

    name: str
    instead: str
    change: Callable[[Draw], Draw]


def read_otherwise(exercise: Exercise, link: str, samples: Sequence[Sample]) -> Explanation | None:
    """yours = right(r(arguments)) at every draw, for the first reading r that does it   (diagnosis.7)."""
    for reading in readings(exercise, samples[0].draw):
        if all(_explains(exercise, link, reading, sample) for sample in samples):
            line = f"Your {link} is right for {reading.instead} in place of {reading.name}."
            return Explanation(Kind.READING, (line,), (f"{reading.instead} for {reading.name}",))
    return None


def readings(exercise: Exercise, draw: Draw) -> Iterator[Reading]:
    """One argument changed, or two of one shape exchanged; the gradient that comes in counts as an argument."""
    value = next(iter(exercise.observe(exercise.solution, draw)))
    names = [name for name, argument in draw.arguments.items() if _changeable(argument)]
    for pattern, change in CHANGES:
        for name in names:
            yield Reading(name, pattern.format(name), _changing(name, change))
        if _changeable(draw.cotangent):
            yield Reading(f"d{value}", pattern.format(f"d{value}"), _changing(None, change))
    for a, b in combinations(names, 2):
        if np.shape(draw.arguments[a]) == np.shape(draw.arguments[b]):
            yield Reading(f"{a} and {b}", f"{b} and {a}", _exchanging(a, b))


def _explains(exercise: Exercise, link: str, reading: Reading, sample: Sample) -> bool:
    try:
        with np.errstate(all="ignore"):
            otherwise = reading.change(sample.draw)
            if not all(map(_finite, (*otherwise.arguments.values(), otherwise.cotangent))):
                return False
            found = exercise.observe(exercise.solution, otherwise)[link]  # (diagnosis.7)
    except Exception:  # an argument that the solution cannot take explains nothing
        return False
    return numeric(found) and same_numbers(sample.found, found, sample.allowance)


def _changeable(argument: Any) -> bool:
    return isinstance(argument, float) or (isinstance(argument, np.ndarray) and argument.dtype.kind == "f")


def _finite(argument: Any) -> bool:
    return not _changeable(argument) or bool(np.isfinite(argument).all())


def _changing(name: str | None, change: Callable[[Any], Any]) -> Callable[[Draw], Draw]:
    def apply(draw: Draw) -> Draw:
        if name is None:
            return replace(draw, cotangent=change(draw.cotangent))
        return replace(draw, arguments={**draw.arguments, name: change(draw.arguments[name])})

    return apply


def _exchanging(a: str, b: str) -> Callable[[Draw], Draw]:
    return lambda draw: replace(draw, arguments={**draw.arguments, a: draw.arguments[b], b: draw.arguments[a]})
