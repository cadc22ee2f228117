"""One seed, many uses: each draws from a stream of its own.

A stream is NumPy's ``SeedSequence(seed, spawn_key=...)``.  Block k of the drawn digits has the key (k,), and a plain
``default_rng(seed)``, which a caller may hold as well, has none; so the keys here, of two numbers and more, coincide
with neither.
"""

from __future__ import annotations

import numpy as np

__all__ = ["USES", "generator"]

USES = {
    "weights": 0,
    "order": 1,
    "noise": 2,
    "evaluation": 3,
    "pictures": 4,
    "split": 5,
    "bits": 6,
    "estimator": 7,
    "start": 8,
}
"""What a seed is used for; a number once given stays, or old runs could not be repeated."""


def generator(seed: int, use: str, *numbers: int) -> np.random.Generator:
    """An independent generator for one use of a seed, and for each of several by further numbers.

    >>> [int(generator(0, "order", epoch).integers(100)) for epoch in (0, 1, 0)]
    [83, 45, 83]
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(USES[use], len(numbers), *numbers)))
