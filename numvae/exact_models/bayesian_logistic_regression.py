"""Bayesian logistic regression: a decoder sigmoid(z W), the review's posterior without a formula; exact by a grid.

The log-joint and its derivatives are those of ``numvae.arena.logistic_regression``.
Derivations: ``derivations/bayesian_logistic_regression.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from numvae.arena.logistic_regression import LogisticRegression
from numvae.arrays import Array
from numvae.distributions.bernoulli import Bernoulli
from numvae.distributions.contract import params_size
from numvae.distributions.normal import LOG_2PI, Normal
from numvae.errors import InputError
from numvae.exact_models.cholesky_params import cholesky_params
from numvae.models import VAE
from numvae.networks import Dense

__all__ = ["BayesianLogisticRegression"]

REACH = 9.0
NEGLIGIBLE = 40.0  # e^-40 = 4e-18
RESOLVED = 1e-10  # nats; the error after the last halving is far smaller
NEWTON_STEPS = 100
DIAGONAL = Normal()


@dataclass(frozen=True, eq=False)
class BayesianLogisticRegression:
    """z ~ N(0, I),  x_d ~ Bernoulli(sigmoid(z·w_d)), w_d the columns of W   (bayesian_logistic_regression.1).

    The latents are the regression's weights, W (Z, D) holds what is known of each of D cases, and a row x (D,) their
    labels: one datum of a VAE is a whole data set of a regression.  Evidence and moments need Z = 1 or 2.

    >>> model = BayesianLogisticRegression(np.array([[1.0]]))
    >>> model.evidence(np.array([[1.0]]))  # log 1/2, by symmetry
    array([-0.69314718])

    Raises ``InputError`` for a W that is no matrix.
    """

    W: Array

    def __post_init__(self) -> None:
        if self.W.ndim != 2:
            raise InputError(f"W must be (Z, D), a column for each case, got {self.W.shape}")

    def cost(self, x: Array) -> LogisticRegression:
        """log p(x, z) as a function of z, for one row x (D,)."""
        return LogisticRegression(((2 * x - 1) * self.W).T)  # 1 - sigmoid(l) is sigmoid(-l)

    # ---- exact, by quadrature

    def evidence(self, x: Array) -> Array:
        """log ∫ p(x, z) dz in nats, (B,)   (bayesian_logistic_regression.2)."""
        return np.array([self._grid(row)[2] for row in x])

    def posterior_moments(self, x: Array) -> tuple[Array, Array]:
        """Mean (B, Z) and covariance (B, Z, Z) of p(z|x), by the same grid."""
        means, covariances = [], []
        for row in x:
            z, weights, _ = self._grid(row)
            mean = weights @ z
            means.append(mean)
            covariances.append((z - mean).T @ (weights[:, None] * (z - mean)))
        return np.array(means), np.array(covariances)

    def _grid(self, x: Array) -> tuple[Array, Array, float]:
        """Points (G, Z), the posterior's weights on them, which sum to 1, and log p(x).

        In coordinates in which the posterior's curvature at its mode is the identity.  Sides of the box are pushed out
        for as long as they matter: log p(x, z) is concave, what lies beyond a negligible edge is negligible.  The step
        is halved until that changes nothing.
        """
        latents = len(self.W)
        if latents > 2:
            raise InputError(f"a grid is for at most 2 latents, got {latents}; the bounds work for any number")
        mode = self._mode(x)
        root = np.linalg.cholesky(np.linalg.inv(-self._hessian(x, mode)))

        def on_grid(step: float) -> tuple[Array, Array]:
            axes = [np.arange(-low, high + step, step) for low, high in box]
            z = mode + np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) @ root.T
            return z, self._log_joint(x, z)

        box, step, before = np.full((latents, 2), 6.0), 0.5, math.inf
        while (matters := _edges_that_matter(on_grid(step)[1])).any():
            box = box * (1 + 0.5 * matters)
        while True:
            z, log_joint = on_grid(step)
            most = log_joint.max()
            weights = np.exp(log_joint - most).ravel()
            cell = np.linalg.slogdet(root)[1] + latents * math.log(step)
            log_evidence = float(most + math.log(weights.sum()) + cell)  # (bayesian_logistic_regression.2)
            if abs(log_evidence - before) < RESOLVED:
                return z.reshape(-1, latents), weights / weights.sum(), log_evidence
            step, before = step / 2, log_evidence

    def _log_joint(self, x: Array, z: Array) -> Array:
        values: Array = self.cost(x)(z, z)[0]
        return values

    # ---- approximations

    def laplace(self, x: Array) -> tuple[Array, Array]:
        """Laplace's approximation N(mode, (-H)⁻¹): params (B, P) of a MultivariateNormal, and its log p(x), (B,).

        (bayesian_logistic_regression.3), H the Hessian of log p(x, z) at the mode.
        """
        params, log_evidences = [], []
        for row in x:
            mode = self._mode(row)
            precision = -self._hessian(row, mode)
            height = self._log_joint(row, mode[None]).item()
            log_determinant = np.linalg.slogdet(precision)[1]
            params.append(cholesky_params(mode, np.linalg.inv(precision)))
            log_evidences.append(height + 0.5 * len(mode) * LOG_2PI - 0.5 * log_determinant)
        return np.array(params), np.array(log_evidences)  # (bayesian_logistic_regression.3)

    def _mode(self, x: Array) -> Array:
        """The most likely z, by Newton's steps, halved where they overshoot; log p(x, z) is strictly concave."""
        z = np.zeros(len(self.W))
        height = self._log_joint(x, z[None]).item()
        for _ in range(NEWTON_STEPS):
            _, pullback = self.cost(x)(z[None], z[None])
            slope = pullback(np.ones(1))[1][0]
            step = np.linalg.solve(-self._hessian(x, z), slope)
            while (higher := self._log_joint(x, (z + step)[None]).item()) < height and slope @ step > 1e-14:
                step /= 2
            z, height = z + step, higher
            if slope @ step <= 1e-28:
                break
        return z

    def _hessian(self, x: Array, z: Array) -> Array:
        directions = np.eye(len(z))
        return self.cost(x).hessian_product(z, np.broadcast_to(z, directions.shape), directions)

    def bound(self, mean: Array, covariance: Array, x: Array) -> Array:
        """The ELBO of q = N(mean, covariance), exact, (B,)   (bayesian_logistic_regression.4).

        mean (B, Z), covariance (B, Z, Z), x (B, D).  Each logit is one normal number under q, whatever Z is.
        """
        signs = 2 * x - 1
        centre = signs * (mean @ self.W)
        spread = np.sqrt(np.einsum("zd,bzy,yd->bd", self.W, covariance, self.W))
        log_likelihood = np.sum(average_log_sigmoid(centre, spread), axis=-1)
        latents = len(self.W)
        second = np.trace(covariance, axis1=-2, axis2=-1) + np.sum(mean * mean, axis=-1)
        kl = 0.5 * (second - latents - np.linalg.slogdet(covariance)[1])
        bound: Array = log_likelihood - kl  # (bayesian_logistic_regression.4)
        return bound

    # ---- as a VAE

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Array, Array]:
        """z (count, Z) and labels x (count, D), by (bayesian_logistic_regression.1)."""
        z = rng.standard_normal((count, len(self.W)))
        return z, (rng.random((count, self.W.shape[1])) < Bernoulli().mean(z @ self.W)).astype(np.float64)

    def vae(self, posterior: Any = DIAGONAL) -> VAE:
        """A linear encoder, and the decoder logits = z W; no network is the posterior here."""
        latents, features = self.W.shape
        return VAE(
            encoder=Dense(features, params_size(posterior, latents)),
            decoder=Dense(latents, features),
            latents=latents,
            posterior=posterior,
            likelihood=Bernoulli(),
        )

    def theta_with(self, params: Array, posterior: Any = DIAGONAL) -> Array:
        """The weights with which ``vae(posterior)`` is this model and q, whatever x is, has the ``params`` (P,)."""
        model = self.vae(posterior)
        theta = np.zeros(model.layout.size)
        leaves = dict(model.layout.leaves(theta))
        leaves["encoder.b"][...] = params
        leaves["decoder.W"][...] = self.W
        return theta


def _edges_that_matter(log_joint: Array) -> Array:
    """Which sides of a grid, (Z, 2), still hold a point that counts beside the highest."""
    edges = [[log_joint.take(end, axis).max() for end in (0, -1)] for axis in range(log_joint.ndim)]
    matters: Array = np.array(edges) > log_joint.max() - NEGLIGIBLE
    return matters


def average_log_sigmoid(centre: Array, spread: Array) -> Array:
    """E[log sigmoid(centre + spread ε)] over standard normal ε   (bayesian_logistic_regression.5).

    By the trapezoidal rule.

    >>> average_log_sigmoid(np.zeros(2), np.array([0.0, 2.0]))  # log 1/2; less, for log sigmoid is concave
    array([-0.69314718, -1.06771439])
    """
    step = min(0.2, 1 / (2 * float(spread.max(initial=1.0))))
    noise = np.arange(-REACH, REACH + step, step)
    weights = np.exp(-0.5 * noise * noise)
    logits = centre[..., None] + spread[..., None] * noise
    log_sigmoid = np.minimum(logits, 0) - np.log1p(np.exp(-np.abs(logits)))
    average: Array = log_sigmoid @ (weights / weights.sum())  # (bayesian_logistic_regression.5)
    return average
