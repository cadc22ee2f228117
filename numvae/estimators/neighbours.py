"""The bounds of a sample's neighbours: one latent of one sample moved, all else as it is.

What local expectation and measure-valued gradients ask of f: its values, Z times as many.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from numvae.arrays import Array
from numvae.estimators.contract import Integrand, Reduction

__all__ = ["neighbouring_bounds"]

ROWS_AT_ONCE = 1 << 12
"""Neighbours put through f at a time, which bounds memory: there are S B Z of them, each of Z latents."""


def neighbouring_bounds(
    f: Integrand, reduce: Reduction, params: Array, z: Array, values: Array, moved: Sequence[Array]
) -> list[Array]:
    """For each of ``moved`` the bounds with one latent of one sample taken from it: (Z, S, B).

    Shapes: z and each of ``moved`` (S, B, Z); values (S, B), f at z.

    >>> from numvae import sample_mean
    >>> def total(params, z):
    ...     return z.sum(axis=-1), None
    >>> z = np.array([[[1.0, 2.0]]])
    >>> neighbouring_bounds(total, sample_mean, None, z, np.array([[3.0]]), [10 * z])[0][:, 0, 0]  # 10 + 2 and 1 + 20
    array([12., 21.])
    """
    samples, rows, latents = z.shape
    places = [(value, j) for value in moved for j in range(latents)]
    at_once = max(1, ROWS_AT_ONCE // (samples * rows))
    chunks = (places[first : first + at_once] for first in range(0, len(places), at_once))
    found = [f(params, _neighbours(z, chunk))[0] for chunk in chunks]
    new_values = np.concatenate(found).reshape(len(places), samples, rows)
    bounds = np.empty_like(new_values)
    for s in range(samples):
        columns = np.repeat(values[:, None], len(places), axis=1)
        columns[s] = new_values[:, s]
        bounds[:, s] = reduce(columns.reshape(samples, -1))[0].reshape(-1, rows)
    return list(bounds.reshape(len(moved), latents, samples, rows))


def _neighbours(z: Array, places: Sequence[tuple[Array, int]]) -> Array:
    """For each (value, j) the samples with latent j taken from value, one behind the other: (len(places) S, B, Z)."""
    neighbours = np.repeat(z[None], len(places), axis=0)
    for neighbour, (value, j) in zip(neighbours, places, strict=True):
        neighbour[..., j] = value[..., j]
    return neighbours.reshape(-1, *z.shape[1:])
