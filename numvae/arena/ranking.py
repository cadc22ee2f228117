"""An order of estimators by variance, or by variance times cost, that says who cannot be told apart.

Derivations: ``derivations/arena.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from numvae.arena.measured import Measured
from numvae.arrays import Array
from numvae.checks.significance import holm, normal_p_value

__all__ = ["Place", "rank"]

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Place:
    """Equal places cannot be told apart from the first that has the place; it is one more than the number before it."""

    place: int
    name: str
    value: float
    standard_error: float
    tied_with: tuple[str, ...]
    """Those that cannot be told apart from this one."""

    def to_json(self) -> dict[str, Any]:
        """In plain Python types."""
        return {
            "place": self.place,
            "name": self.name,
            "value": self.value,
            "standard_error": self.standard_error,
            "tied_with": list(self.tied_with),
        }


def rank(measured: Sequence[Measured], *, by_cost: bool = False) -> tuple[Place, ...]:
    """The least total variance first, or the least variance times cost.

    Each pair is tested, z = log(V_a / V_b) / its standard error   (arena.8), with Holm's correction over all pairs.
    Shared noise makes the test sharper, since it is made of differences estimate by estimate.
    """
    values = [m.variance_times_cost if by_cost else m.total_variance for m in measured]
    influences = [_influence(m.gradients) for m in measured]
    pairs = list(combinations(range(len(measured)), 2))
    p_values = np.array([_p_value(values[a], values[b], influences[a], influences[b]) for a, b in pairs])
    differs = dict(zip(pairs, holm(p_values) <= SIGNIFICANCE, strict=True)) if pairs else {}

    def told_apart(a: int, b: int) -> bool:
        return bool(differs[min(a, b), max(a, b)])

    places: list[Place] = []
    leader, leaders_place = -1, 0
    for position, i in enumerate(sorted(range(len(measured)), key=lambda i: values[i]), 1):
        if leader < 0 or told_apart(leader, i):
            leader, leaders_place = i, position
        tied = tuple(measured[j].name for j in range(len(measured)) if j != i and not told_apart(i, j))
        error = values[i] * float(np.std(influences[i])) / math.sqrt(len(influences[i]))
        places.append(Place(leaders_place, measured[i].name, values[i], error, tied))
    return tuple(places)


def _influence(gradients: Array) -> Array:
    """u_r = ‖g_r - ḡ‖² / V   (arena.7): what estimate r adds to log V; its mean is 1."""
    distances = np.sum((gradients - gradients.mean(axis=0)) ** 2, axis=-1)
    total = distances.mean()
    return np.asarray(distances / total if total else np.ones_like(distances))  # (arena.7)


def _p_value(value_a: float, value_b: float, u_a: Array, u_b: Array) -> float:
    if value_a == 0 or value_b == 0:
        return float(value_a == value_b)
    error = float(np.std(u_a - u_b)) / math.sqrt(len(u_a))
    if error == 0:
        return float(math.isclose(value_a, value_b, rel_tol=1e-9))
    return float(normal_p_value(np.array(math.log(value_a / value_b) / error)))  # (arena.8)
