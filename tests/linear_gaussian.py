"""The linear model of ``numvae.exact_models`` with a diagonal posterior and data of its own, for tests of the bounds.

The rows of W are orthogonal, so that a diagonal normal q can be the posterior itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from numvae import VAE, Dense, FixedStdNormal, exact_models
from numvae.arrays import Array


@dataclass(frozen=True)
class LinearGaussian:
    """The model, weights with which q is the exact posterior, and some data."""

    model: VAE
    exact_theta: Array
    x: Array
    evidence: Array

    def theta_off_by(self, shift: float, log_factor: float = 0.0) -> Array:
        """Weights with which q misses the posterior: its means by ``shift``, its log-stds by ``log_factor``."""
        theta, latents = self.exact_theta.copy(), self.model.latents
        bias = dict(self.model.layout.leaves(theta))["encoder.b"]
        bias[:latents] += shift
        bias[latents:] += log_factor
        return theta


def linear_gaussian(
    features: int = 3, latents: int = 1, std: float = 0.7, alpha: float = 1.5, learned_std: bool = False
) -> LinearGaussian:
    """With rows of W of lengths 1, 2, …; three rows of data drawn from the model, their evidence by scipy.

    ``learned_std``: the likelihood's log-std is one of the weights, set to its true value, instead of known.
    """
    rng = np.random.default_rng(11)
    directions = np.linalg.qr(rng.standard_normal((features, latents)))[0].T
    W, b = np.arange(1.0, latents + 1)[:, None] * directions, rng.standard_normal(features)
    exact = exact_models.LinearGaussian(W, b, alpha, beta=1 / std**2)
    model, theta = exact.vae(), exact.theta
    if not learned_std:  # the last weight is the log-std
        model, theta = replace(model, decoder=Dense(latents, features), likelihood=FixedStdNormal(std)), theta[:-1]
    _, x = exact.draw(rng, 3)
    return LinearGaussian(model, theta, x, stats.multivariate_normal(b, exact.covariance).logpdf(x))
