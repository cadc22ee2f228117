"""REBAR: the cost itself, at a softened bit, as control variate of the score function.

Derivations: ``derivations/rebar.md``; the estimator around it: ``derivations/relaxation.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from numvae import layers
from numvae.arrays import Array, Pullback
from numvae.distributions import Bernoulli
from numvae.estimators.contract import Claims, Integrand, Reduction, declares, value_and_slope
from numvae.estimators.relaxation import Controlled, uniform_pairs
from numvae.optimizers import Adam, Optimizer
from numvae.ranges import require_number

__all__ = ["AdaptiveRebar", "Rebar", "relaxed_cost", "require_temperature_and_scale"]


def relaxed_cost(eta: Array, f: Integrand, params: Array, z: Array) -> tuple[tuple[Array, Array], Pullback]:
    """c(z) = scale f(sigmoid(z / temperature)) and ∂c/∂z   (rebar.1), a ``Control``; eta = [log_temperature, scale].

    pullback(dc, dslope) -> (deta,): (rebar.2) for the scale, (rebar.3) for log_temperature.  The latter asks for
    ``f.hessian_product``; where f has none it is 0, and the temperature stays.  z: (S, B, Z).
    """
    rate, scale = np.exp(-eta[:1]), eta[1:2]
    scaled = rate * z
    soft, _ = layers.sigmoid(scaled)
    values, df = value_and_slope(f, params, soft)
    bend = soft * (1 - soft)
    unit_slope = rate * bend * df

    def pullback(dc: Array, dslope: Array) -> tuple[Array]:
        deta = np.zeros_like(eta)
        deta[1] = np.sum(dc * values) + np.sum(dslope * unit_slope)  # (rebar.2)
        hessian_product = getattr(f, "hessian_product", None)
        if hessian_product is not None:
            drift = -bend * scaled  # how soft moves with log_temperature
            turn = hessian_product(params, soft, drift) - (1 + scaled * (1 - 2 * soft)) * df
            change = np.sum(dc * np.sum(df * drift, axis=-1)) + np.sum(dslope * (rate * bend * turn))
            deta[0] = eta[1] * change  # (rebar.3)
        return (deta,)

    return (scale * values, scale * unit_slope), pullback  # (rebar.1)


def require_temperature_and_scale(owner: Any) -> None:
    """Raise InputError unless both are what they can be."""
    require_number(owner, "temperature", "(0, inf)", example=0.5)
    require_number(owner, "scale", "(-inf, inf)", example=1.0)


@declares(
    variables="Bernoulli",
    f_calls=lambda S, Z: 3 * S,
    pullback_calls=lambda S, Z: 3 * S,
    uses_dz=True,
    source="Tucker et al. 2017",
)
@dataclass(frozen=True)
class Rebar:
    """REBAR with a temperature and a scale that stay as they are   (relaxation.4) with (rebar.1).

    Unbiased at every temperature and scale; scale 0 is the score function without a baseline.

    >>> Rebar(temperature=0.1)
    Rebar(temperature=0.1, scale=1.0)
    """

    temperature: float = 0.5
    scale: float = 1.0
    claims: ClassVar[Claims]

    def __post_init__(self) -> None:
        require_temperature_and_scale(self)

    def noise(
        self, q: Any, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64
    ) -> Array:
        """[u | v], (S, B, 2Z)."""
        return uniform_pairs(rng, shape, dtype)

    def __call__(
        self, q: Bernoulli, params: Array, noise: Array, f: Integrand, reduce: Reduction
    ) -> tuple[Array, Pullback]:
        """bound (B,), pullback -> (dparams, dtheta), for logits (B, Z) and noise (S, B, 2Z)."""
        return Controlled(self, relaxed_cost, self.start(params))(q, params, noise, f, reduce)

    def start(self, params: Array) -> Array:
        """eta = [log_temperature, scale], of params' kind."""
        eta = np.empty_like(params, shape=(2,))
        eta[0], eta[1] = math.log(self.temperature), self.scale
        return eta


@declares(
    variables="Bernoulli",
    f_calls=lambda S, Z: 3 * S,
    pullback_calls=lambda S, Z: 3 * S,
    uses_dz=True,
    source="Tucker et al. 2017",
)
@dataclass(frozen=True)
class AdaptiveRebar:
    """REBAR that lowers its own variance: eta = [log_temperature, scale] follow its gradient (relaxation.5).

    For integrands without a ``hessian_product`` the temperature stays where it starts, and the scale alone adapts.
    """

    temperature: float = 0.5
    scale: float = 1.0
    optimizer: Optimizer = field(default=Adam(step_size=0.01))
    claims: ClassVar[Claims]

    def __post_init__(self) -> None:
        require_temperature_and_scale(self)

    def start(self, params: Array, context: Array, latents: int, *, rng: np.random.Generator) -> Array:
        """[log_temperature, scale]."""
        return Rebar(self.temperature, self.scale).start(params)

    def at(self, eta: Array, deta: Array | None = None) -> Controlled:
        """REBAR with these two numbers."""
        return Controlled(self, relaxed_cost, eta, deta)
