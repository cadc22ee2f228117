"""Every exercise of the ladder, found by looking: modules with an EXERCISE."""

from __future__ import annotations

import importlib
import pkgutil

import numvae.exercises.ladder as ladder
from numvae.exercises.contract import Exercise, Misconception

EXERCISES: list[Exercise] = [
    module.EXERCISE
    for found in pkgutil.iter_modules(ladder.__path__)
    if hasattr(module := importlib.import_module(f"{ladder.__name__}.{found.name}"), "EXERCISE")
]
MISCONCEPTIONS: list[tuple[Exercise, Misconception]] = [(e, m) for e in EXERCISES for m in e.misconceptions]
