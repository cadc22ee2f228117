"""The review's exponential latent with counts: its evidence by quadrature, and how far an exponential q stays below.

Derivations: ``derivations/exponential_poisson.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from numvae.arrays import Array
from numvae.distributions.exponential import Exponential
from numvae.distributions.gamma import Gamma
from numvae.distributions.poisson import Poisson
from numvae.exact_models.gamma_poisson import GammaPoisson
from numvae.models import VAE
from numvae.priors import Prior

__all__ = ["ExponentialPoisson"]

STEP = 0.2
REACH = 9.0  # e^(-9² / 2) = 3e-18: where the integrand no longer counts
TAIL = 40.0  # e^-40 = 4e-18: the same for a tail that falls as a simple exponential


@dataclass(frozen=True)
class ExponentialPoisson:
    """z ~ Exponential(rate),  x_d ~ Poisson(z) for d = 1 … D   (exponential_poisson.1).

    An exponential is a gamma of shape 1, so that ``conjugate`` has the closed forms, and p(z|x) is a gamma.  With an
    exponential q, as in the review, the best is ``best_exponential_params`` and loses ``exponential_gap``.

    >>> model = ExponentialPoisson(features=1)
    >>> model.evidence(np.array([[0.0], [3.0]])) / np.log(2)  # P(x) = 2^-(x + 1)
    array([-1., -4.])

    Raises ``InputError`` for a rate that is not positive, or no features.
    """

    features: int
    rate: float = 1.0
    posterior = Gamma()

    def __post_init__(self) -> None:
        _ = self.conjugate  # which asks for positive numbers

    @cached_property
    def conjugate(self) -> GammaPoisson:
        """The same model with its prior written as a gamma."""
        return GammaPoisson(self.features, shape=1.0, rate=self.rate)

    def posterior_params(self, x: Array) -> Array:
        """[log_shape | log_rate] of Gamma(1 + Σ x, rate + D), (B, 2): (gamma_poisson.2) with shape 1."""
        return self.conjugate.posterior_params(x)

    def evidence(self, x: Array) -> Array:
        """log ∫ p(z) p(x|z) dz, (B,), by the trapezoidal rule in log z   (exponential_poisson.2).

        It asks the families for their densities and knows no closed form; it agrees with ``conjugate.evidence`` to
        rounding.
        """
        shape, rate = np.exp(np.split(self.posterior_params(x), 2, axis=-1))  # (B, 1) each
        width = 1 / np.sqrt(shape)
        reach = REACH + TAIL * width.max()
        log_z = np.log(shape / rate) + width * np.arange(-reach, REACH, STEP)  # (B, nodes)
        z = np.exp(log_z)[..., None]
        log_prior, _ = Exponential().log_prob(np.full((1, 1), math.log(self.rate)), z)
        log_likelihood, _ = Poisson().log_prob(log_z[..., None], x[:, None, :])
        log_terms = log_prior + log_likelihood + log_z + np.log(STEP * width)
        most = np.max(log_terms, axis=-1, keepdims=True)
        evidence: Array = most[:, 0] + np.log(np.sum(np.exp(log_terms - most), axis=-1))  # (exponential_poisson.2)
        return evidence

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Array, Array]:
        """z (count, 1) and x (count, D), by (exponential_poisson.1)."""
        z = rng.exponential(1 / self.rate, (count, 1))
        return z, rng.poisson(z, (count, self.features)).astype(np.float64)  # (exponential_poisson.1)

    def vae(self) -> VAE:
        """That of ``conjugate`` with an exponential prior."""
        return replace(self.conjugate.vae(), prior=Prior(Exponential(), (("log_rate", math.log(self.rate)),)))

    @property
    def theta(self) -> Array:
        """The weights with which ``vae()`` is this model and its encoder the posterior."""
        return self.conjugate.theta

    def best_exponential_params(self, x: Array) -> Array:
        """log_rate of the exponential q with the highest ELBO, (B, 1): it has the posterior's mean.

        (exponential_poisson.3).
        """
        log_shape, log_rate = np.split(self.posterior_params(x), 2, axis=-1)
        best: Array = log_rate - log_shape  # (exponential_poisson.3)
        return best

    def exponential_gap(self, x: Array) -> Array:
        """log p(x) - ELBO of that q, (B,): 0 where no count was seen   (exponential_poisson.4)."""
        from scipy.special import gammaln

        log_shape = self.posterior_params(x)[:, 0]
        shape = np.exp(log_shape)
        gap: Array = gammaln(shape) - shape * log_shape + (1 + np.euler_gamma) * (shape - 1)  # (exponential_poisson.4)
        return gap
