"""Measure-valued gradients: the derivative of a density is a difference of two densities; sample both, coupled.

Derivations: ``derivations/measure_valued.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions import Bernoulli, Normal
from numvae.distributions.broadcasting import halves
from numvae.distributions.exponential import Exponential
from numvae.distributions.gamma import Gamma
from numvae.distributions.poisson import Poisson
from numvae.errors import InputError
from numvae.estimators.contract import Claims, Integrand, Reduction
from numvae.estimators.neighbours import neighbouring_bounds

__all__ = ["DECOMPOSITIONS", "Decomposition", "Difference", "MeasureValued"]

ROOT_2PI = math.sqrt(2 * math.pi)


@dataclass(frozen=True)
class Difference:
    """The derivative in one parameter: ``weight`` times f at ``plus`` minus f at ``minus``, one latent moved at a time.

    ``plus`` and ``minus``: values (S, B, Z), or None for the sample itself.  ``weight`` broadcasts to (S, B, Z).
    """

    weight: Array | float
    plus: Array | None
    minus: Array | None


Split: TypeAlias = Callable[..., tuple[Array, list[Difference]]]
"""(params, *uniforms) -> the sample z, and one Difference for each block of Z parameters."""


@dataclass(frozen=True)
class Decomposition:
    """How a family's density splits when a parameter moves.

    ``split`` takes ``uniforms`` arrays (S, B, Z) of uniform noise.  ``moved``: how many values it puts in the place of
    each latent, beside the sample itself: so many more calls of f.
    """

    split: Split
    uniforms: int
    moved: int


@dataclass(frozen=True)
class MeasureValued:
    """∇E_q[R] = Σ_s,j weight (R at z_sj⁺ - R at z_sj⁻) + ∂R/∂params   (measure_valued.1), for any f, smooth or not.

    R is the bound of S samples, and z_sj^± the samples with latent j of sample s moved.  Only the values of f are used.

    ``family``: Normal, Exponential, Gamma, Bernoulli or Poisson; ``DECOMPOSITIONS`` has room for more.  In the shape of
    a gamma the variance is infinite where f jumps.
    Source: Mohamed et al. 2020, section 6, with its couplings; for the gamma's shape our own.

    >>> from numvae import Normal
    >>> MeasureValued(Normal()).claims.f_calls(1, 10)
    31
    """

    family: Any = field(default_factory=Normal)

    def __post_init__(self) -> None:
        _decomposition(self.family)

    @property
    def claims(self) -> Claims:
        """Unbiased for its family; f is called once at the samples, and once for each value that is moved."""
        moved = _decomposition(self.family).moved
        return Claims(
            variables=type(self.family).__name__,
            f_calls=lambda S, Z: S * (1 + moved * Z),
            pullback_calls=lambda S, Z: S,
            reductions=("sample_mean", "log_mean_exp"),
            source="Mohamed et al. 2020, section 6",
        )

    def noise(
        self, q: Any, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64
    ) -> Array:
        """Uniform noise on [0, 1), (S, B, uniforms Z)."""
        single = np.dtype(dtype) == np.float32
        wide = (*shape[:-1], shape[-1] * _decomposition(q).uniforms)
        return rng.random(wide, dtype=np.float32 if single else np.float64)

    def __call__(self, q: Any, params: Array, noise: Array, f: Integrand, reduce: Reduction) -> tuple[Array, Pullback]:
        """bound, pullback -> (dparams, dtheta)   (measure_valued.1).

        Shapes: params (B, P), noise (S, B, uniforms Z), bound (B,).

        Raises:
            InputError: q is not of the family, or the noise is not this estimator's.
        """
        if type(q) is not type(self.family):
            raise InputError(f"this is MeasureValued({self.family!r}), but q is {q!r}; make it MeasureValued({q!r})")
        decomposition = _decomposition(q)
        latents = params.shape[-1] // q.params_per_value
        if noise.shape[-1] != latents * decomposition.uniforms:
            raise InputError(
                f"noise must have {decomposition.uniforms} uniform numbers for each of {latents} latents, got "
                f"{noise.shape[-1]} in all; draw it with draw_noise(estimator, q, ...)"
            )
        uniforms = noise.reshape(*noise.shape[:-1], decomposition.uniforms, latents)
        z, differences = decomposition.split(params, *(uniforms[..., k, :] for k in range(decomposition.uniforms)))
        values, f_pullback = f(params, z)
        bound, reduce_pullback = reduce(values)
        moved = [value for d in differences for value in (d.plus, d.minus) if value is not None]
        moved_bounds = iter(neighbouring_bounds(f, reduce, params, z, values, moved))
        slopes = []
        for d in differences:
            plus, minus = (bound if value is None else next(moved_bounds) for value in (d.plus, d.minus))
            change = np.moveaxis(plus - minus, 0, -1)
            slopes.append(np.sum(d.weight * change, axis=0))  # (measure_valued.1)
        slope = np.concatenate(slopes, axis=-1)

        def pullback(dbound: Array) -> tuple[Array, Any]:
            dparams, _, dtheta = f_pullback(*reduce_pullback(dbound))
            return dparams + dbound[..., None] * slope, dtheta

        return bound, pullback


# ---- a decomposition for each family


def _normal(params: Array, for_mean: Array, for_length: Array, for_share: Array) -> tuple[Array, list[Difference]]:
    """Rayleigh steps to both sides for the mean; double-sided Maxwell against normal for the standard deviation."""
    mean, log_std = halves(params)
    std = np.exp(log_std)
    step = std * np.sqrt(2 * _waiting_time(for_mean))
    stretched = std * _double_maxwell(for_length)
    z = mean + for_share * stretched  # (measure_valued.3): Maxwell times uniform is normal
    return z, [
        Difference(1 / (std * ROOT_2PI), mean + step, mean - step),  # (measure_valued.2)
        Difference(1.0, mean + stretched, None),  # (measure_valued.3)
    ]


def _exponential(params: Array, uniform: Array, more: Array) -> tuple[Array, list[Difference]]:
    """The waiting time for one event against that for two."""
    scale = np.exp(-params)
    z = scale * _waiting_time(uniform)
    return z, [Difference(1.0, None, z + scale * _waiting_time(more))]  # (measure_valued.4)


def _gamma(params: Array, uniform: Array, more: Array, longer: Array) -> tuple[Array, list[Difference]]:
    """For the rate, a gamma against one with a shape larger by 1; for the shape, against the sample times e^-s."""
    log_shape, log_rate = halves(params)
    shape = np.exp(log_shape)
    z, _ = Gamma().sample(params, uniform)
    first, second = _waiting_time(more), _waiting_time(longer)
    s = (first + np.maximum(second - np.log1p(shape), 0)) / shape
    with_shape = (1 + 1 / shape) / ((1 + s) * -np.expm1(-s))
    shrunk = np.maximum(z * np.exp(-s), np.finfo(z.dtype).tiny)
    return z, [
        Difference(with_shape, None, shrunk),  # (measure_valued.6)
        Difference(shape, None, z + np.exp(-log_rate) * first),  # (measure_valued.5)
    ]


def _bernoulli(params: Array, uniform: Array) -> tuple[Array, list[Difference]]:
    """A one against a zero; one of them is the sample.  The same as ``local_expectation``."""
    bits, _ = Bernoulli().sample(params, uniform)
    variance = Bernoulli().std(params) ** 2
    return bits, [Difference((2 * bits - 1) * variance, None, 1 - bits)]  # (measure_valued.7)


def _poisson(params: Array, uniform: Array) -> tuple[Array, list[Difference]]:
    """One count more against the count."""
    counts, _ = Poisson().sample(params, uniform)
    return counts, [Difference(np.exp(params), counts + 1, None)]  # (measure_valued.8)


def _waiting_time(uniform: Array) -> Array:
    """A standard exponential; a uniform of exactly 0 stands for the least it can be."""
    least = float(np.finfo(uniform.dtype).eps) / 4
    waiting_time: Array = -np.log1p(-np.maximum(uniform, least))
    return waiting_time


def _double_maxwell(uniform: Array) -> Array:
    """Density x² exp(-x² / 2) / √2π on the whole line: a sign, and the root of a chi-squared with 3 degrees."""
    from scipy.special import gammaincinv

    doubled = 2 * uniform
    negative = np.floor(doubled)
    level = doubled - negative
    length = np.sqrt(2 * gammaincinv(np.full_like(level, 1.5), level))
    signed: Array = (1 - 2 * negative) * length
    return signed


DECOMPOSITIONS: dict[type, Decomposition] = {
    Normal: Decomposition(_normal, uniforms=3, moved=3),
    Exponential: Decomposition(_exponential, uniforms=2, moved=1),
    Gamma: Decomposition(_gamma, uniforms=3, moved=2),
    Bernoulli: Decomposition(_bernoulli, uniforms=1, moved=1),
    Poisson: Decomposition(_poisson, uniforms=1, moved=1),
}
"""Family -> how its density splits; a table that grows by one function."""


def _decomposition(q: Any) -> Decomposition:
    found = DECOMPOSITIONS.get(type(q))
    if found is None:
        known = ", ".join(family.__name__ for family in DECOMPOSITIONS)
        raise InputError(f"{type(q).__name__} has no measure-valued decomposition; known are {known}")
    return found
