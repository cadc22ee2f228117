"""The gradient of a VAE's bound as named terms: every estimator is a sum of the same few.

Derivations: ``derivations/path_terms.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from numvae.arrays import Array
from numvae.distributions.contract import params_size
from numvae.distributions.kl_table import has_closed_form, kl_divergence
from numvae.errors import InputError
from numvae.estimators import Reduction, leave_one_out, log_mean_exp, sample_mean
from numvae.models import VAE

__all__ = ["SUMS", "PathTerms", "path_terms", "term_draws"]

MOST_DECODED = 4096
"""Rows times samples that go through the decoder at once."""

PATH = {"decoder": 1.0, "prior": 1.0, "log q": 1.0}
SCORE = {"score of decoder": 1.0, "score of prior": 1.0, "score of log q": 1.0}
DIRECT = {"direct": 1.0}

SUMS: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "sample_mean": {
        "pathwise": PATH | DIRECT,
        "sticking_the_landing": PATH,
        "doubly_reparameterized": PATH,
        "score_function": SCORE | DIRECT,
        "pathwise, analytic KL": {"decoder": 1.0, "analytic KL": 1.0},
        "score_function, analytic KL": {"score of decoder": 1.0, "analytic KL": 1.0},
    },
    "log_mean_exp": {
        "pathwise": PATH | DIRECT,
        "sticking_the_landing_iwae": PATH,
        "doubly_reparameterized": PATH | {"direct through z": 1.0},
        "score_function": {"score of bound": 1.0} | DIRECT,
        "reweighted_wake_sleep": {"direct": -1.0},
        "doubly_reparameterized_wake_sleep": {"direct through z": -1.0},
    },
}
"""Reduction -> estimator -> {term: coefficient}   (path_terms.3)."""


@dataclass(frozen=True)
class PathTerms:
    """How the T terms of one minibatch's gradient in params behave over many draws of the noise.

    ``mean`` (T, B, P); ``covariance`` (T, T, B, P), per row and parameter.  ``sums``: estimator -> {term: coefficient}.
    ``coordinates`` names the P parameters.
    """

    terms: tuple[str, ...]
    coordinates: tuple[str, ...]
    sums: Mapping[str, Mapping[str, float]]
    draws: int
    mean: Array
    covariance: Array

    @property
    def variance(self) -> Array:
        """Of each term, (T, B, P): the diagonal of ``covariance``."""
        variance: Array = np.einsum("ttbp->tbp", self.covariance)
        return variance

    def coefficients(self, estimator: str) -> Array:
        """How often each term is in an estimator, (T,).

        Raises:
            InputError: there is no such estimator under this reduction.
        """
        if estimator not in self.sums:
            raise InputError(f"{estimator!r} is no sum of these terms; there are {', '.join(self.sums)}")
        return np.array([self.sums[estimator].get(term, 0.0) for term in self.terms])

    def mean_of(self, estimator: str) -> Array:
        """The mean of an estimator, c · mean: (B, P)."""
        mean: Array = np.tensordot(self.coefficients(estimator), self.mean, axes=1)
        return mean

    def variance_of(self, estimator: str) -> Array:
        """The variance of an estimator, cᵀ C c   (path_terms.4): (B, P), per row and parameter."""
        c = self.coefficients(estimator)
        variance = np.einsum("t,u,tubp->bp", c, c, self.covariance)  # (path_terms.4)
        rounded_off: Array = np.maximum(variance, 0)  # terms that cancel leave rounding of either sign
        return rounded_off

    def to_json(self) -> dict[str, Any]:
        """In plain Python types: means per row, variances and covariances averaged over rows, estimators summed up."""
        return {
            "terms": list(self.terms),
            "coordinates": list(self.coordinates),
            "draws": self.draws,
            "mean": self.mean.tolist(),
            "variance": self.variance.mean(axis=1).tolist(),
            "covariance": self.covariance.mean(axis=2).tolist(),
            "estimators": {
                name: {"terms": dict(terms), "variance": self.variance_of(name).mean(axis=0).tolist()}
                for name, terms in self.sums.items()
            },
        }


def path_terms(model: VAE, theta: Array, x: Array, noise: Array, reduce: Reduction = sample_mean) -> PathTerms:
    """Means and covariances of the terms over R draws of the noise.  x: (B, D), noise: (S, R, B, Z), R of 2 or more.

    Where the KL has no closed form, its term and the sums with it are left out.  Where the support of q moves with its
    parameters, the score's mean is not zero, and only the pathwise sums are right.

    Raises:
        InputError: noise of another shape, fewer than two draws, or an unknown reduction.
    """
    draws = term_draws(model, theta, x, noise, reduce)
    stacked = np.stack(list(draws.values()))  # (T, R, B, P)
    repeats = stacked.shape[1]
    if repeats < 2:
        raise InputError(f"noise must have shape (S, R, B, Z) with R of 2 or more for a variance, got {noise.shape}")
    mean = stacked.mean(axis=1)
    centred = stacked - mean[:, None]
    covariance = np.einsum("trbp,urbp->tubp", centred, centred) / (repeats - 1)
    moves = getattr(model.posterior, "support_moves", False)
    sums = {
        name: parts
        for name, parts in SUMS[_name(reduce)].items()
        if parts.keys() <= draws.keys() and (name.startswith("pathwise") or not moves)
    }
    return PathTerms(tuple(draws), _coordinates(model), sums, repeats, mean, covariance)


def _coordinates(model: VAE) -> tuple[str, ...]:
    """A name for each parameter of q: its block's and the number within; the last block may be longer or shorter."""
    *names, last = model.posterior.param_names
    coordinates = [f"{name} {j}" for name in names for j in range(model.latents)]
    rest = params_size(model.posterior, model.latents) - len(coordinates)
    return (*coordinates, *(f"{last} {j}" for j in range(rest)))


def term_draws(model: VAE, theta: Array, x: Array, noise: Array, reduce: Reduction = sample_mean) -> dict[str, Array]:
    """Every term for every draw: {name: (R, B, P)}.  x: (B, D), noise: (S, R, B, Z).

    Raises:
        InputError: noise of another shape, or an unknown reduction.
    """
    width = model.posterior.noise(np.random.default_rng(0), (1, model.latents)).shape[-1]
    if noise.ndim != 4 or noise.shape[2:] != (len(x), width):
        raise InputError(f"noise must have shape (S, R, B, Z) = (*, *, {len(x)}, {width}), got {noise.shape}")
    if _name(reduce) not in SUMS:
        raise InputError(f"the terms are known under {' and '.join(SUMS)}, not under {_name(reduce)}")
    params = model.encode(theta, x)
    at_once = max(1, MOST_DECODED // (len(noise) * len(x)))
    blocks = [
        _terms(model, theta, params, x, noise[:, start : start + at_once], reduce)
        for start in range(0, noise.shape[1], at_once)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _terms(model: VAE, theta: Array, params: Array, x: Array, noise: Array, reduce: Reduction) -> dict[str, Array]:
    """The terms of one block of draws: each draw of the minibatch is taken as further rows."""
    samples, repeats, rows, width = noise.shape
    q, params, x = model.posterior, np.tile(params, (repeats, 1)), np.tile(x, (repeats, 1))
    z, through_z = q.sample(params, noise.reshape(samples, repeats * rows, width))
    log_likelihood, likelihood_pullback = model.log_likelihood(theta, z, x)
    log_prior, prior_pullback = model.prior.family.log_prob(model.prior_params(params), z)
    log_q, q_pullback = q.log_prob(params, z)
    log_weights = log_likelihood + log_prior - log_q
    bound, reduce_pullback = reduce(log_weights)
    (weights,) = reduce_pullback(np.ones_like(bound))

    dz_decoder, dz_prior = likelihood_pullback(weights)[1], prior_pullback(weights)[1]
    direct, dz_q = q_pullback(-weights)
    paths = {"decoder": dz_decoder, "prior": dz_prior, "log q": dz_q}
    terms = {name: through_z(dz)[0] for name, dz in paths.items()}  # (path_terms.1)
    terms["direct"] = direct

    def score(values: Array) -> Array:
        """Σ_s (bound - baseline_s) ∇ log q(z_s)."""
        dparams: Array = q_pullback(reduce(values)[0] - leave_one_out(values, reduce))[0]
        return dparams

    if reduce is log_mean_exp:
        dz = dz_decoder + dz_prior + dz_q
        terms["direct through z"] = through_z((weights - 1)[..., None] * dz)[0]  # (path_terms.2)
        terms["score of bound"] = score(log_weights)
    else:
        terms["score of decoder"] = score(log_likelihood)
        terms["score of prior"] = score(log_prior)
        terms["score of log q"] = score(-log_q)
        if has_closed_form(q, model.prior.family):
            _, kl_pullback = kl_divergence(q, model.prior.family)(params, model.prior_params(params))
            terms["analytic KL"] = kl_pullback(-np.ones_like(bound))[0]
    return {name: term.reshape(repeats, rows, -1) for name, term in terms.items()}


def _name(reduce: Reduction) -> str:
    return getattr(reduce, "__name__", type(reduce).__name__)
