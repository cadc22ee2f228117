"""Which rule made the first NaN or infinity: the failing step run again with every rule watched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.devices import to_host
from numvae.errors import DivergedError
from numvae.models import VAE
from numvae.networks import Chain, Network
from numvae.parameters import Layout

__all__ = ["first_nonfinite", "require_finite"]


def first_nonfinite(
    model: VAE, theta: Array, x: Array, noise: Array, objective: Callable[..., tuple[Array, Pullback]], estimator: Any
) -> str | None:
    """A few words that name the first rule, in the order of computation, whose value or gradient is not finite.

    None where all of them are finite: then it is a sum over them that overflows.  The weights must be finite.
    """
    try:
        require_finite([x], "the data")
        require_finite([noise], "the noise")
        bound, pullback = objective(_watched_model(model), theta, x, noise, estimator)
        require_finite([bound], "the bound")
        require_finite(pullback(np.full_like(bound, 1 / len(x))), "the bound's pullback")
    except DivergedError as first:
        return str(first)
    return None


def require_finite(arrays: Iterable[Any], name: str) -> None:
    """Raise DivergedError, ``name`` made the first NaN or infinity, unless all numbers in all arrays are finite."""
    for array in arrays:
        if array is None or isinstance(array, float):
            continue
        values = to_host(array)
        broken = values.size - int(np.isfinite(values).sum())
        if broken:
            kind = "NaN" if np.isnan(values).any() else "infinity"
            raise DivergedError(f"{name} made the first {kind} ({broken} of {values.size} numbers not finite)")


def _watched_rule(rule: Callable[..., tuple[Any, Pullback]], name: str) -> Callable[..., tuple[Any, Pullback]]:
    """The same rule, raising ``DivergedError`` under its name when its value or a gradient is not finite."""

    def watched(*arguments: Any, **keywords: Any) -> tuple[Any, Pullback]:
        with np.errstate(all="ignore"):
            value, pullback = rule(*arguments, **keywords)
        require_finite([value], name)

        def watched_pullback(*cotangents: Any, **outputs: Any) -> tuple[Any, ...]:
            with np.errstate(all="ignore"):
                gradients = pullback(*cotangents, **outputs)
            require_finite(gradients, f"the pullback of {name}")
            return gradients

        return value, watched_pullback

    return watched


@dataclass(frozen=True)
class _WatchedNetwork:
    network: Network
    name: str

    @property
    def layout(self) -> Layout:
        return self.network.layout

    def __call__(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        return _watched_rule(self.network, self.name)(theta, x)

    def of_data(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        return _watched_rule(self.network.of_data, self.name)(theta, x)


@dataclass(frozen=True)
class _WatchedFamily:
    family: Any
    name: str

    def __getattr__(self, attribute: str) -> Any:
        member = getattr(self.family, attribute)
        if attribute in ("sample", "log_prob", "kl"):
            return _watched_rule(member, f"{self.name}.{attribute} ({type(self.family).__name__})")
        return member


def _watched_model(model: VAE) -> VAE:
    watched: dict[str, Any] = {
        "encoder": _watched_network(model.encoder, "encoder"),
        "decoder": _watched_network(model.decoder, "decoder"),
        "posterior": _WatchedFamily(model.posterior, "posterior"),
        "likelihood": _WatchedFamily(model.likelihood, "likelihood"),
    }
    return replace(model, **watched)


def _watched_network(network: Network, name: str) -> Network:
    if isinstance(network, Chain):
        parts = [_WatchedNetwork(part, f"{name}.{number} ({part!r})") for number, part in enumerate(network.parts, 1)]
        return Chain(tuple(parts))
    return _WatchedNetwork(network, name)
