"""How an estimator is measured at one state: its draws, their bias against the truth, its cost, its promises.

Derivations: ``derivations/arena.md``.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.adaptation import is_adaptive
from numvae.arena.measured import Measured
from numvae.arena.promises import Counted, broken_promises
from numvae.arena.states import State, Truth
from numvae.arrays import Array
from numvae.checks import UnbiasedReport, check_unbiased
from numvae.distributions import Bernoulli
from numvae.errors import InputError
from numvae.estimators import Adaptive, Claims, Estimator, claims_of, context_of, draw_noise

__all__ = [
    "Frozen",
    "adapted",
    "bias_report",
    "confirmation",
    "draw",
    "fits",
    "measure",
    "seen_enough",
    "works",
]

SIGNIFICANCE = 1e-3
CONFIRMING = 10
LEAST_FLIPS = 50
"""Of a bit, expected in all draws, for the mean of its gradient to be near normal."""
BLOCK = 1 << 16
"""Numbers put through f at a time."""
BLOCK_ROWS = 1 << 13
ADAPTING_STEPS = 1000
ADAPTING_ROWS, ADAPTING_ROWS_OF_MODEL = 32, 8
"""Rows times samples of a step of learning: a model takes longer over each."""
NEAR = 1e-8
"""What quadrature is good to, and what cancels, relative to the size of the gradients: less is no bias, no variance."""


@dataclass(frozen=True, eq=False)
class Frozen:
    """An estimator that learns, held at one ``eta``: an estimator like any other."""

    adaptive: Adaptive
    eta: Array

    @property
    def claims(self) -> Claims:
        """What it promises."""
        return claims_of(self.adaptive)

    def noise(
        self, q: Any, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64
    ) -> Array:
        """The noise it wants."""
        return draw_noise(self.adaptive.at(self.eta), q, rng, shape, dtype)

    def __call__(self, q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> Any:
        return self.adaptive.at(self.eta.astype(params.dtype, copy=False))(q, params, noise, f, reduce)


def adapted(
    adaptive: Adaptive,
    state: State,
    *,
    samples: int,
    steps: int,
    rng: np.random.Generator,
    seconds: float = math.inf,
) -> Frozen:
    """The estimator after so many steps, or seconds, of learning at a state that does not move."""
    rows = ADAPTING_ROWS if state.f_of_rows is None else ADAPTING_ROWS_OF_MODEL
    repeats = max(1, rows // (samples * len(state.params)))
    params, f = state.at(repeats), state.integrand(repeats)
    eta = adaptive.start(params, context_of(f, params), state.latents, rng=rng)
    memory = adaptive.optimizer.start(eta)
    begin = time.perf_counter()
    for _ in range(steps):
        deta = np.zeros_like(eta)
        estimator = adaptive.at(eta, deta)
        noise = draw_noise(estimator, state.q, rng, (samples, len(params), state.latents))
        _, pullback = estimator(state.q, params, noise, f, state.reduce)
        pullback(np.full(len(params), 1 / len(params)))
        adaptive.optimizer.ascend(eta, deta, memory)
        if time.perf_counter() - begin > seconds:
            break
    return Frozen(adaptive, eta)


def draw(
    estimator: Estimator, state: State, repeats: int, *, samples: int, rng: np.random.Generator
) -> tuple[Array, float, Counted]:
    """Independent estimates (repeats, C), the seconds they took, and what they asked of f, per estimate.

    Noise is drawn outside the time, in blocks that are the same for every estimator; those that put more through f
    take a block in parts.
    """
    rows = len(state.params)
    block = min(repeats, max(1, BLOCK // (samples * rows * state.latents)))
    calls = claims_of(estimator).f_calls(samples, state.latents) * rows
    part = max(1, min(BLOCK // (calls * state.latents), BLOCK_ROWS // calls))
    gradients, seconds, counted = [], 0.0, Counted(state.f)
    for start in range(0, repeats, block):
        count = min(block, repeats - start)
        noise = draw_noise(estimator, state.q, rng, (samples, count * rows, state.latents))
        for first in range(0, count, part):
            these = slice(first * rows, min(first + part, count) * rows)
            repeated = min(part, count - first)
            params, counted = state.at(repeated), Counted(state.integrand(repeated))
            ones = np.ones(len(params))
            begin = time.perf_counter()
            _, pullback = estimator(state.q, params, noise[:, these], counted, state.reduce)
            dparams, _ = pullback(ones)
            seconds += time.perf_counter() - begin
            gradients.append(dparams.reshape(-1, rows * dparams.shape[-1]))
    return np.concatenate(gradients), seconds, counted


def measure(
    name: str, estimator: Any, state: State, truth: Truth, *, samples: int, repeats: int, seed: int
) -> Measured:
    """One estimator at a state, one that learns after ``ADAPTING_STEPS`` steps of it.

    Estimators that take their family's noise get the same noise for the same seed.
    """
    claims = claims_of(estimator)
    samples = max(samples, claims.least_samples)
    learning_steps = ADAPTING_STEPS if is_adaptive(estimator) else 0
    if learning_steps:
        rng = np.random.default_rng([seed, 1])
        estimator = adapted(estimator, state, samples=samples, steps=learning_steps, rng=rng)
    gradients, seconds, counted = draw(estimator, state, repeats, samples=samples, rng=np.random.default_rng([seed, 0]))
    if not np.isfinite(gradients).all():
        raise InputError(f"{name} gives gradients that are not finite at {state.name}; leave it out of --estimators")
    judged = seen_enough(state, repeats * samples)
    rng = np.random.default_rng([seed, 2])
    report = bias_report(gradients, truth, significance=SIGNIFICANCE, rng=rng, name=name, judged=judged)
    problems = broken_promises(estimator, state, samples, np.random.default_rng([seed, 3]))
    unbiased = report.ok
    if claims.unbiased and not unbiased:
        rng = np.random.default_rng([seed, 5])
        closer = confirmation(
            estimator, state, truth, samples=samples, repeats=repeats, significance=SIGNIFICANCE, rng=rng, judged=judged
        )
        unbiased = closer.ok
        problems = (*(f"claims to be unbiased, but {line}" for line in closer.failures[:1]), *problems)
    return Measured(
        name,
        samples,
        state.latents,
        gradients,
        truth,
        report,
        counted.f_calls,
        counted.pullback_calls,
        seconds / repeats,
        claims,
        unbiased,
        problems,
        learning_steps,
    )


def bias_report(
    gradients: Array,
    truth: Truth,
    *,
    significance: float,
    rng: np.random.Generator,
    name: str = "estimator",
    judged: npt.NDArray[np.bool_] | None = None,
) -> UnbiasedReport:
    """``check_unbiased`` against a truth that may have an error, and is no better than quadrature in any case.

    A truth with an error is taken off the estimates, and the rest compared with zero: a projection along a truth found
    in data would find that data's own error again.  Coordinates that are not ``judged`` (C,) are passed over, and no
    bias in them, however large, could have been detected.
    """
    rounding = NEAR * float(np.abs(gradients).max(initial=0.0))
    if truth.exact:
        estimates, expected = gradients, truth.gradient
    else:
        estimates, expected = gradients - truth.gradient - truth.errors, np.zeros_like(truth.gradient)
    if judged is None:
        judged = np.ones(expected.size, dtype=bool)
    else:
        estimates = estimates - np.where(judged, 0.0, estimates.mean(axis=0) - expected)
    report = check_unbiased(estimates, expected, significance=significance, rounding=rounding, rng=rng, name=name)
    return replace(report, detectable_bias=np.where(judged, report.detectable_bias, np.inf))


def seen_enough(state: State, draws: int) -> npt.NDArray[np.bool_]:
    """Coordinates (C,) that so many draws of z can judge: of bits, those that are expected to flip often enough.

    The gradient of a bit that hardly ever flips lies in the flips.  Where none was drawn, estimate and spread are both
    wrong, and a right estimator would be accused.
    """
    if not isinstance(state.q, Bernoulli):
        return np.ones(state.params.size, dtype=bool)
    rarer = 0.5 * (1 - np.abs(2 * state.q.mean(state.params) - 1))
    return np.asarray(draws * rarer >= LEAST_FLIPS).ravel()


def confirmation(
    estimator: Estimator,
    state: State,
    truth: Truth,
    *,
    samples: int,
    repeats: int,
    significance: float,
    rng: np.random.Generator,
    judged: npt.NDArray[np.bool_] | None = None,
) -> UnbiasedReport:
    """A suspicion looked into with ten times as many fresh estimates: heavy tails deceive a test that has few."""
    gradients, _, _ = draw(estimator, state, CONFIRMING * repeats, samples=samples, rng=rng)
    means = gradients.reshape(repeats, CONFIRMING, -1).mean(axis=1)
    return bias_report(means, truth, significance=significance, rng=rng, judged=judged)


def fits(estimator: Any, state: State) -> str:
    """Why the estimator is not for this state; empty where it is."""
    claims = claims_of(estimator)
    reduction = getattr(state.reduce, "__name__", "")
    refusal = claims.refusal(state.q)
    if refusal is not None:
        return refusal
    if reduction not in claims.reductions:
        return f"estimates under {' or '.join(claims.reductions)}, and {state.name} is under {reduction}"
    if claims.uses_hessian and not hasattr(state.f, "hessian_product"):
        return f"needs second derivatives of f, which {state.name} does not offer"
    return ""


def works(estimator: Any, state: State, samples: int) -> bool:
    """Whether the estimator is for the state, and does not refuse it when it is tried."""
    if fits(estimator, state):
        return False
    try:
        rng = np.random.default_rng(0)
        trial = adapted(estimator, state, samples=samples, steps=0, rng=rng) if is_adaptive(estimator) else estimator
        draw(trial, state, 1, samples=samples, rng=rng)
    except InputError:
        return False
    return True
