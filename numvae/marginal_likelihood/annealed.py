"""Annealed importance sampling: log p(x) by a walk from the prior, or from q(z|x), to the posterior.

    estimate = annealed_importance(model, theta, x, rng=rng)         bounds = sandwich(model, theta, z, x, rng=rng)

Derivations: ``derivations/annealed.md``.  Source: Neal 2001; Grosse et al. 2015; Wu et al. 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from numvae.arrays import Array, Pullback
from numvae.blocks import blocks
from numvae.distributions.noise import normal_noise, uniform_noise
from numvae.errors import InputError
from numvae.estimators import log_mean_exp
from numvae.hmc import LEAPFROG_STEPS, LogDensity, Move, jittered, transition, tuned
from numvae.marginal_likelihood.starts import Start, StartLaw, from_prior, start_on_the_reals
from numvae.marginal_likelihood.supports import Coordinates, coordinates_of, on_the_reals
from numvae.models import VAE

__all__ = [
    "Annealed",
    "Sandwich",
    "annealed_importance",
    "linear_temperatures",
    "sandwich",
    "sigmoidal_temperatures",
    "simulate",
]

ACCEPTANCE = 0.65
"""With which trajectories of Hamiltonian chains move farthest for their cost (Neal 2011)."""
TUNING_CHAINS = 100
"""Rows times chains, at least, whose mean acceptance sets a step size."""
FIRST_TUNING, FURTHER_TUNING = 20, 2
"""Transitions of tuning at the first temperature, and at each further one."""


# ---- temperatures


def linear_temperatures(steps: int) -> tuple[float, ...]:
    """0, 1/K, 2/K, …, 1 for K steps.

    >>> linear_temperatures(4)
    (0.0, 0.25, 0.5, 0.75, 1.0)
    """
    return tuple(number / steps for number in range(steps + 1))


def sigmoidal_temperatures(steps: int, spread: float = 4.0) -> tuple[float, ...]:
    """sigmoid(spread · t) for t from -1 to 1 in K steps, stretched to reach 0 and 1   (annealed.8).

    Dense at both ends, where the laws between prior and posterior change most.  Source: Grosse et al. 2015.

    >>> [round(beta, 3) for beta in sigmoidal_temperatures(4)]
    [0.0, 0.105, 0.5, 0.895, 1.0]
    """
    halves = (math.tanh(0.5 * spread * (2 * number / steps - 1)) for number in range(steps + 1))
    return tuple(0.5 + 0.5 * half / math.tanh(0.5 * spread) for half in halves)  # (annealed.8)


# ---- the two estimates


@dataclass(frozen=True, eq=False)
class Annealed:
    """The log weights of C chains for each of B rows, (C, B), and the share of proposals that were accepted."""

    log_weights: Array
    acceptance: float

    @property
    def values(self) -> Array:
        """log (1/C) Σ w, (B,), nats   (annealed.3): p(x) itself on average before the log, below log p(x) after."""
        return log_mean_exp(self.log_weights)[0]  # (annealed.3)

    @property
    def standard_errors(self) -> Array:
        """Of ``values``, (B,): std(w) / (mean(w) √C)   (annealed.4).  Infinite for a single chain."""
        chains = len(self.log_weights)
        if chains == 1:
            return np.full_like(self.log_weights[0], np.inf)
        weights = self._weights
        errors: Array = weights.std(axis=0, ddof=1) / (weights.mean(axis=0) * math.sqrt(chains))  # (annealed.4)
        return errors

    @property
    def effective_size(self) -> Array:
        """(Σ w)² / Σ w², (B,): how many chains of equal weight would be worth as much."""
        weights = self._weights
        size: Array = weights.sum(axis=0) ** 2 / np.sum(weights * weights, axis=0)
        return size

    @property
    def _weights(self) -> Array:
        """But for a factor that each row has of its own."""
        weights: Array = np.exp(self.log_weights - self.log_weights.max(axis=0))
        return weights


@dataclass(frozen=True, eq=False)
class Sandwich:
    """Chains towards the posterior and chains back from it, on data whose exact posterior draw is known."""

    forward: Annealed
    backward: Annealed
    """Its weights' mean is 1/p(x) on average."""

    @property
    def lower(self) -> Array:
        """log (1/C) Σ w, (B,): on average not above log p(x)   (annealed.5)."""
        return self.forward.values  # (annealed.5)

    @property
    def upper(self) -> Array:
        """-log (1/C) Σ w', (B,): on average over z not below log p(x)   (annealed.6)."""
        return -self.backward.values  # (annealed.6)

    @property
    def gap(self) -> Array:
        """upper - lower, (B,): its mean bounds the mean error of either   (annealed.7)."""
        return self.upper - self.lower  # (annealed.7)


def annealed_importance(
    model: VAE,
    theta: Array,
    x: Array,
    *,
    rng: np.random.Generator,
    temperatures: Sequence[float] = sigmoidal_temperatures(100),
    chains: int = 16,
    steps: int = LEAPFROG_STEPS,
    start: StartLaw = from_prior,
) -> Annealed:
    """log p(x) by C chains a row from s(z) along s(z)^(1-β) p(x, z)^β   (annealed.2), (annealed.3).

    x (B, D); ``start``: ``from_prior``, with which the path is p(z) p(x|z)^β, or ``from_encoder``.  E[w] = p(x)
    whatever the temperatures, step sizes and numbers; they decide the variance alone.  Step sizes, one for each
    temperature, come from a run of their own that is thrown away.  Rows are taken in blocks, so that memory is bounded.
    Cost: a trajectory of ``steps`` leapfrog steps for each chain and temperature, and those for tuning.

    Raises:
        InputError: temperatures that do not rise from 0 to 1, numbers that are none, latents that are discrete.
    """
    found = _blocks(model, theta, x, rng, temperatures, chains, steps, start)
    return _together([block.forward(rng, chains) for block in found])


def sandwich(
    model: VAE,
    theta: Array,
    z: Array,
    x: Array,
    *,
    rng: np.random.Generator,
    temperatures: Sequence[float] = sigmoidal_temperatures(100),
    chains: int = 16,
    steps: int = LEAPFROG_STEPS,
    start: StartLaw = from_prior,
) -> Sandwich:
    """Lower and upper bound on log p(x) for rows that the model itself made, as ``simulate`` does   (annealed.7).

    x (B, D) and z ~ p(z|x), (B, Z): the one that x was drawn from is such a draw, and all C chains back start there.
    So they depend on each other, and errors are to be taken over rows.  With z (C, B, Z) each has its own start.

    Raises:
        InputError: as ``annealed_importance``, or z that does not fit x.
    """
    if z.shape[-2:] != (len(x), model.latents) or z.shape[:-2] not in ((), (chains,)):
        raise InputError(
            f"z must be (B, Z) = ({len(x)}, {model.latents}), or with {chains} chains in front, got {z.shape}"
        )
    every_z = np.broadcast_to(z, (chains, len(x), model.latents))
    found = _blocks(model, theta, x, rng, temperatures, chains, steps, start)
    both = [(block.forward(rng, chains), block.backward(rng, every_z)) for block in found]
    return Sandwich(_together([forward for forward, _ in both]), _together([backward for _, backward in both]))


def simulate(model: VAE, theta: Array, *, rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """z (count, Z) ~ p(z) and x (count, D) ~ p(x|z): of this x, z is a draw from p(z|x)   (annealed.6b)."""
    z = model.draw_from_prior(theta, model.prior_noise(rng, count, theta.dtype))
    params = model.decode(theta, z)
    noise = model.likelihood.noise(rng, model.likelihood.mean(params).shape, theta.dtype)
    x: Array = model.likelihood.sample(params, noise)[0]
    return z, x


# ---- the walk


def bridge(start: LogDensity, joint: LogDensity, beta: float) -> LogDensity:
    """(1 - β) log s(z) + β log p(x, z), a rule of z   (annealed.1)."""

    def rule(z: Array) -> tuple[Array, Pullback]:
        log_start, start_pullback = start(z)
        log_joint, joint_pullback = joint(z)

        def pullback(dvalue: Array) -> tuple[Array]:
            (from_start,), (from_joint,) = start_pullback(dvalue), joint_pullback(dvalue)
            return ((1 - beta) * from_start + beta * from_joint,)  # (annealed.1)

        return (1 - beta) * log_start + beta * log_joint, pullback  # (annealed.1)

    return rule


def walk(
    start: LogDensity,
    joint: LogDensity,
    z: Array,
    temperatures: Sequence[float],
    step_sizes: Sequence[float],
    *,
    rng: np.random.Generator,
    steps: int = LEAPFROG_STEPS,
) -> Annealed:
    """Log weights (C, B) of chains that go from z (C, B, Z) through the temperatures   (annealed.2).

    Each of the K + 1 temperatures but the first and the last has a transition, with a step size of its own.  From 0 to
    1 the weights' mean is p(x); from 1 to 0, with draws of the posterior for z, it is 1/p(x)   (annealed.6).
    """
    log_weights = (temperatures[1] - temperatures[0]) * _rise(start, joint, z)  # (annealed.2)
    accepted = 0.0
    for (beta, after), step in zip(pairwise(temperatures[1:]), step_sizes, strict=True):
        moved = _transition(bridge(start, joint, beta), z, step, steps, rng)
        z = moved.z
        accepted += float(moved.acceptance.mean())
        log_weights = log_weights + (after - beta) * _rise(start, joint, z)  # (annealed.2)
    return Annealed(log_weights, accepted / max(1, len(step_sizes)))


def tuned_steps(
    start: LogDensity,
    joint: LogDensity,
    z: Array,
    temperatures: Sequence[float],
    *,
    rng: np.random.Generator,
    steps: int = LEAPFROG_STEPS,
    step: float = 0.1,
) -> list[float]:
    """A step size for each temperature but the first and the last, from chains that serve for nothing else.

    They go the same way; where more than ``ACCEPTANCE`` of the proposals of all rows is accepted, the step grows.
    """
    found = []
    for number, beta in enumerate(temperatures[1:-1]):
        density = bridge(start, joint, beta)
        for attempt in range(1, (FURTHER_TUNING if number else FIRST_TUNING) + 1):
            moved = _transition(density, z, step, steps, rng)
            z, step = moved.z, tuned(step, float(moved.acceptance.mean()), attempt, ACCEPTANCE)
        found.append(step)
    return found


def _transition(density: LogDensity, z: Array, step: float, steps: int, rng: np.random.Generator) -> Move:
    momentum, uniforms = normal_noise(rng, z.shape, z.dtype), uniform_noise(rng, (2, *z.shape[:-1]), z.dtype)
    return transition(density, z, jittered(step, uniforms[0]), momentum, uniforms[1], steps)


def _rise(start: LogDensity, joint: LogDensity, z: Array) -> Array:
    """log p(x, z) - log s(z): by how much the log density grows with β."""
    rise: Array = joint(z)[0] - start(z)[0]
    return rise


@dataclass(frozen=True, eq=False)
class _Block:
    """Some rows, with both ends of their path, on the reals, and the step sizes found for it."""

    rows: slice
    start: Start
    joint: LogDensity
    coordinates: Coordinates
    temperatures: list[float]
    step_sizes: list[float]
    steps: int

    def forward(self, rng: np.random.Generator, chains: int) -> Annealed:
        u = self.start.draw(rng, chains)
        ends = self.start.log_density, self.joint
        return walk(*ends, u, self.temperatures, self.step_sizes, rng=rng, steps=self.steps)

    def backward(self, rng: np.random.Generator, every_z: Array) -> Annealed:
        u = self.coordinates.inverse(every_z[:, self.rows])
        ends = self.start.log_density, self.joint
        return walk(*ends, u, self.temperatures[::-1], self.step_sizes[::-1], rng=rng, steps=self.steps)


def _blocks(
    model: VAE,
    theta: Array,
    x: Array,
    rng: np.random.Generator,
    temperatures: Sequence[float],
    chains: int,
    steps: int,
    start: StartLaw,
) -> Iterator[_Block]:
    for name, number in (("chains", chains), ("steps", steps), ("rows of x", len(x))):
        if number < 1:
            raise InputError(f"{name} must be 1 or more, got {number}")
    betas = [float(beta) for beta in temperatures]
    if len(betas) < 2 or betas[0] != 0 or betas[-1] != 1 or any(b <= a for a, b in pairwise(betas)):
        raise InputError(f"temperatures must rise from 0 to 1, got {betas}; linear_temperatures(100) do")
    coordinates = coordinates_of(model.prior.family)
    for rows in blocks(len(x), chains):
        law = start_on_the_reals(coordinates, start(model, theta, x[rows]))
        joint = on_the_reals(coordinates, model.log_joint(theta, x[rows]))
        u = law.draw(rng, math.ceil(TUNING_CHAINS / (rows.stop - rows.start)))
        step_sizes = tuned_steps(law.log_density, joint, u, betas, rng=rng, steps=steps)
        yield _Block(rows, law, joint, coordinates, betas, step_sizes, steps)


def _together(found: Sequence[Annealed]) -> Annealed:
    """The rows of all blocks."""
    log_weights = np.concatenate([block.log_weights for block in found], axis=-1)
    accepted = sum(block.acceptance * block.log_weights.shape[-1] for block in found)
    return Annealed(log_weights, accepted / log_weights.shape[-1])
