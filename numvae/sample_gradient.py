"""The review's worked example (its section 3.5, "sample gradient"): one bound, four gradients, by hand.

x ~ N(sigmoid(W z + b), I/β),  z ~ N(0, I/α),  q(z) = N(mean, diag(variance)).
Derivations, and what is misprinted there: ``derivations/sample_gradient.md``.
"""

from __future__ import annotations

import math

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.layers import affine, sigmoid

__all__ = ["sample_bound"]

LOG_2PI = math.log(2 * math.pi)


def sample_bound(
    W: Array, b: Array, mean: Array, variance: Array, x: Array, noise: Array, *, alpha: float = 1.0, beta: float = 1.0
) -> tuple[Array, Pullback]:
    """L̃ = log N(x | s, I/β) - KL(N(mean, variance) ‖ N(0, I/α)),  s = sigmoid(W z + b)   (sample_gradient.1).

    z = mean + sqrt(variance) noise   (sample_gradient.2).  Pullback -> (dW, db, dmean, dvariance, None, None).
    Shapes: W (D, Z) as the review writes it, b (D,), mean, variance (B, Z), x (B, D), noise (B, Z), value (B,).
    Rows share W and b: for S samples of one datum, repeat its row.
    Source: the review's section 3.5; its printed ∂L̃/∂σ² is wrong, ours is (sample_gradient.6).
    """
    std = np.sqrt(variance)
    z = mean + std * noise  # (sample_gradient.2)
    activations, affine_pullback = affine(W.T, b, z)
    s, sigmoid_pullback = sigmoid(activations)
    residual = x - s
    log_likelihood = 0.5 * x.shape[-1] * (math.log(beta) - LOG_2PI) - 0.5 * beta * np.sum(residual * residual, axis=-1)
    kl = 0.5 * np.sum(alpha * (mean * mean + variance) - 1 - np.log(variance) - math.log(alpha), axis=-1)

    def pullback(dbound: Array) -> tuple[Array, Array, Array, Array, None, None]:
        d = dbound[..., None]
        (dactivations,) = sigmoid_pullback(beta * d * residual)  # β (x - s) s (1 - s)
        dW_transposed, db, dz = affine_pullback(dactivations)  # (sample_gradient.3), (sample_gradient.4)
        dmean = dz - alpha * d * mean  # (sample_gradient.5)
        dvariance = dz * noise / (2 * std) + d * (1 / (2 * variance) - alpha / 2)  # (sample_gradient.6)
        return dW_transposed.T, db, dmean, dvariance, None, None

    return log_likelihood - kl, pullback  # (sample_gradient.1)
