"""Numbers that are right to many digits and not to all: an epsilon for safety, a short constant, float32 on the way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from numvae.arrays import Array
from numvae.exercises.comparing import size
from numvae.exercises.contract import Exercise
from numvae.exercises.explaining import Explanation, Sample, opened, summed
from numvae.exercises.findings import Kind

__all__ = ["almost_right"]

NEAR, FLOOR = 1e-6, 1e-8
"""What errors may be of an entry, and of the largest one."""

ALIKE = 1e-2
"""How far errors may be from a multiple of a term, of the largest error."""

CAUSES = (
    "That is more than rounding does. A small number added for safety, a constant of few digits, float32 on the way, "
    "or a numeric derivative would."
)


def almost_right(exercise: Exercise, link: str, samples: Sequence[Sample]) -> Explanation | None:
    """An output that is wrong from the sixth digit on, and the term that alone is, if one is."""
    right = [np.asarray(s.expected, dtype=np.float64) for s in samples]
    errors = [np.asarray(s.found, dtype=np.float64) - r for s, r in zip(samples, right, strict=True)]
    for error, r in zip(errors, right, strict=True):
        if not np.all(np.abs(error) <= NEAR * np.abs(r) + FLOOR * size(r)):  # NaN is not
            return None
    off = max((size(error) / size(r) for error, r in zip(errors, right, strict=True) if size(r)), default=0.0)
    lines = (
        f"{link} is almost right: it is off by {off:.0e} of its size.",
        *_by_one_term(exercise, link, samples, errors),
    )
    return Explanation(Kind.ALMOST, (*lines, CAUSES), ("almost",))


def _by_one_term(exercise: Exercise, link: str, samples: Sequence[Sample], errors: Sequence[Array]) -> tuple[str, ...]:
    """Which term the errors are a multiple of."""
    terms = [opened(exercise.terms(s.draw)).get(link, {}) if exercise.terms else {} for s in samples]
    error = np.concatenate([np.ravel(e) for e in errors])
    for name in terms[0] if len(terms[0]) > 1 else ():
        parts = [summed(of[name], np.shape(e)) for of, e in zip(terms, errors, strict=True)]
        term = np.concatenate([np.ravel(part) for part in parts if part is not None])
        if term.shape == error.shape and np.any(term):
            share = float(term @ error / (term @ term))
            if np.all(np.abs(error - share * term) <= ALIKE * np.max(np.abs(error))):
                return (f"The term “{name}” is {1 + share:.10g} times what it should be; the rest is right.",)
    return ()
