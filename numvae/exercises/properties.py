"""What the right output does and yours does not: depend on an argument, be linear, keep the rows apart.

Derivation: ``derivations/diagnosis.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from numvae.arrays import Array
from numvae.exercises.comparing import numeric, same_numbers
from numvae.exercises.contract import Draw, Exercise, Observation
from numvae.exercises.explaining import Explanation, Sample
from numvae.exercises.findings import Kind

__all__ = ["unlike_the_right_one"]

Look = Callable[[Draw], Observation]
"""A function as its exercise observes it."""

OTHER_SEED = 1000


def unlike_the_right_one(exercise: Exercise, link: str, look: Look, samples: Sequence[Sample]) -> Explanation | None:
    """Properties that tell a wrong output from the right one, the most telling first   (diagnosis.9)."""

    def right(draw: Draw) -> Observation:
        return exercise.observe(exercise.solution, draw)

    draw = samples[0].draw
    other = exercise.draw(np.random.default_rng(OTHER_SEED), draw.rows)
    ways = (_dependence, _unused_slices, _mixed_rows, _linearity)
    told = [*_sameness(link, samples)]
    pair = _Pair(link, look, right, draw, incoming=f"d{next(iter(samples[0].outputs))}")
    for way in ways:
        told += way(link, pair, draw, other)
    if not told:
        return None
    return Explanation(Kind.PROPERTY, tuple(line for _, line in told), tuple(change for change, _ in told))


class _Pair:
    """The learner's output and the right one, at any draw, beside those at one."""

    def __init__(self, link: str, look: Look, right: Look, draw: Draw, incoming: str) -> None:
        self.link, self.looks, self.incoming = link, (look, right), incoming
        self.here = self.at(draw)

    def at(self, draw: Draw) -> tuple[Any, Any] | None:
        """Both; None where one of them has none."""
        try:
            with np.errstate(all="ignore"):
                found = tuple(np.array(look(draw)[self.link], dtype=np.float64) for look in self.looks)
        except Exception:  # what a learner's function does at other arguments is not held against it
            return None
        return (found[0], found[1]) if all(np.isfinite(f).all() for f in found) else None

    def moved(self, draw: Draw, entries: Any = ...) -> tuple[bool, bool] | None:
        """Whether the learner's and the right one differ there from what they are here, at some entries."""
        there = self.at(draw)
        if (
            there is None
            or self.here is None
            or any(np.shape(a) != np.shape(b) for a, b in zip(there, self.here, strict=True))
        ):
            return None
        yours, right = (not same_numbers(a[entries], b[entries]) for a, b in zip(there, self.here, strict=True))
        return yours, right


def _sameness(link: str, samples: Sequence[Sample]) -> Iterator[tuple[str, str]]:
    """All entries alike, or all rows."""
    found, right = [np.asarray(s.found) for s in samples], [np.asarray(s.expected) for s in samples]
    if all(r.size > 1 for r in right) and any(np.ptp(r) > 0 for r in right):
        if all(same_numbers(f, np.full(f.shape, f.flat[0])) for f in found):
            yield "the same everywhere", f"{link} is the same number at every entry, and should not be."
        elif right[0].ndim > 1 and all(same_numbers(f, np.broadcast_to(f[:1], f.shape)) for f in found):
            yield "the same along its first axis", f"{link} is the same all along its first axis, and should not be."


def _dependence(link: str, pair: _Pair, draw: Draw, other: Draw) -> Iterator[tuple[str, str]]:
    """What it depends on, by putting another draw's in its place."""
    for name, changed in _replaced(draw, other, pair.incoming):
        moved = pair.moved(changed)
        if moved == (False, True):
            yield f"independent of {name}", f"{link} does not depend on {name}, and should."
        if moved == (True, False):
            yield f"depends on {name}", f"{link} depends on {name}, and should not."


def _unused_slices(link: str, pair: _Pair, draw: Draw, other: Draw) -> Iterator[tuple[str, str]]:
    """The first or last row, or column, of an argument without influence: a loop that ends too early."""
    others = {name: value for name, value, _ in _arrays(other, pair.incoming)}
    for name, value, put in _arrays(draw, pair.incoming):
        given = others[name]
        felt = pair.moved(put(given)) == (True, True)
        for axis, place in product(range(value.ndim), (0, -1)) if felt else ():
            index = (slice(None),) * axis + (place,)
            changed = value.copy()
            changed[index] = given[index]
            if value.shape[axis] > 1 and pair.moved(put(changed)) == (False, True):
                what = f"{name}[{':, ' * axis}{place}]"
                yield f"independent of {what}", f"{link} does not depend on {what}, and should."
                return


def _arrays(draw: Draw, incoming: str) -> Iterator[tuple[str, Array, Callable[[Array], Draw]]]:
    """The arrays of real numbers in a draw, by name, and how to put another in the place of each."""
    for name, value in draw.arguments.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            yield name, value, lambda array, name=name: draw.but(**{name: array})  # type: ignore[misc]
    if isinstance(draw.cotangent, np.ndarray):
        yield incoming, draw.cotangent, lambda array: replace(draw, cotangent=array)


def _replaced(draw: Draw, other: Draw, incoming: str) -> Iterator[tuple[str, Draw]]:
    """The draw with one argument of another draw's in it, by that argument's name."""
    for name, value in draw.arguments.items():
        if isinstance(value, dict):
            for key in value:
                yield key, replace(draw, arguments={**draw.arguments, name: {**value, key: other.arguments[name][key]}})
        elif isinstance(value, float | np.ndarray):
            yield name, replace(draw, arguments={**draw.arguments, name: other.arguments[name]})
    if numeric(draw.cotangent):
        yield incoming, replace(draw, cotangent=other.cotangent)


def _mixed_rows(link: str, pair: _Pair, draw: Draw, other: Draw) -> Iterator[tuple[str, str]]:
    """Whether the rows from the second on feel the first."""
    if pair.here is None or draw.rows not in pair.here[1].shape:
        return
    rest = (slice(None),) * pair.here[1].shape.index(draw.rows) + (slice(1, None),)
    arguments = {name: _first_row(value, other.arguments[name], draw.rows) for name, value in draw.arguments.items()}
    changed = Draw(arguments, _first_row(draw.cotangent, other.cotangent, draw.rows), draw.rows)
    if pair.moved(changed, rest) == (True, False):
        yield "mixes rows", f"A row of {link} depends on the other rows of the batch, and should not."


def _first_row(value: Any, other: Any, rows: int) -> Any:
    """An array whose first row is that of another one; anything without rows as it is."""
    if not isinstance(value, np.ndarray) or rows not in value.shape:
        return value
    place = (slice(None),) * value.shape.index(rows) + (0,)
    value = value.copy()
    value[place] = other[place]
    return value


def _linearity(link: str, pair: _Pair, draw: Draw, other: Draw) -> Iterator[tuple[str, str]]:
    """A pullback gives -2 times as much for -2 times what comes in."""
    if not numeric(draw.cotangent) or pair.here is None:
        return
    scaled = pair.at(replace(draw, cotangent=-2 * np.asarray(draw.cotangent)))
    if scaled is None or same_numbers(scaled[1], pair.here[1]):
        return
    yours, right = (same_numbers(there, -2 * here) for there, here in zip(scaled, pair.here, strict=True))
    if right and not yours:  # (diagnosis.9)
        line = f"{link} is not linear in {pair.incoming}: for -2 {pair.incoming} it should be -2 times what it is."
        yield "not linear", line
