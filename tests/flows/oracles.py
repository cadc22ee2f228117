"""Independent ways to what flows claim: Jacobians without a pullback, densities on a grid, the inverse of a plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from numvae.arrays import Array

TINY = 1e-30


def jacobian(transform: Callable[[Any], Any], z: Array) -> Array:
    """∂z'_i/∂z_j of z (Z,) to z' (Z,) by a complex step, which has no error but rounding: (Z, Z)."""
    columns = [np.imag(transform(z + 1j * TINY * unit)) / TINY for unit in np.eye(len(z))]
    return np.stack(columns, axis=-1)


def log_determinant(transform: Callable[[Any], Any], z: Array) -> float:
    """log|det| of that Jacobian."""
    return float(np.linalg.slogdet(jacobian(transform, z))[1])


def inverse_planar(u: Array, w: Array, b: float, z_next: Array) -> Array:
    """z from z' of one planar step with w·u > -1, by bisection along w.  z': (N, Z)."""
    along, target = float(u @ w), z_next @ w
    low, high = target - abs(along), target + abs(along)
    for _ in range(60):
        middle = (low + high) / 2
        below = middle + along * np.tanh(middle + b) < target
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return z_next - u * np.tanh((low + high) / 2 + b)[:, None]


class Grid:
    """A square of points in the plane, fine enough for sums over it to be integrals."""

    def __init__(self, half_width: float = 9.0, points: int = 301) -> None:
        self.axis = np.linspace(-half_width, half_width, points)
        self.points = np.stack(np.meshgrid(self.axis, self.axis, indexing="ij"), axis=-1).reshape(-1, 2)
        self.cell = (self.axis[1] - self.axis[0]) ** 2

    def total(self, density: Array) -> float:
        """The integral of a density given at the points."""
        return float(density.sum() * self.cell)

    def distance(self, density: Array, samples: Array, coordinate: int) -> float:
        """Kolmogorov's, between samples (N, 2) and the marginal of the density, times the root of N."""
        marginal = (
            density.reshape(len(self.axis), -1).sum(axis=1 - coordinate) * self.cell / (self.axis[1] - self.axis[0])
        )
        steps = (marginal[1:] + marginal[:-1]) / 2 * (self.axis[1] - self.axis[0])
        cdf = np.concatenate([[0.0], np.cumsum(steps)])
        found = stats.kstest(samples[:, coordinate], lambda value: np.interp(value, self.axis, cdf))
        return float(found.statistic * len(samples) ** 0.5)


def standard_normal_density(z: Array) -> Array:
    """N(0, I) at z (N, 2)."""
    return np.asarray(stats.multivariate_normal(np.zeros(2)).pdf(z))
