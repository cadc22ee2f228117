"""From a mean and a covariance to the parameters of a normal family."""

from __future__ import annotations

import numpy as np

from numvae.arrays import Array

__all__ = ["cholesky_params"]


def cholesky_params(mean: Array, covariance: Array) -> Array:
    """[mean | log_diagonal | below] of the ``MultivariateNormal`` with that mean (..., Z) and covariance (..., Z, Z).

    The inverse of (multivariate_normal.3).  The first 2Z entries are the params of the ``Normal`` if the covariance is
    diagonal.

    >>> cholesky_params(np.array([3.0, 4.0]), np.array([[1.0, 0.5], [0.5, 1.25]]))
    array([3. , 4. , 0. , 0. , 0.5])
    """
    factor = np.linalg.cholesky(covariance)
    values = factor.shape[-1]
    log_diagonal = np.log(np.diagonal(factor, axis1=-2, axis2=-1))
    below = factor[..., *np.tril_indices(values, -1)]
    spread = np.concatenate([log_diagonal, below], axis=-1)
    rows = np.broadcast_shapes(mean.shape[:-1], spread.shape[:-1])
    parts = [np.broadcast_to(part, (*rows, part.shape[-1])) for part in (mean, spread)]
    return np.concatenate(parts, axis=-1)
