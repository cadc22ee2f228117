"""A VAE whose evidence and posterior are known: everything linear, everything normal.

x = z W + b + std ε,  z ~ N(0, I/α):  log p(x) = log N(x; b, WᵀW/α + std² I), and the posterior is normal with precision
α I + W Wᵀ/std², which is diagonal where the rows of W are orthogonal.  Then q can be the posterior itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from numvae import VAE, Chain, Dense, FixedStdNormal, Normal
from numvae.arrays import Array
from numvae.networks import SharedLogStd
from numvae.priors import normal_prior


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
    """With orthogonal rows of W of lengths 1, 2, …; three rows of data drawn from the model.

    ``learned_std``: the likelihood's log-std is one of the weights, set to its true value, instead of known.
    """
    rng = np.random.default_rng(11)
    directions = np.linalg.qr(rng.standard_normal((features, latents)))[0].T
    lengths = np.arange(1.0, latents + 1)
    W, b = lengths[:, None] * directions, rng.standard_normal(features)
    model = VAE(
        encoder=Dense(features, 2 * latents),
        decoder=Chain((Dense(latents, features), *([SharedLogStd()] if learned_std else []))),
        latents=latents,
        likelihood=Normal() if learned_std else FixedStdNormal(std),
        prior=normal_prior(alpha),
    )

    theta = np.zeros(model.layout.size)
    leaves = dict(model.layout.leaves(theta))
    leaves["decoder.1.W"][...], leaves["decoder.1.b"][...] = W, b
    if learned_std:
        leaves["decoder.2.log_std"][...] = math.log(std)
    precision = alpha + lengths**2 / std**2
    to_mean = W.T / (std**2 * precision)
    leaves["encoder.W"][:, :latents] = to_mean
    leaves["encoder.b"][:latents] = -b @ to_mean
    leaves["encoder.b"][latents:] = -0.5 * np.log(precision)

    x = rng.standard_normal((3, latents)) / math.sqrt(alpha) @ W + b + std * rng.standard_normal((3, features))
    covariance = W.T @ W / alpha + std**2 * np.eye(features)
    return LinearGaussian(model, theta, x, stats.multivariate_normal(b, covariance).logpdf(x))
