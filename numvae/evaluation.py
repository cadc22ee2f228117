"""The bound of a trained model on rows of data, in blocks of bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array
from numvae.blocks import blocks
from numvae.datasets.binarization import Binarization, fresh
from numvae.devices import Device, to_device, to_host
from numvae.estimators import log_mean_exp
from numvae.models import VAE, Model
from numvae.objectives import elbo_terms

__all__ = ["Evaluation", "evaluate", "evaluate_importance_weighted"]


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
    elbo = per_row[0] - per_row[1]
    return Evaluation(
        elbo=float(elbo.mean()),
        reconstruction=float(per_row[0].mean()),
        kl=float(per_row[1].mean()),
        standard_error=float(elbo.std(ddof=1) / math.sqrt(len(elbo))) if len(elbo) > 1 else math.inf,
        rows=len(elbo),
    )


@np.errstate(all="ignore")
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
    bounds = [
        to_host(_importance_weighted(model, theta, x, noise))
        for x, noise in batches(model, theta, rows, rng, samples, binarize, device)
    ]
    return float(np.concatenate(bounds).mean(dtype=np.float64))


def _terms(model: Model, theta: Array, x: Array, noise: Array) -> tuple[Array, Array]:
    """Reconstruction and KL, (B,) each: the KL in closed form where there is one, otherwise by the same samples."""
    if isinstance(model, VAE) and model.knows_kl:
        return elbo_terms(model, theta, x, noise)[0]
    log_likelihood, log_ratio = model.log_weights(theta, x, noise)
    return log_likelihood.mean(axis=0), -log_ratio.mean(axis=0)


def _importance_weighted(model: Model, theta: Array, x: Array, noise: Array) -> Array:
    log_likelihood, log_ratio = model.log_weights(theta, x, noise)
    return log_mean_exp(log_likelihood + log_ratio)[0]


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
        noise = model.posterior.noise(rng, (samples, len(x), model.latents), theta.dtype)
        yield to_device(x, device), to_device(noise, device)
