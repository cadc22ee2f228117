"""The entry that shows a mistake best, and what finite differences of the learner's own value say about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from numvae.arrays import Array
from numvae.checks.differences import Curve, Slope, slopes
from numvae.checks.reports import Index, at
from numvae.exercises.comparing import agree, numeric, size
from numvae.exercises.contract import Draw, Exercise, Observation

__all__ = ["Counterexample", "counterexample", "follows"]

Look = Callable[[Draw], Observation]
"""A function as its exercise observes it."""

CLOSE = 1e-6


@dataclass(frozen=True)
class Counterexample:
    """One entry: the learner's, the right one and, of a gradient, the finite difference of the learner's own value.

    ``rows``: the batch size of the draw.  ``step``: the last displacement of the difference, ± ``error_bar``.
    """

    output: str
    index: Index
    rows: int
    found: float
    expected: float
    numeric: float = math.nan
    error_bar: float = math.nan
    step: float = math.nan
    value: str = ""

    @property
    def ratio(self) -> float:
        """The learner's over the right one."""
        return self.found / self.expected if self.expected else math.nan

    def __str__(self) -> str:
        ratio = f", ratio {self.ratio:.4g}" if math.isfinite(self.ratio) else ""
        digits = 6 if f"{self.found:.6g}" != f"{self.expected:.6g}" else 12
        yours, right = (f"{number + 0.0:.{digits}g}" for number in (self.found, self.expected))
        line = f"{at(self.output, self.index)}: yours {yours}, right {right}{ratio}"
        if math.isnan(self.numeric):
            return line + "."
        measured = f"{self.numeric:.6g} ± {self.error_bar:.0e} (step {self.step:.1g})"
        return f"{line}; a finite difference of your {self.value} gives {measured}."


def counterexample(
    exercise: Exercise, name: str, look: Look, draws: list[Draw], found: list[Any], expected: list[Any]
) -> Counterexample:
    """The largest error in the smallest of the draws at which this output is wrong."""
    wrong = [k for k, (f, e) in enumerate(zip(found, expected, strict=True)) if not np.all(agree(_array(f), _array(e)))]
    k = min(wrong, key=lambda k: np.size(expected[k]), default=0)
    yours, right = _array(found[k]), _array(expected[k])
    index = tuple(int(i) for i in np.unravel_index(np.argmax(np.abs(yours - right)), right.shape))
    plain = Counterexample(name, index, draws[k].rows, float(yours[index]), float(right[index]))
    argument = exercise.differences.get(name)
    if argument is None or np.shape(draws[k].arguments[argument]) != right.shape:
        return plain
    direction = np.zeros(right.shape)
    direction[index] = 1.0
    solution = _slope(lambda d: exercise.observe(exercise.solution, d), draws[k], argument, direction)
    if solution is None or abs(solution.value - plain.expected) > CLOSE * max(size(right), abs(plain.expected)):
        return plain  # what the exercise asks for is no derivative of its value, as with estimators
    slope = _slope(look, draws[k], argument, direction)
    if slope is None or not math.isfinite(slope.error_bar):
        return plain
    value = next(iter(exercise.observe(exercise.solution, draws[k])))
    return replace(plain, numeric=slope.value, error_bar=slope.error_bar, step=slope.step, value=value)


def follows(exercise: Exercise, look: Look, draw: Draw, found: Mapping[str, Any]) -> dict[str, bool]:
    """Gradient -> whether it is the derivative of the learner's own value, right or wrong; those that one can tell."""
    answers = {}
    rng = np.random.default_rng(0)
    for name, argument in exercise.differences.items():
        gradient = _array(found[name])
        direction = rng.choice([-1.0, 1.0], gradient.shape) * rng.uniform(0.5, 1.0, gradient.shape)
        if np.shape(draw.arguments[argument]) != gradient.shape:
            continue
        slope = _slope(look, draw, argument, direction)
        if slope is not None and math.isfinite(slope.error_bar):
            scale = float(np.linalg.norm(gradient * direction)) + abs(slope.value)
            answers[name] = abs(float(np.sum(gradient * direction)) - slope.value) <= CLOSE * scale + slope.error_bar
    return answers


def _slope(look: Look, draw: Draw, argument: str, direction: Array) -> Slope | None:
    """The derivative of ⟨cotangent, value⟩ along a direction of one argument; None where there is none to take."""
    point = np.asarray(draw.arguments[argument], dtype=np.float64)

    def value(t: float) -> Array:
        moved = (point + t * direction)[()]
        return _array(next(iter(look(replace(draw, arguments={**draw.arguments, argument: moved})).values()))).ravel()

    with np.errstate(all="ignore"):
        here = value(0.0)
        cotangent = np.ones(1) if draw.cotangent is None else draw.cotangent
        if not numeric(cotangent) or np.size(cotangent) != len(here) or not np.isfinite(here).all():
            return None
        curve = Curve(value, here, np.ravel(np.asarray(cotangent, dtype=np.float64)))
        return slopes([curve], np.array([1e-9 * (size(here) + 1e-3)]))[0]


def _array(value: Any) -> Array:
    return np.asarray(value, dtype=np.float64)
