"""p(z|x) of a model with two latents, on a grid: no sample, no bound, and log p(x) as a by-product.

Derivations: ``derivations/exact_posterior.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.special import logsumexp

from numvae.arrays import Array
from numvae.blocks import blocks
from numvae.errors import InputError
from numvae.flows import FlowVAE
from numvae.models import VAE, Model

__all__ = ["Box", "GridPosterior", "exact_posterior"]

Box: TypeAlias = tuple[tuple[float, float], tuple[float, float]]
"""((least z_1, greatest), (least z_2, greatest))."""

REACH = 6.0
"""Standard deviations of the prior on either side that are searched first."""
DEPTH = 25.0
"""Nats below the top at which the density counts as nothing: e⁻²⁵ is 10⁻¹¹."""
MOST_ZOOMS = 12


@dataclass(frozen=True, eq=False)
class GridPosterior:
    """p(z|x) of one datum at the nodes of a grid, and how far its numbers may be trusted.  Nats."""

    z1: Array
    """(G,), evenly spaced."""
    z2: Array
    """(G,), evenly spaced."""
    log_density: Array
    """log p(z|x), (G, G), z_2 along the rows: sums to one over the cells   (exact_posterior.2)."""
    log_evidence: float
    """log p(x)   (exact_posterior.1)."""
    coarser: float
    """How much log p(x) changes on every other node: more than the error of the spacing   (exact_posterior.3)."""
    border: float
    """The share of the mass that lies on the outermost nodes: where it is not tiny, mass is missing outside."""

    @property
    def error(self) -> float:
        """How far ``log_evidence`` may be off, for spacing and border together   (exact_posterior.3).

        As if the density stayed what it is on the border for as many rings of nodes again as the grid has across.
        Where that is not small, nothing is known of what lies outside.
        """
        return self.coarser + self.border * len(self.z1)  # (exact_posterior.3)

    @property
    def nodes(self) -> Array:
        """(G, G, 2)."""
        return np.stack(np.meshgrid(self.z1, self.z2), axis=-1)

    @property
    def probabilities(self) -> Array:
        """Of the cells, (G, G), with sum 1."""
        area = (self.z1[1] - self.z1[0]) * (self.z2[1] - self.z2[0])
        probabilities: Array = np.exp(self.log_density) * area
        return probabilities

    def expectation(self, values: Array) -> Array:
        """E[g(z)|x] of g at the nodes, (G, G, …)."""
        result: Array = np.tensordot(self.probabilities, values, axes=2)
        return result

    @property
    def mean(self) -> Array:
        """E[z|x], (2,)."""
        return self.expectation(self.nodes)

    @property
    def covariance(self) -> Array:
        """Cov[z|x], (2, 2)."""
        around = self.nodes - self.mean
        return self.expectation(around[..., :, None] * around[..., None, :])


def exact_posterior(
    model: Model, theta: Array, x: Array, *, points: int = 129, box: Box | None = None
) -> list[GridPosterior]:
    """p(z|x) = p(x, z) / p(x) at ``points``² nodes, p(x) their sum times the cells' area, for each row of x   (B, D).

    (exact_posterior.1), (exact_posterior.2).  The grid begins at six standard deviations of the prior, closes in on
    where the density is within 25 nats of its top, and grows where that reaches its border: so narrow posteriors are
    resolved, and several modes are all kept that the first grid has seen.  ``box``: this grid and no other.
    Work: points² decoded latents a row and zoom.  ``points`` odd, at least 9.

    >>> from numvae.exact_models import LinearGaussian
    >>> exact, x = LinearGaussian(np.eye(2), np.zeros(2), beta=30.0), np.array([[1.0, -0.5]])
    >>> (found,) = exact_posterior(exact.vae(), exact.theta, x)
    >>> abs(found.log_evidence - exact.evidence(x).item()) < 1e-9, found.error < 1e-6
    (True, True)

    Raises:
        InputError: the model has not two latents on all of the plane, or the number of points does not fit.
    """
    if not isinstance(model, VAE | FlowVAE) or model.latents != 2 or model.prior.family.support != "reals":
        kind = f"{type(model).__name__} of {model.latents}"
        raise InputError(f"a grid is for a VAE of 2 latents on all of the plane, got a {kind}")
    if points < 9 or points % 2 == 0:
        raise InputError(f"points must be odd, so that every other node ends at the border too, and >= 9, got {points}")
    found = []
    for row in range(len(x)):
        log_joint = model.log_joint(theta.astype(np.float64), x[row : row + 1].astype(np.float64))
        found.append(_on_grid(log_joint, box, points) if box else _zoomed(log_joint, _prior_box(model, theta), points))
    return found


def _prior_box(model: VAE | FlowVAE, theta: Array) -> Box:
    params = model.vae.prior_params(theta) if isinstance(model, FlowVAE) else model.prior_params(theta)
    family = model.prior.family
    mean, reach = family.mean(params)[0], REACH * family.std(params)[0]
    low, high = (mean - reach).tolist(), (mean + reach).tolist()
    return (low[0], high[0]), (low[1], high[1])


LogJoint: TypeAlias = Callable[[Array], tuple[Array, object]]


def _zoomed(log_joint: LogJoint, box: Box, points: int) -> GridPosterior:
    found = _on_grid(log_joint, box, points)
    for _ in range(MOST_ZOOMS):
        better, inside = _box_of_mass(found)
        if inside and _area(better) > 0.5 * _area(box):
            break
        box, found = better, _on_grid(log_joint, better, points)
    return found


def _on_grid(log_joint: LogJoint, box: Box, points: int) -> GridPosterior:
    z1, z2 = (np.linspace(*side, points) for side in box)
    nodes = np.stack(np.meshgrid(z1, z2), axis=-1).reshape(-1, 1, 2)
    values = np.concatenate([log_joint(nodes[block])[0][:, 0] for block in blocks(len(nodes), 1)])
    values = values.reshape(points, points)
    log_area = math.log(z1[1] - z1[0]) + math.log(z2[1] - z2[0])
    log_evidence = float(logsumexp(values)) + log_area  # (exact_posterior.1)
    every_other = float(logsumexp(values[::2, ::2])) + log_area + math.log(4)
    log_density = values - log_evidence  # (exact_posterior.2)
    ring = np.concatenate([log_density[[0, -1]].ravel(), log_density[1:-1, [0, -1]].ravel()])
    border = float(np.exp(logsumexp(ring) + log_area))
    return GridPosterior(z1, z2, log_density, log_evidence, abs(log_evidence - every_other), border)


def _box_of_mass(found: GridPosterior) -> tuple[Box, bool]:
    """Around the nodes within ``DEPTH`` of the top, with one cell to spare; whether none of them is on the border.

    Beyond a side that they reach there is half a grid to spare.
    """
    near = found.log_density > found.log_density.max() - DEPTH
    sides, inside = [], True
    for z, seen in ((found.z1, near.any(axis=0)), (found.z2, near.any(axis=1))):
        places = np.flatnonzero(seen)
        cell, more, last = z[1] - z[0], 0.5 * (z[-1] - z[0]), len(z) - 1
        low = z[places[0]] - (more if places[0] == 0 else cell)
        high = z[places[-1]] + (more if places[-1] == last else cell)
        sides.append((float(low), float(high)))
        inside = inside and places[0] > 0 and places[-1] < last
    return (sides[0], sides[1]), inside


def _area(box: Box) -> float:
    return math.prod(high - low for low, high in box)
