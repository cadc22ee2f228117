"""One probe: the derivative a pullback claims along one direction, beside the derivative that was measured there.

Derivations: ``derivations/checks.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array
from numvae.checks.contract import Observed
from numvae.checks.differences import Curve, Slope, second_look, slopes
from numvae.checks.reports import Index

__all__ = ["Direction", "Indices", "Measurement", "Probe"]

Indices: TypeAlias = npt.NDArray[np.intp]
"""Positions in a flattened argument; of any shape."""

RESOLUTION = 1e-6
NEGLIGIBLE = 1e-9
TINY = 1e-290


@dataclass(frozen=True)
class Direction:
    """u, as the flat indices of the entries that move and how far each moves."""

    indices: Indices
    steps: Array

    @property
    def length(self) -> float:
        """The largest displacement of an entry."""
        return float(np.max(np.abs(self.steps)))


@dataclass(frozen=True)
class Probe:
    """One direction: ``analytic`` is ⟨da, u⟩, ``slope`` what was measured, ``size`` that of their terms   (checks.4a).

    ``index``: the coordinate, where the direction is one; else None.  ``value_size``: that of ⟨c, V⟩, or of c if that
    is larger.
    """

    direction: Direction
    index: Index | None
    analytic: float
    slope: Slope
    size: float
    value_size: float
    tolerance: float

    @property
    def deviation(self) -> float:
        """|analytic - numeric|."""
        return abs(self.analytic - self.slope.value)

    @property
    def covered(self) -> bool:
        """Whether three error bars cover the deviation."""
        return self.deviation <= 3 * self.slope.error_bar

    @property
    def scale(self) -> float:
        """What the error is relative to: s, or 3δ / τ if that is larger and the deviation is covered   (checks.4)."""
        return max(self.size, 3 * self.slope.error_bar / self.tolerance) if self.covered else self.size

    @property
    def relative_error(self) -> float:
        """e = |a - n| / scale   (checks.4)."""
        return self.deviation / max(self.scale, TINY)  # (checks.4)

    @property
    def settled(self) -> bool:
        """Whether both agree, and to many digits."""
        return self.slope.error_bar <= RESOLUTION * self.size and self.relative_error <= self.tolerance

    @property
    def at_kink(self) -> bool:
        """Whether a and n differ, and so do the two one-sided slopes: n is their mean, a may be anything."""
        return min(self.relative_error, self.slope.jump / max(self.size, TINY)) > self.tolerance

    @property
    def resolved(self) -> bool:
        """δ ≤ 1e-6 s, or a and n agree within a negligible δ, or the two differ beyond doubt   (checks.6)."""
        bar = self.slope.error_bar
        agree = self.covered and bar <= NEGLIGIBLE * self.value_size
        beyond_doubt = self.deviation > max(1e-2 * self.size, 100 * bar)
        return bar <= RESOLUTION * self.size or agree or beyond_doubt  # (checks.6)

    @property
    def wrong(self) -> bool:
        """Whether the pullback is wrong along this direction."""
        return self.resolved and not self.at_kink and self.relative_error > self.tolerance


class Measurement:
    """Probes of one argument of a rule, given the gradient that its pullback returned."""

    def __init__(self, observed: Observed, position: int, tolerance: float) -> None:
        self.observed, self.position, self.tolerance = observed, position, tolerance
        self.point: Any = observed.subject.arguments[position]
        self.differentiable = position in observed.subject.differentiable
        self.lengths = _lengths(self.point) if self.differentiable else np.empty(0)

    def coordinates(self, indices: Indices) -> list[Direction]:
        """One direction for each of these entries."""
        return [Direction(indices[k : k + 1], self.lengths[indices[k : k + 1]]) for k in range(len(indices))]

    def random_direction(self, indices: Indices, rng: np.random.Generator) -> Direction:
        """All these entries at once, with random signs and lengths: no entry is left out, no two errors cancel."""
        steps = rng.uniform(0.5, 1.0, len(indices)) * rng.choice([-1.0, 1.0], len(indices))
        return Direction(indices, steps * self.lengths[indices])

    def probes(self, gradient: Array, directions: Sequence[Direction]) -> list[Probe]:
        """Measures along each direction and sets the claim ⟨da, u⟩ beside it   (checks.1)."""
        terms = [gradient.ravel()[direction.indices] * direction.steps for direction in directions]
        cotangent = self.observed.cotangent
        value_size = max(float(np.linalg.norm(self.observed.values * cotangent)), float(np.linalg.norm(cotangent)))
        floor = 1e-4 * float(np.max(np.abs(gradient)))
        sizes = [max(float(np.linalg.norm(t)), floor * d.length) for t, d in zip(terms, directions, strict=True)]
        precision = np.array([0.1 * self.tolerance * size or 1e-11 * value_size for size in sizes])
        curves = [
            Curve(self._move(direction), self.observed.values, cotangent, sensitivity=size)
            for direction, size in zip(directions, sizes, strict=True)
        ]
        probes = [
            Probe(
                direction=direction,
                index=self._index(direction),
                analytic=float(term.sum()),  # (checks.1)
                slope=slope,
                size=max(size, abs(float(term.sum())), float(np.nan_to_num(abs(slope.value)))),
                value_size=value_size,
                tolerance=self.tolerance,
            )
            for direction, term, size, slope in zip(directions, terms, sizes, slopes(curves, precision), strict=True)
        ]
        doubtful = [k for k, probe in enumerate(probes) if not probe.settled]
        looks = second_look([curves[k] for k in doubtful], [probes[k].slope for k in doubtful])
        for k, slope in zip(doubtful, looks, strict=True):
            probes[k] = replace(probes[k], slope=slope)
        return probes

    def _move(self, direction: Direction) -> Callable[[float], Array]:
        def values(t: float) -> Array:
            moved = np.array(self.point)
            moved.reshape(-1)[direction.indices] += t * direction.steps
            found, _ = self.observed.subject.call(self.observed.subject.moved(self.position, moved[()]))
            return np.concatenate([np.ravel(value) for value in found])

        return values

    def _index(self, direction: Direction) -> Index | None:
        shape = np.shape(self.point)
        if len(direction.indices) > 1:
            return None
        return tuple(int(i) for i in np.unravel_index(int(direction.indices[0]), shape)) if shape else ()


def _lengths(point: Any) -> Array:
    """How far each entry moves at t = 1: its size, but at least a hundredth of the typical one; 1 if all are zero."""
    sizes = np.abs(np.ravel(point))
    typical = float(np.sqrt(np.mean(sizes**2))) if sizes.size else 0.0
    return np.maximum(sizes, 0.01 * typical) if typical > 0 else np.ones_like(sizes)
