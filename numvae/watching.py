"""Which rule made the first NaN or infinity: the failing step run again with every rule watched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.belief_networks import OfSigns
from numvae.devices import to_host
from numvae.errors import DivergedError, InputError
from numvae.flows import Flow, FlowVAE
from numvae.models import VAE, Model
from numvae.networks import Chain, Network
from numvae.parameters import Layout

__all__ = ["first_nonfinite", "require_finite"]


def first_nonfinite(
    model: Model, theta: Array, x: Array, noise: Array, objective: Callable[..., tuple[Array, Pullback]], estimator: Any
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
    except InputError:  # an estimator that asks for second derivatives, which watched networks do not have
        return None
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
        require_finite(value if isinstance(value, tuple) else [value], name)

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
class _WatchedFlow:
    flow: Flow

    @property
    def latents(self) -> int:
        return self.flow.latents

    @property
    def context(self) -> int:
        return self.flow.context

    @property
    def layout(self) -> Layout:
        return self.flow.layout

    def __call__(self, theta: Array, context: Array, z: Array) -> tuple[tuple[Array, Array], Pullback]:
        return _watched_rule(self.flow, f"flow ({type(self.flow).__name__})")(theta, context, z)


def _watched_family(family: Any, name: str) -> Any:
    """The same family, of a class derived from its own: estimators for one family alone still know it."""
    kind = type(family)
    rules = [rule for rule in ("sample", "log_prob", "relaxed_log_prob", "kl") if hasattr(family, rule)]
    watched = {
        rule: staticmethod(_watched_rule(getattr(family, rule), f"{name}.{rule} ({kind.__name__})")) for rule in rules
    }
    return type(kind.__name__, (kind,), watched)(
        **{field.name: getattr(family, field.name) for field in fields(family)}
    )


def _watched_model(model: Model) -> Model:
    if isinstance(model, FlowVAE):
        return _watched_flow_vae(model)
    families: dict[str, Any] = {
        "posterior": _watched_family(model.posterior, "posterior"),
        "likelihood": _watched_family(model.likelihood, "likelihood"),
    }
    if isinstance(model, VAE):
        networks: dict[str, Any] = {
            name: _watched_network(getattr(model, name), name) for name in ("encoder", "decoder")
        }
    else:
        networks = {
            f"{name}s": tuple(_watched_network(part, f"{name}.{level}") for level, part in enumerate(parts, 1))
            for name, parts in (("encoder", model.encoders), ("decoder", model.decoders))
        }
    return replace(model, **networks, **families)


def _watched_flow_vae(model: FlowVAE) -> FlowVAE:
    vae = _watched_model(model.vae)
    assert isinstance(vae, VAE), "what watches a VAE is one"
    return FlowVAE(vae, _WatchedFlow(model.flow))


def _watched_network(network: Network, name: str) -> Network:
    if isinstance(network, OfSigns):
        return OfSigns(_watched_network(network.network, name))
    if isinstance(network, Chain):
        parts = [_WatchedNetwork(part, f"{name}.{number} ({part!r})") for number, part in enumerate(network.parts, 1)]
        return Chain(tuple(parts))
    return _WatchedNetwork(network, name)
