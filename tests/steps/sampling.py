"""Steps of the page on Hamiltonian Monte Carlo: the maps of a trajectory, taken apart and put together."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from numvae.arrays import Array
from tests.steps.kit import Numbers, gradient, jacobian, step

Rng = np.random.Generator
Point = tuple[Array, Array]


class Hill:
    """log p(z) = -½ zᵀ A z + Σ cos z in two dimensions, and a leapfrog step of length h."""

    def __init__(self, rng: Rng) -> None:
        root = rng.normal(size=(2, 2))
        self.A, self.h = root @ root.T + np.eye(2), rng.uniform(0.2, 0.6)

    def log_p(self, z: Array) -> float:
        return float(-0.5 * z @ self.A @ z + np.sum(np.cos(z)))

    def g(self, z: Array) -> Array:
        return np.asarray(-self.A @ z - np.sin(z))

    def energy(self, z: Array, u: Array) -> float:
        return 0.5 * float(u @ u) - self.log_p(z)

    def kick(self, z: Array, u: Array, share: float = 0.5) -> Point:
        return z, u + share * self.h * self.g(z)

    def unkick(self, z: Array, u: Array) -> Point:
        return self.kick(z, u, share=-0.5)

    def drift(self, z: Array, u: Array) -> Point:
        return z + self.h * u, u

    def undrift(self, z: Array, u: Array) -> Point:
        return z - self.h * u, u

    def leapfrog(self, z: Array, u: Array) -> Point:
        return along((self.kick, self.drift, self.kick), (z, u))

    def proposal(self, z: Array, u: Array) -> Point:
        """Three leapfrog steps and a flip."""
        return along((self.leapfrog,) * 3 + (flip,), (z, u))


def flip(z: Array, u: Array) -> Point:
    return z, -u


def along(maps: tuple[Callable[[Array, Array], Point], ...], point: Point) -> Point:
    """One map after the other, the first in the row first."""
    for each in maps:
        point = each(*point)
    return point


def jacobian_of(f: Callable[[Array, Array], Point], z: Array, u: Array) -> Array:
    """That of a map of both together."""
    return jacobian(lambda at: np.concatenate(f(at[:2], at[2:])), np.concatenate([z, u]))


@step("hmc.2a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """Both halves of the gradient of H, and its slope along the flow."""
    hill, (z, u) = Hill(rng), rng.normal(size=(2, 2))
    by_z, by_u = gradient(lambda t: hill.energy(t, u), z), gradient(lambda t: hill.energy(z, t), u)
    g = hill.g(z)
    return [*by_u, *-by_z, by_z @ by_u - by_u @ by_z, g @ u], [*u, *g, 0.0, -by_z @ u]


@step("hmc.3a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The kick, the drift, and both their blocks besides the diagonal."""
    hill, (z, u) = Hill(rng), rng.normal(size=(2, 2))
    kick, drift, unit, none = jacobian_of(hill.kick, z, u), jacobian_of(hill.drift, z, u), np.eye(2), np.zeros((2, 2))
    G = jacobian(hill.g, z)
    left = [np.linalg.det(kick), np.linalg.det(drift), *kick.ravel(), *drift.ravel()]
    right = np.block([[unit, none], [0.5 * hill.h * G, unit]]), np.block([[unit, hill.h * unit], [none, unit]])
    return left, [1, 1, *right[0].ravel(), *right[1].ravel()]


@step("hmc.3b")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """At any point, and back to where a step came from; whole kicks only do not come back."""
    hill, point = Hill(rng), (rng.normal(size=2), rng.normal(size=2))
    flipped = along((flip, hill.leapfrog, flip), point)
    undone = along((hill.unkick, hill.undrift, hill.unkick), point)
    back = along((flip, hill.leapfrog, flip), hill.leapfrog(*point))
    whole = along((hill.kick, hill.kick, hill.drift), point)
    assert not np.allclose(along((flip, hill.kick, hill.kick, hill.drift, flip), whole), point, atol=1e-3)
    return [flipped, back], [undone, point]


def on_a_normal(rng: Rng) -> tuple[Array, Array, Array, Array, float]:
    """z and u before and after some steps on a standard normal, and their length."""
    h, (z, u) = rng.uniform(0.3, 1.7), rng.normal(size=(2, 3))
    last, momentum = z, u
    for _ in range(int(rng.integers(1, 9))):
        momentum = momentum - h / 2 * last
        last = last + h * momentum
        momentum = momentum - h / 2 * last
    return z, u, last, momentum, h


@step("hmc.3c")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    z, u, last, momentum, h = on_a_normal(rng)
    return 0.5 * (last**2 + momentum**2 - z**2 - u**2), h**2 / 8 * (last**2 - z**2)


@step("hmc.3d")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The first by one step; the energy by as many as there are."""
    z, u, last, momentum, h = on_a_normal(rng)
    drifted = z + h * (u - h / 2 * z)

    def kept(z: Array, u: Array) -> Array:
        return np.asarray(0.5 * u**2 + 0.5 * (1 - h**2 / 4) * z**2)

    return [drifted, kept(last, momentum)], [(1 - h**2 / 2) * z + h * u, kept(z, u)]


@step("hmc.4a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """What flows to T s, and what flows back from there, as T T s = s."""
    hill, s = Hill(rng), (rng.normal(size=2), rng.normal(size=2))
    there = hill.proposal(*s)
    back = hill.proposal(*there)

    def flow(a: Point, b: Point) -> float:
        return math.exp(-hill.energy(*a)) * min(1.0, math.exp(hill.energy(*a) - hill.energy(*b)))

    less = min(math.exp(-hill.energy(*s)), math.exp(-hill.energy(*there)))
    return [flow(s, there), flow(there, back), *back[0]], [less, less, *s[0]]


@step("hmc.6a")
def _(rng: Rng) -> tuple[Numbers, Numbers]:
    """The eigenvalues of a step are e^{±iφ}."""
    h = rng.uniform(0.2, 1.9)
    kick, drift = np.array([[1, 0], [-h / 2, 1]]), np.array([[1, h], [0, 1]])
    turned = np.linalg.eigvals(kick @ drift @ kick)
    angle = float(np.abs(np.angle(turned[0])))
    return [math.cos(angle), angle, *np.abs(turned)], [1 - h * h / 2, 2 * math.asin(h / 2), 1, 1]
