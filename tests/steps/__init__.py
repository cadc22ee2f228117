"""Lettered steps of the derivations, tried at random points: a wrong step is found, and not only a wrong result.

One function for each step, entered by its label; it returns both sides of the equation.
"""

from tests.steps import bounds, estimators, families, networks
from tests.steps.kit import STEPS, Step, distance_of_step

DEFINITIONS = {
    "categorical.1a": "what logits are",
    "checks.3a": "a choice of error bar",
    "checks.4a": "a choice of scale",
    "parameters.1a": "the order of the pieces",
    "networks.1a": "a count of operations",
    "multivariate_normal.6a": "names for what the KL is made of",
}
"""Steps that state no identity, and what they state."""

__all__ = ["DEFINITIONS", "STEPS", "Step", "bounds", "distance_of_step", "estimators", "families", "networks"]
