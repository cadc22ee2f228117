"""RELAX: REBAR's control variate plus a small network, all of it learned by the gradient of the variance.

Derivations: ``derivations/relax.md``; the estimator around it: ``derivations/relaxation.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.estimators.contract import Claims, Integrand, declares
from numvae.estimators.control_variates import ControlVariate
from numvae.estimators.rebar import Rebar, relaxed_cost, require_temperature_and_scale
from numvae.estimators.relaxation import Controlled
from numvae.optimizers import Adam, Optimizer

__all__ = ["Relax"]


@declares(
    variables="Bernoulli",
    f_calls=lambda S, Z: 3 * S,
    pullback_calls=lambda S, Z: 3 * S,
    uses_dz=True,
    source="Grathwohl et al. 2018",
)
@dataclass(frozen=True)
class Relax:
    """The estimator (relaxation.4) with c(z) = scale f(sigmoid(z / temperature)) + r(z)   (relax.1), r a network.

    eta = [log_temperature, scale | weights of r]; it starts at REBAR, r = 0.  Unbiased at every eta.  For integrands
    without a ``hessian_product`` the temperature stays where it starts.
    """

    network: ControlVariate = field(default=ControlVariate(hidden=(10,)))
    temperature: float = 0.5
    scale: float = 1.0
    optimizer: Optimizer = field(default=Adam(step_size=0.01))
    claims: ClassVar[Claims]

    def __post_init__(self) -> None:
        require_temperature_and_scale(self)

    def start(self, params: Array, context: Array, latents: int, *, rng: np.random.Generator) -> Array:
        """REBAR's two numbers, then the weights of a network whose last layer is zero."""
        rebar = Rebar(self.temperature, self.scale).start(params)
        return np.concatenate([rebar, self.network.start(latents, rng=rng, dtype=params.dtype)])

    def at(self, eta: Array, deta: Array | None = None) -> Controlled:
        """RELAX with these weights."""
        return Controlled(self, self.control, eta, deta)

    def control(self, eta: Array, f: Integrand, params: Array, z: Array) -> tuple[tuple[Array, Array], Pullback]:
        """c(z) and ∂c/∂z   (relax.1), a ``Control``; pullback(dc, dslope) -> (deta,)   (relax.2)."""
        (cost, cost_slope), cost_pullback = relaxed_cost(eta[:2], f, params, z)
        weights = eta[2:]
        r, r_pullback = self.network(weights, z)
        r_slope = r_pullback(np.ones_like(r))[1]

        def pullback(dc: Array, dslope: Array) -> tuple[Array]:
            along, along_pullback = self.network.slope(weights, z, dslope)
            dweights = r_pullback(dc)[0] + along_pullback(np.ones_like(along))[0]  # (relax.2)
            return (np.concatenate([cost_pullback(dc, dslope)[0], dweights]),)

        return (cost + r, cost_slope + r_slope), pullback  # (relax.1)
