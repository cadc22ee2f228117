"""Parameters taken apart, and the pullback of broadcasting: a repeated argument gathers its copies' gradients."""

from __future__ import annotations

import numpy as np

from numvae.arrays import Array

__all__ = ["halves", "sum_to_shape", "thirds"]


def halves(params: Array) -> tuple[Array, Array]:
    """[first | second] along the last axis; an odd length raises ``ValueError``.  Far quicker than ``np.split``.

    >>> halves(np.array([1.0, 2.0, 3.0, 4.0]))
    (array([1., 2.]), array([3., 4.]))
    """
    pair = params.reshape(*params.shape[:-1], 2, params.shape[-1] // 2)
    return pair[..., 0, :], pair[..., 1, :]


def thirds(params: Array) -> tuple[Array, Array, Array]:
    """[first | second | third] along the last axis; a length that is no multiple of 3 raises ``ValueError``.

    >>> thirds(np.array([1.0, 2.0, 3.0]))
    (array([1.]), array([2.]), array([3.]))
    """
    parts = params.reshape(*params.shape[:-1], 3, params.shape[-1] // 3)
    return parts[..., 0, :], parts[..., 1, :], parts[..., 2, :]


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
