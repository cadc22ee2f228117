"""Models whose whole chain of latents is one differentiable path of the noise: the log importance weight as one rule.

    (log_likelihood, log_ratio), pullback = model.weigh(theta, x, noise)        (dtheta,) = pullback(dvalues)

What a VAE with one layer of latents takes apart into family, estimator and integrand, these keep in one piece: the
bounds are reductions of the weight, and their gradients go back through everything.
Derivations: ``derivations/path_models.md``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.noise import normal_noise
from numvae.errors import InputError
from numvae.estimators import Reduction, pathwise, sample_mean
from numvae.estimators.contract import name_of

__all__ = ["PathModel", "path_bound"]


class PathModel(ABC):
    """A generative model and its posterior, of which only the log weight of a path is asked for."""

    @abstractmethod
    def weigh(self, theta: Array, x: Array, noise: Array) -> tuple[tuple[Array, Array], Pullback]:
        """(log p(x|z), log p(z) - log q(z|x)) at z from ``noise``, (S, B) each   (path_models.1).

        The pullback takes the gradient of their *sum*, dvalues (S, B), and returns ``(dtheta,)``, which goes through
        the samples and through both densities.  Shapes: x (B, D), noise (S, B, ΣZ).
        """

    def log_weights(self, theta: Array, x: Array, noise: Array) -> tuple[Array, Array]:
        """The two values of ``weigh``: their sum is the log importance weight."""
        return self.weigh(theta, x, noise)[0]

    def draw_noise(
        self, estimator: Any, rng: np.random.Generator, shape: tuple[int, int], dtype: npt.DTypeLike = np.float64
    ) -> Array:
        """Standard normal noise for (S, B) samples of all latents, whatever the estimator: there is only one."""
        return normal_noise(rng, (*shape, self.latents), dtype)

    @property
    @abstractmethod
    def latents(self) -> int:
        """Latents of all layers together: the length of the last axis of noise."""


def path_bound(
    model: PathModel, theta: Array, x: Array, noise: Array, estimator: Any = pathwise, reduce: Reduction = sample_mean
) -> tuple[Array, Pullback]:
    """reduce_s log w_s   (path_models.2): the ELBO under ``sample_mean``, L_S under ``log_mean_exp``; pathwise.

    Shapes: x (B, D), noise (S, B, ΣZ), bound (B,), nats.  Pullback -> (dtheta, None, None).

    Raises:
        InputError: another estimator than ``pathwise``.
    """
    if estimator is not pathwise:
        raise InputError(
            f"a {type(model).__name__} has one path from noise to bound, which {name_of(estimator)} does not take; "
            "use pathwise"
        )
    (log_likelihood, log_ratio), weigh_pullback = model.weigh(theta, x, noise)
    bound, reduce_pullback = reduce(log_likelihood + log_ratio)  # (path_models.2)

    def pullback(dbound: Array) -> tuple[Array, None, None]:
        (dtheta,) = weigh_pullback(*reduce_pullback(dbound))
        return dtheta, None, None

    return bound, pullback
