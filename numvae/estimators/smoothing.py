"""Differences of values as gradient estimators: along each parameter, or along random directions.

They ask for no derivative of f, nor of q's density; they are gradients of a smoothed objective.
Derivations: ``derivations/smoothing.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.contract import params_size
from numvae.errors import InputError
from numvae.estimators.applicability import require_applicable
from numvae.estimators.contract import Claims, Integrand, Reduction, Reparameterized, declares
from numvae.ranges import require_number

__all__ = ["EvolutionStrategies", "FiniteDifferences"]


@declares(
    variables="continuous",
    unbiased=False,
    bias="of order step²: the exact gradient of the objective averaged over ± step in each parameter",
    f_calls=lambda S, Z: S * (1 + 4 * Z),  # for two parameters per latent, the most a family has
    reductions=("sample_mean", "log_mean_exp"),
    source="Glasserman 2003, section 7.1 (central differences, common random numbers)",
)
@dataclass(frozen=True)
class FiniteDifferences:
    """[F(params + step e_p) - F(params - step e_p)] / 2 step with the same noise in both   (smoothing.1).

    F(params) = reduce f(params, z(params, noise)); two evaluations per parameter.
    """

    step: float = 0.01
    claims: ClassVar[Claims]

    def __post_init__(self) -> None:
        require_number(self, "step", "(0, inf)", example=0.01)

    def __call__(
        self, q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
    ) -> tuple[Array, Pullback]:
        require_applicable(self, q, noise, reduce)
        bound, f_pullback, reduce_pullback = _at_centre(q, params, noise, f, reduce)
        slopes = np.empty_like(params)
        for p in range(params.shape[-1]):
            shift = np.zeros_like(params)
            shift[:, p] = self.step
            up, down = (_value(q, params + sign * shift, noise, f, reduce) for sign in (1, -1))
            slopes[:, p] = (up - down) / (2 * self.step)  # (smoothing.1)

        def pullback(dbound: Array) -> tuple[Array, Array]:
            _, _, dtheta = f_pullback(*reduce_pullback(dbound))
            return dbound[:, None] * slopes, dtheta

        return bound, pullback


@declares(
    variables="continuous",
    unbiased=False,
    bias="of order std²: the exact gradient of the objective averaged over N(params, std²)",
    f_calls=lambda S, Z: 3 * S,
    source="Nesterov and Spokoiny 2017; Salimans et al. 2017 (antithetic)",
)
@dataclass(frozen=True)
class EvolutionStrategies:
    """(1/S) Σ_s [F_s(params + std δ_s) - F_s(params - std δ_s)] δ_s / 2 std with δ_s ~ N(0, I)   (smoothing.3).

    F_s(params) = f(params, z(params, noise_s)).  Its mean is the gradient of E_δ F(params + std δ)   (smoothing.2).
    Two evaluations per sample, however many parameters; the variance grows with their number instead.
    """

    std: float = 0.05
    claims: ClassVar[Claims]

    def __post_init__(self) -> None:
        require_number(self, "std", "(0, inf)", example=0.05)

    def noise(
        self, q: Any, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64
    ) -> Array:
        """[the family's noise | a standard normal direction for every parameter]."""
        own = q.noise(rng, shape, dtype)
        directions = rng.standard_normal((*shape[:-1], params_size(q, shape[-1]))).astype(dtype)
        return np.concatenate([own, directions], axis=-1)

    def __call__(
        self, q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
    ) -> tuple[Array, Pullback]:
        require_applicable(self, q, noise, reduce)
        count = params.shape[-1]
        if noise.shape[-1] <= count:
            raise InputError(
                f"EvolutionStrategies needs noise of more than P = {count} numbers a row, [noise | direction], got "
                f"{noise.shape[-1]}; draw it by draw_noise(estimator, q, rng, shape)"
            )
        own, directions = noise[..., :-count], noise[..., -count:]
        bound, f_pullback, reduce_pullback = _at_centre(q, params, own, f, reduce)
        slopes = np.zeros_like(params)
        for s, direction in enumerate(directions):
            shift, alone = self.std * direction, own[s : s + 1]
            up, down = (_value(q, params + sign * shift, alone, f, reduce) for sign in (1, -1))
            slopes += ((up - down) / (2 * self.std * len(own)))[:, None] * direction  # (smoothing.3)

        def pullback(dbound: Array) -> tuple[Array, Array]:
            _, _, dtheta = f_pullback(*reduce_pullback(dbound))
            return dbound[:, None] * slopes, dtheta

        return bound, pullback


def _at_centre(
    q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback, Pullback]:
    """The bound at the parameters themselves, and f's and reduce's pullbacks for what else f depends on."""
    values, f_pullback = f(params, q.sample(params, noise)[0])
    bound, reduce_pullback = reduce(values)
    return bound, f_pullback, reduce_pullback


def _value(q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction) -> Array:
    return reduce(f(params, q.sample(params, noise)[0])[0])[0]
