"""Where an output is wrong: at x = 0, at large logits, where dy is negative; and what stands there.

Derivation: ``derivations/diagnosis.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from numvae.arrays import Array
from numvae.exercises.comparing import agree, numeric
from numvae.exercises.explaining import Explanation, Sample
from numvae.exercises.factors import fitted, fitting, said
from numvae.exercises.findings import Kind

__all__ = ["when_wrong", "where_wrong"]

Marks: TypeAlias = NDArray[np.bool_]
"""Where something holds."""

LARGE = 20
"""How many times the usual size a large number has."""

FIT, NEAR = 1e-9, 1e-5


def where_wrong(link: str, samples: Sequence[Sample]) -> Explanation | None:
    """The plainest condition on the arguments that holds where an output is wrong and nowhere else   (diagnosis.8)."""
    return _where(link, samples, 0.0, "right") or _where(link, samples, NEAR, "almost right")


def _where(link: str, samples: Sequence[Sample], near: float, elsewhere: str) -> Explanation | None:
    allowed = [s.allowance + near * np.abs(s.expected) for s in samples]
    right_at = [agree(np.asarray(s.found), np.asarray(s.expected), a) for s, a in zip(samples, allowed, strict=True)]
    wrong = np.concatenate([np.ravel(np.logical_not(right)) for right in right_at])
    if wrong.all() or sum(not np.all(right) for right in right_at) < 2:
        return None
    shapes = [np.shape(s.expected) for s in samples]
    given = [_given(s) for s in samples]
    columns = dict(_columns(given, shapes))
    signs = {text: marks for name, column in columns.items() for text, marks in _signs(name, column)}
    for text, holds in (*signs.items(), *_of_rows(given, shapes), *_pairs(signs)):
        if np.array_equal(holds, wrong):  # (diagnosis.8)
            here = {name: column[wrong] for name, column in columns.items()}
            found = _as_product(_flat([s.found for s in samples])[wrong], here)
            expected = _as_product(_flat([s.expected for s in samples])[wrong], here)
            there = f" There it is {found}, and {expected} is right." if found and expected else ""
            line = f"{link} is wrong where {text}, and {elsewhere} everywhere else.{there}"
            return Explanation(Kind.PLACE, (line,), (f"where {text}",))
    return None


def when_wrong(link: str, samples: Sequence[Sample]) -> Explanation | None:
    """The batch sizes at which an output is wrong, where it is right at others: a size that is fixed in the code."""
    wrong: dict[int, set[bool]] = {}
    for s in samples:
        fits = np.all(agree(np.asarray(s.found), np.asarray(s.expected), s.allowance))
        wrong.setdefault(s.draw.rows, set()).add(not fits)
    never, always = ([str(rows) for rows, found in sorted(wrong.items()) if found == {w}] for w in (False, True))
    if not never or not always or len(never) + len(always) < len(wrong):
        return None
    line = (
        f"{link} is right for batches of {_or(never)} rows, and wrong for {_or(always)}: is a size fixed in the code?"
    )
    return Explanation(Kind.PLACE, (line,), (f"where B is {_or(always)}",))


def _or(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _given(sample: Sample) -> dict[str, Array]:
    """The arguments that are arrays of numbers, and the gradient that comes in."""
    draw, value = sample.draw, next(iter(sample.outputs))
    named = {**draw.arguments, f"d{value}": draw.cotangent}
    return {n: np.asarray(v, dtype=np.float64) for n, v in named.items() if isinstance(v, np.ndarray) and numeric(v)}


def _columns(given: Sequence[Mapping[str, Array]], shapes: Sequence[tuple[int, ...]]) -> Iterator[tuple[str, Array]]:
    """Those that have a number for every entry of the output."""
    for name in given[0]:
        fit = [(fitted(g[name], shape), shape) for g, shape in zip(given, shapes, strict=True)]
        parts = [np.broadcast_to(part, shape) for part, shape in fit if part is not None]
        if len(parts) == len(given):
            yield name, _flat(parts)


def _signs(name: str, column: Array) -> Iterator[tuple[str, Marks]]:
    """The simplest conditions on one of them."""
    yield f"{name} = 0", column == 0
    yield f"{name} > 0", column > 0
    yield f"{name} < 0", column < 0
    yield f"{name} is large", _large(np.abs(column))


def _of_rows(given: Sequence[Mapping[str, Array]], shapes: Sequence[tuple[int, ...]]) -> Iterator[tuple[str, Marks]]:
    """Conditions on a row, and on its place."""
    for name in given[0]:
        rows = [(np.abs(g[name]), shape) for g, shape in zip(given, shapes, strict=True)]
        if all(array.ndim > len(shape) > 0 and array.shape[: len(shape)] == shape for array, shape in rows):
            yield f"{name} gets large", _large(_flat([a.reshape(*shape, -1).max(axis=-1) for a, shape in rows]))
    if shapes[0]:
        places = [np.indices(shape)[0].ravel() for shape in shapes]
        yield "its first index is 0", np.concatenate([place == 0 for place in places])
        yield "its first index is not 0", np.concatenate([place != 0 for place in places])
        yield "its first index is the last", np.concatenate([place == place[-1] for place in places])


def _pairs(signs: Mapping[str, Marks]) -> Iterator[tuple[str, Marks]]:
    """Two conditions at once, and two numbers on different sides of 0."""
    for (a, first), (b, second) in combinations(signs.items(), 2):
        yield f"{a} and {b}", first & second
    above = {text.removesuffix(" > 0"): holds for text, holds in signs.items() if text.endswith(" > 0")}
    for (a, first), (b, second) in combinations(above.items(), 2):
        yield f"only one of {a} and {b} is positive", first ^ second


def _large(sizes: Array) -> Marks:
    return np.asarray(sizes > LARGE * np.median(sizes))


def _as_product(column: Array, factors: Mapping[str, Array]) -> str:
    """A column as a number times at most two factors, or empty."""
    if np.ptp(column) <= FIT * np.max(np.abs(column)):
        return said(float(column[0]))
    usable = {name: factor for name, factor in factors.items() if np.ptp(factor) and np.isfinite(factor).all()}
    for monomial in fitting(list(usable), usable, column, highest=1):
        scale = monomial.at(usable, column.shape)
        if scale is not None and np.isfinite(scale).all():
            number = float(column @ scale / (scale @ scale))
            if np.all(np.abs(column - number * scale) <= FIT * np.abs(column)):
                return monomial.times(number)
    return ""


def _flat(parts: Sequence[Any]) -> Array:
    return np.concatenate([np.ravel(np.asarray(part, dtype=np.float64)) for part in parts])
