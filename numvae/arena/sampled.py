"""Very many gradients, one for each draw of z, of both kinds: score function and pathwise.

Derivations: ``derivations/gradient_noise.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.distributions import Bernoulli
from numvae.errors import InputError
from numvae.memory import keep_freed_memory
from numvae.models import VAE
from numvae.networks import Activation, Chain, Dense, Network

__all__ = ["PerSampleGradients", "per_sample_gradients"]

AT_ONCE = 1000
"""Draws that go through the decoder together: enough for fast products, few enough for the cache."""

ValueAndSlope: TypeAlias = Callable[[Array], tuple[Array, Array]]
"""z (N, Z) -> log p(x|z) (N,) and its derivative in z (N, Z)."""


@dataclass(frozen=True, eq=False)
class PerSampleGradients:
    """One row per draw of z: f = log p(x|z), and what each estimator makes of that one draw.

    values (S, B); pathwise and score_function (S, B, P), gradients in q's parameters.
    """

    values: Array
    pathwise: Array
    score_function: Array
    """f(z) ∇ log q(z), without a baseline."""


def per_sample_gradients(model: VAE, theta: Array, x: Array, noise: Array) -> PerSampleGradients:
    """Both gradients of E_q[log p(x|z)] for every single draw   (gradient_noise.8).  x (B, D), noise (S, B, Z).

    Meant for few rows x and very many draws.  Beside its result it holds one block of ``AT_ONCE`` draws.

    >>> from numvae import initial_theta, mlp_vae
    >>> model, rng = mlp_vae(6, latents=2, hidden=[4]), np.random.default_rng(0)
    >>> theta = initial_theta(model.layout, rng=rng)
    >>> drawn = per_sample_gradients(model, theta, np.ones((1, 6)), rng.standard_normal((5000, 1, 2)))
    >>> drawn.pathwise.shape, bool(drawn.pathwise.var(axis=0).sum() < drawn.score_function.var(axis=0).sum())
    ((5000, 1, 4), True)

    Raises:
        InputError: noise of another shape.
    """
    width = model.posterior.noise(np.random.default_rng(0), (1, model.latents)).shape[-1]
    if noise.ndim != 3 or noise.shape[1:] != (len(x), width):
        raise InputError(f"noise must have shape (S, B, Z) = (*, {len(x)}, {width}), got {noise.shape}")
    keep_freed_memory()
    q, params = model.posterior, model.encode(theta, x)
    values = np.empty_like(noise, shape=noise.shape[:2])
    pathwise = np.empty_like(noise, shape=(*noise.shape[:2], params.shape[1]))
    score_function = np.empty_like(pathwise)
    for row in range(len(x)):
        f = _log_likelihood(model, theta, x[row])
        for start in range(0, len(noise), AT_ONCE):
            block = slice(start, start + AT_ONCE), row
            drawn = noise[block]
            of_draws = np.broadcast_to(params[row], (len(drawn), params.shape[1]))  # every draw is a row of its own
            z, sample_pullback = q.sample(of_draws, drawn)
            values[block], dz = f(z)
            pathwise[block] = sample_pullback(dz)[0]  # (gradient_noise.8)
            score_function[block] = q.log_prob(of_draws, z)[1](values[block])[0]
    return PerSampleGradients(values, pathwise, score_function)


def _log_likelihood(model: VAE, theta: Array, x: Array) -> ValueAndSlope:
    """f(z) = log p(x|z) for one row x (D,), with what does not depend on z computed beforehand."""
    parts = list(_parts(model.decoder, model.layout.views(theta)["decoder"]))
    last, weights = parts[-1]
    if isinstance(last, Dense) and isinstance(model.likelihood, Bernoulli):
        parts, output = parts[:-1], _bernoulli_output(x, **last.layout.views(weights))
    else:
        output = _any_output(model.likelihood, x)

    def value_and_slope(z: Array) -> tuple[Array, Array]:
        pullbacks = []
        for part, weights in parts:
            z, pullback = _of_inputs(part, weights, z)
            pullbacks.append(pullback)
        values, dz = output(z)
        for pullback in reversed(pullbacks):
            (dz,) = pullback(dz)
        return values, dz

    return value_and_slope


def _parts(network: Network, theta: Array) -> Iterator[tuple[Any, Array]]:
    """The parts of a chain, and of chains within it, with their weights."""
    if not isinstance(network, Chain):
        yield network, theta
        return
    for part, weights in zip(network.parts, network.layout.views(theta).values(), strict=True):
        yield from _parts(part, weights)


def _of_inputs(part: Any, theta: Array, x: Array) -> tuple[Array, Pullback]:
    """A network of its inputs alone, weights held: pullback -> (dx,), without the product that dW takes."""
    if isinstance(part, Activation):
        return part.function(x)
    if isinstance(part, Dense):
        W, b = part.layout.views(theta).values()
        y = x @ W
        y += b
        return y, lambda dy: (dy @ W.T,)
    y, pullback = part(theta, x)
    return y, lambda dy: pullback(dy)[1:]


def _any_output(likelihood: Any, x: Array) -> ValueAndSlope:
    """log p(x|params) of the decoder's output, and its derivative there."""

    def output(params: Array) -> tuple[Array, Array]:
        values, pullback = likelihood.log_prob(params, x)
        return values, pullback(np.ones_like(values))[0]

    return output


def _bernoulli_output(x: Array, W: Array, b: Array) -> ValueAndSlope:
    """log p(x|h) for bits with logits l = h W + b, and dh: (bernoulli.3) with its linear part taken out of the loop.

    With u = l / 2 and t = tanh u, log p = (x - ½)·l - Σ (abs(u) - log(1 + abs(t)) + log 2)   (gradient_noise.9) and
    dh = (x - ½) Wᵀ - t (W/2)ᵀ   (gradient_noise.10).  (x - ½)·l is linear in h, so one column stands for all of W.
    """
    half_W, half_b = 0.5 * W, 0.5 * b
    linear, constant = W @ (x - 0.5), float(b @ (x - 0.5)) - math.log(2) * len(x)
    ones = np.ones_like(b)

    def output(h: Array) -> tuple[Array, Array]:
        u = h @ half_W
        u += half_b
        t = np.tanh(u)
        values = h @ linear + constant
        values -= np.abs(u, out=u) @ ones
        values += np.log1p(np.abs(t, out=u), out=u) @ ones  # (gradient_noise.9)
        dh = t @ half_W.T
        return values, np.subtract(linear, dh, out=dh)  # (gradient_noise.10)

    return output
