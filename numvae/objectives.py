"""What is maximised, per row of data, as rules: pullback -> (dtheta, None, None) for the arguments (theta, x, noise).

Nats.  Derivations: ``derivations/bound.md``, why these are bounds, and ``derivations/objectives.md``, their gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.belief_networks import SigmoidBeliefNetwork, chain_bound, layered_bound
from numvae.curvature import log_likelihood_hessian_product
from numvae.distributions.broadcasting import halves
from numvae.distributions.contract import has_independent_values
from numvae.distributions.kl_table import Divergence, kl_divergence
from numvae.errors import InputError
from numvae.estimators import Estimator, Reduction, log_mean_exp, pathwise, sample_mean
from numvae.models import VAE, Model
from numvae.path_models import PathModel, path_bound

__all__ = [
    "MonteCarloIntegrand",
    "ReconstructionIntegrand",
    "denoising_elbo",
    "elbo",
    "elbo_monte_carlo",
    "elbo_terms",
    "importance_weighted",
    "kl_weight_at",
    "minibatch_estimate",
    "weight_log_prior",
    "weighted_elbo",
    "with_free_bits",
]


def elbo(model: Model, theta: Array, x: Array, noise: Array, estimator: Estimator = pathwise) -> tuple[Array, Pullback]:
    """L^B = (1/L) Σ_l log p(x|z_l) - KL(q(z|x) ‖ p(z))   (objectives.2): the estimator with the analytic KL.

    Its mean is below log p(x), by KL(q(z|x) ‖ p(z|x)) exactly   (bound.3).
    Shapes: x (B, D), noise (S, B, Z) with S = L samples, value (B,).  Source: Kingma and Welling, equation 7.
    Of a sigmoid belief network it is ``layered_bound``, all by samples: each layer learns from a signal of its own.
    """
    if isinstance(model, SigmoidBeliefNetwork):
        return layered_bound(model, theta, x, noise, estimator)
    if isinstance(model, PathModel):
        return path_bound(model, theta, x, noise, estimator)
    (reconstruction, kl), terms_pullback = elbo_terms(model, theta, x, noise, estimator)
    return reconstruction - kl, lambda delbo: terms_pullback((delbo, -delbo))  # (objectives.2), (bound.4)


def elbo_terms(
    model: VAE,
    theta: Array,
    x: Array,
    noise: Array,
    estimator: Estimator = pathwise,
    *,
    seen: Array | None = None,
    free_bits: float = 0.0,
) -> tuple[tuple[Array, Array], Pullback]:
    """The two terms of (objectives.2): (reconstruction, kl), each (B,); the pullback takes a gradient for each.

    ``seen``: what the encoder sees in the place of x (objectives.14).  ``free_bits``: λ of (objectives.12).

    Raises:
        InputError: KL(posterior ‖ prior) has no closed form; ``elbo_monte_carlo`` needs none.
    """
    seen = x if seen is None else seen
    params, encoder_pullback = model.encoder.of_data(model.layout.views(theta)["encoder"], seen)
    f = ReconstructionIntegrand(model, theta, x, seen)
    reconstruction, expectation_pullback = estimator(model.posterior, params, noise, f, sample_mean)
    divergence = kl_divergence(model.posterior, model.prior.family)
    if free_bits:
        divergence = with_free_bits(model, free_bits)
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
    x: Array
    """(B, D)."""
    seen: Array | None = None
    """What the encoder saw, if it was not x."""

    @property
    def context(self) -> Array:
        """(B, D): what q was conditioned on."""
        return self.x if self.seen is None else self.seen

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        log_likelihood, likelihood_pullback = self.model.log_likelihood(self.theta, z, self.x)

        def pullback(dvalues: Array) -> tuple[float, Array, Array]:
            dtheta, dz, _ = likelihood_pullback(dvalues)
            return 0.0, dz, dtheta

        return log_likelihood, pullback

    def hessian_product(self, params: Array, z: Array, direction: Array) -> Array:
        """∂²f/∂z² times ``direction``, for decoders whose second derivatives are known."""
        decoder, weights = self.model.data_decoder(self.theta)
        return log_likelihood_hessian_product(decoder, self.model.likelihood, weights, z, self.x, direction)


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
    if isinstance(model, PathModel):
        return path_bound(model, theta, x, noise, estimator, reduce)
    params, encoder_pullback = model.encoder.of_data(model.layout.views(theta)["encoder"], x)
    f = MonteCarloIntegrand(model, theta, x)
    bound, expectation_pullback = estimator(model.posterior, params, noise, f, reduce)  # (objectives.4), (bound.2)

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

        return log_likelihood + log_prior - log_posterior, pullback  # (bound.1)


def importance_weighted(
    model: Model, theta: Array, x: Array, noise: Array, estimator: Estimator = pathwise
) -> tuple[Array, Pullback]:
    """L_S = log (1/S) Σ_s p(x, z_s) / q(z_s|x)   (objectives.6): at least the ELBO, at most log p(x), growing with S.

    Shapes as in ``elbo``.  Source: Burda et al. 2015, equation 8.
    """
    return elbo_monte_carlo(model, theta, x, noise, estimator, reduce=log_mean_exp)  # (objectives.6), (bound.5)


def weighted_elbo(
    model: Model,
    theta: Array,
    x: Array,
    noise: Array,
    estimator: Estimator = pathwise,
    kl_weight: float = 1.0,
    free_bits: float = 0.0,
) -> tuple[Array, Pullback]:
    """reconstruction - β Σ_j max(λ, KL_j)   (objectives.10), (objectives.12), with β ``kl_weight`` and λ ``free_bits``.

    Shapes as in ``elbo``, which it is at β = 1 and λ = 0; λ in nats per latent.  A bound on log p(x) where β ≥ 1.
    Source: Higgins et al. 2017 (β-VAE); Kingma et al. 2016 (free bits).

    Raises:
        InputError: the model is no VAE; or λ is positive and its latents are not independent.
    """
    terms, terms_pullback = elbo_terms(_of_one_kl(model), theta, x, noise, estimator, free_bits=free_bits)
    return _weighted(terms, terms_pullback, kl_weight)


def denoising_elbo(
    model: Model,
    theta: Array,
    x: Array,
    noise: Array,
    estimator: Estimator = pathwise,
    kl_weight: float = 1.0,
    free_bits: float = 0.0,
) -> tuple[Array, Pullback]:
    """(1/L) Σ_l log p(x|z_l) - KL(q(z|x̃) ‖ p(z)), z_l from q(z|x̃)   (objectives.14): a bound whatever x̃ is.

    x: (B, 2D) = [x | x̃] side by side, the clean rows and what the encoder sees of them; the rest as in
    ``weighted_elbo``.  Source: Im et al. 2015.
    """
    clean, seen = halves(x)
    terms, terms_pullback = elbo_terms(
        _of_one_kl(model), theta, clean, noise, estimator, seen=seen, free_bits=free_bits
    )  # (objectives.14)
    return _weighted(terms, terms_pullback, kl_weight)


def _weighted(terms: tuple[Array, Array], terms_pullback: Pullback, kl_weight: float) -> tuple[Array, Pullback]:
    reconstruction, kl = terms
    bound = reconstruction - kl_weight * kl  # (objectives.10)
    return bound, lambda dbound: terms_pullback((dbound, -kl_weight * dbound))


def _of_one_kl(model: Model) -> VAE:
    if not isinstance(model, VAE):
        raise InputError(f"the KL of a {type(model).__name__} is no term of its own to be weighted; use elbo")
    return model


def kl_weight_at(step: int, kl_weight: float, warm_up: int) -> float:
    """β_t = β min(1, t / T)   (objectives.11): from 0 to ``kl_weight`` over ``warm_up`` steps.

    Source: Bowman et al. 2016 (KL annealing); Sønderby et al. 2016 (linear, as here).

    >>> [kl_weight_at(step, 2.0, warm_up=4) for step in (0, 1, 4, 100)]
    [0.0, 0.5, 2.0, 2.0]
    """
    return kl_weight if step >= warm_up else kl_weight * (step / warm_up)  # (objectives.11)


def with_free_bits(model: VAE, free_bits: float) -> Divergence:
    """Σ_j max(λ, KL_j)   (objectives.12), a rule in the place of the KL from posterior to prior: of each row by itself.

    λ = ``free_bits``, in nats per latent; below it a latent's KL costs nothing more and has no gradient.

    Raises:
        InputError: the latents are not independent, or the KL has no closed form.
    """
    q, p = model.posterior, model.prior.family
    for family in (q, p):
        if not has_independent_values(family):
            raise InputError(
                f"free bits are per latent, but those of a {type(family).__name__} depend on each other; use kl_weight"
            )
    divergence, latents = kl_divergence(q, p), model.latents

    def at_least(params: Array, prior_params: Array) -> tuple[Array, Pullback]:
        kl, pullback = divergence(_as_latents(params, latents), _as_latents(prior_params, latents))
        above = kl > free_bits

        def at_least_pullback(dkl: Array) -> tuple[Array, Array]:
            dparams, dprior_params = pullback(dkl[:, None] * above)  # (objectives.13)
            return _side_by_side(dparams), _side_by_side(dprior_params)

        return np.sum(np.maximum(kl, free_bits), axis=-1), at_least_pullback  # (objectives.12)

    return at_least


def _as_latents(params: Array, latents: int) -> Array:
    """[first | second | …] (B, P) as (B, Z, P/Z): each latent a row of its own, so that its KL is one."""
    return params.reshape(len(params), -1, latents).swapaxes(1, 2)


def _side_by_side(params: Array) -> Array:
    """(B, Z, P/Z) as (B, P) again."""
    return params.swapaxes(1, 2).reshape(len(params), -1)


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
