"""The aggregate posterior q(z), and the mean KL taken apart: information about the datum, and distance to the prior.

Derivations: ``derivations/aggregate.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from numvae.arrays import Array
from numvae.blocks import blocks
from numvae.errors import InputError
from numvae.estimators import pathwise
from numvae.marginal_likelihood.streaming import RunningLogSumExp
from numvae.models import VAE, Model

__all__ = ["AggregatePosterior", "aggregate_log_prob", "aggregate_posterior"]

PAIRS = 1 << 16
"""Points times components looked at together: few enough for fresh arrays in cache."""


@dataclass(frozen=True, eq=False)
class AggregatePosterior:
    """Where the mean KL of N rows goes: mean_kl = information + divergence   (aggregate.2).  Nats per datum.

    Errors are standard errors over other samples, for these N rows   (aggregate.4).
    """

    information: float
    """I(n; z): what z tells about which of the N rows it came from; at most log N   (aggregate.3)."""
    information_error: float
    divergence: float
    """KL(q(z) ‖ p(z)): how far codes of these rows are from the prior's draws."""
    divergence_error: float
    mean_kl: float
    """(1/N) Σ KL(q(z|x_n) ‖ p(z)), by the same samples."""
    mean_kl_error: float
    rows: int
    """N."""
    mean_ratio: float
    """The mean of q(z|x_n) / q(z), from 1 to N: how many times denser the own component is."""

    @property
    def ceiling(self) -> float:
        """log N, the most that N rows can show   (aggregate.3)."""
        return math.log(self.rows)

    @property
    def loss(self) -> float:
        """How far I of N rows is expected below I of all the data they were drawn from, to first order   (aggregate.5).

        By as much the divergence is too large.  Near the ceiling it says far too little.
        """
        return (self.mean_ratio - 1) / (2 * self.rows)  # (aggregate.5)


def aggregate_log_prob(q: Any, params: Array, z: Array) -> Array:
    """log q(z) = log (1/N) Σ_n q(z|x_n)   (aggregate.1), at points z (K, Z) for params (N, P): (K,), nats.

    All N components, in chunks whose memory grows with neither K nor N; in float64.
    """
    params, z = params.astype(np.float64), z.astype(np.float64)
    components, result = max(1, min(len(params), PAIRS // 64)), np.empty(len(z))
    points = max(1, PAIRS // components)
    for first in range(0, len(z), points):
        some = z[first : first + points, None]
        total = RunningLogSumExp((len(some),))
        for begin in range(0, len(params), components):
            total.add(q.log_prob(params[begin : begin + components], some)[0].T)
        result[first : first + points] = total.value - math.log(len(params))  # (aggregate.1)
    return result


def aggregate_posterior(
    model: Model, theta: Array, x: Array, *, rng: np.random.Generator, samples: int = 2, rows: int | None = None
) -> AggregatePosterior:
    """(1/N) Σ KL(q(z|x_n) ‖ p) = I(n; z) + KL(q(z) ‖ p), q(z) the mean of q(z|x_n)   (aggregate.1), (aggregate.2).

    x: (N, D), what the model sees; all N are in q(z).  Each of ``rows`` of them, all unless given, has ``samples``
    samples, whose number is a matter of noise alone.  N is not: fewer rows know less, see ``loss``.
    The work is N times rows times samples.  Source: Hoffman and Johnson 2016.

    Raises:
        InputError: the model is no VAE, whose q(z|x) alone has a density at samples of other rows; no rows or samples.
    """
    if not isinstance(model, VAE):
        raise InputError(f"log q(z|x) at the samples of other rows is known for a VAE, got a {type(model).__name__}")
    count = len(x) if rows is None else min(rows, len(x))
    if count < 1 or samples < 1:
        raise InputError(f"an estimate needs a row and a sample at least, got {count} and {samples}")
    params = np.concatenate([model.encode(theta, x[block]) for block in blocks(len(x), 1)]).astype(np.float64)
    chosen = np.sort(rng.permutation(len(x))[:count])
    noise = model.draw_noise(pathwise, rng, (samples, count), np.float64)
    z, _ = model.posterior.sample(params[chosen], noise)
    log_own, _ = model.posterior.log_prob(params[chosen], z)
    log_prior, _ = model.prior.family.log_prob(model.prior_params(params), z)
    log_aggregate = aggregate_log_prob(model.posterior, params, z.reshape(-1, z.shape[-1])).reshape(log_own.shape)
    share = count / len(x)
    (information, divergence, mean_kl), errors = zip(
        *(
            (float(values.mean()), _standard_error(values, share))
            for values in (log_own - log_aggregate, log_aggregate - log_prior, log_own - log_prior)  # (aggregate.2)
        ),
        strict=True,
    )
    mean_ratio = float(np.exp(log_own - log_aggregate).mean())
    return AggregatePosterior(
        information, errors[0], divergence, errors[1], mean_kl, errors[2], len(x), mean_ratio
    )  # (aggregate.3)


def _standard_error(values: Array, share: float) -> float:
    """Of the mean of values (S, R), R a ``share`` of all rows: from rows left out, and from samples   (aggregate.4).

    One sample a row does not tell the two apart: then rows count as if most were left out, which is too cautious.
    """
    samples, rows = values.shape
    between = float(values.mean(axis=0).var(ddof=1)) / rows if rows > 1 else math.inf
    if samples == 1:
        return math.sqrt(between)
    within = float(values.var(axis=0, ddof=1).mean()) / (samples * rows)
    left_out = (1 - share) * between if share < 1 else 0.0
    return math.sqrt(left_out + share * within)  # (aggregate.4)
