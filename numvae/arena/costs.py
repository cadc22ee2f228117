"""Functions f(z) to try estimators on, as integrands with first and second derivatives.

Derivations: ``derivations/costs.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.distributions import Bernoulli, Normal
from numvae.errors import InputError

__all__ = ["Cosine", "Exponential", "LogRatio", "Quadratic", "QuadraticForm"]


@dataclass(frozen=True)
class Quadratic:
    """f(z) = Σ (z - k)²   (costs.1).  On bits this is the toy of the discrete estimators, with target t = k."""

    k: float = 0.0

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        residual = z - self.k
        values = np.sum(residual * residual, axis=-1)  # (costs.1)
        return values, lambda dvalues: (0.0, 2 * dvalues[..., None] * residual, None)  # (costs.2)

    def hessian_product(self, params: Array, z: Array, direction: Array) -> Array:
        """2 direction   (costs.3)."""
        return 2 * direction  # (costs.3)


@dataclass(frozen=True)
class Exponential:
    """f(z) = Σ exp(-k z²)   (costs.4)."""

    k: float = 1.0

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        bell = np.exp(-self.k * z * z)
        values = np.sum(bell, axis=-1)  # (costs.4)
        return values, lambda dvalues: (0.0, -2 * self.k * dvalues[..., None] * z * bell, None)  # (costs.5)

    def hessian_product(self, params: Array, z: Array, direction: Array) -> Array:
        """(4 k² z² - 2 k) exp(-k z²) direction   (costs.6)."""
        curvature = (4 * self.k**2 * z * z - 2 * self.k) * np.exp(-self.k * z * z)
        product: Array = curvature * direction  # (costs.6)
        return product


@dataclass(frozen=True)
class Cosine:
    """f(z) = Σ cos(k z)   (costs.7): the higher k, the worse a derivative tells where f is small."""

    k: float = 1.0

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        angle = self.k * z
        values = np.sum(np.cos(angle), axis=-1)  # (costs.7)
        return values, lambda dvalues: (0.0, -self.k * dvalues[..., None] * np.sin(angle), None)  # (costs.8)

    def hessian_product(self, params: Array, z: Array, direction: Array) -> Array:
        """-k² cos(k z) direction   (costs.9)."""
        product: Array = -(self.k**2) * np.cos(self.k * z) * direction  # (costs.9)
        return product


@dataclass(frozen=True)
class QuadraticForm:
    """f(z) = (z - t)ᵀ A (z - t) with A = c I + (1 - c) 11ᵀ / Z   (costs.10): coordinates that depend on each other."""

    target: tuple[float, ...]
    coupling: float = 0.5

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        residual = z - np.array(self.target, z.dtype)
        rotated = self._times(residual)
        values = np.sum(residual * rotated, axis=-1)  # (costs.10)
        return values, lambda dvalues: (0.0, 2 * dvalues[..., None] * rotated, None)  # (costs.11)

    def hessian_product(self, params: Array, z: Array, direction: Array) -> Array:
        """2 A direction   (costs.12)."""
        return 2 * self._times(direction)  # (costs.12)

    def _times(self, vector: Array) -> Array:
        shared = (1 - self.coupling) * vector.mean(axis=-1, keepdims=True)
        product: Array = self.coupling * vector + shared
        return product


@dataclass(frozen=True)
class LogRatio:
    """f(params, z) = log p̃(z) - log q(z; params)   (costs.13), the integrand of an ELBO: params enter it both ways.

    log p̃ is the log-density of q's own family at ``target``, plus ``bump`` (another cost) if there is one.
    """

    q: Any
    target: tuple[float, ...]
    bump: Any = None

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        log_prob = getattr(self.q, "relaxed_log_prob", self.q.log_prob)
        log_target, target_pullback = log_prob(np.array([self.target], z.dtype), z)
        log_q, q_pullback = log_prob(params, z)
        bump, bump_pullback = (0.0, None) if self.bump is None else self.bump(params, z)

        def pullback(dvalues: Array) -> tuple[Array, Array, None]:
            dparams, dz_q = q_pullback(-dvalues)
            dz = target_pullback(dvalues)[1] + dz_q
            if bump_pullback is not None:
                dz = dz + bump_pullback(dvalues)[1]
            return dparams, dz, None  # (costs.14)

        return log_target - log_q + bump, pullback  # (costs.13)

    def hessian_product(self, params: Array, z: Array, direction: Array) -> Array:
        """(1 / std² - 1 / target_std²) direction under a normal, 0 for bits; and the bump's   (costs.15).

        Raises:
            InputError: another family.
        """
        if isinstance(self.q, Normal):
            target = np.array([self.target], z.dtype)
            product: Array = (self.q.std(params) ** -2 - self.q.std(target) ** -2) * direction  # (costs.15)
        elif isinstance(self.q, Bernoulli):
            product = np.zeros_like(direction)
        else:
            raise InputError(f"of a LogRatio under {type(self.q).__name__} no second derivatives are known")
        return product if self.bump is None else product + self.bump.hessian_product(params, z, direction)
