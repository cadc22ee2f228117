"""Tosses of a coin with an unknown bias: a latent in (0, 1), and a conjugate prior.

Derivations: ``derivations/beta_bernoulli.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from numvae import layers
from numvae.arrays import Array
from numvae.distributions.bernoulli import Bernoulli
from numvae.distributions.beta import Beta
from numvae.errors import InputError
from numvae.models import VAE
from numvae.networks import Activation, Chain, Dense
from numvae.priors import Prior

__all__ = ["BetaBernoulli"]


@dataclass(frozen=True)
class BetaBernoulli:
    """z ~ Beta(α, β),  x_d ~ Bernoulli(z) for d = 1 … D   (beta_bernoulli.1): D tosses of one unknown coin.

    Source: Bayes 1763, with α = β = 1.

    >>> model = BetaBernoulli(features=3)  # a uniform prior: 0, 1, 2 or 3 heads are equally likely
    >>> np.exp(model.evidence(np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])))  # 1/4; 1/4 of one in three orders
    array([0.25      , 0.08333333])

    Raises ``InputError`` for an alpha or beta that is not positive, or no features.
    """

    features: int
    alpha: float = 1.0
    beta: float = 1.0
    posterior = Beta()

    def __post_init__(self) -> None:
        if not (self.features >= 1 and 0 < self.alpha < math.inf and 0 < self.beta < math.inf):
            raise InputError(f"features, alpha and beta must be positive, got {self}")

    def posterior_params(self, x: Array) -> Array:
        """[log_alpha | log_beta] of Beta(α + heads, β + tails), (B, 2)   (beta_bernoulli.2)."""
        heads = np.sum(x, axis=-1, keepdims=True)
        tails = self.features - heads
        params: Array = np.log(np.concatenate([self.alpha + heads, self.beta + tails], axis=-1))
        return params  # (beta_bernoulli.2)

    def evidence(self, x: Array) -> Array:
        """log p(x) = log B(α + heads, β + tails) - log B(α, β), (B,)   (beta_bernoulli.3)."""
        from scipy.special import betaln

        heads = np.sum(x, axis=-1)
        tails = self.features - heads
        evidence: Array = betaln(self.alpha + heads, self.beta + tails) - betaln(self.alpha, self.beta)
        return evidence  # (beta_bernoulli.3)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Array, Array]:
        """z (count, 1) and x (count, D), by (beta_bernoulli.1)."""
        z = rng.beta(self.alpha, self.beta, (count, 1))
        return z, (rng.random((count, self.features)) < z).astype(np.float64)  # (beta_bernoulli.1)

    def vae(self) -> VAE:
        """Encoder [log_alpha | log_beta] = log(x W + b), decoder logits = logit(z) W + b   (beta_bernoulli.4)."""
        return VAE(
            encoder=Chain((Dense(self.features, 2), Activation(layers.log))),
            decoder=Chain((Activation(layers.logit), Dense(1, self.features))),
            latents=1,
            posterior=Beta(),
            likelihood=Bernoulli(),
            prior=Prior(Beta(), (("log_alpha", math.log(self.alpha)), ("log_beta", math.log(self.beta)))),
        )

    @property
    def theta(self) -> Array:
        """The weights with which ``vae()`` is this model and its encoder the posterior   (beta_bernoulli.4)."""
        model = self.vae()
        theta = np.zeros(model.layout.size)
        leaves = dict(model.layout.leaves(theta))
        leaves["encoder.1.W"][...] = 1, -1  # (beta_bernoulli.4)
        leaves["encoder.1.b"][...] = self.alpha, self.beta + self.features
        leaves["decoder.2.W"][...] = 1
        return theta
