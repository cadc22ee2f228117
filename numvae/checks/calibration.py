"""Are draws from a posterior calibrated?  Simulated truths must rank anywhere among them, equally often.

A sampler may have the right moments on one density and still be wrong on the model at hand; here it is the model
itself that says what is right, with no exact posterior needed.  Derivations: ``derivations/hmc.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array
from numvae.checks.reports import Report, Row, at
from numvae.checks.significance import TrialGroup, Trials, grouped, normal_p_value
from numvae.checks.unbiased import group_row
from numvae.errors import InputError

__all__ = ["CalibrationReport", "check_calibration", "rank_counts"]

LEAST_EXPECTED = 20
"""Ranks that a bin should hold on average, for its count to be nearly normal."""
MOST_BINS = 20
TIES = (0, 1)
"""A seed that no caller has: ties broken by the very numbers that made the draws are not broken by chance."""
HISTOGRAM, LOCATION, SPREAD = "histogram", "location", "spread"


def check_calibration(
    truths: npt.ArrayLike,
    draws: npt.ArrayLike,
    *,
    bins: int | None = None,
    rng: np.random.Generator | None = None,
    significance: float = 1e-4,
    name: str = "posterior draws",
) -> CalibrationReport:
    """Simulation-based calibration: the rank of each truth among its draws is uniform on 0, 1, …, L   (hmc.7).

    ``truths``: (N, Q), from the prior; from each a data set was simulated, by the model.  ``draws``: (L, N, Q), L draws
    from the posterior of each data set, as good as independent (thin a chain) and not started at the truth.  Q are the
    latents and whatever else is of interest.  Put log p(x, z) among them: draws from the prior, which know nothing of
    the data, have the right ranks in every latent, and are found by that alone.

    - *histogram*: the χ² statistic of the ranks in ``bins`` bins   (hmc.8);
    - *location*: the mean rank, L/2; the draws lie too low, or too high;
    - *spread*: the ranks' mean square from L/2; the draws lie too close together, or too far apart.

    All tests together fail a right sampler with probability ``significance`` at most (Holm).  Ties are broken by
    ``rng``.  Source: Talts et al. 2018, algorithm 1 and section 4; Modrák et al. 2023 for log p(x, z).

    Raises ``InputError`` for shapes that do not fit, fewer than 100 truths or 3 draws, NaN, and ``bins`` that do not
    divide L + 1.
    """
    exact, drawn = np.asarray(truths, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    if exact.ndim != 2 or drawn.ndim != 3 or drawn.shape[1:] != exact.shape:
        raise InputError(f"truths must be (N, Q) and draws (L, N, Q), got {exact.shape} and {drawn.shape}")
    count, ends = len(exact), len(drawn) + 1
    if len(drawn) < 3:
        raise InputError(f"draws must be at least 3 for each truth, got {len(drawn)}")
    if count < 100:
        raise InputError(f"truths must be at least 100 for the tests to mean anything, got {count}; simulate more")
    if np.isnan(exact).any() or np.isnan(drawn).any():
        raise InputError("truths and draws must be numbers, got NaN")
    bins = _default_bins(count, ends) if bins is None else bins
    if not 2 <= bins <= ends or ends % bins:
        raise InputError(f"bins must divide the {ends} ranks that {ends - 1} draws leave open, got {bins}")
    ranks = _ranks(exact, drawn, np.random.default_rng(TIES) if rng is None else rng)
    counts = rank_counts(ranks, ends, bins)
    kinds = [_histogram(counts, count / bins), *_moments(ranks, ends - 1)]
    return CalibrationReport(name, count, ends - 1, grouped(kinds, significance), counts)


def rank_counts(ranks: npt.NDArray[np.int64], ends: int, bins: int) -> npt.NDArray[np.int64]:
    """How many ranks of 0, …, ends - 1 fall into each of so many equal bins.  ranks: (N, Q), counts: (Q, bins)."""
    binned = ranks * bins // ends
    return np.stack([np.bincount(column, minlength=bins) for column in binned.T])


@dataclass(frozen=True, repr=False)
class CalibrationReport(Report):
    """What ``check_calibration`` found; ``counts`` (Q, bins): the histogram of the ranks of every quantity."""

    name: str
    data_sets: int
    draws: int
    groups: tuple[TrialGroup, ...]
    counts: npt.NDArray[np.int64] = field(compare=False)

    @property
    def ok(self) -> bool:
        """Whether no test is significant."""
        return all(group.ok for group in self.groups)

    @property
    def title(self) -> str:
        """What was checked."""
        return f"calibration of {self.name}"

    @property
    def header(self) -> tuple[str, ...]:
        """The names of the table's columns."""
        return ("test", "number", "worst at", "observed", "expected", "z", "p (Holm)", "verdict")

    @property
    def rows(self) -> tuple[Row, ...]:
        """One line per kind of test."""
        return tuple(group_row(group) for group in self.groups)

    @property
    def failures(self) -> tuple[str, ...]:
        """One line per kind of test that is significant."""
        lines = []
        for group in self.groups:
            if not group.ok:
                seen = f"{at(group.name, group.index)}: observed {group.observed:.4g}, expected {group.expected:.4g}"
                lines.append(
                    f"{seen} (z = {group.statistic:.1f}, p = {group.p_value:.1g} after Holm): {_meaning(group)}"
                )
        return tuple(lines)

    @property
    def notes(self) -> tuple[str, ...]:
        """How much was seen."""
        return (f"{self.data_sets} simulated data sets, {self.draws} draws for each, {self.counts.shape[1]} bins",)


def _default_bins(count: int, ends: int) -> int:
    """The largest divisor of the number of ranks that leaves every bin enough of them."""
    most = min(MOST_BINS, max(2, count // LEAST_EXPECTED))
    divisors = [bins for bins in range(2, most + 1) if ends % bins == 0]
    if not divisors:
        raise InputError(
            f"{ends - 1} draws leave {ends} ranks, which no number up to {most} divides; take one draw less"
        )
    return max(divisors)


def _ranks(truths: Array, draws: Array, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """r = how many draws are less than the truth, a tie counting as less or not by chance   (hmc.7)."""
    less, equal = np.sum(draws < truths, axis=0), np.sum(draws == truths, axis=0)
    return np.asarray(less + rng.integers(0, equal + 1))  # (hmc.7)


def _histogram(counts: npt.NDArray[np.int64], expected: float) -> Trials:
    """χ² = Σ (count - expected)² / expected, with one degree of freedom less than bins   (hmc.8)."""
    from scipy.special import chdtrc

    quantities, bins = counts.shape
    chi_squared = np.sum((counts - expected) ** 2, axis=-1) / expected  # (hmc.8)
    freedom = bins - 1
    scores = (chi_squared - freedom) / math.sqrt(2 * freedom)
    return Trials(
        HISTOGRAM,
        chi_squared,
        np.full(quantities, float(freedom)),
        scores,
        np.asarray(chdtrc(freedom, chi_squared)),
        [(k,) for k in range(quantities)],
    )


def _moments(ranks: npt.NDArray[np.int64], most: int) -> list[Trials]:
    """The mean of the ranks, and of their squares from the middle, against those of uniform ranks."""
    tests, possible = [], np.arange(most + 1) - most / 2
    centred = ranks - most / 2
    for name, found, all_ranks in ((LOCATION, centred, possible), (SPREAD, centred**2, possible**2)):
        mean, expected = found.mean(axis=0), np.full(found.shape[1], all_ranks.mean())
        z = (mean - expected) / (all_ranks.std() / math.sqrt(len(ranks)))
        middle = most / 2 if name == LOCATION else 0.0
        places = [(k,) for k in range(found.shape[1])]
        tests.append(Trials(name, mean + middle, expected + middle, z, normal_p_value(z), places))
    return tests


def _meaning(group: TrialGroup) -> str:
    if group.name == HISTOGRAM:
        return "the ranks are not uniform"
    if group.name == LOCATION:
        return f"the draws lie too {'low' if group.statistic > 0 else 'high'}"
    if group.statistic > 0:
        return "the draws are too close together, or not independent"
    return "the draws are too far apart"
