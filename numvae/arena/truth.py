"""The exact gradient of E_q[reduce f(z)]: by quadrature where z is continuous, by enumeration where it is discrete.

Derivations: ``derivations/truth.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from numvae.arrays import Array
from numvae.distributions import Bernoulli, Normal
from numvae.errors import InputError
from numvae.estimators import Integrand, Reduction, sample_mean

__all__ = ["NODES", "exact_gradient", "exact_value", "nodes"]

MOST_NODES = 1 << 20
MOST_BITS = 12


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
    """Points z (N, Z) and weights (N,) with Σ w g(z) = E_q[g(z)], exactly for bits, by quadrature otherwise.

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


def _grid(points: Array, weights: Array, latents: int) -> tuple[Array, Array]:
    """The tensor product of one-dimensional nodes."""
    chosen = np.indices((len(points),) * latents).reshape(latents, -1)
    return points[chosen].T, np.prod(weights[chosen], axis=0)


def _normal_nodes(q: Normal, params: Array, latents: int) -> tuple[Array, Array]:
    """Gauss-Hermite: exact for polynomials, and beyond rounding for smooth functions of one or two latents."""
    count = {1: 96, 2: 48, 3: 24}.get(latents, 12)
    if count**latents > MOST_NODES:
        raise InputError(f"quadrature over {latents} latents is out of reach; take at most 5")
    points, weights = np.polynomial.hermite_e.hermegauss(count)
    noise, grid_weights = _grid(points, weights / weights.sum(), latents)
    return q.sample(params, noise)[0], grid_weights


def _bernoulli_nodes(q: Bernoulli, params: Array, latents: int) -> tuple[Array, Array]:
    """All 2^Z rows of bits, each with its probability."""
    if latents > MOST_BITS:
        raise InputError(f"2^{latents} rows of bits are too many to enumerate; take at most {MOST_BITS} latents")
    bits = np.array(list(product((0.0, 1.0), repeat=latents)))
    return bits, np.exp(q.log_prob(params, bits)[0])


NODES: dict[type, Callable[[Any, Array, int], tuple[Array, Array]]] = {
    Normal: _normal_nodes,
    Bernoulli: _bernoulli_nodes,
}
"""Family -> its nodes; a table that grows by one function."""
