"""Probabilistic PCA: the linear model with one noise for all features, fitted in closed form.

Derivations: ``derivations/probabilistic_pca.md``.
"""

from __future__ import annotations

import numpy as np

from numvae.arrays import Array
from numvae.errors import InputError
from numvae.exact_models.linear_gaussian import LinearGaussian

__all__ = ["greatest_evidence", "probabilistic_pca"]


def probabilistic_pca(x: Array, latents: int) -> LinearGaussian:
    """The most likely model with so many latents and one noise, in closed form   (probabilistic_pca.1), (…2).

    x: (N, D).  Of all rotations of the latents it is the one along the principal axes, where the posterior is diagonal
    (probabilistic_pca.4) and a VAE with a diagonal normal q can reach it.
    Source: Tipping and Bishop 1999, equations 14 and 15.

    >>> x = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # variances 2 and 1/2
    >>> model = probabilistic_pca(x, latents=1)
    >>> np.abs(model.W), 1 / model.beta
    (array([[1.22474487, 0.        ]]), np.float64(0.5))

    Raises:
        InputError: no direction is left for the noise, or the data does not vary in those left.
    """
    _, values, axes = _spectrum(x, latents)
    noise = values[latents:].mean()  # (probabilistic_pca.1)
    W = np.sqrt(values[:latents] - noise)[:, None] * axes[:latents]  # (probabilistic_pca.2)
    return LinearGaussian(W, x.mean(axis=0), beta=1 / noise)


def greatest_evidence(x: Array, latents: int) -> float:
    """The mean of log p(x) over the data under that model, from the eigenvalues alone   (probabilistic_pca.3).

    What no linear VAE with a normal likelihood of one standard deviation can exceed.  Nats per row.
    """
    features, values, _ = _spectrum(x, latents)
    left = features - latents
    log_det = np.sum(np.log(values[:latents])) + left * np.log(values[latents:].mean())
    return float(-0.5 * (features * np.log(2 * np.pi) + log_det + features))  # (probabilistic_pca.3)


def _spectrum(x: Array, latents: int) -> tuple[int, Array, Array]:
    """D, the eigenvalues of the data's covariance, greatest first, and their axes as rows."""
    rows, features = x.shape
    if not 0 < latents < features:
        raise InputError(f"latents must leave a direction for the noise: from 1 to {features - 1}, got {latents}")
    values, axes = np.linalg.eigh((x - x.mean(axis=0)).T @ (x - x.mean(axis=0)) / rows)
    values, axes = values[::-1], axes.T[::-1]
    if values[latents:].mean() <= 1e-12 * values[0]:
        raise InputError(f"the data lies in {latents} dimensions and leaves no noise; use fewer latents or more rows")
    return features, values, axes
