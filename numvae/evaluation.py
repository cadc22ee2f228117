"""The bound of a trained model on rows of data, in blocks of bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array
from numvae.blocks import blocks
from numvae.datasets.binarization import Binarization, fresh
from numvae.devices import Device, to_device, to_host
from numvae.distributions.kl_table import kl_divergence
from numvae.estimators import pathwise
from numvae.marginal_likelihood.importance import importance_weighted_bounds
from numvae.models import VAE, Model
from numvae.objectives import elbo_terms

__all__ = [
    "Evaluation",
    "LikelihoodEvaluation",
    "evaluate",
    "evaluate_importance_weighted",
    "evaluate_likelihood",
]


@dataclass(frozen=True)
class Evaluation:
    """Means over rows, nats per datum; ``standard_error`` is that of ``elbo`` over rows."""

    elbo: float
    reconstruction: float
    kl: float
    standard_error: float
    rows: int


@np.errstate(all="ignore")  # what overflows shows in the result
def evaluate(
    model: Model,
    theta: Array,
    rows: npt.NDArray[Any],
    *,
    rng: np.random.Generator,
    samples: int = 1,
    binarize: Binarization = fresh,
    device: Device = "cpu",
) -> Evaluation:
    """The bound (objectives.2) and its two terms with ``samples`` samples per row."""
    reconstruction: list[Array] = []
    kl: list[Array] = []
    for x, noise in batches(model, theta, rows, rng, samples, binarize, device):
        terms = _terms(model, theta, x, noise)
        for values, term in zip((reconstruction, kl), terms, strict=True):
            values.append(to_host(term))
    per_row = np.stack([np.concatenate(reconstruction), np.concatenate(kl)]).astype(np.float64)
    return _evaluation(*per_row)


@dataclass(frozen=True)
class LikelihoodEvaluation:
    """log p(x) by S importance weights a row, and what the same samples say of the ELBO.  Means over rows, nats."""

    elbo: Evaluation
    samples: int
    importance_weighted: float
    """L_S (objectives.6): the estimate of log p(x), which on average is too low, never too high."""
    standard_error: float
    """Of L_S over rows: how far that of other rows may lie, whatever the samples."""
    monte_carlo_error: float
    """Of L_S over samples for these rows   (importance.6)."""
    loss: float
    """How far L_S is expected below log p(x), to first order   (importance.5)."""
    effective_samples: float
    """The median over rows, of S   (importance.4)."""


def evaluate_likelihood(
    model: Model,
    theta: Array,
    rows: npt.NDArray[Any],
    *,
    rng: np.random.Generator,
    samples: int,
    binarize: Binarization = fresh,
    device: Device = "cpu",
    on_rows: Callable[[int], object] = lambda count: None,
) -> LikelihoodEvaluation:
    """log p(x) and the ELBO from one stream of ``samples`` samples a row; memory grows with neither.

    ``on_rows`` is told after every block how many rows it had.
    """
    parts: list[tuple[Array, ...]] = []
    for block in blocks(len(rows), samples=1):
        x = binarize(rows[block], rng, theta.dtype)
        found = importance_weighted_bounds(model, theta, x, rng=rng, samples=samples, device=device)
        kl = _kl(model, theta, x, device)
        terms = found.log_likelihood, found.log_likelihood - found.log_weight_mean if kl is None else kl
        parts.append((*terms, found.best, found.monte_carlo_error, found.loss(), found.effective_samples))
        on_rows(len(x))
    reconstruction, kl, bound, error, loss, effective = map(np.concatenate, zip(*parts, strict=True))
    return LikelihoodEvaluation(
        elbo=_evaluation(reconstruction, kl),
        samples=samples,
        importance_weighted=float(bound.mean()),
        standard_error=_standard_error(bound),
        monte_carlo_error=math.sqrt(np.sum(error * error)) / len(error),
        loss=float(loss.mean()),
        effective_samples=float(np.median(effective)),
    )


def evaluate_importance_weighted(
    model: Model,
    theta: Array,
    rows: npt.NDArray[Any],
    *,
    rng: np.random.Generator,
    samples: int,
    binarize: Binarization = fresh,
    device: Device = "cpu",
) -> float:
    """The importance-weighted bound (objectives.6) with ``samples`` samples per row, mean over rows."""
    found = evaluate_likelihood(model, theta, rows, rng=rng, samples=samples, binarize=binarize, device=device)
    return found.importance_weighted


def _evaluation(reconstruction: Array, kl: Array) -> Evaluation:
    elbo = reconstruction - kl
    return Evaluation(
        elbo=float(elbo.mean()),
        reconstruction=float(reconstruction.mean()),
        kl=float(kl.mean()),
        standard_error=_standard_error(elbo),
        rows=len(elbo),
    )


def _standard_error(values: Array) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.inf


@np.errstate(all="ignore")
def _kl(model: Model, theta: Array, x: Array, device: Device) -> Array | None:
    """KL(q(z|x) ‖ p(z)) in closed form, (B,), or None where there is none."""
    if not (isinstance(model, VAE) and model.knows_kl):
        return None
    params = model.encode(theta, to_device(x, device))
    kl, _ = kl_divergence(model.posterior, model.prior.family)(params, model.prior_params(params))
    in_full: Array = to_host(kl).astype(np.float64)
    return in_full


def _terms(model: Model, theta: Array, x: Array, noise: Array) -> tuple[Array, Array]:
    """Reconstruction and KL, (B,) each: the KL in closed form where there is one, otherwise by the same samples."""
    if isinstance(model, VAE) and model.knows_kl:
        return elbo_terms(model, theta, x, noise)[0]
    log_likelihood, log_ratio = model.log_weights(theta, x, noise)
    return log_likelihood.mean(axis=0), -log_ratio.mean(axis=0)


def batches(
    model: Model,
    theta: Array,
    rows: npt.NDArray[Any],
    rng: np.random.Generator,
    samples: int,
    binarize: Binarization,
    device: Device,
) -> Iterator[tuple[Array, Array]]:
    """Pairs (x, noise) that together hold all rows, cut into ``blocks``."""
    for block in blocks(len(rows), samples):
        x = binarize(rows[block], rng, theta.dtype)
        noise = model.draw_noise(pathwise, rng, (samples, len(x)), theta.dtype)
        yield to_device(x, device), to_device(noise, device)
