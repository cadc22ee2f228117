"""Ways to spoil what the encoder sees, for the denoising criterion: each is ``corrupt(x, rng, strength) -> x̃``.

x and x̃ are (B, D), and x̃ is drawn anew at every call.  Derivations: ``derivations/objectives.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array

__all__ = ["CORRUPTIONS", "Corruption", "blank_pixels", "normal_noise", "salt_and_pepper"]

Corruption: TypeAlias = Callable[[Array, np.random.Generator], Array]
"""Makes of x and a generator what the encoder sees: one of this file with its strength held."""


def salt_and_pepper(x: Array, rng: np.random.Generator, strength: float) -> Array:
    """A fair coin in the place of each value with probability ``strength``   (objectives.15).

    >>> salt_and_pepper(np.full((1, 6), 0.5), np.random.default_rng(1), strength=0.6)
    array([[0. , 0.5, 1. , 0.5, 0. , 0. ]])
    """
    chance = _uniform(x, rng)
    return x * (chance >= strength) + (chance < 0.5 * strength)  # (objectives.15)


def normal_noise(x: Array, rng: np.random.Generator, strength: float) -> Array:
    """x + strength · ε, ε standard normal   (objectives.16): x̃ may leave [0, 1]."""
    return x + strength * rng.standard_normal(x.shape, dtype=x.dtype)  # (objectives.16)


def blank_pixels(x: Array, rng: np.random.Generator, strength: float) -> Array:
    """Zero in the place of each value with probability ``strength``   (objectives.17)."""
    return x * (_uniform(x, rng) >= strength)  # (objectives.17)


def _uniform(x: Array, rng: np.random.Generator) -> npt.NDArray[Any]:
    return rng.random(x.shape, dtype=x.dtype)


CORRUPTIONS: dict[str, Callable[..., Array]] = {
    rule.__name__: rule for rule in (salt_and_pepper, normal_noise, blank_pixels)
}
"""Names of the command line and the parameter file."""
