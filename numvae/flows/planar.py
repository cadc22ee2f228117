"""Planar flows: each step stretches space along one direction, next to one hyperplane.

Derivations: ``derivations/planar.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import sum_to_shape
from numvae.parameters import Layout
from numvae.ranges import require_whole

__all__ = ["PlanarFlow", "invertible_direction", "planar"]

PER_E = math.exp(-1)
LOG_E_LESS_1 = math.log(math.e - 1)
SMALL = 0.1
"""Of what the encoder says u is: with weights drawn at random, a step then starts near the identity."""


def planar(u: Array, w: Array, b: Array, z: Array) -> tuple[tuple[Array, Array], Pullback]:
    """z' = z + u tanh(w·z + b)   (planar.1), log|det| = log|1 + (1 - tanh²) w·u|   (planar.2).

    Shapes: u and w (B, Z) and b (B, 1), a row of parameters for each row of data, or (Z,) and (1,), shared by all;
    z and z' (S, B, Z), log|det| (S, B), nats.  Pullback (dz', dlog_det) -> (du, dw, db, dz).
    Where w·u < -1 the map folds space; ``invertible_direction`` keeps u from that.
    Source: Rezende and Mohamed 2015, equations 10 and 12.

    >>> (z, log_det), _ = planar(np.array([1.0]), np.array([1.0]), np.array([0.0]), np.array([[0.0]]))
    >>> z, log_det.round(4)
    (array([[0.]]), array([0.6931]))
    """
    t = np.tanh(np.sum(w * z, axis=-1, keepdims=True) + b)
    slope, along = 1 - t * t, np.sum(u * w, axis=-1, keepdims=True)
    det = 1 + slope * along
    z_next, log_det = z + u * t, np.log(np.abs(det[..., 0]))  # (planar.1), (planar.2)

    def pullback(dz_next: Array, dlog_det: Array) -> tuple[Array, Array, Array, Array]:
        ddet = dlog_det[..., None] / det
        dt = np.sum(u * dz_next, axis=-1, keepdims=True) - 2 * t * along * ddet  # (planar.3)
        dinside, dalong = slope * dt, slope * ddet
        du = t * dz_next + dalong * w  # (planar.4)
        dw = dinside * z + dalong * u
        dz = dz_next + dinside * w
        return sum_to_shape(du, u.shape), sum_to_shape(dw, w.shape), sum_to_shape(dinside, b.shape), dz

    return (z_next, log_det), pullback


def invertible_direction(u: Array, w: Array) -> tuple[Array, Pullback]:
    """û = u + (m(w·u) - w·u) w / |w|²,  m(a) = log(1 + (e - 1) eᵃ) - 1   (planar.5): w·û = m(w·u) > -1, for every u.

    Shapes: u, w and û (..., Z).  u = 0 stays 0; so does w = 0 leave u as it is.  Pullback -> (du, dw).
    Source: Rezende and Mohamed 2015, appendix A.1, whose m(a) = log(1 + eᵃ) - 1 is not 0 at 0.

    >>> invertible_direction(np.array([0.0, 3.0]), np.array([1.0, 0.0]))[0]
    array([0., 3.])
    >>> invertible_direction(np.array([-50.0, 3.0]), np.array([1.0, 0.0]))[0]
    array([-1.,  3.])
    """
    along = np.sum(u * w, axis=-1, keepdims=True)
    squares = np.sum(w * w, axis=-1, keepdims=True) + float(np.finfo(w.dtype).tiny)
    negative = (along < 0).astype(along.dtype)
    share = PER_E + (1 - 2 * PER_E) * negative
    lift = np.maximum(-along, 0) + np.log1p(share * np.expm1(-np.abs(along)))  # (planar.6)
    per_w = lift / squares

    def pullback(ddirection: Array) -> tuple[Array, Array]:
        dper_w = np.sum(ddirection * w, axis=-1, keepdims=True) / squares
        slope = 0.5 * np.tanh(0.5 * (along + LOG_E_LESS_1)) - 0.5
        dalong = slope * dper_w  # (planar.7)
        return ddirection + dalong * w, per_w * ddirection + dalong * u - 2 * per_w * dper_w * w

    return u + per_w * w, pullback  # (planar.5)


@dataclass(frozen=True)
class PlanarFlow:
    """K planar steps, each kept invertible; all their parameters come from the encoder, for each row its own.

    ``context``: (B, K (2Z + 1)), step by step [u | w | b], of which u is taken times 0.1 and w over √Z   (planar.8), so
    that a flow starts near the identity, and u then goes through (planar.5).  No weights of its own.

    >>> PlanarFlow(latents=2, steps=3).context
    15
    """

    latents: int
    steps: int
    layout = Layout(())

    def __post_init__(self) -> None:
        require_whole(self, "latents", least=1, example=20)
        require_whole(self, "steps", least=0, example=8)

    @property
    def context(self) -> int:
        """Numbers for each row of data."""
        return self.steps * self._per_step

    @property
    def _per_root(self) -> float:
        return 1 / math.sqrt(self.latents)

    @property
    def _per_step(self) -> int:
        return 2 * self.latents + 1

    def __call__(self, theta: Array, context: Array, z: Array) -> tuple[tuple[Array, Array], Pullback]:
        """See ``Flow``."""
        log_det = np.zeros_like(z[..., 0])
        pullbacks = []
        for u, w, b in self._parameters(context):
            w = w * self._per_root  # (planar.8)
            direction, direction_pullback = invertible_direction(SMALL * u, w)
            (z, stretch), planar_pullback = planar(direction, w, b, z)
            log_det = log_det + stretch  # (flows.1)
            pullbacks.append((direction_pullback, planar_pullback))

        def pullback(dz: Array, dlog_det: Array, out: Array | None = None) -> tuple[Array, Array, Array]:
            dcontext = np.empty_like(context)
            for gradients, (direction_pullback, planar_pullback) in zip(
                reversed(self._parameters(dcontext)), reversed(pullbacks), strict=True
            ):
                ddirection, dw, db, dz = planar_pullback(dz, dlog_det)
                du, dw_direction = direction_pullback(ddirection)
                dw = dw + dw_direction
                for memory, gradient in zip(gradients, (SMALL * du, self._per_root * dw, db), strict=True):
                    memory[...] = gradient
            return (np.empty_like(theta) if out is None else out), dcontext, dz

        return (z, log_det), pullback

    def _parameters(self, context: Array) -> list[tuple[Array, Array, Array]]:
        """Views (u, w, b) into ``context``, for each step."""
        latents, views = self.latents, []
        for begin in range(0, self.context, self._per_step):
            step = context[..., begin : begin + self._per_step]
            views.append((step[..., :latents], step[..., latents:-1], step[..., -1:]))
        return views
