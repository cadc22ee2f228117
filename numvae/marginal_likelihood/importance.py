"""log p(x) from importance weights: bounds L_k for every k from one stream of samples, and how far to trust them.

Derivations: ``derivations/importance.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from numvae.arrays import Array
from numvae.blocks import blocks
from numvae.devices import Device
from numvae.errors import InputError
from numvae.marginal_likelihood.streaming import (
    EffectiveSamples,
    GroupedMean,
    RunningMoments,
    Weighed,
    log_weight_chunks,
)

__all__ = ["ImportanceWeightedBounds", "importance_weighted_bounds", "variance_of_weights"]


@dataclass(frozen=True, eq=False)
class ImportanceWeightedBounds:
    """What S importance weights say about log p(x) of each row.  Nats, (B,) each."""

    samples: int
    """S, the largest k that was asked for."""
    bounds: dict[int, Array]
    """k -> an unbiased estimate of L_k for each row: the mean over ⌊S/k⌋ disjoint groups of k   (importance.1)."""
    effective_samples: Array
    """(Σ w)² / Σ w², from 1 to S   (importance.4): where it is near 1, one sample is all there is."""
    log_weight_mean: Array
    """The mean of log w: the ELBO, everything by samples."""
    log_weight_std: Array
    """The spread of log w over the samples: 0 where q is the posterior."""
    log_likelihood: Array
    """The mean of log p(x|z), the ELBO's reconstruction."""

    @property
    def best(self) -> Array:
        """L_S, the tightest: the estimate of log p(x)."""
        return self.bounds[self.samples]

    def loss(self, k: int | None = None) -> Array:
        """How far L_k is expected below log p(x), v / 2k with v = ``variance_of_weights``   (importance.5).

        k = S unless given.  First order, from the weights that were seen: with few effective samples it says no more
        than that, for the weights that would have mattered were not seen.
        """
        return variance_of_weights(self.effective_samples, self.samples) / (2 * (k or self.samples))  # (importance.5)

    @property
    def monte_carlo_error(self) -> Array:
        """The standard deviation of L_S over other samples for the same row, sqrt(v / S)   (importance.6).

        That of the mean over rows is sqrt(Σ error²) / B.
        """
        variance = variance_of_weights(self.effective_samples, self.samples)
        error: Array = np.sqrt(variance / self.samples)  # (importance.6)
        return error


def variance_of_weights(effective_samples: Array, samples: int) -> Array:
    """Var(w) / E[w]² from S weights, (S / effective - 1) S / (S - 1)   (importance.4); from one it is not known: NaN.

    >>> variance_of_weights(np.array([1.8]), samples=2)  # of the weights 1 and 2: variance 1/2, mean 3/2
    array([0.22222222])
    """
    if samples == 1:
        return np.full_like(effective_samples, math.nan)
    variance: Array = np.maximum(samples / effective_samples - 1, 0) * (samples / (samples - 1))  # (importance.4)
    return variance


@np.errstate(all="ignore")  # what overflows shows in the result
def importance_weighted_bounds(
    model: Weighed,
    theta: Array,
    x: Array,
    *,
    rng: np.random.Generator,
    samples: int | Sequence[int],
    device: Device = "cpu",
) -> ImportanceWeightedBounds:
    """L_k = E log (1/k) Σ_s p(x, z_s) / q(z_s|x), for one k or several, by rows   (objectives.6), (importance.1).

    ``samples``: the k; for all of them the same S samples serve, S the largest.  L_S is log p(x) as well as S
    samples tell it; a smaller k has ⌊S/k⌋ groups of its own, and so less noise than S = k would leave.
    x: (B, D), what the model sees.  Memory grows with neither S nor B.  Weights are added up in float64.
    Source: Burda et al. 2015, equation 8.

    >>> from numvae.exact_models import LinearGaussian
    >>> exact = LinearGaussian(W=np.eye(1), b=np.zeros(1))
    >>> model, theta, x = exact.vae(), exact.theta.copy(), np.array([[1.0]])
    >>> theta[2] -= 0.5  # q's mean is 0, no longer the posterior's 0.5
    >>> found = importance_weighted_bounds(model, theta, x, rng=np.random.default_rng(0), samples=[1, 10, 10_000])
    >>> [round(bound.item(), 2) for bound in (*found.bounds.values(), exact.evidence(x))]
    [-1.76, -1.54, -1.51, -1.52]

    Raises:
        InputError: no k, or one below 1.
    """
    sizes = sorted({samples} if isinstance(samples, int) else set(samples))
    if not sizes or sizes[0] < 1:
        raise InputError(f"samples must be a number of at least 1, or several, got {samples!r}")
    most = sizes[-1]
    parts = []
    for block in blocks(len(x), most):
        rows = x[block]
        groups = {size: GroupedMean(len(rows), size) for size in sizes}
        effective, moments, reconstruction = EffectiveSamples(len(rows)), RunningMoments(len(rows)), np.zeros(len(rows))
        for log_likelihood, log_ratio in log_weight_chunks(model, theta, rows, most, rng=rng, device=device):
            log_w = log_likelihood + log_ratio  # (bound.1)
            for group in groups.values():
                group.add(log_w)
            effective.add(log_w)
            moments.add(log_w)
            reconstruction += log_likelihood.sum(axis=0)
        bounds = [group.mean for group in groups.values()]
        parts.append([*bounds, effective.value, moments.mean, moments.std, reconstruction / most])
    *bounds, effective_samples, mean, std, log_likelihood = map(np.concatenate, zip(*parts, strict=True))
    return ImportanceWeightedBounds(
        most, dict(zip(sizes, bounds, strict=True)), effective_samples, mean, std, log_likelihood
    )
