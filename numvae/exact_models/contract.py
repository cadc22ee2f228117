"""What a model with a known evidence offers: an oracle for every bound, and an encoder that is the posterior."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from numvae.arrays import Array
from numvae.models import VAE

__all__ = ["ExactModel"]


class ExactModel(Protocol):
    """A generative model p(z) p(x|z) with the constants in place, whose p(x) and p(z|x) are known.

    Unlike a rule it holds its few arrays itself: it is what rules are judged by.
    """

    @property
    def posterior(self) -> Any:
        """The family of distributions in which p(z|x) lies."""

    def posterior_params(self, x: Array) -> Array:
        """p(z|x) as parameters of that family: x (B, D), params (B, P)."""

    def evidence(self, x: Array) -> Array:
        """log p(x) in nats: x (B, D), value (B,)."""

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Array, Array]:
        """Latents z (count, Z) from the prior, and data x (count, D) from them."""

    def vae(self) -> VAE:
        """A VAE of this form: its decoder can be this model, and its encoder the posterior."""

    @property
    def theta(self) -> Array:
        """The weights with which ``vae()`` is this model, and its encoder is the posterior."""
