"""What the estimators of a model learn for themselves while the model learns: baselines, control variates.

An estimator that learns is ``Adaptive`` and holds no arrays; its weights ``eta`` and their optimiser's moments stand
here, one vector for all layers of latents, beside the model's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypeGuard

import numpy as np

from numvae.arrays import Array
from numvae.devices import Device, to_device
from numvae.estimators import Adaptive, Estimator
from numvae.models import Model

__all__ = ["Adaptation", "adapt", "estimators_at", "is_adaptive", "start_adaptation"]


@dataclass
class Adaptation:
    """``eta`` of all layers side by side, cut into ``sizes``, the lowest layer's first; and its optimiser's moments."""

    eta: Array
    sizes: tuple[int, ...]
    moments: dict[str, Any]

    def split(self, vector: Array) -> Iterator[Array]:
        """Views of a vector like eta, one per layer."""
        return (vector[begin:end] for begin, end in pairwise(accumulate(self.sizes, initial=0)))


def is_adaptive(estimator: Any) -> TypeGuard[Adaptive]:
    """Whether an estimator learns: then it is none yet, but is one ``at`` its weights."""
    return hasattr(estimator, "at") and hasattr(estimator, "start")


def start_adaptation(
    estimator: Estimator | Adaptive,
    model: Model,
    theta: Array,
    x: Array,
    *,
    rng: np.random.Generator,
    device: Device = "cpu",
) -> Adaptation | None:
    """Weights before the first step, for rows like x (B, D); None for an estimator that learns nothing."""
    if not is_adaptive(estimator):
        return None
    layers = model.layers_at(theta, x)
    etas = [estimator.start(params, context, latents, rng=rng) for params, context, latents in layers]
    eta = to_device(np.concatenate(etas), device)
    return Adaptation(eta, tuple(map(len, etas)), estimator.optimizer.start(eta))


def adapt(estimator: Estimator | Adaptive, adaptation: Adaptation, deta: Array) -> None:
    """Write one step up into eta and its moments, in place."""
    assert is_adaptive(estimator), "only an adaptive estimator has an adaptation"
    estimator.optimizer.ascend(adaptation.eta, deta, adaptation.moments)


def estimators_at(estimator: Estimator | Adaptive, adaptation: Adaptation | None, deta: Array | None = None) -> Any:
    """The estimator as an objective takes it: itself, or at its weights, for several layers one each.

    Where ``deta`` (like eta) is given, pullbacks add to it the direction in which eta gets better.
    """
    if adaptation is None or not is_adaptive(estimator):
        return estimator
    gradients = [None] * len(adaptation.sizes) if deta is None else adaptation.split(deta)
    each = tuple(estimator.at(eta, d) for eta, d in zip(adaptation.split(adaptation.eta), gradients, strict=True))
    for at_its_weights in each:
        if not hasattr(at_its_weights, "claims"):
            at_its_weights.claims = estimator.claims  # type: ignore[attr-defined]
    return each[0] if len(each) == 1 else each
