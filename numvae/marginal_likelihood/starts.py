"""Where chains start: a law that can be drawn from and whose density is known, the prior or the encoder's q(z|x)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.errors import InputError
from numvae.hmc import LogDensity
from numvae.marginal_likelihood.supports import Coordinates, on_the_reals
from numvae.models import VAE

__all__ = ["Start", "StartLaw", "from_encoder", "from_likely_draws", "from_prior", "start_on_the_reals"]

CANDIDATES = 1000
"""Draws of the prior from which one is picked."""


@dataclass(frozen=True, eq=False)
class Start:
    """s(z) for each of B rows: how to draw from it, and its log density as a rule of z."""

    draw: Callable[[np.random.Generator, int], Array]
    """(rng, chains) -> z (C, B, Z)."""
    log_density: LogDensity


StartLaw: TypeAlias = Callable[[VAE, Array, Array], Start]
"""(model, theta, x) -> Start."""


def from_prior(model: VAE, theta: Array, x: Array) -> Start:
    """s(z) = p(z)."""
    return _start(model, model.prior.family, np.repeat(model.prior_params(theta), len(x), axis=0))


def from_encoder(model: VAE, theta: Array, x: Array) -> Start:
    """s(z) = q(z|x).

    Raises ``InputError`` where q and the prior have other values: what q leaves out would be missing from p(x).
    """
    if model.posterior.support != model.prior.family.support:
        raise InputError(
            f"q(z|x) is over {model.posterior.support}, the prior over {model.prior.family.support}; start from_prior"
        )
    return _start(model, model.posterior, model.encode(theta, x))


def from_likely_draws(model: VAE, theta: Array, x: Array) -> Start:
    """z picked from ``CANDIDATES`` draws of the prior with probabilities in proportion to p(x|z): nearly of p(z|x).

    For chains that have no encoder to start from, and are to begin where the posterior is: with few latents, where some
    of the candidates lie there.  Picked by Gumbel noise, one candidate at a time.  Its density is not known, so that it
    serves ``reciprocal_estimate`` and not ``annealed_importance``.
    """
    prior, joint = from_prior(model, theta, x), model.log_joint(theta, x)

    def draw(rng: np.random.Generator, chains: int) -> Array:
        picked = prior.draw(rng, chains)
        highest = np.full(picked.shape[:-1], -np.inf)
        for _ in range(CANDIDATES):
            z = prior.draw(rng, chains)
            score = joint(z)[0] - prior.log_density(z)[0] + rng.gumbel(size=highest.shape)
            higher = score > highest
            picked, highest = np.where(higher[..., None], z, picked), np.where(higher, score, highest)
        return picked

    def log_density(z: Array) -> tuple[Array, Pullback]:
        raise InputError("picked draws have no density that is known; start from_prior or from_encoder")

    return Start(draw, log_density)


def start_on_the_reals(coordinates: Coordinates, start: Start) -> Start:
    """The law of u where z has the law ``start``."""
    return Start(
        draw=lambda rng, chains: coordinates.inverse(start.draw(rng, chains)),
        log_density=on_the_reals(coordinates, start.log_density),
    )


def _start(model: VAE, family: Any, params: Array) -> Start:
    def draw(rng: np.random.Generator, chains: int) -> Array:
        noise = family.noise(rng, (chains, len(params), model.latents), params.dtype)
        z: Array = family.sample(params, noise)[0]
        return z

    def log_density(z: Array) -> tuple[Array, Pullback]:
        value, pullback = family.log_prob(params, z)
        return value, lambda dvalue: (pullback(dvalue)[1],)

    return Start(draw, log_density)
