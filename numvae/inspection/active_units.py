"""Which latents a model uses: those whose mean under q(z|x) differs from datum to datum.

Derivations: ``derivations/active_units.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array
from numvae.belief_networks import SigmoidBeliefNetwork
from numvae.blocks import blocks
from numvae.errors import InputError
from numvae.estimators import pathwise
from numvae.flows import FlowVAE
from numvae.layered import LayeredVAE
from numvae.marginal_likelihood.streaming import RunningMoments
from numvae.models import VAE, Model

__all__ = ["THRESHOLD", "ActiveUnits", "active_units"]

THRESHOLD = 0.01
"""Burda et al. 2015: what lies below is nearly always far below."""


@dataclass(frozen=True, eq=False)
class ActiveUnits:
    """How much each latent's mean moves with the data; one entry for each layer of latents, the lowest first."""

    activities: tuple[Array, ...]
    """A_u (Z,)   (active_units.1).  Of a layer by samples it may come out a little below 0   (active_units.2)."""
    means: tuple[Array, ...]
    """The mean of E_q[u|x] over the rows, (Z,)."""
    threshold: float
    rows: int

    @property
    def active(self) -> tuple[npt.NDArray[np.bool_], ...]:
        """Which units are active, A_u > threshold, (Z,)   (active_units.1)."""
        return tuple(activity > self.threshold for activity in self.activities)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many units of each layer are active."""
        return tuple(int(active.sum()) for active in self.active)


def active_units(
    model: Model,
    theta: Array,
    x: Array,
    threshold: float = THRESHOLD,
    *,
    rng: np.random.Generator | None = None,
    samples: int = 50,
) -> ActiveUnits:
    """A_u = Var_x(E_q[u|x]), over the rows of x; a unit is active where A_u > threshold   (active_units.1).

    x: (N, D), what the model sees, two rows at least.  The means of the lowest layer are those of its family.  Those of
    the layers above, and behind a flow, are expectations over what lies below: they are estimated by ``samples``
    samples a row drawn by ``rng``, and the variance that the samples add is taken away again   (active_units.2).
    Memory does not grow with N.  Source: Burda et al. 2015, section 5.2.

    >>> from numvae.exact_models import LinearGaussian
    >>> exact = LinearGaussian(np.diag([1.0, 0.0]), np.zeros(2))  # x does not depend on the second latent
    >>> found = active_units(exact.vae(), exact.theta, np.array([[2.0, 1.0], [-2.0, 0.0]]))
    >>> found.activities, found.counts
    ((array([2., 0.]),), (1,))

    Raises:
        InputError: one row; no ``rng``, or a single sample, where means need samples; a family without means.
    """
    if len(x) < 2:
        raise InputError(f"a variance over rows needs two of them, got {len(x)}")
    by_samples = isinstance(model, FlowVAE) or len(_widths(model)) > 1
    if by_samples and (rng is None or samples < 2):
        raise InputError(
            f"some means of a {type(model).__name__} need samples, two a row at least; give rng, and samples=50"
        )
    moments = [RunningMoments(width) for width in _widths(model)]
    spread = [np.zeros(width) for width in _widths(model)]
    for block in blocks(len(x), samples if by_samples else 1):
        found = _means(model, theta, x[block], rng, samples)
        for layer, (mean, variance_of_mean) in enumerate(found):
            moments[layer].add(mean.astype(np.float64))
            spread[layer] += variance_of_mean.sum(axis=0)
    activities = tuple(
        layer.squares / (layer.count - 1) - added / layer.count  # (active_units.1), (active_units.2)
        for layer, added in zip(moments, spread, strict=True)
    )
    return ActiveUnits(activities, tuple(layer.mean for layer in moments), threshold, len(x))


def _widths(model: Model) -> Sequence[int]:
    return model.widths if isinstance(model, LayeredVAE | SigmoidBeliefNetwork) else (model.latents,)


def _means(
    model: Model, theta: Array, x: Array, rng: np.random.Generator | None, samples: int
) -> list[tuple[Array, Array]]:
    """E_q[u|x] of each layer, (B, Z), and the variance of that estimate over other samples, (B, Z)."""
    if not hasattr(model.posterior, "mean"):
        raise InputError(f"a {type(model.posterior).__name__} has no mean, whose variance is the activity of a unit")
    params = model.encode(theta, x)
    of_family: Array = model.posterior.mean(params)
    exact = of_family, np.zeros(of_family.shape)
    if isinstance(model, VAE) or rng is None:
        return [exact]
    noise = model.draw_noise(pathwise, rng, (samples, len(x)), theta.dtype)
    if isinstance(model, FlowVAE):
        z, _ = model.transform(theta, x, model.posterior.sample(params, noise)[0])
        return [_with_variance(z)]
    found: list[tuple[Array, Array]] = [exact]
    encoders = zip(model.encoders[1:], model.weights(theta, "encoder")[1:], strict=True)
    for (encoder, weights), noise_below in zip(encoders, model.split(noise), strict=False):
        z, _ = model.posterior.sample(params, noise_below)
        params = encoder(weights, z)[0]
        found.append(_with_variance(model.posterior.mean(params)))
    return found


def _with_variance(values: Array) -> tuple[Array, Array]:
    """The mean of values (S, B, Z) over S, and the variance of that mean."""
    values = values.astype(np.float64)
    variance: Array = (values.std(axis=0, ddof=1) / math.sqrt(len(values))) ** 2
    return values.mean(axis=0), variance
