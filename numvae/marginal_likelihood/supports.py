"""Coordinates without borders: chains walk on all of the reals, latents may live on a part of them.

    z, pullback = coordinates.value(u)          log_volume, pullback = coordinates.log_volume(u)

Derivations: ``derivations/reciprocal_importance.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numvae import layers
from numvae.arrays import Array, Pullback
from numvae.distributions.contract import greatest_positive, least_positive
from numvae.errors import InputError
from numvae.hmc import LogDensity

__all__ = ["Coordinates", "coordinates_of", "on_the_reals"]

Rule = Callable[[Array], tuple[Array, Pullback]]


@dataclass(frozen=True, eq=False)
class Coordinates:
    """z as a function of u (..., Z) on the reals, back again, and log |dz/du|, summed over the last axis."""

    value: Rule
    inverse: Callable[[Array], Array]
    log_volume: Rule


def on_the_reals(coordinates: Coordinates, log_density: LogDensity) -> LogDensity:
    """The log density of u where that of z is given: log p(z(u)) + log |dz/du|   (reciprocal_importance.1)."""

    def rule(u: Array) -> tuple[Array, Pullback]:
        z, value_pullback = coordinates.value(u)
        log_density_of_z, density_pullback = log_density(z)
        log_volume, volume_pullback = coordinates.log_volume(u)

        def pullback(dvalue: Array) -> tuple[Array]:
            (dz,) = density_pullback(dvalue)
            return (value_pullback(dz)[0] + volume_pullback(dvalue)[0],)  # (reciprocal_importance.2)

        return log_density_of_z + log_volume, pullback  # (reciprocal_importance.1)

    return rule


def coordinates_of(family: Any) -> Coordinates:
    """Those for the values of a family: u itself, exp(u) or sigmoid(u).

    Raises ``InputError`` for values that are no open interval, or one whose ends move with the parameters.
    """
    support = getattr(family, "support", None)
    if support not in _COORDINATES or getattr(family, "support_moves", False):
        raise InputError(
            f"Hamiltonian chains need latents on the reals, positive or in the unit interval, got "
            f"{type(family).__name__}; estimate log p(x) by importance weights"
        )
    return _COORDINATES[support]


def _identity(u: Array) -> tuple[Array, Pullback]:
    return u, lambda dz: (dz,)


def _no_volume(u: Array) -> tuple[Array, Pullback]:
    return np.zeros_like(u[..., 0]), lambda dvolume: (np.zeros_like(u),)


def _exp(u: Array) -> tuple[Array, Pullback]:
    """exp(u); a trajectory that goes beyond what numbers can show stays at the last one that they can."""
    low, high = math.log(least_positive(u.dtype)), math.log(greatest_positive(u.dtype))
    shown = np.clip(u, low, high)
    z = np.exp(shown)
    return z, lambda dz: (dz * z * (shown == u),)


def _volume_of_exp(u: Array) -> tuple[Array, Pullback]:
    return u.sum(axis=-1), lambda dvolume: (np.broadcast_to(dvolume[..., None], u.shape),)


def _sigmoid(u: Array) -> tuple[Array, Pullback]:
    """sigmoid(u), to the last digit near 0, and below 1 by the least that numbers can show."""
    shown = np.clip(u, math.log(least_positive(u.dtype)), -math.log(np.finfo(u.dtype).eps))
    small = np.exp(-np.abs(shown))
    z = np.where(shown < 0, small, 1) / (1 + small)
    return z, lambda dz: (dz * z * (1 - z) * (shown == u),)


def _volume_of_sigmoid(u: Array) -> tuple[Array, Pullback]:
    """log z(1 - z) = -|u| - 2 log(1 + e^-|u|)."""
    size = np.abs(u)
    slope = -np.tanh(0.5 * u)  # 1 - 2z
    return np.sum(-size - 2 * np.log1p(np.exp(-size)), axis=-1), lambda dvolume: (dvolume[..., None] * slope,)


def _logit(z: Array) -> Array:
    return layers.logit(z)[0]


_COORDINATES = {
    "reals": Coordinates(_identity, lambda z: z, _no_volume),
    "positive": Coordinates(_exp, np.log, _volume_of_exp),
    "unit interval": Coordinates(_sigmoid, _logit, _volume_of_sigmoid),
}
