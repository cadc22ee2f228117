"""Hyper-parameters in range, or one line that says what was wrong, what was seen and what would do."""

from __future__ import annotations

import math
from numbers import Integral, Real

from numvae.errors import InputError


def require_number(owner: object, name: str, interval: str, example: float) -> None:
    """Raise InputError unless owner.name is a real number in the interval, written as on paper: "[0, 1)".

    >>> from numvae.optimizers import Adam
    >>> Adam(beta1=1.5)
    Traceback (most recent call last):
    numvae.errors.InputError: Adam: beta1 must be a number in [0, 1), got 1.5; try 0.9
    """
    value = getattr(owner, name)
    low, high = map(float, interval[1:-1].split(","))
    inside = _is(value, Real) and (
        (low < value < high)
        or (value == low and interval.startswith("["))
        or (value == high and interval.endswith("]"))
    )
    if not (inside and math.isfinite(value)):
        raise InputError(
            f"{type(owner).__name__}: {name} must be a number in {interval}, got {value!r}; try {example!r}"
        )


def require_whole(owner: object, name: str, least: int, example: int | tuple[int, ...]) -> None:
    """Raise InputError unless owner.name, or each of its entries if it is a tuple, is a whole number >= least.

    >>> from numvae.schedules import Cosine
    >>> Cosine(steps=0)
    Traceback (most recent call last):
    numvae.errors.InputError: Cosine: steps must be a whole number >= 1, got 0; try 10000
    """
    value = getattr(owner, name)
    entries = value if isinstance(value, tuple) else (value,)
    if not all(_is(entry, Integral) and entry >= least for entry in entries):
        kind = "whole numbers" if isinstance(value, tuple) else "a whole number"
        raise InputError(f"{type(owner).__name__}: {name} must be {kind} >= {least}, got {value!r}; try {example!r}")


def _is(value: object, kind: type) -> bool:
    """True and False are numbers to Python, but nobody means them as a step size."""
    return isinstance(value, kind) and not isinstance(value, bool)
