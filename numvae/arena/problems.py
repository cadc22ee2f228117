"""Exact models: a family, its parameters and a cost whose expected gradient is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from numvae.arena.costs import Cosine, Exponential, LogRatio, Quadratic, QuadraticForm
from numvae.arena.truth import exact_gradient
from numvae.arrays import Array
from numvae.distributions import Bernoulli, Normal, exponential
from numvae.distributions.gamma import Gamma
from numvae.distributions.poisson import Poisson
from numvae.estimators import Estimator, Integrand, Reduction, draw_noise, sample_mean

__all__ = ["CONTINUOUS", "COUNTS", "DISCRETE", "POSITIVE", "Problem", "draw_gradients"]


@dataclass(frozen=True)
class Problem:
    """E_q[f(z)] at one point: params are a tuple, so that the description holds no arrays."""

    name: str
    q: Any
    params: tuple[float, ...]
    f: Integrand
    latents: int

    def at(self, rows: int = 1) -> Array:
        """The parameters, (rows, P)."""
        return np.tile(np.array(self.params), (rows, 1))

    def truth(self, reduce: Reduction = sample_mean, samples: int = 1) -> Array:
        """The exact gradient in the parameters, (P,)."""
        return exact_gradient(self.q, self.at(), self.f, self.latents, reduce=reduce, samples=samples)


def draw_gradients(
    estimator: Estimator,
    problem: Problem,
    repeats: int,
    *,
    rng: np.random.Generator,
    samples: int = 1,
    reduce: Reduction = sample_mean,
) -> Array:
    """Independent estimates of the gradient in the parameters, (repeats, P): each row of the batch is one."""
    noise = draw_noise(estimator, problem.q, rng, (samples, repeats, problem.latents))
    _, pullback = estimator(problem.q, problem.at(repeats), noise, problem.f, reduce)
    gradients: Array = pullback(np.ones(repeats))[0]
    return gradients


NORMAL, EXPONENTIAL, GAMMA = Normal(), exponential.Exponential(), Gamma()
BERNOULLI, POISSON = Bernoulli(), Poisson()

CONTINUOUS = (
    Problem("quadratic", NORMAL, (1.0, 0.0), Quadratic(-3.0), 1),
    Problem("quadratic in 3-D", NORMAL, (0.5, -1.0, 2.0, -0.4, 0.1, -0.7), Quadratic(0.3), 3),
    Problem("exponential", NORMAL, (0.7, -0.3), Exponential(0.8), 1),
    Problem("cosine", NORMAL, (0.4, -0.2), Cosine(1.5), 1),
    Problem("coupled", NORMAL, (0.6, -0.5, -0.3, 0.2), QuadraticForm((1.0, -0.4)), 2),
    Problem("normal ELBO", NORMAL, (0.3, -0.2), LogRatio(NORMAL, (-0.4, 0.3)), 1),
    Problem("skewed ELBO", NORMAL, (0.3, -0.2), LogRatio(NORMAL, (-0.4, 0.3), Cosine(1.0)), 1),
)

POSITIVE = (
    Problem("quadratic of a waiting time", EXPONENTIAL, (0.3,), Quadratic(1.5), 1),
    Problem("bell of a waiting time", EXPONENTIAL, (-0.2,), Exponential(0.8), 1),
    Problem("cosine of a waiting time", EXPONENTIAL, (0.4,), Cosine(1.5), 1),
    Problem("coupled waiting times", EXPONENTIAL, (0.5, -0.3), QuadraticForm((1.0, 0.2)), 2),
    Problem("exponential ELBO", EXPONENTIAL, (0.3,), LogRatio(EXPONENTIAL, (-0.4,)), 1),
    Problem("skewed exponential ELBO", EXPONENTIAL, (0.3, -0.5), LogRatio(EXPONENTIAL, (-0.4, 0.2), Cosine(1.0)), 2),
    Problem("quadratic of a gamma", GAMMA, (0.6, 0.2), Quadratic(1.5), 1),
    Problem("bell of a gamma below shape 1", GAMMA, (-0.6, -0.2), Exponential(0.8), 1),
    Problem("cosine of a gamma", GAMMA, (0.9, 0.5), Cosine(1.5), 1),
    Problem("coupled gammas", GAMMA, (0.4, -0.3, 0.2, 0.5), QuadraticForm((1.0, 0.2)), 2),
    Problem("gamma ELBO", GAMMA, (0.3, -0.2), LogRatio(GAMMA, (-0.4, 0.3)), 1),
    Problem("skewed gamma ELBO", GAMMA, (0.9, 0.4, 0.3, 0.6), LogRatio(GAMMA, (0.1, 0.6, 0.0, 0.4), Cosine(1.0)), 2),
)

DISCRETE = (
    Problem("one coin", BERNOULLI, (-0.8473,), Quadratic(0.45), 1),
    Problem("three coins", BERNOULLI, (0.4, -1.1, 2.0), Quadratic(0.3), 3),
    Problem("coupled coins", BERNOULLI, (0.2, -0.7, 1.3, -0.1), QuadraticForm((0.3, 0.8, -0.2, 0.5)), 4),
    Problem("cosine of coins", BERNOULLI, (0.6, -0.4), Cosine(2.0), 2),
    Problem("coins' ELBO", BERNOULLI, (0.5, -0.9), LogRatio(BERNOULLI, (-0.3, 0.8)), 2),
    Problem("skewed coins' ELBO", BERNOULLI, (0.5, -0.9, 0.1), LogRatio(BERNOULLI, (-0.3, 0.8, 0.4), Cosine(2.0)), 3),
)

COUNTS = (
    Problem("quadratic of a count", POISSON, (0.7,), Quadratic(1.5), 1),
    Problem("bell of a count", POISSON, (-0.4,), Exponential(0.8), 1),
    Problem("cosine of a count", POISSON, (1.2,), Cosine(0.9), 1),
    Problem("coupled counts", POISSON, (0.5, -1.0, 0.8), QuadraticForm((1.0, 0.2, 2.0)), 3),
    Problem("Poisson ELBO", POISSON, (0.9,), LogRatio(POISSON, (0.3,)), 1),
    Problem("skewed Poisson ELBO", POISSON, (0.6, -0.3), LogRatio(POISSON, (0.1, 0.4), Cosine(1.0)), 2),
)
