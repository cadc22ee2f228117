"""Derivatives of curves by finite differences: with an error bar, and with kinks noticed.

Derivations: ``derivations/checks.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from numvae.arrays import Array

__all__ = ["Curve", "Slope", "slopes"]

EPSILON = float(np.finfo(np.float64).eps)
FIRST_STEPS = (2.0**-3, 2.0**-9, 2.0**1, 2.0**-15, 2.0**-20)
WIDE, NARROW = 2.0**-14, 2.0**-20


class Curve:
    """g(t) = ⟨c, V(a + t u) - V(a)⟩   (checks.2): how a rule's value moves along one direction.

    ``move(t)`` gives the values V(a + t u) as one flat array, ``values`` is V(a), ``cotangent`` is c.  Entries of the
    value that do not move cancel exactly, so that they cost no digits.  ``rounding`` is the rounding error of one
    g(t) as known so far; it starts from that of the arguments, ``sensitivity`` being what a relative change of 1 in
    them would do to g.  ``unit`` is what a change of 1 in the values would.
    """

    def __init__(
        self, move: Callable[[float], Array], values: Array, cotangent: Array, sensitivity: float = 0.0
    ) -> None:
        self._move, self._values, self._cotangent = move, values, cotangent
        self._seen: dict[float, float] = {0.0: 0.0}
        self.rounding = EPSILON * sensitivity
        self.unit = float(np.linalg.norm(cotangent))

    def __call__(self, t: float) -> float:
        """g(t); NaN where the rule does not reach."""
        if t not in self._seen:
            self._seen[t] = self._evaluate(t)
        return self._seen[t]

    @property
    def has_plateau(self) -> bool:
        """Whether it stays put within a narrow step and moves further out: rounded on the way, it has no slope here."""
        return self(NARROW) == 0 == self(-NARROW) and any(g != 0 for g in self._seen.values())

    def _evaluate(self, t: float) -> float:
        try:
            values = self._move(t)
        except (ValueError, ArithmeticError):  # out of the rule's domain: a smaller step may lie inside
            return math.nan
        change = values - self._values
        if np.isfinite(change).all():
            moved = change != 0
            # Where nothing moved, everything may have moved by less than its rounding error.
            involved = moved if moved.any() else ~moved
            size = float(np.linalg.norm(self._cotangent[involved] * self._values[involved]))
            self.rounding = max(self.rounding, EPSILON * size)
        return float(self._cotangent @ change)


@dataclass(frozen=True)
class Slope:
    """g'(0) as measured: ``value`` ± ``error_bar``, with the last ``step``.

    ``jump``: how far the two one-sided slopes are apart at a kink; else 0.
    """

    value: float
    error_bar: float
    step: float
    jump: float = 0.0


def slopes(curves: Sequence[Curve], precision: Array) -> list[Slope]:
    """The derivative of each curve at 0, by nested central differences of order 8 with halved steps.

    ``precision`` (one number per curve) is the error bar that is good enough.  A curve that misses it with the first
    step is measured again with others: smaller ones for a function that bends fast or has a kink near by, a larger
    one for a function that drowns in rounding.  The best measurement is kept.
    """
    found: list[list[Slope]] = [[] for _ in curves]
    with np.errstate(all="ignore"):
        for step in FIRST_STEPS:
            missed = [k for k, tried in enumerate(found) if not any(s.error_bar <= precision[k] for s in tried)]
            if missed:
                measured = _measure([curves[k] for k in missed], step, precision[missed])
                for k, slope in zip(missed, measured, strict=True):
                    found[k].append(slope)
        return [_best(tried, _jump(curve)) for tried, curve in zip(found, curves, strict=True)]


def _best(tried: list[Slope], jump: float) -> Slope:
    """The measurement with the smallest error bar, widened to reach any other that contradicts it."""
    best = min(tried, key=lambda slope: slope.error_bar)
    gaps = [(abs(best.value - other.value), best.error_bar + other.error_bar) for other in tried]
    widest = max((gap for gap, bars in gaps if gap > 10 * bars), default=0.0)
    return Slope(best.value, max(best.error_bar, widest), best.step, jump)


def _measure(curves: Sequence[Curve], first_step: float, precision: Array) -> list[Slope]:
    from scipy.differentiate import derivative

    def along(t: Array, k: Array) -> Array:
        """All curves side by side, each in units of its precision, so that one tolerance serves all."""
        pairs = np.broadcast(t, k)
        heights = [curves[int(which)](float(where)) / precision[int(which)] for where, which in pairs]
        return np.array(heights).reshape(pairs.shape)

    found = derivative(
        along,
        np.zeros(len(curves)),
        args=(np.arange(len(curves)),),
        initial_step=first_step,
        tolerances={"atol": 0.1, "rtol": 0.0},
        maxiter=12,
    )
    steps = first_step / 2.0 ** np.asarray(found.nit)
    values = found.df * precision
    bars = _error_bars(curves, found.error * precision, values, steps)
    return [Slope(float(v), bar, float(step)) for v, bar, step in zip(values, bars, steps, strict=True)]


def _error_bars(curves: Sequence[Curve], disagreement: Array, values: Array, steps: Array) -> list[float]:
    """δ = |last estimate - the one before| + 8 · rounding / step   (checks.3).

    It is infinite where a plain narrow difference disagrees.  That guards against a curve that oscillates faster than
    the steps and looks smooth at them.
    """
    rounding = np.array([curve.rounding for curve in curves])
    bars = disagreement + 8 * rounding / steps  # (checks.3)
    plain = np.array([(curve(NARROW) - curve(-NARROW)) / (2 * NARROW) for curve in curves])
    blur = np.array([curve.rounding + EPSILON * curve.unit for curve in curves]) / NARROW
    plateau = np.array([curve.has_plateau for curve in curves])
    believed = np.where(plateau, values != 0, np.abs(values - plain) <= 0.05 * np.abs(values) + 8 * blur)
    return [float(bar) if np.isfinite(bar) and agrees else math.inf for bar, agrees in zip(bars, believed, strict=True)]


def _jump(curve: Curve) -> float:
    """|g'(0⁺) - g'(0⁻)| at a kink, else 0   (checks.5).

    The one-sided slopes of a smooth curve differ by h |g''|, which shrinks with the step h; at a kink the difference
    stays.
    """
    wide, narrow = (abs(curve(h) + curve(-h)) / h for h in (WIDE, NARROW))  # (checks.5)
    visible = narrow > 8 * curve.rounding / NARROW
    return narrow if visible and narrow > 0.3 * wide else 0.0
