"""Baselines of the score function: guesses of a sample's value, made without looking at it.

A guess takes the value's place in the bound, and the bound is held against that   (baselines.1).  The leave-one-out
baseline, which leaves the place empty, is in ``score_function.py``.  Derivations: ``derivations/baselines.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.errors import InputError
from numvae.estimators.applicability import require_applicable
from numvae.estimators.contract import (
    Claims,
    Estimator,
    Integrand,
    Reduction,
    Reparameterized,
    context_of,
    declares,
)
from numvae.estimators.score_function import score_function, with_baseline
from numvae.networks import Chain, mlp
from numvae.optimizers import SGD, Adam, Optimizer
from numvae.parameters import Layout, initial_theta
from numvae.ranges import require_number, require_whole

__all__ = [
    "NVIL",
    "ConstantBaseline",
    "MovingAverageBaseline",
    "OptimalBaseline",
    "filled_in",
    "mean_of_others",
    "reinforce",
    "reinforce_loo",
    "vimco",
]

BOTH = ("sample_mean", "log_mean_exp")
MOST_SPREADS = 3.0
"""What NVIL's network learns from one error at most: in the first steps, before mean and variance know anything, errors
are enormous and would drive its hidden units into saturation."""


def filled_in(values: Array, guess: Array | float, reduce: Reduction) -> Array:
    """For every sample the bound with a guess in the place of its value   (baselines.1).

    values and result: (S, B), guess (S, B) or what broadcasts to it.

    >>> from numvae.estimators import sample_mean
    >>> filled_in(np.array([[1.0], [3.0]]), 5.0, sample_mean)
    array([[4.],
           [3.]])
    """
    guesses, baseline = np.empty_like(values), np.empty_like(values)
    guesses[...] = guess
    for s in range(len(values)):
        filled = values.copy()
        filled[s] = guesses[s]
        baseline[s], _ = reduce(filled)  # (baselines.1)
    return baseline


def guessing(guess: Array | float) -> Callable[[Array, Reduction], Array]:
    """The baseline that a guess makes."""
    return lambda values, reduce: filled_in(values, guess, reduce)


# ---- guesses that nobody has to learn


@declares(reductions=BOTH, source="Williams 1992")
def reinforce(
    q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """The score function without a baseline: the guess is 0   (baselines.1).

    Each sample's score is weighted by that sample's own value, (1/S) Σ f_s ∇ log q(z_s), under ``sample_mean``.
    """
    return with_baseline(q, params, noise, f, reduce, guessing(0.0))


@declares(reductions=BOTH, least_samples=2, source="Kool et al. 2019")
def reinforce_loo(
    q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
) -> tuple[Array, Pullback]:
    """``score_function`` with somebody to leave out: two samples or more   (score_function.3).  Also called RLOO."""
    require_applicable(reinforce_loo, q, noise, reduce)
    return score_function(q, params, noise, f, reduce)


@declares(reductions=BOTH, source="Williams 1992")
@dataclass(frozen=True)
class ConstantBaseline:
    """The score function against a constant, a guess of f's mean   (baselines.1)."""

    value: float = 0.0
    claims: ClassVar[Claims]

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise InputError(f"ConstantBaseline: value must be finite, got {self.value}; try 0.0")

    def __call__(
        self, q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
    ) -> tuple[Array, Pullback]:
        return with_baseline(q, params, noise, f, reduce, guessing(self.value))


@declares(reductions=BOTH, least_samples=2, source="Mnih and Rezende 2016 (VIMCO)")
def vimco(q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction) -> tuple[Array, Pullback]:
    """VIMCO as printed: the mean of the others' log-weights in the missing one's place   (baselines.2).

    Under ``sample_mean`` it is REINFORCE with the leave-one-out baseline.
    """
    require_applicable(vimco, q, noise, reduce)

    def baseline(values: Array, reduce: Reduction) -> Array:
        return filled_in(values, mean_of_others(values), reduce)

    return with_baseline(q, params, noise, f, reduce, baseline)


def mean_of_others(values: Array) -> Array:
    """For every sample the mean of the others' values   (baselines.2): of log-weights, their geometric mean.

    >>> mean_of_others(np.array([[1.0], [3.0], [8.0]]))[:, 0]
    array([5.5, 4.5, 2. ])
    """
    mean: Array = (values.sum(axis=0) - values) / (len(values) - 1)  # (baselines.2)
    return mean


# ---- guesses that are learned: in what came before, so that they cannot know the sample


@declares(source="Greensmith et al. 2004; Mohamed et al. 2020, section 7")
@dataclass(frozen=True)
class OptimalBaseline:
    """The score function against the constant of least variance, b* = E[f s²] / E[s²], one per parameter.

    ``eta`` (P,) climbs against the gradient of the variance   (baselines.4).
    """

    optimizer: Optimizer = field(default=Adam(step_size=0.1))
    claims: ClassVar[Claims]

    def start(self, params: Array, context: Array, latents: int, *, rng: np.random.Generator) -> Array:
        """No baseline."""
        return np.zeros_like(params[0])

    def at(self, eta: Array, deta: Array | None = None) -> Estimator:
        """The estimator with these constants."""

        def estimator(
            q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
        ) -> tuple[Array, Pullback]:
            require_applicable(self, q, noise, reduce)
            z, _ = q.sample(params, noise)
            values, f_pullback = f(params, z)
            bound, reduce_pullback = reduce(values)
            _, log_prob_pullback = q.log_prob(params, z)
            score, _ = log_prob_pullback(np.full_like(values, 1 / len(values)))

            def pullback(dbound: Array) -> tuple[Array, Array]:
                (dvalues,) = reduce_pullback(dbound)
                direct, _, dtheta = f_pullback(dvalues)
                dparams = (
                    direct + log_prob_pullback(dvalues * values)[0] - dbound[:, None] * eta * score
                )  # (baselines.3)
                if deta is not None:
                    deta[...] += np.sum(2 * dparams * score, axis=0)  # (baselines.4)
                return dparams, dtheta

            return bound, pullback

        return estimator


@declares(reductions=BOTH, source="Sutton 1984 (reinforcement comparison); Williams 1992")
@dataclass(frozen=True)
class MovingAverageBaseline:
    """The score function against the moving average of f, ``eta`` (1,)   (baselines.5).

    Under ``SGD(step_size)`` eta is the exponential moving average with that rate, exactly.
    """

    optimizer: Optimizer = field(default=SGD(step_size=0.1))
    claims: ClassVar[Claims]

    def start(self, params: Array, context: Array, latents: int, *, rng: np.random.Generator) -> Array:
        """Nothing seen."""
        return np.zeros_like(params[0, :1])

    def at(self, eta: Array, deta: Array | None = None) -> Estimator:
        """The estimator with this average."""

        def estimator(
            q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
        ) -> tuple[Array, Pullback]:
            def learn(values: Array, dbound: Array) -> None:
                if deta is not None:
                    deta[...] += np.sum(dbound * (values.mean(axis=0) - eta))  # (baselines.5)

            return with_baseline(q, params, noise, f, reduce, guessing(eta), learn)

        return estimator


@declares(reductions=BOTH, source="Mnih and Gregor 2014 (NVIL)")
@dataclass(frozen=True)
class NVIL:
    """The score function against a network's guess from what q was conditioned on, mean + scale C(context).

    ``eta`` is the running mean and variance of f and the network's weights   (baselines.6), scale = max(1, √variance).
    The paper divides the learning signal by that scale, which shrinks the gradient; here it only makes the network's
    task one of unit size, and the estimate stays unbiased.  Plain gradient ascent moves mean and variance as moving
    averages with the optimiser's step size, the network with ``network_rate`` of it   (baselines.7).
    """

    hidden: tuple[int, ...] = (100,)
    network_rate: float = 0.1
    optimizer: Optimizer = field(default=SGD(step_size=0.1))
    claims: ClassVar[Claims]

    def __post_init__(self) -> None:
        require_whole(self, "hidden", least=1, example=(100,))
        require_number(self, "network_rate", "(0, inf)", example=0.1)

    def network(self, inputs: int) -> Chain:
        """The guess of f in units of its spread, from ``inputs`` numbers of context."""
        return mlp([inputs, *self.hidden, 1])

    def layout_for(self, inputs: int) -> Layout:
        """What lies where in ``eta``."""
        return Layout.of({"mean": (1,), "variance": (1,), "network": self.network(inputs).layout})

    def start(self, params: Array, context: Array, latents: int, *, rng: np.random.Generator) -> Array:
        """Mean 0, variance 1, a network at its start."""
        eta = initial_theta(self.layout_for(context.shape[-1]), rng=rng, dtype=params.dtype)
        eta[1] = 1
        return eta

    def at(self, eta: Array, deta: Array | None = None) -> Estimator:
        """The estimator with these weights."""

        def estimator(
            q: Reparameterized, params: Array, noise: Array, f: Integrand, reduce: Reduction
        ) -> tuple[Array, Pullback]:
            context = context_of(f, params)
            layout, network = self.layout_for(context.shape[-1]), self.network(context.shape[-1])
            mean, variance, weights = layout.views(eta).values()
            scale = np.sqrt(np.maximum(variance, 1))
            output, network_pullback = network.of_data(weights, context)
            guess = mean + scale * output[:, 0]  # (baselines.6)

            def learn(values: Array, dbound: Array) -> None:
                if deta is not None:
                    dmean, dvariance, dweights = layout.views(deta).values()
                    centred = values - mean
                    surprise = np.clip((values - guess) / scale, -MOST_SPREADS, MOST_SPREADS)
                    dmean += np.sum(dbound * centred.mean(axis=0))  # (baselines.7)
                    dvariance += np.sum(dbound * (np.mean(centred * centred, axis=0) - variance))
                    doutput = self.network_rate * dbound * surprise.mean(axis=0)
                    dweights += network_pullback(doutput[:, None])[0]

            return with_baseline(q, params, noise, f, reduce, guessing(guess), learn)

        return estimator
