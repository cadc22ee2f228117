"""Which estimator to use for a model as it stands: probed for a moment, with the reason.

Derivations: ``derivations/arena.md``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from numvae.adaptation import is_adaptive
from numvae.arena.closed_form import crossover
from numvae.arena.costs import Cosine
from numvae.arena.measuring import adapted, draw, works
from numvae.arena.states import State, state_of_model
from numvae.arrays import Array
from numvae.checks.reports import Grade, Report, Row, number
from numvae.distributions import Normal
from numvae.errors import InputError
from numvae.estimators import claims_of

__all__ = ["Advice", "Probe", "advise"]

ROWS = 8
FIRST_ESTIMATES = 16
LEARNING_STEPS = 100
PLAINLY_BETTER = 3.0
BELOW = 0.158655
"""How much of a normal lies more than one standard deviation below its mean."""


@dataclass(frozen=True)
class Probe:
    """One estimator, as far as the time allowed to see it."""

    name: str
    estimates: int
    variance: float
    relative_error: float
    """Standard error of the variance over the variance."""
    seconds: float
    """Per estimate."""

    @property
    def variance_times_seconds(self) -> float:
        """The variance that remains when a second is spent on estimates   (arena.6)."""
        return self.variance * self.seconds


@dataclass(frozen=True, repr=False)
class Advice(Report):
    """What ``advise`` found: probes from the best to the worst, by variance times seconds."""

    model: str
    probes: tuple[Probe, ...]
    spread: float
    """Standard deviation of the integrand over z, what a score function has for a signal: the mean over rows."""
    slope: float
    """How far the integrand changes over one standard deviation of z, by its slope: the mean over rows."""
    crossover: float | None = None
    """Slope over spread from which on the score function wins on as many cosines   (arena.9); None for bits."""

    @property
    def best(self) -> str:
        """The name of the estimator to use."""
        return self.probes[0].name

    @property
    def as_good(self) -> tuple[str, ...]:
        """Others that cannot be told apart from the best."""
        best = self.probes[0]
        return tuple(probe.name for probe in self.probes[1:] if _close(best, probe))

    @property
    def why(self) -> str:
        """The reason, in a sentence or two."""
        best, last = self.probes[0], self.probes[-1]
        factor = last.variance_times_seconds / best.variance_times_seconds if best.variance_times_seconds else math.inf
        equal = f" ({', '.join(self.as_good)} cannot be told apart from it)" if self.as_good else ""
        compared = f"for the same time {factor:.3g} times less variance than {last.name}"
        signal = (
            f"over one standard deviation of z, the integrand changes by {self.slope:.3g} nats along its slope and "
            f"scatters by {self.spread:.3g}"
        )
        if self.crossover is not None and self.spread > 0:
            signal += (
                f", {self.slope / self.spread:.3g} times as much: 1 for a line; on as many cosines the score function "
                f"wins from {self.crossover:.3g} on"
            )
        return f"use {best.name}{equal}: {compared}; {signal}"

    @property
    def ok(self) -> bool:
        """Advice does not fail."""
        return True

    @property
    def title(self) -> str:
        """What was probed."""
        return f"estimator for {self.model}, {self.best}"

    @property
    def header(self) -> tuple[str, ...]:
        """The names of the table's columns."""
        return ("estimator", "estimates", "variance", "±", "µs", "variance × s", "verdict")

    @property
    def rows(self) -> tuple[Row, ...]:
        """A line per estimator."""
        lines = []
        for probe in self.probes:
            verdict = "best" if probe.name == self.best else "as good" if probe.name in self.as_good else "worse"
            numbers = (
                number(probe.variance),
                f"{100 * probe.relative_error:.2g} %",
                number(1e6 * probe.seconds, 3),
                number(probe.variance_times_seconds, 3),
            )
            grade = Grade.HAPPY if verdict != "worse" else Grade.NONE
            lines.append(Row((probe.name, str(probe.estimates), *numbers, verdict), grade))
        return tuple(lines)

    @property
    def failures(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """The reason."""
        return (self.why,)


def advise(
    model: Any,
    theta: Array,
    x: Array,
    seconds: float = 2.0,
    *,
    rng: np.random.Generator | None = None,
    estimators: Mapping[str, Any] | None = None,
) -> Advice:
    """Probe unbiased estimators of the ELBO's gradient in q's parameters, at these weights, on a few rows of x (N, D).

    Each gets an equal share of the time.  The best is the one whose variance times seconds is least: what remains when
    the same time is spent on averaging.  ``estimators``: by default all of ``numvae.estimators.catalogue`` that fit.

    Raises:
        InputError: no time, no rows, or no estimator that fits.
    """
    if not seconds > 0:
        raise InputError(f"seconds must be a positive number, got {seconds}; try 2.0")
    if len(x) == 0:
        raise InputError("x must have at least one row, got none")
    if estimators is None:
        from numvae.estimators.catalogue import ESTIMATORS

        estimators = ESTIMATORS
    rng = np.random.default_rng(0) if rng is None else rng
    state = state_of_model(model, theta, x[:ROWS])
    candidates = {
        name: each
        for name, each in estimators.items()
        if claims_of(each).unbiased and works(each, state, claims_of(each).least_samples)
    }
    if not candidates:
        raise InputError(f"no unbiased estimator is for {type(model.posterior).__name__} latents")
    share = seconds / len(candidates)
    probes = [_probe(name, each, state, share, rng) for name, each in candidates.items()]
    probes.sort(key=lambda probe: probe.variance_times_seconds)
    spread, slope = _signals(state, rng)
    beyond = _crossover(state.latents) if isinstance(state.q, Normal) else None
    return Advice(type(model).__name__, tuple(probes), spread, slope, beyond)


def _probe(name: str, estimator: Any, state: State, seconds: float, rng: np.random.Generator) -> Probe:
    """Doubling numbers of estimates until the time is up; what a first call imports is not counted."""
    samples = claims_of(estimator).least_samples
    if not is_adaptive(estimator):
        draw(estimator, state, 1, samples=samples, rng=rng)
    begin = time.perf_counter()
    if is_adaptive(estimator):
        estimator = adapted(estimator, state, samples=samples, steps=LEARNING_STEPS, rng=rng, seconds=seconds / 2)
    parts, spent, count = [], 0.0, FIRST_ESTIMATES
    while True:
        gradients, taken, _ = draw(estimator, state, count, samples=samples, rng=rng)
        parts.append(gradients)
        spent += taken
        elapsed = time.perf_counter() - begin
        if elapsed + 2 * taken > seconds:
            break
        count *= 2
    estimates = np.concatenate(parts)
    squares = np.sum((estimates - estimates.mean(axis=0)) ** 2, axis=-1)
    variance = float(squares.sum() / (len(squares) - 1))
    error = float(squares.std() / math.sqrt(len(squares)))
    return Probe(name, len(estimates), variance, error / variance if variance else 0.0, spent / len(estimates))


def _signals(state: State, rng: np.random.Generator, count: int = 64) -> tuple[float, float]:
    """√Var f and √E‖σ ∇f‖²: how f scatters over z, and how far its slope says it changes over a std of z."""
    noise = state.q.noise(rng, (count, len(state.params), state.latents))
    z, _ = state.q.sample(state.params, noise)
    values, f_pullback = state.f(state.params, z)
    _, dz, _ = f_pullback(np.ones_like(values))
    squares = np.sum((dz * _width(state)) ** 2, axis=-1)
    return float(values.std(axis=0).mean()), float(np.sqrt(squares.mean(axis=0)).mean())


def _width(state: State) -> Array:
    """One standard deviation of z, (N, Z); where there is none, as much of q on either side as a normal has within."""
    q, shape = state.q, (len(state.params), state.latents)
    with np.errstate(invalid="ignore"):
        width = np.broadcast_to(q.std(state.params), shape) if hasattr(q, "std") else np.full(shape, np.nan)
    if np.isfinite(width).all() or not hasattr(q, "quantile"):
        return width
    low, high = (np.asarray(q.quantile(state.params, np.full(shape, level))) for level in (BELOW, 1 - BELOW))
    half: Array = (high - low) / 2
    return half


def _crossover(latents: int) -> float:
    """ρ(k) = k / √tanh(k²/2), slope over spread of Σ cos(k z_i), where score function and pathwise break even."""
    at_rest = np.zeros(2 * latents)
    k = crossover(Cosine, at_rest, 0.1, 10 * math.sqrt(latents))
    return k / math.sqrt(math.tanh(k * k / 2))  # (arena.9)


def _close(best: Probe, other: Probe) -> bool:
    """Whether the two differ by less than three standard errors of the log of their ratio."""
    if best.variance == 0 or other.variance == 0:
        return best.variance == other.variance
    error = math.hypot(best.relative_error, other.relative_error)
    return math.log(other.variance_times_seconds / best.variance_times_seconds) < PLAINLY_BETTER * error
