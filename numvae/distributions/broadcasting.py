"""The pullback of NumPy's broadcasting: a repeated argument gathers the gradients of its copies."""

from __future__ import annotations

import numpy as np

from numvae.arrays import Array

__all__ = ["sum_to_shape"]


def sum_to_shape(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum ``gradient`` over the axes along which an array of ``shape`` was repeated.

    >>> sum_to_shape(np.ones((4, 3, 2)), (3, 2))
    array([[4., 4.],
           [4., 4.],
           [4., 4.]])
    """
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape)))) if gradient.ndim > len(shape) else gradient
    repeated = tuple(axis for axis, size in enumerate(shape) if size == 1 and gradient.shape[axis] != 1)
    return np.sum(gradient, axis=repeated, keepdims=True) if repeated else gradient
