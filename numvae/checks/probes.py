"""One probe: the derivative a pullback claims along one direction, beside the derivative that was measured there.

Derivations: ``derivations/checks.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array
from numvae.checks.conduct import Conduct
from numvae.checks.differences import Curve, Slope, slopes
from numvae.checks.reports import Index

__all__ = ["Direction", "Indices", "Measurement", "Probe"]

Indices: TypeAlias = npt.NDArray[np.intp]
"""Positions in a flattened argument."""

RESOLUTION = 1e-6
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
    """One direction: ``analytic`` is ⟨da, u⟩, ``slope`` what was measured, ``scale`` what its error is relative to.

    ``index``: the coordinate, where the direction is one; else None.  ``value_scale``: the size of ⟨c, V⟩, or of c if
    that is larger.
    """

    direction: Direction
    index: Index | None
    analytic: float
    slope: Slope
    scale: float
    value_scale: float
    tolerance: float

    @property
    def deviation(self) -> float:
        """|analytic - numeric|."""
        return abs(self.analytic - self.slope.value)

    @property
    def relative_error(self) -> float:
        """e = |a - n| / s; at most tolerance · |a - n| / 3δ where three error bars cover it   (checks.4)."""
        error, reach = self.deviation / max(self.scale, TINY), 3 * self.slope.error_bar  # (checks.4)
        covered = self.deviation <= reach
        return min(error, self.tolerance * self.deviation / max(reach, TINY)) if covered else error

    @property
    def at_kink(self) -> bool:
        """Whether the two one-sided slopes differ by more than the tolerance."""
        return self.slope.jump > self.tolerance * self.scale

    @property
    def resolved(self) -> bool:
        """δ ≤ 1e-6 s, or both derivatives vanish within a negligible δ, or the two differ beyond doubt   (checks.6)."""
        bar, value = self.slope.error_bar, abs(self.slope.value)
        vanish = max(abs(self.analytic), value) <= 3 * bar and bar <= 1e-9 * self.value_scale
        beyond_doubt = self.deviation > max(1e-2 * self.scale, 100 * bar)
        return bar <= RESOLUTION * self.scale or vanish or beyond_doubt  # (checks.6)

    @property
    def wrong(self) -> bool:
        """Whether the pullback is wrong along this direction."""
        return self.resolved and not self.at_kink and self.relative_error > self.tolerance


class Measurement:
    """Probes of one argument of a rule, given the gradient that its pullback returned."""

    def __init__(self, conduct: Conduct, position: int, tolerance: float) -> None:
        self.conduct, self.position, self.tolerance = conduct, position, tolerance
        self.point: Any = conduct.subject.arguments[position]
        self.differentiable = position in conduct.subject.differentiable
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
        cotangent = self.conduct.cotangent
        value_scale = max(float(np.linalg.norm(self.conduct.values * cotangent)), float(np.linalg.norm(cotangent)))
        floor = 1e-4 * float(np.max(np.abs(gradient)))
        scales = [max(float(np.linalg.norm(t)), floor * d.length) for t, d in zip(terms, directions, strict=True)]
        precision = np.array([0.1 * self.tolerance * scale or 1e-11 * value_scale for scale in scales])
        curves = [
            Curve(self._move(direction), self.conduct.values, cotangent, sensitivity=scale)
            for direction, scale in zip(directions, scales, strict=True)
        ]
        return [
            Probe(
                direction=direction,
                index=self._index(direction),
                analytic=float(term.sum()),  # (checks.1)
                slope=slope,
                scale=max(scale, abs(float(term.sum())), float(np.nan_to_num(abs(slope.value)))),
                value_scale=value_scale,
                tolerance=self.tolerance,
            )
            for direction, term, scale, slope in zip(directions, terms, scales, slopes(curves, precision), strict=True)
        ]

    def _move(self, direction: Direction) -> Callable[[float], Array]:
        def values(t: float) -> Array:
            moved = np.array(self.point)
            moved.reshape(-1)[direction.indices] += t * direction.steps
            found, _ = self.conduct.subject.call(self.conduct.subject.moved(self.position, moved[()]))
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
