"""The calibration check: right posteriors pass at the promised rate, each wrong one fails the test made for it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from numvae.arrays import Array
from numvae.checks import CalibrationReport, check_calibration
from numvae.checks.calibration import rank_counts
from numvae.errors import CheckError, InputError

BETA = 3.0
"""x ~ N(z, 1/β) with z ~ N(0, 1): the posterior is N(β x / (1 + β), 1 / (1 + β))."""


def simulated(
    count: int = 2000, draws: int = 39, shift: float = 0.0, factor: float = 1.0, seed: int = 0
) -> list[Array]:
    """Truths and draws of z, and of log p(x, z) beside it, from the posterior shifted and scaled by its own spread."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal(count)
    x = z + rng.standard_normal(count) / math.sqrt(BETA)
    std = 1 / math.sqrt(1 + BETA)
    drawn = BETA * x / (1 + BETA) + std * (shift + factor * rng.standard_normal((draws, count)))
    return with_log_joint(z, drawn, x)


def with_log_joint(z: Array, drawn: Array, x: Array) -> list[Array]:
    return [np.stack([v, -0.5 * v * v - 0.5 * BETA * (x - v) ** 2], axis=-1) for v in (z, drawn)]


def rejected(report: CalibrationReport) -> set[str]:
    return {group.name for group in report.groups if not group.ok}


def test_draws_from_the_posterior_pass() -> None:
    """(hmc.7), (hmc.8)."""
    report = check_calibration(*simulated())
    report.assert_ok()
    assert {group.name for group in report.groups} == {"histogram", "location", "spread"}
    assert report.counts.shape == (2, 20)
    assert report.counts.sum(axis=1).tolist() == [2000, 2000]


@pytest.mark.parametrize(
    ("changes", "test", "meaning"),
    [
        ({"shift": 0.3}, "location", "the draws lie too high"),
        ({"shift": -0.3}, "location", "the draws lie too low"),
        ({"factor": 0.7}, "spread", "the draws are too close together"),
        ({"factor": 1.4}, "spread", "the draws are too far apart"),
    ],
    ids=str,
)
def test_a_wrong_posterior_is_rejected_and_named(changes: dict[str, float], test: str, meaning: str) -> None:
    """(hmc.7), (hmc.8)."""
    truths, draws = simulated(**changes)
    report = check_calibration(truths[:, :1], draws[..., :1])
    assert {test, "histogram"} <= rejected(report)
    assert any(meaning in line for line in report.failures)


def test_draws_that_know_nothing_of_the_data_are_found_by_the_joint_alone() -> None:
    """From the prior: the rank of every latent is uniform, that of log p(x, z) is not."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal(2000)
    x = z + rng.standard_normal(2000) / math.sqrt(BETA)
    truths, draws = with_log_joint(z, rng.standard_normal((39, 2000)), x)
    check_calibration(truths[:, :1], draws[..., :1]).assert_ok()
    assert "location" in rejected(check_calibration(truths, draws))


def test_draws_that_depend_on_each_other_are_found() -> None:
    """Each data set's draws in clusters, as a chain that hardly moves leaves them."""
    truths, draws = simulated(draws=3)
    assert "spread" in rejected(check_calibration(truths, np.repeat(draws, 13, axis=0)))


def test_chi_squared_is_scipys() -> None:
    """(hmc.8)."""
    truths, draws = simulated(300, 19, shift=0.2)
    report = check_calibration(truths[:, :1], draws[..., :1], bins=5)
    histogram = next(group for group in report.groups if group.name == "histogram")
    assert histogram.observed == pytest.approx(stats.chisquare(report.counts[0]).statistic)
    assert histogram.expected == 4


def test_ranks_are_counted_by_hand() -> None:
    """(hmc.7): below, between and above three draws."""
    truths = np.tile([[0.5], [-1.0], [9.0], [1.5]], (25, 1))
    draws = np.broadcast_to(np.array([0.0, 1.0, 2.0])[:, None, None], (3, 100, 1))
    assert check_calibration(truths, draws, bins=4).counts.tolist() == [[25, 25, 25, 25]]
    assert rank_counts(np.array([[0], [3], [4], [7]]), ends=8, bins=2).tolist() == [[2, 2]]


def test_ties_are_broken_by_chance() -> None:
    """A latent of two values, most draws of which equal the truth: half of the ranks would otherwise be 0."""
    rng = np.random.default_rng(0)
    truths, draws = rng.integers(0, 2, (2000, 1)), rng.integers(0, 2, (19, 2000, 1))
    check_calibration(truths, draws).assert_ok()


def test_false_alarms_are_as_rare_as_promised() -> None:
    """At 10 %, at most 10 % of right posteriors fail, three standard errors allowed."""
    alarms = sum(not check_calibration(*simulated(400, 19, seed=seed), significance=0.1).ok for seed in range(200))
    assert alarms <= 20 + 3 * math.sqrt(18)


def test_bad_calls_say_what_is_wrong() -> None:
    truths, draws = simulated(200, 19)
    for bad_truths, bad_draws, words, message in (
        (truths[:, 0], draws, {}, r"truths must be \(N, Q\) and draws \(L, N, Q\)"),
        (truths[:50], draws[:, :50], {}, "at least 100 .* got 50"),
        (truths, draws[:2], {}, "at least 3 for each truth, got 2"),
        (truths, draws, {"bins": 7}, "must divide the 20 ranks that 19 draws leave open, got 7"),
        (truths, draws[:18], {}, "no number up to 10 divides; take one draw less"),
        (truths * np.nan, draws, {}, "got NaN"),
    ):
        with pytest.raises(InputError, match=message):
            check_calibration(bad_truths, bad_draws, **words)  # type: ignore[arg-type]


def test_the_report_reads_as_text_and_as_json() -> None:
    report = check_calibration(*simulated(shift=0.5), name="a shifted q")
    assert "calibration of a shifted q: FAILED" in str(report)
    assert "2000 simulated data sets, 39 draws for each, 20 bins" in str(report)
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["ok"] is False
    with pytest.raises(CheckError, match="calibration of a shifted q: histogram"):
        report.assert_ok()
