"""What a step's check is made of: both its sides at random numbers, each computed in a way of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from scipy import integrate
from scipy.differentiate import derivative

from numvae.arrays import Array

Numbers: TypeAlias = Any
Sides: TypeAlias = Callable[[np.random.Generator], tuple[Numbers, Numbers]]
"""rng -> (left, right): numbers, or sequences of numbers, to be equal."""


@dataclass(frozen=True)
class Step:
    """A lettered step: how to compute both sides, and how far apart they may be."""

    label: str
    sides: Sides
    tolerance: float


STEPS: dict[str, Step] = {}


def step(label: str, tolerance: float = 1e-9) -> Callable[[Sides], Sides]:
    """Enters a function of a generator as the check of a step."""

    def enter(sides: Sides) -> Sides:
        assert label not in STEPS, label
        STEPS[label] = Step(label, sides, tolerance)
        return sides

    return enter


@cache
def sides_of(step: Step, seed: int) -> tuple[Array, Array]:
    """Both sides, each as a row of numbers."""
    left, right = (np.asarray(side, dtype=np.float64).ravel() for side in step.sides(np.random.default_rng(seed)))
    return left, right


def apart(left: Array, right: Array) -> float:
    """The largest difference of the two sides, relative to the largest number among them."""
    assert left.shape == right.shape
    largest = max(np.max(np.abs(left)), np.max(np.abs(right)))
    return float(np.max(np.abs(left - right)) / (largest or 1.0))


def distance_of_step(step: Step, seed: int) -> float:
    """How far apart its sides are."""
    return apart(*sides_of(step, seed))


def excess(smaller: Numbers, larger: Numbers) -> tuple[Array, Array]:
    """An inequality as two sides: by how much it is violated, and zero."""
    violated = np.maximum(np.asarray(smaller) - np.asarray(larger), 0)
    return violated, np.zeros_like(violated)


# ---- other ways to a number


def slope(f: Callable[[float], float], at: float, first: float = 0.1) -> float:
    """f' by finite differences of order 8."""
    return float(derivative(np.vectorize(f, otypes=[float]), at, initial_step=first).df)


def gradient(f: Callable[[Array], float], at: Array) -> Array:
    """∇f, one coordinate at a time."""
    return np.array([slope(lambda t, unit=unit: f(at + t * unit), 0.0) for unit in np.eye(len(at))])


def jacobian(f: Callable[[Array], Array], at: Array) -> Array:
    """∂f/∂at, one more axis at the end: by imaginary steps, which lose no digits; f must be analytic."""
    return np.stack([np.imag(f(at + 1e-30j * unit)) / 1e-30 for unit in np.eye(len(at))], axis=-1)


def integral(f: Callable[[float], float], low: float, high: float) -> float:
    """By adaptive quadrature."""
    return float(integrate.quad(f, low, high, epsabs=1e-13, epsrel=1e-12, limit=400)[0])


NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def mean(g: Callable[[Array], Array]) -> float:
    """E[g(ε)] for standard normal ε, by Gauss and Hermite: exact for polynomials."""
    return float(WEIGHTS @ g(NODES))


def variance(g: Callable[[Array], Array]) -> float:
    """Of g(ε) for standard normal ε."""
    return mean(lambda e: g(e) ** 2) - mean(g) ** 2


def pairs(count: int = 80) -> tuple[Array, Array, Array]:
    """Two independent standard normal numbers at all pairs of nodes, and how likely each pair is."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    first, second = np.meshgrid(nodes, nodes)
    return first.ravel(), second.ravel(), np.outer(weights, weights).ravel() / weights.sum() ** 2


def between(low: float, high: float, count: int = 200) -> tuple[Array, Array]:
    """Nodes and weights of an integral from low to high, by Gauss and Legendre: for a smooth f of an array."""
    points, weights = np.polynomial.legendre.leggauss(count)
    return low + (high - low) * (points + 1) / 2, (high - low) / 2 * weights


def bits(count: int) -> Array:
    """All rows of so many bits."""
    return np.array(list(product((0.0, 1.0), repeat=count)))


def piecewise(*ends: float, count: int = 6) -> tuple[Array, Array]:
    """Nodes and weights for [0, 1] with corners at these places: exact for polynomials between them."""
    points, weights = np.polynomial.legendre.leggauss(count)
    edges = np.array([0.0, *sorted(ends), 1.0])
    width = np.diff(edges)[:, None]
    return (edges[:-1, None] + width * (points + 1) / 2).ravel(), (width * weights / 2).ravel()
