"""Everything linear, everything normal: the VAE with continuous data whose evidence is a formula.

Derivations: ``derivations/linear_gaussian.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from numvae.arrays import Array
from numvae.distributions.contract import params_size
from numvae.distributions.multivariate_normal import MultivariateNormal
from numvae.distributions.normal import LOG_2PI, Normal
from numvae.errors import InputError
from numvae.exact_models.cholesky_params import cholesky_params
from numvae.models import VAE
from numvae.networks import Chain, Dense, Network, SharedLogStd
from numvae.priors import normal_prior

__all__ = ["LinearGaussian", "corner_noise"]


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """z ~ N(0, I/α),  x = z W + b + noise,  noise ~ N(0, diag(1/β))   (linear_gaussian.1).

    W (Z, D), b (D,); ``alpha``: the prior's precision; ``beta``: the noise's, a number, or one for each feature (D,),
    which makes the model a factor analysis.  The identity for W gives f(z) = z.  Source: the review, section 1.2.

    >>> model = LinearGaussian(W=np.eye(1), b=np.zeros(1), alpha=1.0, beta=3.0)
    >>> model.posterior_mean(np.array([[1.0]]))  # β / (α + β)
    array([[0.75]])

    Raises ``InputError`` for shapes that do not go together, and for precisions that are not positive.
    """

    W: Array
    b: Array
    alpha: float = 1.0
    beta: float | Array = 1.0

    def __post_init__(self) -> None:
        features = self.W.shape[-1]
        if self.W.ndim != 2 or self.b.shape != (features,):
            raise InputError(f"W must be (Z, D) and b (D,), got {self.W.shape} and {self.b.shape}")
        if np.shape(self.beta) not in ((), (features,)):
            raise InputError(f"beta must be a number or one for each feature, ({features},), got {np.shape(self.beta)}")
        for name, precision in (("alpha", self.alpha), ("beta", self.beta)):
            if not np.all((np.asarray(precision) > 0) & np.isfinite(precision)):
                raise InputError(f"{name} must be positive and finite, got {precision}")

    @property
    def precision(self) -> Array:
        """Of the posterior, the same for every x: α I + W diag(β) Wᵀ, (Z, Z)   (linear_gaussian.2)."""
        precision: Array = self.alpha * np.eye(len(self.W)) + (self.W * self.beta) @ self.W.T  # (linear_gaussian.2)
        return precision

    @property
    def to_posterior_mean(self) -> Array:
        """diag(β) Wᵀ precision⁻¹, (D, Z): takes x - b to the posterior's mean."""
        return np.linalg.solve(self.precision, self.W * self.beta).T

    def posterior_mean(self, x: Array) -> Array:
        """E[z|x] = (x - b) diag(β) Wᵀ precision⁻¹, (B, Z)   (linear_gaussian.3)."""
        mean: Array = (x - self.b) @ self.to_posterior_mean  # (linear_gaussian.3)
        return mean

    def evidence(self, x: Array) -> Array:
        """log p(x) in nats, (B,)   (linear_gaussian.4): squares at the posterior's mean, where nothing cancels."""
        mean = self.posterior_mean(x)
        residual = x - self.b - mean @ self.W
        squares = np.sum(self.beta * residual * residual, axis=-1) + self.alpha * np.sum(mean * mean, axis=-1)
        log_beta = np.sum(np.broadcast_to(np.log(self.beta), self.b.shape))
        normalizer = log_beta - len(self.b) * LOG_2PI + len(self.W) * math.log(self.alpha)
        log_determinant = np.linalg.slogdet(self.precision)[1]
        evidence: Array = 0.5 * (normalizer - log_determinant - squares)  # (linear_gaussian.4)
        return evidence

    @property
    def covariance(self) -> Array:
        """Of x: Wᵀ W / α + diag(1/β), (D, D)   (linear_gaussian.5)."""
        noise = np.broadcast_to(1 / np.asarray(self.beta), self.b.shape)
        covariance: Array = self.W.T @ self.W / self.alpha + np.diag(noise)  # (linear_gaussian.5)
        return covariance

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Array, Array]:
        """z (count, Z) and x (count, D), by (linear_gaussian.1)."""
        z = rng.standard_normal((count, len(self.W))) / math.sqrt(self.alpha)
        noise = rng.standard_normal((count, len(self.b))) / np.sqrt(self.beta)
        return z, z @ self.W + self.b + noise  # (linear_gaussian.1)

    @property
    def posterior(self) -> Any:
        """``Normal`` where latents are independent given x (rows of W orthogonal), else ``MultivariateNormal``."""
        precision = self.precision
        between = np.abs(precision - np.diag(np.diag(precision)))
        return Normal() if between.max() <= 1e-12 * precision.max() else MultivariateNormal()

    def posterior_params(self, x: Array) -> Array:
        """p(z|x) in the parameters of ``posterior``, (B, P)."""
        params = cholesky_params(self.posterior_mean(x), np.linalg.inv(self.precision))
        return params[:, : params_size(self.posterior, len(self.W))]

    def vae(self) -> VAE:
        """Linear networks; the noise's log-std is learned: one for all features or, if ``beta`` is so, one for each."""
        latents, features = self.W.shape
        decoder: Network = Dense(latents, 2 * features)
        if np.ndim(self.beta) == 0:
            decoder = Chain((Dense(latents, features), SharedLogStd()))
        return VAE(
            encoder=Dense(features, params_size(self.posterior, latents)),
            decoder=decoder,
            latents=latents,
            posterior=self.posterior,
            likelihood=Normal(),
            prior=normal_prior(self.alpha),
        )

    @property
    def theta(self) -> Array:
        """The weights with which ``vae()`` is this model and its encoder the posterior   (linear_gaussian.6)."""
        model, W, log_std = self.vae(), self.W, -0.5 * np.log(np.atleast_1d(self.beta))
        theta = np.zeros(model.layout.size)
        weights = model.layout.views(theta)
        encoder = model.encoder.layout.views(weights["encoder"])
        encoder["W"][:, : len(W)] = self.to_posterior_mean  # (linear_gaussian.6)
        encoder["b"][...] = self.posterior_params(np.zeros((1, len(self.b))))[0]
        to_params = W if np.ndim(self.beta) == 0 else np.concatenate([W, np.zeros_like(W)], axis=-1)
        weights["decoder"][...] = np.concatenate([to_params.ravel(), self.b, log_std])
        return theta


def corner_noise(latents: int, rows: int) -> Array:
    """Every noise of ±1, (2^Z, B, Z), under which the bounds of linear models and their gradients have no error.

    The mean over it is that over standard normal noise for every quadratic   (linear_gaussian.7).

    >>> corner_noise(latents=2, rows=1)[:, 0]
    array([[-1., -1.],
           [-1.,  1.],
           [ 1., -1.],
           [ 1.,  1.]])
    """
    corners = np.array(list(product((-1.0, 1.0), repeat=latents)))  # (linear_gaussian.7)
    return np.repeat(corners[:, None], rows, axis=1)
