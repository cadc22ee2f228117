"""Lettered steps hold at random points, so that a wrong step on paper is found and not only a wrong result."""

from __future__ import annotations

import numpy as np
import pytest

from tests.steps import DEFINITIONS, STEPS, Step, distance_of_step
from tests.steps.kit import apart, sides_of
from tests.traceability import DEFINITION, ROOT, in_pages, is_step


@pytest.mark.parametrize("step", STEPS.values(), ids=lambda step: step.label)
def test_both_sides_of_a_step_are_equal(step: Step) -> None:
    for seed in range(2):
        assert distance_of_step(step, seed) <= step.tolerance, f"({step.label}) does not hold, seed {seed}"


def test_every_lettered_step_of_the_pages_is_checked_or_states_no_identity() -> None:
    lettered = {label for label in in_pages(ROOT, DEFINITION) if is_step(label)}
    assert set(STEPS) == lettered - set(DEFINITIONS)
    assert set(DEFINITIONS) <= lettered


@pytest.mark.parametrize("step", STEPS.values(), ids=lambda step: step.label)
def test_a_wrong_step_is_noticed(step: Step) -> None:
    """The negative control: each number on the right with a wrong sign or factor, or wrong in the fourth digit."""
    left, right = sides_of(step, 0)
    for place in np.flatnonzero(right):
        for factor in (-1.0, 2.0, 0.5, 1 + 1e-4 + 3 * step.tolerance):
            wrong = right.copy()
            wrong[place] *= factor
            if abs(right[place]) > 1e-3 * np.max(np.abs(right)):
                assert apart(left, wrong) > step.tolerance
