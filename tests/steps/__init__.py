"""Lettered steps of the derivations, tried at random points: a wrong step is found, and not only a wrong result.

One function for each step, entered by its label; it returns both sides of the equation.
"""

from tests.steps import (
    bounds,
    estimators,
    families,
    inspection,
    learning,
    likelihoods,
    networks,
    paths,
    sampling,
)
from tests.steps.kit import STEPS, Step, distance_of_step

DEFINITIONS = {
    "checks.3a": "a choice of error bar",
}
"""Steps that state no identity, and what they state."""

__all__ = [
    "DEFINITIONS",
    "STEPS",
    "Step",
    "bounds",
    "distance_of_step",
    "estimators",
    "families",
    "inspection",
    "learning",
    "likelihoods",
    "networks",
    "paths",
    "sampling",
]
