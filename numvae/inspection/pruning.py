"""A model without some of its latents: held at one value for the decoder, and without terms in the log weight.

Derivations: ``derivations/active_units.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.contract import centre, has_independent_values, params_size
from numvae.errors import InputError
from numvae.inspection.active_units import ActiveUnits
from numvae.layered import LayeredVAE
from numvae.models import VAE, Model
from numvae.networks import Network
from numvae.parameters import Layout

__all__ = ["Held", "Picked", "without_inactive"]


@dataclass(frozen=True)
class Picked:
    """y = network(x)[picked]: some of a network's outputs, with all of its weights."""

    network: Network
    picked: tuple[int, ...]

    @property
    def layout(self) -> Layout:
        return self.network.layout

    def __call__(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        return self._run(self.network, theta, x)

    def of_data(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        return self._run(self.network.of_data, theta, x)

    def _run(
        self, rule: Callable[[Array, Array], tuple[Array, Pullback]], theta: Array, x: Array
    ) -> tuple[Array, Pullback]:
        whole, network_pullback = rule(theta, x)

        def pullback(dy: Array, out: Array | None = None) -> tuple[Array, Array | None]:
            dwhole = np.zeros_like(whole)
            dwhole[..., self.picked] = dy
            dtheta, dx = network_pullback(dwhole, out=out)
            return dtheta, dx

        return whole[..., self.picked], pullback


@dataclass(frozen=True)
class Held:
    """y = network(z) for z = ``values``, in which the inputs ``kept`` stand in their places: the others are held."""

    network: Network
    kept: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def layout(self) -> Layout:
        return self.network.layout

    def __call__(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        y, network_pullback = self.network(theta, self._whole(x))

        def pullback(dy: Array, out: Array | None = None) -> tuple[Array, Array]:
            dtheta, dwhole = network_pullback(dy, out=out)
            return dtheta, dwhole[..., self.kept]

        return y, pullback

    def of_data(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        return self.network.of_data(theta, self._whole(x))

    def _whole(self, x: Array) -> Array:
        whole = np.empty_like(x, shape=(*x.shape[:-1], len(self.values)))
        whole[...] = np.array(self.values, dtype=x.dtype)
        whole[..., self.kept] = x
        return whole


def without_inactive(model: Model, theta: Array, found: ActiveUnits) -> VAE | LayeredVAE:
    """p(x, z_A) = p(z_A) p(x|z_A, z_U = m) beside q(z_A|x), A the active units and U the others   (active_units.3).

    A model of fewer latents whose weights are the same ``theta``, every one in its place: what ``elbo`` or
    ``importance_weighted_bounds`` makes of it is the likelihood after pruning.  m is the prior's mean; for the lower
    layers of a ``LayeredVAE``, whose prior moves with the layer above, the mean of E_q[u|x] over the rows of ``found``.

    Raises:
        InputError: q or the prior is no family of independent latents, the model none with latents to take out, or
            ``found`` is of another model.
    """
    if not isinstance(model, VAE | LayeredVAE):
        raise InputError(f"latents can be taken out of a VAE or a LayeredVAE, got a {type(model).__name__}")
    widths = (model.latents,) if isinstance(model, VAE) else model.widths
    if tuple(len(active) for active in found.active) != widths:
        raise InputError(f"the units found are of layers of {found.active!r}, the model's of {widths}")
    families = (model.posterior, model.prior.family) if isinstance(model, VAE) else (model.posterior,)
    for family in families:
        if not has_independent_values(family):
            raise InputError(f"latents of a {type(family).__name__} depend on each other; none can be taken out")
    kept = [tuple(np.flatnonzero(active).tolist()) for active in found.active]
    if isinstance(model, VAE):
        prior_mean = centre(model.prior.family, model.prior_params(theta), model.latents)[0]
        return replace(
            model,
            encoder=Picked(model.encoder, _columns(model.posterior, model.latents, kept[0])),
            decoder=Held(model.decoder, kept[0], _numbers(prior_mean)),  # (active_units.3)
            latents=len(kept[0]),
        )
    return _layered_without(model, found, kept)


def _layered_without(model: LayeredVAE, found: ActiveUnits, kept: Sequence[tuple[int, ...]]) -> LayeredVAE:
    top = np.zeros(model.widths[-1])
    held = [_numbers(mean) for mean in (*found.means[:-1], top)]
    picked = [_columns(model.posterior, width, units) for width, units in zip(model.widths, kept, strict=True)]
    encoders = [Picked(encoder, columns) for encoder, columns in zip(model.encoders, picked, strict=True)]
    decoders = [
        Held(decoder, units, values)  # (active_units.3)
        for decoder, units, values in zip(model.decoders, kept, held, strict=True)
    ]
    above = [
        replace(encoder, network=Held(encoder.network, units, values))
        for encoder, units, values in zip(encoders[1:], kept, held, strict=False)
    ]
    below = [Picked(decoder, columns) for decoder, columns in zip(decoders[1:], picked, strict=False)]
    return replace(
        model,
        encoders=(encoders[0], *above),
        decoders=(decoders[0], *below),
        widths=tuple(len(units) for units in kept),
    )


def _columns(family: Any, latents: int, kept: tuple[int, ...]) -> tuple[int, ...]:
    """Where the parameters of the kept latents stand in [first | second | …]."""
    return tuple(start + unit for start in range(0, params_size(family, latents), latents) for unit in kept)


def _numbers(values: npt.NDArray[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
