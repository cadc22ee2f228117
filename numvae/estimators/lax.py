"""LAX: the score function of what a learned control variate leaves of f, and the path through the control variate.

Derivations: ``derivations/lax.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.estimators.applicability import require_applicable
from numvae.estimators.contract import Claims, Estimator, Integrand, Reduction, context_of, declares
from numvae.estimators.control_variates import ControlVariate
from numvae.optimizers import Adam, Optimizer

__all__ = ["LAX"]


@declares(variables="continuous", independent_latents=True, source="Grathwohl et al. 2018 (LAX)")
@dataclass(frozen=True)
class LAX:
    """(f - c) ∇ log q(z) + ∇ c(z(params, noise)), c a network of z and context   (lax.1).

    ``eta``, the network's weights, climbs against the gradient of the variance   (lax.3).  f is never differentiated
    in z.  For families whose latents are independent given their parameters.
    """

    control: ControlVariate = field(default=ControlVariate())
    optimizer: Optimizer = field(default=Adam(step_size=0.03))
    claims: ClassVar[Claims]

    def start(self, params: Array, context: Array, latents: int, *, rng: np.random.Generator) -> Array:
        """c = 0: the score function without a baseline."""
        return self.control.start(latents + context.shape[-1], rng=rng, dtype=params.dtype)

    def at(self, eta: Array, deta: Array | None = None) -> Estimator:
        """The estimator with these weights."""

        def estimator(q: Any, params: Array, noise: Array, f: Integrand, reduce: Reduction) -> tuple[Array, Pullback]:
            require_applicable(self, q, noise, reduce)
            z, sample_pullback = q.sample(params, noise)
            values, f_pullback = f(params, z)
            bound, reduce_pullback = reduce(values)
            _, log_prob_pullback = q.log_prob(params, z)
            context = np.broadcast_to(context_of(f, params), (*z.shape[:-1], context_of(f, params).shape[-1]))
            inputs = np.concatenate([z, context], axis=-1)
            c, c_pullback = self.control(eta, inputs)

            def pullback(dbound: Array) -> tuple[Array, Array]:
                (dvalues,) = reduce_pullback(dbound)
                direct, _, dtheta = f_pullback(dvalues)
                dz = c_pullback(dvalues)[1][..., : z.shape[-1]]
                score = log_prob_pullback(dvalues * (values - c))[0]
                dparams = direct + score + sample_pullback(dz)[0]  # (lax.1)
                if deta is not None:
                    deta[...] += learn(dparams)
                return dparams, dtheta

            def learn(dparams: Array) -> Array:
                """-2 dparamsᵀ ∂dparams/∂eta   (lax.3): through c by the scores, through ∂c/∂z by the mixed slope."""
                along = dparams * (-2 / len(z))
                dz, score = rates(q, params, noise, z, along)
                direction = np.concatenate([dz, np.zeros_like(context)], axis=-1)
                slope, slope_pullback = self.control.slope(eta, inputs, direction)
                direct: Array = slope_pullback(np.ones_like(slope))[0] + c_pullback(-score)[0]  # (lax.3)
                return direct

            return bound, pullback

        return estimator


def rates(q: Any, params: Array, noise: Array, z: Array, direction: Array) -> tuple[Array, Array]:
    """How fast z, and log q at a z held fixed, change as params move along a direction (B, P)   (lax.2).

    Each sample gets parameters of its own, so that pullbacks sum nothing.  A latent moves with its own parameters
    alone, which stand Z apart.  Results: (S, B, Z) and (S, B).
    """
    own = np.broadcast_to(params, (len(z), *params.shape))
    moved = q.sample(own, noise)[1](np.ones_like(z))[0] * direction
    dz = moved.reshape(*z.shape[:-1], -1, z.shape[-1]).sum(axis=-2)  # (lax.2)
    dlog_q = np.sum(q.log_prob(own, z)[1](np.ones_like(z[..., 0]))[0] * direction, axis=-1)  # (lax.2)
    return dz, dlog_q
