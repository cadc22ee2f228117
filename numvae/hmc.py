"""Hamiltonian Monte Carlo: draws from a density known up to a constant, by its gradient.

    moved = transition(log_density, z, step, momentum, uniforms)

``log_density`` is a rule of z alone, z (..., Z) -> value (...), pullback(dvalue) -> (dz,): every row is a chain of its
own.  As rules do, a transition takes its noise as arguments; only ``draw_chain`` holds a generator.
Derivations: ``derivations/hmc.md``.  Source: Duane et al. 1987; Neal 2011; Kingma and Welling, appendices D and E.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array, Pullback
from numvae.distributions.noise import normal_noise, uniform_noise
from numvae.errors import InputError

__all__ = ["Chain", "LogDensity", "Move", "draw_chain", "jittered", "leapfrog", "transition", "tuned"]

LogDensity: TypeAlias = Callable[[Array], tuple[Array, Pullback]]
"""z (..., Z) -> log density (...) up to a constant, pullback -> (dz,)."""

LEAPFROG_STEPS = 10
ACCEPTANCE = 0.9
"""The paper's: ten steps, and a step size with which nine proposals in ten are accepted."""

JITTER = 0.2
"""Step sizes are drawn within so much of the tuned one: trajectories of one length may close upon themselves."""


@dataclass(frozen=True, eq=False)
class Move:
    """Where a transition ended, chain by chain: z (..., Z), its log density, its probability of acceptance (...)."""

    z: Array
    log_density: Array
    acceptance: Array
    accepted: npt.NDArray[np.bool_]
    """Whether each chain moved."""


def leapfrog(
    log_density: LogDensity, z: Array, momentum: Array, step: float | Array, steps: int
) -> tuple[Array, Array, tuple[Array, Array]]:
    """z and momentum after ``steps`` steps of Hamilton's equations, and the log density before and after   (hmc.3).

    Half a step of the momentum, then whole steps of z and momentum in turn, then half a step: reversible, of volume 1,
    and with an energy error of O(step²).  ``step``: a number, or one for each chain, (..., 1).
    """
    before, gradient = _gradient(log_density, z)
    momentum = momentum + 0.5 * step * gradient  # (hmc.3)
    for number in range(steps):
        z = z + step * momentum
        after, gradient = _gradient(log_density, z)
        last = number == steps - 1
        momentum = momentum + (0.5 if last else 1.0) * step * gradient  # (hmc.3)
    return z, momentum, (before, after)


@np.errstate(over="ignore", invalid="ignore")  # a trajectory that leaves the numbers is not accepted
def transition(
    log_density: LogDensity,
    z: Array,
    step: float | Array,
    momentum: Array,
    uniforms: Array,
    steps: int = LEAPFROG_STEPS,
) -> Move:
    """One transition that leaves exp(log_density) as it is: a leapfrog trajectory, accepted with min(1, e^-ΔH) (hmc.4).

    Shapes: z and momentum (..., Z), the latter standard normal; uniforms (...), in [0, 1).
    """
    proposed, last_momentum, (before, after) = leapfrog(log_density, z, momentum, step, steps)
    gain = after - before + 0.5 * (_square(momentum) - _square(last_momentum))  # -ΔH, by (hmc.2)
    gain = np.nan_to_num(gain, nan=-np.inf, posinf=-np.inf)
    acceptance = np.exp(np.minimum(gain, 0))  # (hmc.4)
    accepted = uniforms < acceptance
    kept = accepted[..., None]
    return Move(np.where(kept, proposed, z), np.where(accepted, after, before), acceptance, accepted)


def tuned(step: float, acceptance: float, number: int, target: float = ACCEPTANCE) -> float:
    """The next step size: longer where more is accepted than ``target``, shorter where less   (hmc.5).

    log step += (acceptance - target) / sqrt(number), for the transitions number = 1, 2, … : ever less, so that it
    settles.  Draws made while it still changes are for tuning only.

    >>> tuned(0.1, acceptance=0.9, number=1)
    0.1
    """
    return step * math.exp((acceptance - target) / math.sqrt(number))  # (hmc.5)


def jittered(step: float, uniforms: Array, jitter: float = JITTER) -> Array:
    """A step size for each chain, uniform in step (1 ± jitter)   (hmc.6).  uniforms: (...) in [0, 1), step: (..., 1).

    A normal density turns z and momentum in a circle.  Trajectories of one length that is a whole number of turns, or
    half of one, come back to z or -z for every momentum, and the chain goes nowhere.  Source: Neal 2011, section 5.4.2.

    >>> jittered(0.1, np.array([0.0, 0.5]))
    array([[0.08],
           [0.1 ]])
    """
    steps: Array = step * (1 + jitter * (2 * uniforms[..., None] - 1))  # (hmc.6)
    return steps


@dataclass(frozen=True, eq=False)
class Chain:
    """What ``draw_chain`` drew: z (draws, ..., Z), the step size it settled at, and how much was accepted."""

    z: Array
    log_density: Array
    step: float
    acceptance: float


def draw_chain(
    log_density: LogDensity,
    z: Array,
    *,
    draws: int,
    rng: np.random.Generator,
    burn_in: int = 100,
    thin: int = 1,
    step: float = 0.1,
    steps: int = LEAPFROG_STEPS,
    target: float = ACCEPTANCE,
    jitter: float = JITTER,
) -> Chain:
    """``draws`` states of chains that start at z (..., Z), every ``thin``-th after ``burn_in`` transitions of tuning.

    All chains share one tuned step size, which changes in the burn-in alone; each step is within ``jitter`` of it.

    Raises:
        InputError: numbers of draws or steps that are none, a jitter that reaches 0, or a start without a density.
    """
    for name, number, least in (("draws", draws, 1), ("burn_in", burn_in, 0), ("thin", thin, 1), ("steps", steps, 1)):
        if number < least:
            raise InputError(f"{name} must be {least} or more, got {number}")
    if not (step > 0 and math.isfinite(step)):
        raise InputError(f"step must be a positive number, got {step}")
    if not 0 <= jitter < 1:
        raise InputError(f"jitter must be a number in [0, 1), got {jitter}; try {JITTER}")
    if not np.isfinite(log_density(z)[0]).all():
        raise InputError("the chains start where the log density is not finite; start them from draws of the prior")
    kept, values, accepted = [], [], 0.0
    for number in range(1, burn_in + draws * thin + 1):
        momentum, levels = normal_noise(rng, z.shape, z.dtype), uniform_noise(rng, (2, *z.shape[:-1]), z.dtype)
        moved = transition(log_density, z, jittered(step, levels[0], jitter), momentum, levels[1], steps)
        z, share = moved.z, float(moved.acceptance.mean())
        if number <= burn_in:
            step = tuned(step, share, number, target)
            continue
        accepted += share
        if (number - burn_in) % thin == 0:
            kept.append(z)
            values.append(moved.log_density)
    return Chain(np.stack(kept), np.stack(values), step, accepted / (draws * thin))


def _gradient(log_density: LogDensity, z: Array) -> tuple[Array, Array]:
    value, pullback = log_density(z)
    (dz,) = pullback(np.ones_like(value))
    return value, dz


def _square(momentum: Array) -> Array:
    square: Array = np.sum(momentum * momentum, axis=-1)
    return square
