"""Local reparameterisation: weights that are normal make activations that are normal; draw those.

Derivations: ``derivations/local_reparameterization.md``.
"""

from __future__ import annotations

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import sum_to_shape

__all__ = ["local_reparameterization"]


def local_reparameterization(mean: Array, log_std: Array, x: Array, noise: Array) -> tuple[Array, Pullback]:
    """y = x M + sqrt(x² V) noise,  V = exp(2 log_std)   (local_reparameterization.1).

    The law, row by row, of y = x W for W ~ N(M, V) drawn anew for every row, at the price of two matrix products and of
    one number of noise per output.  Pullback -> (dmean, dlog_std, dx, None)   (local_reparameterization.2).
    Shapes: mean and log_std (m, n), x (B, m), noise and y (S, B, n) or (B, n).
    Source: Kingma, Salimans and Welling 2015.

    >>> mean, log_std, x = np.array([[2.0], [1.0]]), np.zeros((2, 1)), np.array([[3.0, 4.0]])
    >>> local_reparameterization(mean, log_std, x, np.array([[1.0]]))[0]  # 3·2 + 4·1 + sqrt(3² + 4²)
    array([[15.]])
    """
    variance = np.exp(2 * log_std)
    squares = x * x
    std = np.sqrt(squares @ variance)
    y = x @ mean + std * noise  # (local_reparameterization.1)

    def pullback(dy: Array) -> tuple[Array, Array, Array, None]:
        dlocation = sum_to_shape(dy, std.shape)
        least = float(np.finfo(std.dtype).tiny) ** 0.5  # a row of zeros has no spread, and none of its weights a slope
        half_slope = sum_to_shape(dy * noise, std.shape) / (2 * np.maximum(std, least))
        dmean = x.T @ dlocation
        dlog_std = squares.T @ half_slope * (2 * variance)
        dx = dlocation @ mean.T + 2 * x * (half_slope @ variance.T)
        return dmean, dlog_std, dx, None  # (local_reparameterization.2)

    return y, pullback
