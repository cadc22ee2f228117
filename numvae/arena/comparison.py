"""Several estimators at one state, with the truth beside them.

Derivations: ``derivations/arena.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from numvae.arena.measured import Measured
from numvae.arena.measuring import draw, fits, measure
from numvae.arena.ranking import Place, rank
from numvae.arena.states import State, Truth, truth_of
from numvae.errors import InputError
from numvae.estimators import claims_of

__all__ = ["Comparison", "compare"]

MOST_NUMBERS = 1 << 28
"""Of all estimates together: 2 GB."""


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
        return rank(self.estimators)

    def to_json(self) -> dict[str, Any]:
        """The object that ``numvae variance --json`` prints."""
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
