"""Estimators held to what they claim, on models whose gradient is known exactly: your own estimator, too.

Derivations: ``derivations/arena.md``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from numvae.adaptation import is_adaptive
from numvae.arena.measuring import CONFIRMING, adapted, bias_report, confirmation, draw, fits
from numvae.arena.problems import CONTINUOUS, COUNTS, DISCRETE, POSITIVE, Problem
from numvae.arena.promises import broken_promises
from numvae.arena.states import State, Truth, state_of_problem, truth_of
from numvae.arena.truth import exact_value, nodes
from numvae.arrays import Array, Pullback
from numvae.checks import UnbiasedReport
from numvae.checks.reports import Grade, Report, Row, number
from numvae.estimators import Reduction, claims_of, draw_noise, log_mean_exp, sample_mean

__all__ = ["Certificate", "Trial", "certify"]

SIGNIFICANCE = 1e-4
LEAST_MODELS = 5
AFFORDABLE = 20_000
"""Nodes of a truth that is worth computing anew for every number of samples."""
EXACT_MODELS: tuple[Problem, ...] = (*CONTINUOUS, *POSITIVE, *DISCRETE, *COUNTS)
REDUCTIONS: dict[str, Reduction] = {"sample_mean": sample_mean, "log_mean_exp": log_mean_exp}


@dataclass(frozen=True)
class Trial:
    """An estimator at one exact model: what was seen of its bias, and what it breaks."""

    model: str
    reduction: str
    samples: int
    learned: bool
    """Whether it has learned a while, for one that learns."""
    statistic: float
    p_value: float
    smallest_detectable_bias: float
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether it holds what it claims here."""
        return not self.problems

    @property
    def setting(self) -> str:
        """Where this is, for a line of text."""
        return f"{self.model} ({self.reduction}, S = {self.samples}{', after learning' if self.learned else ''})"


@dataclass(frozen=True, repr=False)
class Certificate(Report):
    """What ``certify`` found."""

    name: str
    trials: tuple[Trial, ...]
    repeats: int
    complaints: tuple[str, ...]
    """What is wrong with the claims themselves."""
    unsure: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every claim held, on enough models."""
        return not self.failures and not self.unsure

    @property
    def title(self) -> str:
        """What was certified."""
        return f"claims of {self.name}"

    @property
    def header(self) -> tuple[str, ...]:
        """The names of the table's columns."""
        return ("model", "settings", "largest z", "p (Holm)", "smallest bias", "verdict")

    @property
    def rows(self) -> tuple[Row, ...]:
        """A line per model, its worst setting."""
        lines = []
        for model in dict.fromkeys(trial.model for trial in self.trials):
            trials = [trial for trial in self.trials if trial.model == model]
            worst = min(trials, key=lambda trial: (trial.ok, math.isnan(trial.p_value), trial.p_value))
            numbers = (
                number(worst.statistic, 3),
                number(worst.p_value, 2),
                number(worst.smallest_detectable_bias, 2),
            )
            grade = Grade.HAPPY if worst.ok else Grade.WRONG
            lines.append(Row((model, str(len(trials)), *numbers, "holds" if worst.ok else "broken"), grade))
        return tuple(lines)

    @property
    def failures(self) -> tuple[str, ...]:
        """One line per broken claim, named where it was first seen."""
        seen: dict[str, str] = {}
        for trial in self.trials:
            for problem in trial.problems:
                kind = re.sub(r"\d+", "", problem.partition(":")[0])
                seen.setdefault(kind, f"{trial.setting}: {problem}")
        return (*self.complaints, *seen.values())

    @property
    def doubts(self) -> tuple[str, ...]:
        """What could not be judged."""
        return self.unsure

    @property
    def notes(self) -> tuple[str, ...]:
        """How much was seen."""
        models = len({trial.model for trial in self.trials})
        return (f"{models} exact models, {len(self.trials)} settings, {self.repeats:,} estimates each",)


def certify(
    estimator: Any,
    problems: Sequence[Problem] | None = None,
    *,
    samples: Sequence[int] | None = None,
    repeats: int = 10_000,
    learning_steps: int = 50,
    seed: int = 0,
    name: str | None = None,
) -> Certificate:
    """Hold an estimator to its claims on every exact model of the families it claims, under the reductions it claims.

    Unbiased where claimed, in every coordinate and along random directions (Holm, and Bonferroni over settings: a right
    estimator fails with probability 1e-4 at most); calls of f and of its pullback as claimed; no derivative asked for
    that it claims not to use; the gradient in f's own weights unbiased; a pullback that is linear and can be called
    again; rows independent, arguments untouched, float32 kept.  One that learns is tried as it starts and as it is
    after ``learning_steps``.

    ``samples``: for how many to try; by default the least it takes and one more, two at least under log_mean_exp.
    Where the truth for so many is out of reach, it is the mean of a long pathwise or score-function run, with its
    error.

    >>> from numvae import pathwise
    >>> certify(pathwise, repeats=500).ok
    True
    """
    claims = claims_of(estimator)
    name = name or str(getattr(estimator, "__name__", type(estimator).__name__))
    models = EXACT_MODELS if problems is None else tuple(problems)
    settings = [
        (problem, state, count)
        for problem in models
        for reduction in claims.reductions
        for state in [state_of_problem(problem, REDUCTIONS[reduction])]
        if not fits(estimator, state)
        for count in (samples or _usual_samples(reduction, claims.least_samples))
        if samples or _affordable(problem, reduction, count)
    ]
    states_of_learning = (False, True) if is_adaptive(estimator) else (False,)
    level = SIGNIFICANCE / max(1, 2 * len(settings) * len(states_of_learning))
    trials = [
        _trial(estimator, problem, state, count, learning_steps if learned else 0, repeats, level, seed)
        for problem, state, count in settings
        for learned in states_of_learning
    ]
    complaints = ["is biased, but says nothing of its bias"] if not claims.unbiased and not claims.bias else []
    fitting = len({problem.name for problem, _, _ in settings})
    unsure = []
    if fitting < (LEAST_MODELS if problems is None else 1):
        unsure.append(f"only {fitting} exact models are for {claims.variables} latents and what else it claims")
    return Certificate(name, tuple(trials), repeats, tuple(complaints), tuple(unsure))


def _name(reduce: Reduction) -> str:
    return next(name for name, function in REDUCTIONS.items() if function is reduce)


def _usual_samples(reduction: str, least: int) -> tuple[int, ...]:
    return (least, least + 1) if reduction == "sample_mean" else (max(2, least),)


def _affordable(problem: Problem, reduction: str, samples: int) -> bool:
    """Whether the truth is known in closed form or needs few enough nodes; one sample's serves under the mean."""
    points = len(nodes(problem.q, problem.at(), problem.latents)[1])
    return bool(points ** (1 if reduction == "sample_mean" else samples) <= AFFORDABLE)


def _trial(
    estimator: Any,
    problem: Problem,
    state: State,
    samples: int,
    learning_steps: int,
    repeats: int,
    level: float,
    seed: int,
) -> Trial:
    claims = claims_of(estimator)
    rngs = iter([np.random.default_rng([seed, k]) for k in range(5)])
    statistic = p_value = smallest = math.nan
    problems: list[str] = []
    try:
        if is_adaptive(estimator):
            estimator = adapted(estimator, state, samples=samples, steps=learning_steps, rng=next(rngs))
        problems += broken_promises(estimator, state, samples, next(rngs))
        if claims.unbiased:
            report = _bias(estimator, problem, state, samples, repeats, level, next(rngs))
            worst = min(report.groups, key=lambda group: group.p_value)
            statistic, p_value = worst.statistic, worst.p_value
            smallest = float(report.detectable_bias.max())
            problems += [f"claims to be unbiased, but is not: {line}" for line in report.failures[:1]]
            problems += _weight_gradient_problems(estimator, problem, state, samples, repeats, level, next(rngs))
    except Exception as error:  # an estimator that raises where it claims to work has broken a claim
        problems.append(f"fails with {type(error).__name__}: {error}")
    reduction = _name(state.reduce)
    learned = learning_steps > 0
    return Trial(problem.name, reduction, samples, learned, statistic, p_value, smallest, tuple(problems))


def _bias(
    estimator: Any, problem: Problem, state: State, samples: int, repeats: int, level: float, rng: np.random.Generator
) -> UnbiasedReport:
    truth = _truth(problem, state.reduce, samples, repeats)
    gradients, _, _ = draw(estimator, state, repeats, samples=samples, rng=rng)
    report = bias_report(gradients, truth, significance=level, rng=rng)
    if report.ok:
        return report
    return confirmation(estimator, state, truth, samples=samples, repeats=repeats, significance=level, rng=rng)


@lru_cache(maxsize=256)
def _truth(problem: Problem, reduce: Reduction, samples: int, repeats: int) -> Truth:
    state = state_of_problem(problem, reduce)
    rng = np.random.default_rng(99)
    return truth_of(
        state,
        samples=samples,
        repeats=repeats,
        draw=lambda estimator, count: draw(estimator, state, count, samples=samples, rng=rng)[0],
    )


# ---- weights inside f


@dataclass(frozen=True, eq=False)
class LearnedTarget:
    """f(z) = -Σ (z - t)² with t learned, for each row its own: dtheta (B, Z) is an estimate per row."""

    target: Array

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        residual = z - self.target
        return -np.sum(residual * residual, axis=-1), lambda dvalues: (
            0.0,
            -2 * dvalues[..., None] * residual,
            np.sum(2 * dvalues[..., None] * residual, axis=0),
        )

    def hessian_product(self, params: Array, z: Array, direction: Array) -> Array:
        """-2 direction."""
        return -2 * direction


def _weight_gradient_problems(
    estimator: Any, problem: Problem, state: State, samples: int, repeats: int, level: float, rng: np.random.Generator
) -> Iterator[str]:
    """The gradient in weights of f, where the model has few latents and its truth is quick."""
    reduction = _name(state.reduce)
    if problem.latents > 2 or not _affordable(problem, reduction, samples):
        return
    target = np.linspace(-0.3, 0.5, problem.latents)
    exact = _weight_gradient(problem, state.reduce, samples if reduction == "log_mean_exp" else 1)
    truth = Truth(exact, np.zeros((1, exact.size)), "differences of the exact value")
    for count in (repeats, CONFIRMING * repeats):
        noise = draw_noise(estimator, problem.q, rng, (samples, count, problem.latents))
        _, pullback = estimator(problem.q, problem.at(count), noise, LearnedTarget(target), state.reduce)
        dtheta = pullback(np.ones(count))[1]
        if dtheta is None:
            yield "gives no gradient in the weights of f"
            return
        report = bias_report(dtheta, truth, significance=level, rng=rng)
        if report.ok:
            return
    yield f"claims to be unbiased, but its gradient in the weights of f is not: {report.failures[0]}"


@lru_cache(maxsize=256)
def _weight_gradient(problem: Problem, reduce: Reduction, samples: int, step: float = 1e-3) -> Array:
    """By differences of order 4 of the exact value."""
    target = np.linspace(-0.3, 0.5, problem.latents)

    def value(t: Array) -> float:
        f = LearnedTarget(t)
        return exact_value(problem.q, problem.at(), f, problem.latents, reduce=reduce, samples=samples)

    slopes = []
    for unit in step * np.eye(problem.latents):
        inner, outer = (value(target + k * unit) - value(target - k * unit) for k in (1, 2))
        slopes.append((8 * inner - outer) / (12 * step))
    return np.array(slopes)
