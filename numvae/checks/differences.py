"""Derivatives of curves by finite differences: with an error bar, and with kinks noticed.

Derivations: ``derivations/checks.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from numvae.arrays import Array

__all__ = ["Curve", "Slope", "second_look", "slopes"]

EPSILON = float(np.finfo(np.float64).eps)
FIRST_STEPS = (2.0**-3, 2.0**-9, 2.0**1, 2.0**-15, 2.0**-20)
NARROW = 2.0**-20
SHARES = (1.0, 0.93, 0.81, 0.67, 0.55)
KINK_STEPS = 2.0 ** -np.arange(8, 21, 3)


class Curve:
    """g(t) = ⟨c, V(a + t u) - V(a)⟩   (checks.2): how a rule's value moves along one direction.

    ``move(t)`` gives the values V(a + t u) as one flat array, ``values`` is V(a), ``cotangent`` is c.  Entries of the
    value that do not move cancel exactly, so that they cost no digits.  ``rounding`` is the rounding error of one
    g(t) as known so far; it starts from that of the arguments, ``sensitivity`` being what a relative change of 1 in
    them would do to g.
    """

    def __init__(
        self, move: Callable[[float], Array], values: Array, cotangent: Array, sensitivity: float = 0.0
    ) -> None:
        self._move, self._values, self._cotangent = move, values, cotangent
        self._seen: dict[float, float] = {0.0: 0.0}
        self.rounding = EPSILON * sensitivity

    def __call__(self, t: float) -> float:
        """g(t); NaN where the rule does not reach."""
        if t not in self._seen:
            self._seen[t] = self._evaluate(t)
        return self._seen[t]

    @property
    def quantum(self) -> float:
        """The smallest |g| that was seen, other than zero: how finely g moves at least; 0 where it never moves."""
        return min((abs(g) for g in self._seen.values() if g != 0 and math.isfinite(g)), default=0.0)

    def difference(self, h: float) -> float:
        """The plain central difference (g(h) - g(-h)) / 2h."""
        return (self(h) - self(-h)) / (2 * h)

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
        return [_best(tried) for tried in found]


def second_look(curves: Sequence[Curve], found: Sequence[Slope]) -> list[Slope]:
    """The same slopes, for when they are in doubt: with an error bar that no longer trusts the value's size, and kinks.

    Where large terms cancel inside a rule, its value rounds by more than its own size shows.  With other steps such a
    slope comes out differently; the error bar widens to reach them all   (checks.3a).
    """
    first = np.multiply.outer([2 * slope.step for slope in found], SHARES)
    with np.errstate(all="ignore"):
        again, _, _ = _derivatives(curves, np.indices(first.shape)[0], first, iterations=1)
        looks = []
        for curve, slope, values in zip(curves, found, again, strict=True):
            scatter = float(np.max(np.abs(values - slope.value)))  # (checks.3a)
            bar = max(slope.error_bar, scatter) if math.isfinite(scatter) else math.inf
            looks.append(replace(slope, error_bar=bar, jump=_jump(curve)))
    return looks


def _best(tried: list[Slope]) -> Slope:
    """The measurement with the smallest error bar, widened to reach any other that contradicts it."""
    best = min(tried, key=lambda slope: slope.error_bar)
    gaps = [(abs(best.value - other.value), best.error_bar + other.error_bar) for other in tried]
    widest = max((gap for gap, bars in gaps if gap > 10 * bars), default=0.0)
    return Slope(best.value, max(best.error_bar, widest), best.step)


def _measure(curves: Sequence[Curve], first_step: float, precision: Array) -> list[Slope]:
    values, disagreement, steps = _derivatives(curves, np.arange(len(curves)), first_step, 12, precision)
    bars = _error_bars(curves, disagreement, values, steps)
    return [Slope(float(v), bar, float(step)) for v, bar, step in zip(values, bars, steps, strict=True)]


def _derivatives(
    curves: Sequence[Curve],
    which: npt.NDArray[np.intp],
    first_step: Array | float,
    iterations: int,
    precision: Array | float = 1.0,
) -> tuple[Array, Array, Array]:
    """The derivatives of ``curves[which]``, how far the last two estimates are apart, and the last steps."""
    from scipy.differentiate import derivative

    units = np.broadcast_to(precision, len(curves))

    def along(t: Array, k: Array) -> Array:
        """All curves side by side, each in units of its precision, so that one tolerance serves all."""
        pairs = np.broadcast(t, k)
        return np.array([curves[int(i)](float(x)) / units[int(i)] for x, i in pairs]).reshape(pairs.shape)

    tolerances = {"atol": 0.1, "rtol": 0.0}
    zeros = np.zeros(which.shape)
    found = derivative(along, zeros, args=(which,), initial_step=first_step, tolerances=tolerances, maxiter=iterations)
    return found.df * units[which], found.error * units[which], first_step / 2.0 ** np.asarray(found.nit)


def _error_bars(curves: Sequence[Curve], disagreement: Array, values: Array, steps: Array) -> list[float]:
    """δ = |last estimate - the one before| + 8 · rounding / step   (checks.3).

    Where nothing moved within the steps, but did elsewhere, the rounding is what it moved by there.  δ is infinite
    where plain narrow differences contradict.
    """
    rounding = np.array(
        [8 * c.rounding if value else max(8 * c.rounding, c.quantum) for c, value in zip(curves, values, strict=True)]
    )
    bars = disagreement + rounding / steps  # (checks.3)
    return [
        float(bar) if np.isfinite(bar) and _believed(curve, value) else math.inf
        for curve, value, bar in zip(curves, values, bars, strict=True)
    ]


def _believed(curve: Curve, value: float) -> bool:
    """Whether narrow differences allow this derivative; a curve that oscillates fast looks smooth at wide steps."""
    doubt = 0.05 * abs(value) + 8 * curve.rounding / NARROW
    if abs(curve.difference(NARROW) - value) <= doubt:
        return True
    narrow = [curve.difference(NARROW * share) for share in SHARES]
    return not any(narrow) or abs(narrow[0] - value) <= doubt + 3 * float(np.ptp(narrow))


def _jump(curve: Curve) -> float:
    """|g'(0⁺) - g'(0⁻)| at a kink, else 0   (checks.5).

    The difference of the one-sided slopes at steps h shrinks like h on a smooth curve and grows like 1/h where it is
    rounding.  At a kink it stays: over a 64-fold range of steps, it keeps its sign and 0.3 of its size.
    """
    jumps = np.array([(curve(h) + curve(-h)) / h for h in KINK_STEPS])  # (checks.5)
    for range_of_steps in sliding_window_view(jumps, 3)[::-1]:
        least, most = np.sort(np.abs(range_of_steps))[[0, -1]]
        if least > 0.3 * most and len(set(np.sign(range_of_steps))) == 1:
            return float(most)
    return 0.0
