"""When two arrays of numbers are the same: to rounding, and to what rounding becomes in ill-conditioned places.

Derivation: ``derivations/diagnosis.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numvae.arrays import Array
from numvae.exercises.contract import Draw, Observation

__all__ = ["agree", "nudged", "numeric", "rounding", "same_numbers", "size"]

RELATIVE = 1e-9
FLOOR = 1e-12
NUDGE = 1e-12
MOST = 1e-7


def size(array: Any) -> float:
    """The largest finite entry, without its sign; 0 for an empty array or one without any."""
    array = np.asarray(array, dtype=np.float64)
    return float(np.max(np.abs(array), initial=0.0, where=np.isfinite(array)))


def same_numbers(found: Any, expected: Any, allowance: Array | float = 0.0) -> bool:
    """|found - expected| ≤ 1e-9 |expected| + 1e-12 ‖expected‖ + allowance, entry by entry   (diagnosis.1)."""
    found, expected = np.asarray(found), np.asarray(expected)
    return found.shape == expected.shape and bool(np.all(agree(found, expected, allowance)))


def agree(found: Array, expected: Array, allowance: Array | float = 0.0) -> Array:
    """Where two arrays of one shape are the same; NaN is the same as NaN, infinity as the same infinity."""
    epsilon = float(np.finfo(expected.dtype).eps) if expected.dtype.kind == "f" else 0.0
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(all="ignore"):
        relative, floor = max(RELATIVE, 32 * epsilon), max(FLOOR, 8 * epsilon)  # the larger for float32
        tolerance = relative * np.abs(expected) + floor * size(expected) + allowance  # (diagnosis.1)
        near = np.abs(found - expected) <= tolerance
        finite = np.isfinite(found) & np.isfinite(expected)
        alike = (found == expected) | (np.isnan(found) & np.isnan(expected))
        return np.asarray(np.where(finite, near, alike))


def rounding(observe: Callable[[Draw], Observation], draw: Draw, expected: Observation) -> dict[str, Any]:
    """How far each output moves when every argument moves in its twelfth digit: what rounding may do there.

    At most 1e-7 of the output's size, so that the sixth digit always counts   (diagnosis.2).
    """
    allowed: dict[str, Any] = {name: np.zeros(np.shape(value)) for name, value in expected.items() if numeric(value)}
    for seed in (0, 1):
        try:
            with np.errstate(all="ignore"):
                moved = observe(nudged(draw, np.random.default_rng(seed)))
        except (ValueError, ArithmeticError):  # a checked sum of probabilities, say: then there is nothing to allow
            continue
        for name, most in allowed.items():
            if np.shape(moved[name]) == np.shape(most):
                change = np.nan_to_num(np.abs(np.asarray(moved[name], dtype=np.float64) - expected[name]), nan=0.0)
                most[...] = np.minimum(np.maximum(most, change), MOST * size(expected[name]))  # (diagnosis.2)
    return allowed


def nudged(draw: Draw, rng: np.random.Generator) -> Draw:
    """The same draw, each floating-point number in it changed by about a part in 1e12."""

    def nudge(value: Any) -> Any:
        if isinstance(value, float | np.floating):
            return value * (1 + NUDGE * float(rng.choice([-1, 1])))
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            return (value * (1 + NUDGE * rng.choice([-1, 1], value.shape))).astype(value.dtype)
        if isinstance(value, dict):
            return {key: nudge(item) for key, item in value.items()}
        if isinstance(value, list | tuple) and type(value) in (list, tuple):
            return type(value)(nudge(item) for item in value)
        return value

    arguments = {name: nudge(value) for name, value in draw.arguments.items()}
    return Draw(arguments, nudge(draw.cotangent), draw.rows)


def numeric(value: Any) -> bool:
    """Whether this is a number or an array of them, as a learner's function should return."""
    return isinstance(value, float | int | np.generic | np.ndarray) and np.asarray(value).dtype.kind in "biuf"
