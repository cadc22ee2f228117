"""The paper's VAE and its gradient on one straight-line page: lesson 1, and an oracle independent of the rules.

Nothing here is imported from numvae.  Every forward line has its gradient line below, in reverse order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["elbo_and_gradient"]

Vector = npt.NDArray[np.float64]


def elbo_and_gradient(p: dict[str, Vector], x: Vector, noise: Vector) -> tuple[Vector, dict[str, Vector]]:
    """The bound of each row (B,), and the gradient of their sum.

    ``p`` and the gradient are dicts of the same ten arrays: W1 (D, H), b1, W2 (H, Z), b2, W3 (H, Z), b3, W4 (Z, H), b4,
    W5 (H, D), b5.  x: (B, D) bits, noise: (B, Z) standard normal.
    Source: Kingma and Welling, section 3 and appendices B and C.
    """
    # There: x (B, D) -> h (B, H) -> mean, log_std (B, Z) -> z (B, Z) -> k (B, H) -> logits (B, D)
    h = np.tanh(x @ p["W1"] + p["b1"])
    mean = h @ p["W2"] + p["b2"]
    log_std = h @ p["W3"] + p["b3"]
    std = np.exp(log_std)
    z = mean + std * noise
    k = np.tanh(z @ p["W4"] + p["b4"])
    logits = k @ p["W5"] + p["b5"]
    log_likelihood = (x * logits - np.logaddexp(0, logits)).sum(axis=1)
    kl = 0.5 * (mean**2 + std**2 - 1 - 2 * log_std).sum(axis=1)
    elbo = log_likelihood - kl

    # And back: d… is the gradient of the sum of the bounds
    g = {}
    dlogits = x - 1 / (1 + np.exp(-logits))
    g["W5"], g["b5"] = k.T @ dlogits, dlogits.sum(axis=0)
    dk = (dlogits @ p["W5"].T) * (1 - k**2)
    g["W4"], g["b4"] = z.T @ dk, dk.sum(axis=0)
    dz = dk @ p["W4"].T
    dmean = dz - mean
    dlog_std = dz * std * noise - (std**2 - 1)
    g["W3"], g["b3"] = h.T @ dlog_std, dlog_std.sum(axis=0)
    g["W2"], g["b2"] = h.T @ dmean, dmean.sum(axis=0)
    dh = (dmean @ p["W2"].T + dlog_std @ p["W3"].T) * (1 - h**2)
    g["W1"], g["b1"] = x.T @ dh, dh.sum(axis=0)
    return elbo, g
