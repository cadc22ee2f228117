"""A model with a standard deviation for every pixel, started from one that has learnt a single one for all."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array
from numvae.errors import InputError
from numvae.models import VAE
from numvae.networks import Chain, Dense, LeastLogStd, SharedLogStd

__all__ = ["residual_std", "start_from_shared_std"]


def start_from_shared_std(model: VAE, theta: Array, learnt: VAE, learnt_theta: Array, std: npt.NDArray[Any]) -> None:
    """Write into ``theta`` weights with which ``model`` puts out the means of ``learnt``, and ``std`` (D,) everywhere.

    Both have the same encoder and decoder but for the end, which in ``learnt`` is [mean | one log_std] and in ``model``
    [mean | a log_std for each feature].  The weights behind these log_stds start at zero, only the bias says ``std``.

    Raises:
        InputError: the models differ in more than that.
    """
    parts, learnt_parts = _parts(model), _parts(learnt)
    ends = [type(each[-1]) for each in (parts, learnt_parts) if each]
    if model.encoder != learnt.encoder or ends != [LeastLogStd, SharedLogStd] or len(parts) != len(learnt_parts):
        raise InputError("a warm start needs two models that differ only in a shared std and one for each feature")
    views, learnt_views = model.layout.views(theta), learnt.layout.views(learnt_theta)
    views["encoder"][...] = learnt_views["encoder"]
    weights = model.decoder.layout.views(views["decoder"]).values()
    learnt_weights = learnt.decoder.layout.views(learnt_views["decoder"]).values()
    for part, mine, its_part, its in zip(parts, weights, learnt_parts, learnt_weights, strict=True):
        if part == its_part:
            mine[...] = its
        elif isinstance(part, Dense):
            last, its_last = part.layout.views(mine), its_part.layout.views(its)
            means = np.concatenate([its_last["b"], np.log(std)])
            last["W"][...] = 0
            last["W"][:, : len(std)] = its_last["W"]
            last["b"][...] = parts[-1].inverse(means)  # of the second half alone


def residual_std(model: VAE, theta: Array, rows: Array) -> npt.NDArray[np.float64]:
    """The standard deviation of each feature around what the model decodes from the rows' mean latents, (D,)."""
    decoded = model.decode_mean(theta, model.posterior.mean(model.encode(theta, rows)))
    residuals = (rows - decoded).astype(np.float64)
    root_mean_square: npt.NDArray[np.float64] = np.sqrt(np.mean(residuals * residuals, axis=0))
    return root_mean_square


def _parts(model: VAE) -> tuple[Any, ...]:
    return model.decoder.parts if isinstance(model.decoder, Chain) else ()
