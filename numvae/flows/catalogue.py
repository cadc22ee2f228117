"""The flows by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numvae import layers
from numvae.arrays import Array, Pullback
from numvae.flows.autoregressive import InverseAutoregressiveFlow
from numvae.flows.contract import Flow
from numvae.flows.planar import PlanarFlow

__all__ = ["FLOWS"]

CONTEXT = 50
"""Numbers that the encoder hands to an inverse autoregressive flow for each row."""

BuildFlow = Callable[..., Flow]


def _planar(latents: int, steps: int, hidden: int, activation: Any = layers.tanh) -> Flow:
    return PlanarFlow(latents, steps)


def _iaf(
    latents: int, steps: int, hidden: int, activation: Callable[..., tuple[Array, Pullback]] = layers.tanh
) -> Flow:
    return InverseAutoregressiveFlow(latents, CONTEXT, steps, (hidden,), activation)


FLOWS: dict[str, BuildFlow] = {"planar": _planar, "iaf": _iaf}
"""Name -> what builds it: (latents, steps, hidden, activation)."""
