"""Checking an exercise from a notebook: ``check("normal_kl", normal_kl)``."""

from __future__ import annotations

import difflib
from typing import Any

from numvae.errors import InputError
from numvae.exercises.diagnosis import diagnose
from numvae.exercises.findings import Finding
from numvae.exercises.ladder import EXERCISES

__all__ = ["check"]


def check(name: str, function: Any) -> Finding:
    """What is wrong with a function that is to solve the exercise of this name, if anything.

    The finding shows itself as text or HTML, and its ``assert_ok()`` fails with one line.  Raises ``InputError`` for
    a name that no exercise has.

    >>> from numvae.exercises.ladder.normal_kl import EXERCISE
    >>> check("normal_kl", EXERCISE.solution)
    ✓ normal_kl: right.
    """
    if name not in EXERCISES:
        near = difflib.get_close_matches(str(name), EXERCISES, n=1)
        hint = f"; is it {near[0]!r}?" if near else f"; there are {', '.join(EXERCISES)}"
        raise InputError(f"no exercise is called {name!r}{hint}")
    if not callable(function):
        kind = type(function).__name__
        raise InputError(f"check takes the function itself, check({name!r}, {name}), got an object of type {kind}")
    return diagnose(EXERCISES[name], function)
