"""Bits as thresholds of a continuous z, and a control variate on z: what REBAR and RELAX share.

A bit is 1 where its logistic z is positive.  Given the bit, z̃ is drawn anew from what z may then be; a control variate
c(z) takes c(z̃) off the learning signal and adds the difference again by the pathwise derivatives of both.
Derivations: ``derivations/relaxation.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from numvae import layers
from numvae.arrays import Array, Pullback
from numvae.distributions import Bernoulli
from numvae.distributions.broadcasting import halves, sum_to_shape
from numvae.errors import InputError
from numvae.estimators.applicability import require_applicable
from numvae.estimators.contract import Claims, Integrand, Reduction, claims_of

__all__ = ["Control", "Controlled", "conditional_sample", "logistic_sample", "uniform_pairs"]


# ---- z, and z given the bit


def uniform_pairs(rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> Array:
    """Noise [u | v] for samples of ``shape`` (S, B, Z): u for z and the bit, v for z̃; (S, B, 2Z)."""
    return Bernoulli().noise(rng, (*shape[:-1], 2 * shape[-1]), dtype)


def logistic_sample(logits: Array, uniform: Array) -> tuple[Array, Pullback]:
    """z = logit - log(u / (1 - u))   (relaxation.1), positive where u < sigmoid(logit); pullback -> (dlogits, None).

    logits (B, Z) or (S, B, Z), uniform and z (S, B, Z).  Source: Maddison et al. 2017.
    """
    inside = _inside(uniform)
    z = logits - (np.log(inside) - np.log1p(-inside))  # (relaxation.1)
    return z, lambda dz: (sum_to_shape(dz, logits.shape), None)


def conditional_sample(logits: Array, bits: Array, uniform: Array) -> tuple[Array, Pullback]:
    """z̃, distributed as z is where the bit is known   (relaxation.2); pullback -> (dlogits, None, None).

    z̃ = s (softplus(a) - log w) with s = ±1 the bit's sign, w = v or 1 - v, a = s logit + log(1 - w); it moves with the
    logit by sigmoid(a)   (relaxation.3): the bit is held, z̃ is not.  Shapes as in ``logistic_sample``.
    Source: Tucker et al. 2017; Grathwohl et al. 2018.
    """
    sign = 2 * bits - 1
    w = 0.5 + sign * (_inside(uniform) - 0.5)
    distance, softplus_pullback = layers.softplus(sign * logits + np.log1p(-w))
    z = sign * (distance - np.log(w))  # (relaxation.2)

    def pullback(dz: Array) -> tuple[Array, None, None]:
        (dlogits,) = softplus_pullback(dz)  # (relaxation.3): both signs, of z̃ and of the logit, are squared away
        return sum_to_shape(dlogits, logits.shape), None, None

    return z, pullback


def _inside(uniform: Array) -> Array:
    """Uniform noise kept off 0 and 1, where z is infinite, by half a rounding error of 1."""
    margin = float(np.finfo(uniform.dtype).eps) / 2
    inside: Array = np.clip(uniform, margin, 1 - margin)
    return inside


# ---- a control variate on z

Control: TypeAlias = Callable[[Array, Integrand, Array, Array], tuple[tuple[Array, Array], Pullback]]
"""(c, ∂c/∂z), pullback = control(eta, f, params, z), a rule of two values: c(z) (S, B) and its slope (S, B, Z).

Its pullback takes a gradient for each and returns deta: mixed second derivatives, since the slope depends on eta.
"""


# ---- the estimator


@dataclass(frozen=True, eq=False)
class Controlled:
    """The estimator with a given control variate c, its weights ``eta``, and where to put their gradient, ``deta``.

    dparams = ∂f/∂params + [f(b) - c(z̃)] ∇ log q(b) + ∇z ∂c/∂z - ∇z̃ ∂c/∂z̃   (relaxation.4), the mean over S samples;
    unbiased for every c.  The pullback adds -∂‖dparams‖²/∂eta to ``deta``, row by row, weighted by dbound
    (relaxation.5): the mean of dparams does not depend on eta, so the length is as good as the variance.
    """

    owner: Any
    control: Control
    eta: Array
    deta: Array | None = None

    @property
    def claims(self) -> Claims:
        """The owner's: REBAR's or RELAX's."""
        return claims_of(self.owner)

    @property
    def held(self) -> Controlled:
        """The same, learning nothing."""
        return replace(self, deta=None)

    def noise(
        self, q: Any, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64
    ) -> Array:
        """[u | v], (S, B, 2Z)."""
        return uniform_pairs(rng, shape, dtype)

    def __call__(
        self, q: Bernoulli, params: Array, noise: Array, f: Integrand, reduce: Reduction
    ) -> tuple[Array, Pullback]:
        """bound (B,), pullback -> (dparams, dtheta), for logits (B, Z) and noise (S, B, 2Z)."""
        require_applicable(self.owner, q, noise, reduce)
        _require_pairs(noise, params)
        samples, (u, v) = len(noise), halves(noise)
        bits, _ = q.sample(params, u)
        score = bits - q.mean(params)  # ∇ log q(b), by (bernoulli.4)
        z, _ = logistic_sample(params, u)
        z_given_bits, z_pullback = conditional_sample(np.broadcast_to(params, bits.shape), bits, v)
        moves = z_pullback(np.ones_like(bits))[0]  # ∇z̃, beside ∇z = 1

        values, f_pullback = f(params, bits)
        bound, reduce_pullback = reduce(values)
        (c, slope), control_pullback = self.control(self.eta, f, params, np.concatenate([z, z_given_bits]))
        signal = values - c[samples:]

        def pullback(dbound: Array) -> tuple[Array, Array]:
            (weights,) = reduce_pullback(dbound)
            direct, _, dtheta = f_pullback(weights)
            estimate = signal[..., None] * score + slope[:samples] - moves * slope[samples:]
            dparams = direct + np.sum(weights[..., None] * estimate, axis=0)  # (relaxation.4)
            if self.deta is not None:
                along = np.broadcast_to((-2 / samples) * dparams, bits.shape)
                dc = -np.sum(along * score, axis=-1)
                dslope = np.concatenate([along, -moves * along])
                self.deta[...] += control_pullback(np.concatenate([np.zeros_like(dc), dc]), dslope)[0]  # (relaxation.5)
            return dparams, dtheta

        return bound, pullback


def _require_pairs(noise: Array, params: Array) -> None:
    if noise.ndim != 3 or noise.shape[-1] != 2 * params.shape[-1]:
        wanted = f"(S, B, 2Z) = (*, {len(params)}, {2 * params.shape[-1]})"
        raise InputError(f"noise must have shape {wanted}, got {noise.shape}; draw it by draw_noise(estimator, ...)")
