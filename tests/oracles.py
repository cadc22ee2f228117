"""Truths from outside: Gaussian quadrature for expectations, finite differences for their gradients.

A rule takes its noise as an argument, so the nodes of a quadrature rule can stand where noise does: one row per node.
Sums over the rows, weighted, then are expectations: exact for polynomials, as good as exact for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special
from scipy.differentiate import derivative

from numvae.arrays import Array
from tests.cases import scipy_normal


def normal_nodes(dimensions: int, count: int = 40) -> tuple[Array, Array]:
    """Nodes (count^dimensions, dimensions) and weights with which Σ w g(node) = E[g(ε)] for standard normal ε."""
    points, weights = np.polynomial.hermite_e.hermegauss(count)
    grid = np.stack(np.meshgrid(*[points] * dimensions, indexing="ij"), axis=-1).reshape(-1, dimensions)
    products = np.stack(np.meshgrid(*[weights] * dimensions, indexing="ij"), axis=-1).reshape(-1, dimensions)
    return grid, np.prod(products / math.sqrt(2 * math.pi), axis=-1)


def noise_nodes(samples: int, latents: int, count: int = 40) -> tuple[Array, Array]:
    """The same as noise (S, rows, Z) for every row a node of S samples of Z latents, and weights (rows,)."""
    nodes, weights = normal_nodes(samples * latents, count)
    return np.moveaxis(nodes.reshape(-1, samples, latents), 1, 0), weights


def kl_by_quadrature(params: Array, prior: Array) -> Array:
    """Σ over coordinates of ∫ q (log q - log p), each by quadrature over scipy's densities."""
    nodes, weights = normal_nodes(1, count=8)
    q, p = scipy_normal(params), scipy_normal(prior)
    z = q.mean() + q.std() * nodes[..., None]
    return np.sum(np.tensordot(weights, q.logpdf(z) - p.logpdf(z), axes=1), axis=-1)


def for_all_rows(array: Array, rows: int) -> Array:
    """One row (1, P) as (rows, P): every row of the noise meets the same parameters."""
    return np.repeat(array, rows, axis=0)


def gradient_of(g: Callable[[Array], float], point: Array) -> Array:
    """∇g at the point, one coordinate at a time, by finite differences of order 8."""
    result = np.empty_like(point)
    for index in np.ndindex(point.shape):
        unit = np.zeros_like(point)
        unit[index] = 1
        along = np.vectorize(lambda t, unit=unit: g(point + t * unit))
        result[index] = derivative(along, 0.0, initial_step=0.1).df
    return result


def all_bits(length: int) -> Array:
    """Every vector of ``length`` bits: (2^length, length)."""
    numbers = np.arange(2**length)[:, None]
    return (numbers >> np.arange(length) & 1).astype(np.float64)


def level_nodes(step: float = 1 / 32, reach: float = 4.2) -> tuple[Array, Array, Array]:
    """Levels u, their distances 1 - u, and weights: ∫₀¹ h(u) du = Σ weight h(u), by the tanh-sinh rule.

    Both ends are resolved, so that h may grow without bound there, as a log-density in a tail does.
    """
    t = np.arange(-reach, reach + step / 2, step)
    lower, upper = special.expit(np.pi * np.sinh(t)), special.expit(-np.pi * np.sinh(t))
    return lower, upper, step * np.pi * np.cosh(t) * lower * upper


def quantile(law: Any, lower: Array, upper: Array) -> Array:
    """F⁻¹ at the level ``lower`` = 1 - ``upper``, from whichever end is nearer."""
    value: Array = np.where(lower < 0.5, law.ppf(lower), law.isf(upper))
    return value
