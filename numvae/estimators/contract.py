"""What an estimator takes and returns: the contract every estimator in this folder keeps.

    bound, pullback = estimator(q, params, noise, f, reduce)        dparams, dtheta = pullback(dbound)

estimates the gradient of E_q[reduce f(z)], where ``f(params, z) -> values (S, B), pullback -> (dparams, dz, dtheta)``.
``reduce`` belongs to the estimator because for a nonlinear bound the learning signal is the bound itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback

__all__ = ["Estimator", "Integrand", "Reduction", "Reparameterized"]

Integrand: TypeAlias = Callable[[Array, Array], tuple[Array, Pullback]]
Reduction: TypeAlias = Callable[[Array], tuple[Array, Pullback]]
Estimator: TypeAlias = Callable[[Any, Array, Array, Integrand, Reduction], tuple[Array, Pullback]]


class Reparameterized(Protocol):
    """A family whose samples are a function of parameters and noise."""

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = ...) -> Array:
        """Noise of the values' shape."""

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        """Samples, and the pullback ``dz -> (dparams, None)``."""

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        """Log-density summed over features, and the pullback ``d -> (dparams, dvalue)``."""
