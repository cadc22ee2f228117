"""Where the bound is lost, datum by datum: to the family of q, and to one encoder having to serve all data.

Derivations: ``derivations/inference_gap.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from numvae.arrays import Array
from numvae.blocks import blocks
from numvae.errors import InputError
from numvae.estimators import pathwise
from numvae.flows import FlowVAE
from numvae.inspection.refinement import OwnPosterior, encoded, fresh_noises, refine
from numvae.marginal_likelihood.importance import importance_weighted_bounds
from numvae.marginal_likelihood.streaming import RunningMoments
from numvae.models import VAE
from numvae.optimizers import Optimizer

__all__ = ["Gap", "InferenceGaps", "inference_gaps"]


@dataclass(frozen=True, eq=False)
class Gap:
    """A difference of bounds for each row, (B,), and the error of each over other samples, (B,).  Nats."""

    values: Array
    errors: Array

    @property
    def mean(self) -> float:
        """Over the rows."""
        return float(self.values.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean, over other rows and other samples alike; infinite for one row."""
        return float(self.values.std(ddof=1) / math.sqrt(len(self.values))) if len(self.values) > 1 else math.inf

    @property
    def monte_carlo_error(self) -> float:
        """Of the mean, over other samples for the same rows."""
        return math.sqrt(float(np.sum(self.errors * self.errors))) / len(self.errors)


@dataclass(frozen=True, eq=False)
class InferenceGaps:
    """log p(x) - L[q] of each row, split at the best q of the family   (inference_gap.1)."""

    approximation: Gap
    """log p(x) - L[q*]: what the family cannot say."""
    amortisation: Gap
    """L[q*] - L[q]: what the encoder loses against fitting each datum by itself."""
    log_likelihood: Array
    """log p(x) by L_k, (B,), on average too low: so is the approximation gap."""
    loss: Array
    """How far that is expected below log p(x), (B,), to first order   (importance.5)."""
    refined: Array
    """The params of q*, (B, P)."""

    @property
    def inference(self) -> Gap:
        """The sum of both, log p(x) - L[q]   (inference_gap.1); their errors as if they had no sample in common."""
        errors = np.hypot(self.approximation.errors, self.amortisation.errors)
        return Gap(self.approximation.values + self.amortisation.values, errors)  # (inference_gap.1)


def inference_gaps(
    model: VAE | FlowVAE,
    theta: Array,
    x: Array,
    *,
    rng: np.random.Generator,
    steps: int = 300,
    training_samples: int = 10,
    bound_samples: int = 1000,
    likelihood_samples: int = 5000,
    optimizer: Optimizer | None = None,
    on_rows: Callable[[int], object] = lambda count: None,
) -> InferenceGaps:
    """log p(x) - L[q*] and L[q*] - L[q], q* what ``refine`` makes of q(z|x) row by row   (inference_gap.1).

    x: (B, D), what the model sees.  Three streams of noise that share nothing: ``training_samples`` a step for q*,
    ``bound_samples`` for both ELBOs, the same for q* as for q, and ``likelihood_samples`` from q* for log p(x).
    What is not climbed to the end counts as approximation where it is amortisation: double ``steps`` and compare.
    ``on_rows`` is told after every block how many rows it had.
    Source: Cremer et al. 2018.

    Raises:
        InputError: two samples are the least for an error; the model is of another kind.
    """
    if min(bound_samples, likelihood_samples) < 2:
        raise InputError(
            f"an error needs two samples at least, got bound_samples={bound_samples} and "
            f"likelihood_samples={likelihood_samples}"
        )
    parts: list[tuple[Array, ...]] = []
    for block in blocks(len(x), training_samples):
        rows = x[block]
        start = encoded(model, theta, rows)
        noises = fresh_noises(model, rng, steps, (training_samples, len(rows)), theta.dtype)
        own = refine(model, theta, rows, noises, steps=steps, start=start, optimizer=optimizer)
        per_row = OwnPosterior(model, rows.shape[-1])
        refined, amortised = (np.concatenate([rows, params], axis=-1) for params in (own, start))
        found = importance_weighted_bounds(per_row, theta, refined, rng=rng, samples=likelihood_samples)
        best, gained = _bounds(per_row, theta, refined, amortised, bound_samples, rng)
        parts.append(
            (
                found.best - best.mean,  # (inference_gap.1)
                np.hypot(found.monte_carlo_error, best.std / math.sqrt(bound_samples)),
                gained.mean,
                gained.std / math.sqrt(bound_samples),
                found.best,
                found.loss(),
                own,
            )
        )
        on_rows(len(rows))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return InferenceGaps(Gap(*columns[:2]), Gap(*columns[2:4]), *columns[4:])


def _bounds(
    model: OwnPosterior, theta: Array, refined: Array, amortised: Array, samples: int, rng: np.random.Generator
) -> tuple[RunningMoments, RunningMoments]:
    """log w under q*, and how much larger it is than under q at the same noise: (B,) each, their means the ELBO's."""
    best, gained = RunningMoments(len(refined)), RunningMoments(len(refined))
    for part in blocks(samples, len(refined)):
        noise = model.draw_noise(pathwise, rng, (part.stop - part.start, len(refined)), theta.dtype)
        log_w = [np.add(*model.log_weights(theta, rows, noise)).astype(np.float64) for rows in (refined, amortised)]
        best.add(log_w[0])
        gained.add(log_w[0] - log_w[1])
    return best, gained
