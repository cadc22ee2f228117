"""The ladder's misconceptions, by id: what the diagnosis knows, what the bug hunt plants, what our tests catch."""

from __future__ import annotations

from collections.abc import Mapping

from numvae.errors import InputError
from numvae.exercises.contract import Exercise, Misconception
from numvae.exercises.ladder import EXERCISES

__all__ = ["all_misconceptions"]


def all_misconceptions() -> Mapping[str, tuple[Exercise, Misconception]]:
    """Id -> (the exercise it belongs to, the misconception), in the ladder's order.

    Raises:
        InputError: two have one id.
    """
    found: dict[str, tuple[Exercise, Misconception]] = {}
    for exercise in EXERCISES.values():
        for misconception in exercise.misconceptions:
            if misconception.id in found:
                other = found[misconception.id][0].name
                raise InputError(f"{misconception.id!r} is an id of both {other} and {exercise.name}; rename one")
            found[misconception.id] = exercise, misconception
    return found
