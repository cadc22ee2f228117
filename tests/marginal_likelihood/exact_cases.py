"""Every exact model of the package beside a q that misses its posterior: where log p(x) is known and must be hit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from numvae import VAE, Dense, Normal
from numvae.arrays import Array
from numvae.distributions.multivariate_normal import MultivariateNormal
from numvae.exact_models import (
    BayesianLogisticRegression,
    LinearGaussian,
    factor_analysis,
    mean_field_optimum,
    probabilistic_pca,
)
from tests.exact_models.test_every_exact_model import EXACT, FULL, B, W

RNG = np.random.default_rng(8)
DATA = RNG.standard_normal((200, 2)) @ RNG.standard_normal((2, 5)) + 0.5 * RNG.standard_normal((200, 5))


@dataclass(frozen=True, eq=False)
class Missed:
    """One row, a VAE whose q, the same for every row, is not the posterior of that row, and log p(x)."""

    name: str
    model: VAE
    theta: Array
    x: Array
    """(1, D)."""
    evidence: float
    exact: Any

    def __str__(self) -> str:
        return self.name

    def rows(self, count: int) -> Array:
        return np.repeat(self.x, count, axis=0)

    @cached_property
    def params(self) -> Array:
        """q's, (1, P)."""
        return self.model.encode(self.theta, self.x)

    def log_w(self, z: Array) -> Array:
        """log p(x, z) - log q(z) at points z (N, Z)."""
        model, at = self.model, z[:, None]
        log_likelihood = model.log_likelihood(self.theta, at, self.x)[0]
        log_prior = model.prior.family.log_prob(model.prior_params(self.params), at)[0]
        log_w: Array = log_likelihood + log_prior - model.posterior.log_prob(self.params, at)[0]
        return log_w[:, 0]


def with_q(
    name: str, exact: Any, model: VAE, theta: Array, params: Array, x: Array, posterior: Any | None = None
) -> Missed:
    """The decoder of a model beside an encoder that says ``params`` (1, P) whatever it sees."""
    features, size = x.shape[-1], params.shape[-1]
    decoder = model.layout.views(theta)["decoder"]
    whole = np.concatenate([np.zeros(features * size), params[0], decoder])
    encoder = Dense(features, size)
    with_encoder = replace(model, encoder=encoder, posterior=posterior or model.posterior)
    return Missed(name, with_encoder, whole, x, exact.evidence(x).item(), exact)


def every_missed() -> list[Missed]:
    """The eight kinds of model, some of them more than once."""
    cases = []
    for known in EXACT:
        _, x = known.model.draw(np.random.default_rng(2), 1)
        params = known.model.posterior_params(x) + np.array(known.off)
        cases.append(with_q(known.name, known.model, known.model.vae(), known.model.theta, params, x))
    for name, fitted in (
        ("probabilistic PCA", probabilistic_pca(DATA, 2)),
        ("factor analysis", factor_analysis(DATA, 2)),
    ):
        _, x = fitted.draw(np.random.default_rng(2), 1)
        params = fitted.posterior_params(x)
        params[:, :4] += [0.1, -0.1, 0.2, -0.1]
        cases.append(with_q(name, fitted, fitted.vae(), fitted.theta, params, x))
    linear = LinearGaussian(W, B, alpha=1.5, beta=2.0)
    _, x = linear.draw(np.random.default_rng(2), 1)
    factorized = mean_field_optimum(linear, x) + np.array([0.0, 0.0, 0.1, 0.1])
    cases.append(with_q("mean field", linear, linear.vae(), linear.theta, factorized, x, Normal()))
    regression = BayesianLogisticRegression(np.stack([RNG.standard_normal(12), np.ones(12)]) * [[2.0], [1.0]])
    _, x = regression.draw(np.random.default_rng(2), 1)
    laplace = regression.laplace(x)[0] + np.array(FULL)
    full = MultivariateNormal()
    theta = regression.theta_with(laplace[0], full)
    cases.append(with_q("logistic regression", regression, regression.vae(full), theta, laplace, x, full))
    return cases


MISSED = every_missed()
