"""What a flow offers: an invertible map of the latents that knows by how much it stretches them."""

from __future__ import annotations

from typing import Protocol

from numvae.arrays import Array, Pullback
from numvae.parameters import Layout

__all__ = ["Flow"]


class Flow(Protocol):
    """z_K = f_K(… f_1(z_0)) with Σ log|det ∂f_k/∂z|   (flows.1), steered by ``context``, which the encoder puts out."""

    @property
    def latents(self) -> int:
        """Z, of what comes in and of what goes out."""

    @property
    def context(self) -> int:
        """C, how many numbers for each row of data it takes from the encoder."""

    @property
    def layout(self) -> Layout:
        """What lies where in the vector of its own weights, the same for all rows; empty where it has none."""

    def __call__(self, theta: Array, context: Array, z: Array) -> tuple[tuple[Array, Array], Pullback]:
        """(z_K, log_det), a rule: pullback (dz_K, dlog_det, out=None) -> (dtheta, dcontext, dz).

        Shapes: context (B, C), z and z_K (S, B, Z), log_det (S, B), nats.
        """
