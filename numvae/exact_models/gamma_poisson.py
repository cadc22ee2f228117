"""Counts with an unknown rate: a positive latent, and a conjugate prior.

Derivations: ``derivations/gamma_poisson.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from numvae import layers
from numvae.arrays import Array
from numvae.distributions.gamma import Gamma
from numvae.distributions.poisson import Poisson
from numvae.errors import InputError
from numvae.models import VAE
from numvae.networks import Activation, Chain, Dense
from numvae.priors import Prior

__all__ = ["GammaPoisson"]


@dataclass(frozen=True)
class GammaPoisson:
    """z ~ Gamma(shape, rate),  x_d ~ Poisson(z) for d = 1 … D   (gamma_poisson.1): D counts of one unknown rate.

    Source: Gelman et al., Bayesian Data Analysis, section 2.6.

    >>> model = GammaPoisson(features=2, shape=3.0, rate=1.0)
    >>> np.exp(model.posterior_params(np.array([[4.0, 0.0]])))  # shape 3 + 4, rate 1 + 2
    array([[7., 3.]])

    Raises ``InputError`` for a shape or rate that is not positive, or no features.
    """

    features: int
    shape: float = 1.0
    rate: float = 1.0
    posterior = Gamma()

    def __post_init__(self) -> None:
        if not (self.features >= 1 and 0 < self.shape < math.inf and 0 < self.rate < math.inf):
            raise InputError(f"features, shape and rate must be positive, got {self}")

    def posterior_params(self, x: Array) -> Array:
        """[log_shape | log_rate] of Gamma(shape + Σ x, rate + D), (B, 2)   (gamma_poisson.2)."""
        shape = self.shape + np.sum(x, axis=-1, keepdims=True)  # (gamma_poisson.2)
        params: Array = np.log(np.concatenate([shape, np.full_like(shape, self.rate + self.features)], axis=-1))
        return params

    def evidence(self, x: Array) -> Array:
        """log p(x), (B,)   (gamma_poisson.3); for one feature a negative binomial."""
        from scipy.special import gammaln

        shape = self.shape + np.sum(x, axis=-1)
        normalizer = self.shape * math.log(self.rate) - math.lgamma(self.shape)
        factorials = np.sum(gammaln(x + 1), axis=-1)
        log_rate = math.log(self.rate + self.features)
        evidence: Array = normalizer + gammaln(shape) - shape * log_rate - factorials  # (gamma_poisson.3)
        return evidence

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Array, Array]:
        """z (count, 1) and x (count, D), by (gamma_poisson.1)."""
        z = rng.gamma(self.shape, 1 / self.rate, (count, 1))
        return z, rng.poisson(z, (count, self.features)).astype(np.float64)  # (gamma_poisson.1)

    def vae(self) -> VAE:
        """Encoder [log_shape | log_rate] = log(x W + b), decoder log-rates = log(z) W + b   (gamma_poisson.4)."""
        return VAE(
            encoder=Chain((Dense(self.features, 2), Activation(layers.log))),
            decoder=Chain((Activation(layers.log), Dense(1, self.features))),
            latents=1,
            posterior=Gamma(),
            likelihood=Poisson(),
            prior=Prior(Gamma(), (("log_shape", math.log(self.shape)), ("log_rate", math.log(self.rate)))),
        )

    @property
    def theta(self) -> Array:
        """The weights with which ``vae()`` is this model and its encoder the posterior   (gamma_poisson.4)."""
        model = self.vae()
        theta = np.zeros(model.layout.size)
        leaves = dict(model.layout.leaves(theta))
        leaves["encoder.1.W"][:, 0] = 1  # (gamma_poisson.4)
        leaves["encoder.1.b"][...] = self.shape, self.rate + self.features
        leaves["decoder.2.W"][...] = 1
        return theta
