"""The exact gradient of E_q[reduce f(z)]: by quadrature where z is continuous, by summation where it is discrete.

Derivations: ``derivations/truth.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from numvae.arrays import Array
from numvae.distributions import Bernoulli, Normal
from numvae.distributions.broadcasting import halves
from numvae.distributions.exponential import Exponential
from numvae.distributions.gamma import Gamma, log_quantile
from numvae.distributions.poisson import Poisson
from numvae.errors import InputError
from numvae.estimators import Integrand, Reduction, sample_mean

__all__ = ["NODES", "exact_gradient", "exact_value", "nodes"]

MOST_NODES = 1 << 20
MOST_BITS = 12
LEAST_LOG_SHAPE = math.log(0.05)
LEAST_POINT = 1e-300  # so that the derivative of a logarithm there is a floating-point number
NEGLIGIBLE = 1e-17  # a tail of this probability is left out


def exact_gradient(
    q: Any, params: Array, f: Integrand, latents: int, *, reduce: Reduction = sample_mean, samples: int = 1
) -> Array:
    """∇ E[reduce f(z_1 … z_S)] = Σ_nodes w (bound Σ_s ∇ log q(z_s) + ∂bound/∂params)   (truth.1).

    params (1, P), result (P,).  Nodes and weights are of ``nodes``, for S samples their tensor product.
    """
    z, weights = _sample_nodes(q, params, latents, samples)
    rows = np.repeat(params, len(weights), axis=0)
    values, f_pullback = f(rows, z)
    bound, reduce_pullback = reduce(values)
    dparams, _, _ = f_pullback(*reduce_pullback(weights))
    _, log_prob_pullback = q.log_prob(rows, z)
    score = log_prob_pullback(np.broadcast_to(weights * bound, values.shape))[0]
    gradient: Array = np.sum(score + dparams, axis=0)  # (truth.1)
    return gradient


def exact_value(
    q: Any, params: Array, f: Integrand, latents: int, *, reduce: Reduction = sample_mean, samples: int = 1
) -> float:
    """E[reduce f(z_1 … z_S)] = Σ_nodes w bound   (truth.2)."""
    z, weights = _sample_nodes(q, params, latents, samples)
    values, _ = f(np.repeat(params, len(weights), axis=0), z)
    return float(weights @ reduce(values)[0])  # (truth.2)


def nodes(q: Any, params: Array, latents: int) -> tuple[Array, Array]:
    """Points z (N, Z) and weights (N,) with Σ w g(z) = E_q[g(z)], exactly for bits, as good as exactly otherwise.

    Raises:
        InputError: there is no rule for the family, or too many points would be needed.
    """
    rule = NODES.get(type(q))
    if rule is None:
        known = ", ".join(family.__name__ for family in NODES)
        raise InputError(f"there is no exact expectation under {type(q).__name__}; known are {known}")
    return rule(q, params, latents)


def _sample_nodes(q: Any, params: Array, latents: int, samples: int) -> tuple[Array, Array]:
    """Every way to choose S nodes, with repetition: z (S, N^S, Z), weights (N^S,)."""
    z, weights = nodes(q, params, latents)
    if len(weights) ** samples > MOST_NODES:
        raise InputError(
            f"{samples} samples of {len(weights)} nodes make {len(weights) ** samples:,} combinations; take fewer "
            "samples or latents"
        )
    chosen = np.indices((len(weights),) * samples).reshape(samples, -1)
    return z[chosen], np.prod(weights[chosen], axis=0)


def _grid(points: list[Array], weights: list[Array]) -> tuple[Array, Array]:
    """The tensor product of one-dimensional nodes, one array for each latent."""
    count = math.prod(map(len, points))
    if count > MOST_NODES:
        raise InputError(f"{len(points)} latents make {count:,} nodes; take fewer latents, or discrete ones narrower")
    grids = (np.stack(np.meshgrid(*arrays, indexing="ij"), axis=-1) for arrays in (points, weights))
    z, factors = (grid.reshape(count, len(points)) for grid in grids)
    return z, np.prod(factors, axis=-1)


def _normal_nodes(q: Normal, params: Array, latents: int) -> tuple[Array, Array]:
    """Gauss-Hermite: exact for polynomials, and beyond rounding for smooth functions of one or two latents."""
    count = {1: 96, 2: 48, 3: 24}.get(latents, 12)
    points, weights = np.polynomial.hermite_e.hermegauss(count)
    noise, grid_weights = _grid([points] * latents, [weights / weights.sum()] * latents)
    return q.sample(params, noise)[0], grid_weights


def _exponential_nodes(q: Exponential, params: Array, latents: int) -> tuple[Array, Array]:
    """Those of the gamma with shape 1."""
    return _gamma_nodes(Gamma(), np.concatenate([np.zeros_like(params), params], axis=-1), latents)


def _gamma_nodes(q: Gamma, params: Array, latents: int) -> tuple[Array, Array]:
    """The trapezoid rule in s, where log x = s - e^-s   (truth.3): both tails then fall off doubly exponentially.

    So x^(shape - 1) and log x, singular at zero, do no harm, and the error falls exponentially with the nodes.
    """
    from scipy.special import gammainccinv, wrightomega

    count = {1: 100, 2: 64, 3: 48}.get(latents, 16)
    log_shape, log_rate = halves(params[0])
    if np.min(log_shape) < LEAST_LOG_SHAPE:
        raise InputError("quadrature over a gamma is for shapes from 0.05 on: below, too much lies next to zero")
    points, weights = [], []
    for shape, rate in zip(np.exp(log_shape), np.exp(log_rate), strict=True):
        ends = np.array([log_quantile(shape, np.array(NEGLIGIBLE)), np.log(gammainccinv(shape, NEGLIGIBLE))])
        first, last = ends + wrightomega(-ends)
        s = np.linspace(first, last, count)
        log_x = s - np.exp(-s)
        log_mass = shape * log_x - np.exp(log_x) + np.log1p(np.exp(-s))  # (truth.3)
        mass = np.exp(log_mass - log_mass.max())
        points.append(np.maximum(np.exp(log_x) / rate, LEAST_POINT))
        weights.append(mass / mass.sum())
    return _grid(points, weights)


def _poisson_nodes(q: Poisson, params: Array, latents: int) -> tuple[Array, Array]:
    """All counts but for a tail of probability 1e-17   (truth.4)."""
    from scipy.special import gammainc

    points, weights = [], []
    for log_rate in params[0]:
        rate = np.exp(log_rate)
        counts = np.arange(np.ceil(rate + 12 * np.sqrt(rate)) + 40)
        counts = counts[gammainc(np.maximum(counts, NEGLIGIBLE), rate) > NEGLIGIBLE]  # (truth.4)
        points.append(counts)
        mass = np.exp(q.log_prob(np.array([[log_rate]]), counts[:, None])[0])
        weights.append(mass / mass.sum())
    return _grid(points, weights)


def _bernoulli_nodes(q: Bernoulli, params: Array, latents: int) -> tuple[Array, Array]:
    """All 2^Z rows of bits, each with its probability."""
    if latents > MOST_BITS:
        raise InputError(f"2^{latents} rows of bits are too many to enumerate; take at most {MOST_BITS} latents")
    bits = np.array(list(product((0.0, 1.0), repeat=latents)))
    return bits, np.exp(q.log_prob(params, bits)[0])


NODES: dict[type, Callable[[Any, Array, int], tuple[Array, Array]]] = {
    Normal: _normal_nodes,
    Exponential: _exponential_nodes,
    Gamma: _gamma_nodes,
    Bernoulli: _bernoulli_nodes,
    Poisson: _poisson_nodes,
}
"""Family -> its nodes; a table that grows by one function."""
