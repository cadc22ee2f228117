"""What is maximised, per row of data, as rules: pullback -> (dtheta, None, None) for the arguments (theta, x, noise).

Nats.  Derivations: ``derivations/objectives.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.belief_networks import SigmoidBeliefNetwork, chain_bound, layered_bound
from numvae.curvature import log_likelihood_hessian_product
from numvae.distributions.kl_divergence import kl_divergence
from numvae.estimators import Estimator, Reduction, log_mean_exp, pathwise, sample_mean
from numvae.models import VAE, Model

__all__ = [
    "MonteCarloIntegrand",
    "ReconstructionIntegrand",
    "elbo",
    "elbo_monte_carlo",
    "elbo_terms",
    "importance_weighted",
    "minibatch_estimate",
    "weight_log_prior",
]


def elbo(model: Model, theta: Array, x: Array, noise: Array, estimator: Estimator = pathwise) -> tuple[Array, Pullback]:
    """L^B = (1/L) Σ_l log p(x|z_l) - KL(q(z|x) ‖ p(z))   (objectives.2): the estimator with the analytic KL.

    Shapes: x (B, D), noise (S, B, Z) with S = L samples, value (B,).  Source: Kingma and Welling, equation 7.
    Of a sigmoid belief network it is ``layered_bound``, all by samples: each layer learns from a signal of its own.
    """
    if isinstance(model, SigmoidBeliefNetwork):
        return layered_bound(model, theta, x, noise, estimator)
    (reconstruction, kl), terms_pullback = elbo_terms(model, theta, x, noise, estimator)
    return reconstruction - kl, lambda delbo: terms_pullback((delbo, -delbo))  # (objectives.2)


def elbo_terms(
    model: VAE, theta: Array, x: Array, noise: Array, estimator: Estimator = pathwise
) -> tuple[tuple[Array, Array], Pullback]:
    """The two terms of (objectives.2): (reconstruction, kl), each (B,); the pullback takes a gradient for each.

    Raises:
        InputError: KL(posterior ‖ prior) has no closed form; ``elbo_monte_carlo`` needs none.
    """
    params, encoder_pullback = model.encoder.of_data(model.layout.views(theta)["encoder"], x)
    f = ReconstructionIntegrand(model, theta, x)
    reconstruction, expectation_pullback = estimator(model.posterior, params, noise, f, sample_mean)
    divergence = kl_divergence(model.posterior, model.prior.family)
    kl, kl_pullback = divergence(params, model.prior_params(params))

    def pullback(dterms: tuple[Array, Array]) -> tuple[Array, None, None]:
        dreconstruction, dkl = dterms
        dparams, dtheta = expectation_pullback(dreconstruction)
        dparams = dparams + kl_pullback(dkl)[0]  # (objectives.3)
        encoder_pullback(dparams, out=model.layout.views(dtheta)["encoder"])
        return dtheta, None, None

    return (reconstruction, kl), pullback


@dataclass(frozen=True, eq=False)
class ReconstructionIntegrand:
    """f(params, z) = log p(x|z), whose expectation (objectives.2) estimates: it does not see ``params``."""

    model: VAE
    theta: Array
    context: Array
    """x, (B, D): what q was conditioned on."""

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        log_likelihood, likelihood_pullback = self.model.log_likelihood(self.theta, z, self.context)

        def pullback(dvalues: Array) -> tuple[float, Array, Array]:
            dtheta, dz, _ = likelihood_pullback(dvalues)
            return 0.0, dz, dtheta

        return log_likelihood, pullback

    def hessian_product(self, params: Array, z: Array, direction: Array) -> Array:
        """∂²f/∂z² times ``direction``, for decoders whose second derivatives are known."""
        decoder, weights = self.model.data_decoder(self.theta)
        return log_likelihood_hessian_product(decoder, self.model.likelihood, weights, z, self.context, direction)


def elbo_monte_carlo(
    model: Model,
    theta: Array,
    x: Array,
    noise: Array,
    estimator: Estimator = pathwise,
    reduce: Reduction = sample_mean,
) -> tuple[Array, Pullback]:
    """L^A = (1/L) Σ_l [log p(x|z_l) + log p(z_l) - log q(z_l|x)]   (objectives.4): everything by Monte Carlo.

    For any posterior and prior, also where the KL has no closed form.  Shapes as in ``elbo``.
    Source: Kingma and Welling, equation 6.
    Of a sigmoid belief network it is ``chain_bound``: all layers learn from the bound of the whole.
    """
    if isinstance(model, SigmoidBeliefNetwork):
        return chain_bound(model, theta, x, noise, estimator, reduce)
    params, encoder_pullback = model.encoder.of_data(model.layout.views(theta)["encoder"], x)
    f = MonteCarloIntegrand(model, theta, x)
    bound, expectation_pullback = estimator(model.posterior, params, noise, f, reduce)  # (objectives.4)

    def pullback(dbound: Array) -> tuple[Array, None, None]:
        dparams, dtheta = expectation_pullback(dbound)
        encoder_pullback(dparams, out=model.layout.views(dtheta)["encoder"])
        return dtheta, None, None

    return bound, pullback


@dataclass(frozen=True, eq=False)
class MonteCarloIntegrand:
    """f(params, z) = log p(x|z) + log p(z) - log q(z; params)   (objectives.4)."""

    model: VAE
    theta: Array
    context: Array
    """x, (B, D): what q was conditioned on."""

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        q = self.model.posterior
        log_likelihood, likelihood_pullback = self.model.log_likelihood(self.theta, z, self.context)
        log_prior, prior_pullback = self.model.prior.family.log_prob(self.model.prior_params(params), z)
        log_posterior, posterior_pullback = q.log_prob(params, z)

        def pullback(dvalues: Array) -> tuple[Array, Array, Array]:
            dtheta, dz, _ = likelihood_pullback(dvalues)
            dparams, dz_posterior = posterior_pullback(-dvalues)
            return dparams, dz + prior_pullback(dvalues)[1] + dz_posterior, dtheta  # (objectives.5)

        return log_likelihood + log_prior - log_posterior, pullback


def importance_weighted(
    model: Model, theta: Array, x: Array, noise: Array, estimator: Estimator = pathwise
) -> tuple[Array, Pullback]:
    """L_S = log (1/S) Σ_s p(x, z_s) / q(z_s|x)   (objectives.6): at least the ELBO, at most log p(x), growing with S.

    Shapes as in ``elbo``.  Source: Burda et al. 2015, equation 8.
    """
    return elbo_monte_carlo(model, theta, x, noise, estimator, reduce=log_mean_exp)  # (objectives.6)


def minibatch_estimate(bound: Array, dataset_rows: int) -> tuple[Any, Pullback]:
    """(N/M) Σ_i bound_i: the whole data set's bound from M of its N rows   (objectives.7); pullback -> (dbound,).

    Source: Kingma and Welling, equation 8.

    >>> minibatch_estimate(np.array([-3.0, -5.0]), dataset_rows=10)[0]
    np.float64(-40.0)
    """
    scale = dataset_rows / len(bound)
    return np.sum(bound) * scale, lambda destimate: (np.full_like(bound, scale) * destimate,)  # (objectives.7)


def weight_log_prior(theta: Array, precision: float = 1.0) -> tuple[Any, Pullback]:
    """log N(theta | 0, I / precision)   (objectives.8); pullback -> (dtheta,).  With it, learning is MAP.

    Source: Kingma and Welling, section 5 (weight decay from the prior p(theta) = N(0, I)).

    >>> value, pullback = weight_log_prior(np.array([2.0]))
    >>> pullback(np.float64(1.0))
    (array([-2.]),)
    """
    normalizer = 0.5 * theta.size * (math.log(precision) - math.log(2 * math.pi))
    log_prior = normalizer - 0.5 * precision * np.sum(theta * theta)  # (objectives.8)
    return log_prior, lambda dlog_prior: (theta * (-precision * dlog_prior),)  # (objectives.9)
