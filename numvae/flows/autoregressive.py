"""Inverse autoregressive flows: every latent is shifted and scaled by what a masked network makes of those before it.

Derivations: ``derivations/autoregressive.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from numvae import layers
from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import halves, sum_to_shape
from numvae.networks import Activation, Chain
from numvae.parameters import Layout
from numvae.ranges import require_whole

__all__ = ["InverseAutoregressiveFlow", "MaskedDense", "gate", "masked_mlp"]

OPENING = 2.0
"""Added to s, so that gates start nearly open: sigmoid(2) = 0.88."""


@dataclass(frozen=True)
class MaskedDense:
    """y = x (W ∘ M) + b, where M lets output j see input i if deg_i ≤ deg_j, or ``strict``ly <   (autoregressive.1).

    ``seen``: the degrees of the inputs, ``by``: those of the outputs.  x: (..., inputs), y: (..., outputs).
    Source: Germain et al. 2015 (MADE), equations 8 and 9.

    >>> MaskedDense(seen=(1, 2), by=(1, 2), strict=True).mask(np.zeros(1))
    array([[0., 1.],
           [0., 0.]])
    """

    seen: tuple[int, ...]
    by: tuple[int, ...]
    strict: bool = False

    @cached_property
    def layout(self) -> Layout:
        return Layout.of({"W": (len(self.seen), len(self.by)), "b": (len(self.by),)})

    def mask(self, like: Array) -> Array:
        """M, (inputs, outputs), zeros and ones, of the dtype and on the device of ``like``."""
        seen, by = _filled(self.seen, like), _filled(self.by, like)
        return (seen[:, None] + self.strict <= by).astype(like.dtype)  # (autoregressive.1)

    def __call__(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        return self._run(layers.affine, theta, x)

    def of_data(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        return self._run(layers.affine_of_data, theta, x)

    def _run(self, rule: Callable[..., tuple[Array, Pullback]], theta: Array, x: Array) -> tuple[Array, Pullback]:
        W, b = self.layout.views(theta).values()
        mask = self.mask(theta)
        y, affine_pullback = rule(W * mask, b, x)  # (autoregressive.2)

        def pullback(dy: Array, out: Array | None = None) -> tuple[Array, Array | None]:
            dtheta = np.empty_like(theta) if out is None else out
            gradients = self.layout.views(dtheta)
            _, _, dx = affine_pullback(dy, gradients["W"], gradients["b"])
            gradients["W"] *= mask  # (autoregressive.3)
            return dtheta, dx

        return y, pullback


def _filled(degrees: tuple[int, ...], like: Array) -> Array:
    """The degrees as an array where ``like`` lives, written run by run: on a device nothing is sent to it."""
    filled, begin = np.empty_like(like, shape=(len(degrees),)), 0
    for degree, count in _runs(degrees):
        filled[begin : begin + count] = degree
        begin += count
    return filled


@lru_cache(maxsize=256)
def _runs(degrees: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """(degree, how often) for each run of equal ones."""
    return tuple((degree, len(list(run))) for degree, run in groupby(degrees))


def masked_mlp(
    order: Sequence[int],
    context: int,
    hidden: Sequence[int],
    activation: Callable[..., tuple[Array, Pullback]] = layers.tanh,
) -> Chain:
    """[z | context] -> [m | s], where m_i and s_i see the context and the z_j that come before z_i in ``order``.

    ``order``: the place of each latent, 1 to Z.  The degrees of z are their places, of the context 0, of hidden units
    0 to Z - 1 in equal shares, and of m and s the places again, which alone are strict   (autoregressive.1).

    >>> masked_mlp((1, 2), context=3, hidden=(4,)).layout.size
    44
    """
    order, latents = tuple(order), len(order)
    degrees = [order + (0,) * context]
    degrees += [tuple(unit * latents // width for unit in range(width)) for width in hidden]
    dense = [MaskedDense(seen, by) for seen, by in pairwise(degrees)]
    between: list[Any] = [part for layer in dense for part in (layer, Activation(activation))]
    return Chain((*between, MaskedDense(degrees[-1], order * 2, strict=True)))


def gate(m: Array, s: Array, z: Array) -> tuple[tuple[Array, Array], Pullback]:
    """z' = σ z + (1 - σ) m,  σ = sigmoid(s + 2)   (autoregressive.4), log|det| = Σ log σ   (autoregressive.5).

    Shapes: m, s, z and z' (..., Z), log|det| (...), nats; ``log|det|`` is that of an autoregressive step, whose m and s
    for one latent do not see it.  Pullback (dz', dlog_det) -> (dm, ds, dz).
    Source: Kingma et al. 2016, equations 13 and 14.
    """
    logit = s + OPENING
    closed = 0.5 - 0.5 * np.tanh(0.5 * logit)  # 1 - σ
    away = z - m
    log_det = np.sum(np.minimum(logit, 0) - np.log1p(np.exp(-np.abs(logit))), axis=-1)  # (autoregressive.5)

    def pullback(dz_next: Array, dlog_det: Array) -> tuple[Array, Array, Array]:
        dm = closed * dz_next  # (autoregressive.6)
        ds = closed * ((1 - closed) * away * dz_next + dlog_det[..., None])
        return dm, ds, dz_next - dm

    return (z - closed * away, log_det), pullback  # (autoregressive.4)


@dataclass(frozen=True)
class InverseAutoregressiveFlow:
    """K steps of (autoregressive.4), with m and s from a masked network each, the order reversed from step to step.

    ``context``: numbers h that the encoder puts out for each row, seen by every step; ``hidden``: widths within the
    masked networks; without any, m and s are linear in z.  Each step's gates start nearly open.
    Source: Kingma et al. 2016, Algorithm 1.
    """

    latents: int
    context: int
    steps: int = 2
    hidden: tuple[int, ...] = ()
    activation: Callable[..., tuple[Array, Pullback]] = layers.tanh

    def __post_init__(self) -> None:
        require_whole(self, "latents", least=1, example=20)
        require_whole(self, "context", least=0, example=50)
        require_whole(self, "steps", least=0, example=2)
        require_whole(self, "hidden", least=1, example=(200,))

    @cached_property
    def networks(self) -> tuple[Chain, ...]:
        """One masked network for each step."""
        places = range(1, self.latents + 1)
        orders = [places[:: -1 if step % 2 else 1] for step in range(self.steps)]
        return tuple(masked_mlp(order, self.context, self.hidden, self.activation) for order in orders)

    @cached_property
    def layout(self) -> Layout:
        """What lies where in the flow's own weights."""
        return Layout(tuple((str(step), network.layout) for step, network in enumerate(self.networks, 1)))

    def __call__(self, theta: Array, context: Array, z: Array) -> tuple[tuple[Array, Array], Pullback]:
        """See ``Flow``."""
        log_det = np.zeros_like(z[..., 0])
        pullbacks = []
        for network, weights in zip(self.networks, self.layout.views(theta).values(), strict=True):
            steering, network_pullback = network(weights, self._seen(z, context))
            (z, stretch), gate_pullback = gate(*halves(steering), z)
            log_det = log_det + stretch  # (flows.1)
            pullbacks.append((network_pullback, gate_pullback))

        def pullback(dz: Array, dlog_det: Array, out: Array | None = None) -> tuple[Array, Array, Array]:
            dtheta, dcontext = np.empty_like(theta) if out is None else out, np.zeros_like(context)
            gradients = self.layout.views(dtheta).values()
            for dweights, (network_pullback, gate_pullback) in zip(
                reversed(gradients), reversed(pullbacks), strict=True
            ):
                dm, ds, dz = gate_pullback(dz, dlog_det)
                _, dseen = network_pullback(np.concatenate([dm, ds], axis=-1), out=dweights)
                dz = dz + dseen[..., : self.latents]  # (autoregressive.7)
                dcontext += sum_to_shape(dseen[..., self.latents :], context.shape)
            return dtheta, dcontext, dz

        return (z, log_det), pullback

    def inverse(self, theta: Array, context: Array, z: Array) -> Array:
        """z_0 from z_K, latent after latent, each from those before it   (autoregressive.8).  No rule: for tests."""
        for network, weights in zip(reversed(self.networks), reversed(self.layout.views(theta).values()), strict=True):
            z_next, z = z, np.zeros_like(z)
            for _ in range(self.latents):  # in every round one more latent, the next in order, is right
                m, s = halves(network(weights, self._seen(z, context))[0])
                z = m + (z_next - m) * (1 + np.exp(-(s + OPENING)))  # (autoregressive.8)
        return z

    def _seen(self, z: Array, context: Array) -> Array:
        return np.concatenate([z, np.broadcast_to(context, (*z.shape[:-1], self.context))], axis=-1)
