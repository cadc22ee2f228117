"""Climbing a bound with numvae's own Adam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numvae.arrays import Array
from numvae.optimizers import Adam


def ascend(
    objective: Callable[[Array], tuple[Array, Any]],
    start: Array,
    *,
    steps: int,
    step_size: float = 0.05,
    moving: Array | float = 1.0,
) -> Array:
    """Adam on the mean over rows, its step size falling to nothing; weights where ``moving`` is 0 stay."""
    theta, adam = start.copy(), Adam(step_size)
    state = adam.start(theta)
    for step in range(steps):
        bound, pullback = objective(theta)
        gradient = pullback(np.full_like(bound, 1 / len(bound)))[0]
        adam.ascend(theta, gradient * moving, state, scale=np.cos(0.5 * np.pi * step / steps) ** 2)
    return theta
