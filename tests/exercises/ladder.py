"""The whole ladder, as the tests go over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numvae.exercises.ladder as ladder
from numvae.exercises.contract import Draw, Exercise, Misconception, Observation

EXERCISES: list[Exercise] = list(ladder.EXERCISES.values())
MISCONCEPTIONS: list[tuple[Exercise, Misconception]] = [(e, m) for e in EXERCISES for m in e.misconceptions]
MISTAKES = {m.id: (exercise, m) for exercise, m in MISCONCEPTIONS}
NO_RULES = {"finite_difference", "error_curve", "score_function", "leave_one_out", "adam_step", "train_vae"}
"""Those that are no rules; score_surrogate is one, but its gradients are not the derivatives of its value."""
RULES = [exercise for exercise in EXERCISES if exercise.name not in NO_RULES | {"score_surrogate"}]

every_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
every_rule = pytest.mark.parametrize("exercise", RULES, ids=lambda e: e.name)
every_mistake = pytest.mark.parametrize("id", MISTAKES)


def draws(exercise: Exercise, seeds: int = 4) -> list[Draw]:
    """Draws of two batch sizes."""
    return [exercise.draw(np.random.default_rng(seed), rows) for seed in range(seeds) for rows in (3, 5)]


def seen(exercise: Exercise, function: Callable[..., Any], draw: Draw) -> Observation:
    """What a function gives, undisturbed by its warnings."""
    with np.errstate(all="ignore"):
        return exercise.observe(function, draw)


def same(found: Any, expected: Any, tolerance: float = 1e-9) -> bool:
    """Whether two outputs are finite and alike."""
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape or not np.isfinite([found, expected]).all():
        return False
    return bool(np.allclose(found, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max()))
