"""Measured at one state: what each estimator is off by, how far it scatters, and what it costs.

Derivations: ``derivations/arena.md``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from numvae.adaptation import is_adaptive as learns
from numvae.arena.promises import Counted, broken_promises
from numvae.arena.states import State, Truth, truth_of
from numvae.arrays import Array
from numvae.checks import UnbiasedReport, check_unbiased
from numvae.distributions import Bernoulli
from numvae.errors import InputError
from numvae.estimators import Adaptive, Claims, Estimator, claims_of, context_of, draw_noise

if TYPE_CHECKING:
    from numvae.arena.ranking import Place

__all__ = [
    "Comparison",
    "Frozen",
    "Measured",
    "adapted",
    "bias_report",
    "compare",
    "confirmation",
    "draw",
    "fits",
    "learns",
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
MOST_NUMBERS = 1 << 28
"""Of all estimates together: 2 GB."""
ADAPTING_STEPS = 1000
ADAPTING_ROWS, ADAPTING_ROWS_OF_MODEL = 32, 8
"""Rows times samples of a step of learning: a model takes longer over each."""
NEAR = 1e-8
"""What quadrature is good to, and what cancels, relative to the size of the gradients: less is no bias, no variance."""


# ---- what was measured


@dataclass(frozen=True, eq=False)
class Measured:
    """One estimator at one state.  Arrays are per coordinate of the gradient, (C,)."""

    name: str
    samples: int
    """Samples of z in an estimate."""
    latents: int
    gradients: Array
    """The estimates themselves, (R, C)."""
    truth: Truth
    report: UnbiasedReport
    calls: int
    pullback_calls: int
    seconds: float
    """Per estimate, where many are made at once."""
    claims: Claims
    unbiased: bool
    """Whether no bias was seen; of one that claims to have none, no bias that ten times as many estimates confirm."""
    problems: tuple[str, ...]
    """What it claims and does not hold, one line each."""
    learning_steps: int
    """Taken before it was measured; none by one that does not learn."""

    @property
    def certified(self) -> bool:
        """Whether it holds at this state what it claims, absence of bias among it."""
        return not self.problems

    @property
    def bias(self) -> Array:
        """Mean of the estimates minus the truth   (arena.1)."""
        return np.asarray(self.gradients.mean(axis=0) - self.truth.gradient)  # (arena.1)

    @property
    def bias_ci(self) -> Array:
        """Intervals (C, 2) that hold all biases at once with probability 95 %   (arena.2)."""
        from scipy.special import stdtrit

        quantile = -float(stdtrit(len(self.gradients) - 1, 0.025 / self.bias.size))
        width = quantile * self.report.standard_error  # (arena.2)
        return np.stack([self.bias - width, self.bias + width], axis=1)

    @property
    def variance(self) -> Array:
        """Of one estimate   (arena.3); zero where it is no more than rounding."""
        variance = self.gradients.var(axis=0, ddof=1)  # (arena.3)
        return np.where(self.report.standard_error > 0, variance, 0.0)

    @property
    def variance_standard_error(self) -> Array:
        """Of the variance: √((m₄ - m₂²) / R)   (arena.4)."""
        squares = (self.gradients - self.gradients.mean(axis=0)) ** 2
        return np.asarray(squares.std(axis=0) / math.sqrt(len(squares)))  # (arena.4)

    @property
    def total_variance(self) -> float:
        """The sum over coordinates: E‖g - E g‖²   (arena.3)."""
        return float(self.variance.sum())

    @property
    def snr(self) -> float:
        """‖gradient‖ / √(total variance)   (arena.5); infinite without variance."""
        length = float(np.linalg.norm(self.truth.gradient))
        return length / math.sqrt(self.total_variance) if self.total_variance else math.inf  # (arena.5)

    @property
    def cost(self) -> int:
        """Samples per row put through f and back through its pullback."""
        return self.calls + self.pullback_calls

    @property
    def variance_times_cost(self) -> float:
        """What remains the same when samples are bought: twice the cost, half the variance   (arena.6)."""
        return self.total_variance * self.cost  # (arena.6)

    @property
    def smallest_detectable_bias(self) -> Array:
        """Per coordinate, noticed four times out of five   (checks.11); infinite for a bit that hardly ever flips."""
        return self.report.detectable_bias

    def to_json(self) -> dict[str, Any]:
        """In plain Python types."""
        return {
            "name": self.name,
            "samples": self.samples,
            "learning_steps": self.learning_steps,
            "bias": self.bias.tolist(),
            "bias_ci": self.bias_ci.tolist(),
            "bias_standard_error": self.report.standard_error.tolist(),
            "smallest_detectable_bias": self.smallest_detectable_bias.tolist(),
            "projections": [float(z) for group in self.report.groups[1:] for z in group.statistics],
            "bias_p_value": min(group.p_value for group in self.report.groups),
            "unbiased": self.unbiased,
            "variance": self.variance.tolist(),
            "variance_standard_error": self.variance_standard_error.tolist(),
            "total_variance": self.total_variance,
            "snr": self.snr,
            "calls": self.calls,
            "pullback_calls": self.pullback_calls,
            "seconds": self.seconds,
            "variance_times_cost": self.variance_times_cost,
            "variance_times_seconds": self.total_variance * self.seconds,
            "certified": self.certified,
            "problems": list(self.problems),
            "claims": claims_as_json(self.claims, self.samples, self.latents),
        }


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several estimators at one state, with the truth beside them."""

    problem: State
    truth: Truth
    repeats: int
    estimators: tuple[Measured, ...]

    @property
    def ranking(self) -> tuple[Place, ...]:
        """By total variance, the least first; it says who cannot be told apart."""
        from numvae.arena.ranking import rank

        return rank(self.estimators)

    def to_json(self) -> dict[str, Any]:
        """The object that ``numvae variance --json`` prints."""
        from numvae.arena.ranking import rank

        return {
            "cost": self.problem.name,
            "repeats": self.repeats,
            "truth": self.truth.gradient.tolist(),
            "truth_standard_error": self.truth.standard_error.tolist(),
            "truth_source": self.truth.source,
            "estimators": [measured.to_json() for measured in self.estimators],
            "ranking": [place.to_json() for place in rank(self.estimators)],
            "ranking_by_variance_times_cost": [place.to_json() for place in rank(self.estimators, by_cost=True)],
        }

    def __str__(self) -> str:
        lines = [
            f"{self.problem.name}: {self.truth.gradient.size} coordinates, {self.repeats:,} estimates each, truth "
            f"{self.truth.source}"
        ]
        ranking, measured = self.ranking, {m.name: m for m in self.estimators}
        table = [("", "estimator", "variance", "snr", "calls", "µs", "variance × cost", "bias at most", "certified")]
        for place in ranking:
            m = measured[place.name]
            largest = float(np.abs(m.bias_ci).max())
            numbers = (f"{m.total_variance:.4g}", f"{m.snr:.3g}", f"{m.calls}+{m.pullback_calls}")
            rest = (f"{1e6 * m.seconds:.3g}", f"{m.variance_times_cost:.4g}", f"{largest:.2g}")
            verdict = "yes" if m.certified and m.claims.unbiased else "yes (biased)" if m.certified else "NO"
            table.append((f"{place.place}", m.name, *numbers, *rest, verdict))
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            cells = [
                cell.ljust(width) if column == 1 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        if len({place.place for place in ranking}) < len(ranking):
            lines.append("equal places: their variances cannot be told apart with so many estimates")
        hidden = int(np.isinf(self.estimators[0].smallest_detectable_bias).sum()) if self.estimators else 0
        if hidden:
            lines.append(f"{hidden} coordinates belong to bits that hardly ever flip; their bias cannot be judged")
        lines += [f"{m.name}: {problem}" for m in self.estimators for problem in m.problems]
        return "\n".join(lines)


def claims_as_json(claims: Claims, samples: int, latents: int) -> dict[str, Any]:
    """What an estimator promises, in plain Python types."""
    return {
        "variables": claims.variables,
        "unbiased": claims.unbiased,
        "bias": claims.bias,
        "f_calls": claims.f_calls(samples, latents),
        "pullback_calls": claims.pullback_calls(samples, latents),
        "uses_dz": claims.uses_dz,
        "uses_hessian": claims.uses_hessian,
        "least_samples": claims.least_samples,
        "reductions": list(claims.reductions),
        "source": claims.source,
    }


# ---- how it is measured


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
    learning_steps = ADAPTING_STEPS if learns(estimator) else 0
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
    if not claims.cover(state.q):
        return f"is for {claims.variables} latents, and {state.name} has {type(state.q).__name__} ones"
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
        trial = adapted(estimator, state, samples=samples, steps=0, rng=rng) if learns(estimator) else estimator
        draw(trial, state, 1, samples=samples, rng=rng)
    except InputError:
        return False
    return True


def compare(
    state: State,
    estimators: Mapping[str, Any],
    *,
    samples: int | None = None,
    repeats: int = 10_000,
    seed: int = 0,
    on_estimator: Callable[[str], object] = lambda name: None,
) -> Comparison:
    """All estimators at one state: ``repeats`` estimates of each, with ``samples`` samples of z or the least it takes.

    ``on_estimator(name)`` is called before each.

    >>> from numvae.arena.states import COSTS
    >>> from numvae.estimators import pathwise, score_function
    >>> comparison = compare(COSTS["quadratic"](1), {"score_function": score_function, "pathwise": pathwise})
    >>> [place.name for place in comparison.ranking]
    ['pathwise', 'score_function']

    Raises:
        InputError: an estimator is not for this state.
    """
    for name, estimator in estimators.items():
        reason = fits(estimator, state)
        if reason:
            raise InputError(f"{name} {reason}")
    if not estimators:
        raise InputError(f"no estimator is for {state.name}; name some with --estimators")
    numbers = repeats * state.params.size * len(estimators)
    if numbers > MOST_NUMBERS:
        raise InputError(f"{numbers:,} numbers of gradients are too many to hold; draw fewer estimates (--samples)")
    samples = state.samples if samples is None else samples
    truths: dict[int, Truth] = {}
    measured = []
    for name, estimator in estimators.items():
        on_estimator(name)
        count = max(samples, claims_of(estimator).least_samples)
        if count not in truths:
            truths[count] = _truth(state, count, repeats, seed)
        measured.append(measure(name, estimator, state, truths[count], samples=samples, repeats=repeats, seed=seed))
    return Comparison(state, truths.get(samples) or next(iter(truths.values())), repeats, tuple(measured))


def _truth(state: State, samples: int, repeats: int, seed: int) -> Truth:
    rng = np.random.default_rng([seed, 4])
    return truth_of(
        state,
        samples=samples,
        repeats=repeats,
        draw=lambda estimator, count: draw(estimator, state, count, samples=samples, rng=rng)[0],
    )
