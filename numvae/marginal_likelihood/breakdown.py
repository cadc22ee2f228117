"""Where the reciprocal estimate breaks: its error over the number of latents, where log p(x) is known.

    records = reciprocal_breakdown()          numvae.marginal_likelihood.pictures.breakdown_by_latents(records)

Derivations: ``derivations/reciprocal_importance.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numvae.arrays import Array
from numvae.exact_models import LinearGaussian
from numvae.marginal_likelihood.reciprocal import reciprocal_estimate

__all__ = ["Breakdown", "reciprocal_breakdown", "share_of_infinite_variance"]

LATENTS = (1, 2, 3, 5, 10, 20)
FEATURES, NOISE_PRECISION = 30, 2.0


@dataclass(frozen=True, eq=False)
class Breakdown:
    """The estimate on data of one linear model: its errors in nats, row by row, and the errors it says it has."""

    latents: int
    errors: Array
    standard_errors: Array
    infinite_variance: float
    """Share of fits that give q/p an infinite variance, were all draws independent   (reciprocal_importance.7)."""


def reciprocal_breakdown(
    latents: Sequence[int] = LATENTS, *, rows: int = 300, draws: int = 50, seed: int = 0, **settings: Any
) -> list[Breakdown]:
    """``reciprocal_estimate`` - exact evidence on ``rows`` data of a linear model of each number of latents.

    A latent of one model moves the features about as far as one of another, so that the posterior of each is about as
    narrow in all of them.  ``settings`` go to ``reciprocal_estimate``; without any they are the paper's.
    """
    records = []
    for number in latents:
        rng = np.random.default_rng([seed, number])
        W = rng.standard_normal((number, FEATURES)) / math.sqrt(5)
        exact = LinearGaussian(W, np.zeros(FEATURES), beta=NOISE_PRECISION)
        _, x = exact.draw(rng, rows)
        estimate = reciprocal_estimate(exact.vae(), exact.theta, x, rng=rng, draws=draws, **settings)
        share = share_of_infinite_variance(number, draws, rng=rng)
        records.append(Breakdown(number, estimate.values - exact.evidence(x), estimate.standard_errors, share))
    return records


def share_of_infinite_variance(latents: int, draws: int, *, rng: np.random.Generator, repeats: int = 1000) -> float:
    """How often the covariance of ``draws`` draws of a normal is 2 or more times its own along some direction.

    Then the q fitted to them has tails so heavy that q/p has an infinite variance under p (reciprocal_importance.7).
    It is the same for every normal; draws that depend on each other count for fewer.

    >>> [share_of_infinite_variance(latents, 50, rng=np.random.default_rng(0)) for latents in (1, 3, 10, 20)]
    [0.0, 0.002, 0.268, 0.991]
    """
    noise = rng.standard_normal((repeats, draws, latents))
    centred = noise - noise.mean(axis=1, keepdims=True)
    ratio = np.swapaxes(centred, 1, 2) @ centred / (draws - 1)
    return float(np.mean(np.linalg.eigvalsh(ratio)[:, -1] >= 2))  # (reciprocal_importance.7)
