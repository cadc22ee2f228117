"""log p(x) as the paper's appendix D estimates it: the reciprocal of a mean over draws of the posterior.

    estimate = reciprocal_estimate(model, theta, x, rng=rng)

Derivations: ``derivations/reciprocal_importance.md``.  Source: Kingma and Welling, appendix D; Gelfand and Dey 1994.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from numvae.arrays import Array
from numvae.blocks import blocks
from numvae.distributions.multivariate_normal import MultivariateNormal
from numvae.errors import InputError
from numvae.estimators import log_mean_exp
from numvae.exact_models.cholesky_params import cholesky_params
from numvae.hmc import ACCEPTANCE, draw_chain
from numvae.marginal_likelihood.starts import StartLaw, from_encoder, start_on_the_reals
from numvae.marginal_likelihood.supports import coordinates_of, on_the_reals
from numvae.models import VAE

__all__ = ["Fit", "KernelFit", "NormalFit", "Reciprocal", "reciprocal_estimate"]

FIRST_STEP = 0.5
"""Too long for most posteriors: tuning finds its way down faster than up."""

JITTER = 0.4
"""Step sizes from 0.6 to 1.4 times the tuned one: four steps of one length come back on some normal posteriors."""

Fit: TypeAlias = Callable[[Array], Callable[[Array], Array]]
"""Draws (N, B, Z) -> the log density fitted to them, z (..., B, Z) -> (..., B)."""


@dataclass(frozen=True)
class NormalFit:
    """A normal for each row: the mean of its draws, and their covariance times spread²   (reciprocal_importance.5).

    A ``spread`` below 1 makes q's tails lighter, which keeps the variance finite for longer
    (reciprocal_importance.7).
    """

    spread: float = 1.0

    def __call__(self, draws: Array) -> Callable[[Array], Array]:
        params = _normal(draws, self.spread)  # (reciprocal_importance.5)
        return lambda z: MultivariateNormal().log_prob(params, z)[0]


@dataclass(frozen=True)
class KernelFit:
    """A normal kernel around every draw: their covariance times bandwidth², N^(-1/(Z+4)) unless given.

    (reciprocal_importance.6).  Source of the width: Scott 1992.  Costs draws times draws for each row.
    """

    bandwidth: float | None = None

    def __call__(self, draws: Array) -> Callable[[Array], Array]:
        count, _, latents = draws.shape
        bandwidth = count ** (-1 / (latents + 4)) if self.bandwidth is None else self.bandwidth
        kernel = _normal(draws - draws.mean(axis=0), bandwidth)

        def around_every_draw(z: Array) -> Array:
            distance = z - draws.reshape(count, *(1,) * (z.ndim - 2), *draws.shape[1:])
            return log_mean_exp(MultivariateNormal().log_prob(kernel, distance)[0])[0]  # (reciprocal_importance.6)

        return lambda z: np.stack([around_every_draw(one) for one in z])


def _normal(draws: Array, spread: float) -> Array:
    """The mean of draws (N, B, Z), and their covariance times spread², as parameters of a MultivariateNormal, (B, P).

    Raises ``InputError`` where the draws of some row lie in fewer than Z dimensions.
    """
    count, _, latents = draws.shape
    mean = draws.mean(axis=0)
    centred = draws - mean
    covariance = np.einsum("nbi,nbj->bij", centred, centred) * (spread**2 / max(1, count - 1))
    try:
        return cholesky_params(mean, covariance)
    except np.linalg.LinAlgError:
        raise InputError(
            f"{count} draws of {latents} latents have no covariance of full rank in some row; ask for more draws, "
            "or for a longer burn-in where chains do not move"
        ) from None


@dataclass(frozen=True, eq=False)
class Reciprocal:
    """-log of the mean of q(z)/p(x, z) over draws of the posterior, for each of B rows, and what it is worth.

    ``acceptance`` is the share of proposals accepted after the burn-in.
    """

    log_ratios: Array
    """log q(z) - log p(x, z), (L, C, B): L draws of C chains."""
    acceptance: float

    @property
    def values(self) -> Array:
        """-log (1/LC) Σ q/p, (B,), nats   (reciprocal_importance.3): above log p(x) on average."""
        draws, chains, rows = self.log_ratios.shape
        return -log_mean_exp(self.log_ratios.reshape(draws * chains, rows))[0]  # (reciprocal_importance.3)

    @property
    def standard_errors(self) -> Array:
        """Of ``values``, (B,): that of the mean of q/p by batches of √L draws, over the mean (reciprocal_importance.4).

        Batches of draws that follow each other know how much these depend on each other.  With q/p of infinite
        variance it is a number as well, and means nothing.
        """
        ratios = self._ratios
        draws, chains, rows = ratios.shape
        count = max(2, math.isqrt(draws)) if chains == 1 else math.isqrt(draws)
        size = draws // count
        batches = ratios[-count * size :].reshape(count, size, chains, rows).mean(axis=1).reshape(-1, rows)
        spread = batches.std(axis=0, ddof=1) / math.sqrt(len(batches))
        errors: Array = spread / batches.mean(axis=0)  # (reciprocal_importance.4)
        return errors

    @property
    def bias(self) -> Array:
        """By how much ``values`` are too large on average, about: ½ error², (B,)   (reciprocal_importance.4)."""
        return 0.5 * self.standard_errors**2  # (reciprocal_importance.4)

    @property
    def effective_size(self) -> Array:
        """How many independent draws would have this error, (B,): the variance of q/p over that of its mean."""
        ratios = self._ratios.reshape(-1, self.log_ratios.shape[-1])
        relative = ratios.var(axis=0, ddof=1) / ratios.mean(axis=0) ** 2
        size: Array = relative / self.standard_errors**2
        return size

    @property
    def _ratios(self) -> Array:
        """But for a factor that each row has of its own."""
        ratios: Array = np.exp(self.log_ratios - self.log_ratios.max(axis=(0, 1)))
        return ratios


def reciprocal_estimate(
    model: VAE,
    theta: Array,
    x: Array,
    *,
    rng: np.random.Generator,
    draws: int = 50,
    chains: int = 1,
    burn_in: int = 100,
    between: int = 20,
    steps: int = 4,
    target: float = ACCEPTANCE,
    fit: Fit = NormalFit(),
    start: StartLaw = from_encoder,
) -> Reciprocal:
    """p(x) ≈ [mean of q(z) / (p(z) p(x|z))]⁻¹ over posterior draws, q fitted to others   (reciprocal_importance.3).

    x (B, D).  For each row and chain: a burn-in of transitions of ``steps`` leapfrog steps, ``draws`` for the fit,
    ``between`` thrown away, and ``draws`` more for the mean.  draws=50 and steps=4 are the paper's.  Reliable below
    some five latents: with L draws of Z latents a fitted normal gives q/p an infinite variance beyond Z ≈ L/6
    (reciprocal_importance.7).  Rows are taken in blocks, so that memory is bounded.

    Raises:
        InputError: numbers that are none, too few draws for a fit, latents that are discrete.
    """
    numbers = {"draws": (draws, 4), "chains": (chains, 1), "between": (between, 0), "rows of x": (len(x), 1)}
    for name, (number, least) in numbers.items():
        if number < least:
            raise InputError(f"{name} must be {least} or more, got {number}")
    coordinates = coordinates_of(model.prior.family)
    log_ratios, accepted = [], 0.0
    for rows in blocks(len(x), chains):
        joint = on_the_reals(coordinates, model.log_joint(theta, x[rows]))
        law = start_on_the_reals(coordinates, start(model, theta, x[rows]))
        chain = draw_chain(
            joint,
            law.draw(rng, chains),
            draws=2 * draws + between,
            rng=rng,
            burn_in=burn_in,
            step=FIRST_STEP,
            steps=steps,
            target=target,
            jitter=JITTER,
        )
        log_q = fit(chain.z[:draws].reshape(draws * chains, -1, model.latents))
        log_ratios.append(log_q(chain.z[-draws:]) - chain.log_density[-draws:])  # (reciprocal_importance.3)
        accepted += chain.acceptance * (rows.stop - rows.start)
    return Reciprocal(np.concatenate(log_ratios, axis=-1), accepted / len(x))
