"""The bias check: the promised rate of false alarms, the promised power, and biases that hide."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from numvae.arrays import Array
from numvae.checks import check_same_expectation, check_unbiased
from numvae.errors import CheckError, InputError

RNG = np.random.default_rng(0)
TRUTH = np.array([0.5, -1.0, 2.0, 0.1, 0.0, -0.3])


def estimates(repeats: int = 2000, bias: Array | float = 0.0, seed: int = 0) -> Array:
    return TRUTH + bias + np.random.default_rng(seed).standard_normal((repeats, len(TRUTH)))


def test_an_unbiased_estimator_passes_and_its_numbers_are_right() -> None:
    """(checks.8): against the same numbers by scipy."""
    from scipy.stats import ttest_1samp

    samples = estimates()
    report = check_unbiased(samples, TRUTH)
    report.assert_ok()
    oracle = ttest_1samp(samples, TRUTH)
    np.testing.assert_allclose(report.groups[0].statistics, oracle.statistic)
    np.testing.assert_allclose(report.variance, samples.var(axis=0, ddof=1))
    np.testing.assert_allclose(report.signal_to_noise, np.abs(TRUTH) / samples.std(axis=0, ddof=1))


def test_a_function_is_drawn_from_and_any_shape_will_do() -> None:
    truth = TRUTH.reshape(2, 3)
    report = check_unbiased(lambda rng: truth + rng.standard_normal((2, 3)), truth, repeats=300)
    assert report.ok
    assert report.repeats == 300
    assert report.detectable_bias.shape == (2, 3)
    assert check_unbiased(lambda rng: 3 + rng.standard_normal(), 3.0, repeats=300).ok


def test_a_bias_that_cancels_over_coordinates_is_seen() -> None:
    """(checks.8): the z-score of the mean over coordinates is fine."""
    samples = estimates(bias=np.array([0.3, -0.3, 0, 0, 0, 0]))
    over_coordinates = (samples - TRUTH).mean(axis=1)
    assert abs(over_coordinates.mean() / over_coordinates.std() * math.sqrt(len(samples))) < 2
    report = check_unbiased(samples, TRUTH, projections=0)
    assert not report.ok
    with pytest.raises(CheckError, match=r"bias of estimator: coordinate\[[01]\]: mean .*, expected "):
        report.assert_ok()


def test_a_bias_spread_thin_is_seen_along_the_truth() -> None:
    """(checks.9): a factor 1.06 shows in no coordinate of 100, and clearly in their sum."""
    truth = np.ones(100)
    samples = 1.06 * truth + np.random.default_rng(1).standard_normal((1000, 100))
    report = check_unbiased(samples, truth)
    coordinates, projections = report.groups
    assert coordinates.ok
    assert not projections.ok
    assert projections.index == (0,)


@pytest.mark.parametrize(
    ("factor", "name"), [(2, "off by a factor 2"), (0.5, "off by a factor ½"), (-1, "sign is flipped")]
)
def test_a_common_factor_is_named(factor: float, name: str) -> None:
    samples = factor * TRUTH + 0.1 * np.random.default_rng(2).standard_normal((1000, len(TRUTH)))
    with pytest.raises(CheckError, match=f"{name}, everywhere"):
        check_unbiased(samples, TRUTH).assert_ok()


def test_false_alarms_are_as_rare_as_promised() -> None:
    """(checks.10): at 5 %, at most 5 % fail, three standard errors allowed; the coordinates depend on each other."""
    alarms, runs = 0, 400
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        samples = TRUTH + rng.standard_normal((200, 6)) @ rng.standard_normal((6, 6))
        alarms += not check_unbiased(samples, TRUTH, rng=rng, significance=0.05).ok
    assert alarms / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


def test_the_smallest_detectable_bias_is_detected_four_times_out_of_five() -> None:
    """(checks.11)"""
    bias = float(check_unbiased(estimates(500), TRUTH, projections=0).detectable_bias.mean())
    runs = 400
    found = sum(
        not check_unbiased(estimates(500, [bias, 0, 0, 0, 0, 0], seed), TRUTH, projections=0).ok for seed in range(runs)
    )
    assert abs(found / runs - 0.8) < 4 * math.sqrt(0.8 * 0.2 / runs)


def test_coordinates_without_noise_must_be_exact() -> None:
    constant = np.tile(TRUTH, (50, 1))
    assert check_unbiased(constant, TRUTH).ok
    mixed = estimates(500)
    mixed[:, 2] = TRUTH[2] * (1 + 1e-15)
    assert check_unbiased(mixed, TRUTH).ok
    mixed[:, 2] = TRUTH[2] * (1 + 1e-9)
    report = check_unbiased(mixed, TRUTH)
    assert not report.ok
    assert report.groups[0].index == (2,)
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["ok"] is False


def test_two_estimators_of_one_expectation_agree_and_their_variances_compare() -> None:
    """(checks.12), (checks.13): against Welch's test by scipy."""
    from scipy.stats import ttest_ind

    a, b = estimates(3000), TRUTH + 10 * np.random.default_rng(5).standard_normal((500, len(TRUTH)))
    report = check_same_expectation(a, b, names=("pathwise", "score_function"))
    report.assert_ok()
    np.testing.assert_allclose(report.groups[0].statistics, ttest_ind(a, b, equal_var=False).statistic)
    assert report.variance_ratio == pytest.approx(0.01, rel=0.1)
    assert report.to_json()["variance_ratio"] == report.variance_ratio
    assert "variance of pathwise / variance of score_function" in str(report)


def test_two_estimators_that_differ_in_two_coordinates_are_rejected() -> None:
    """(checks.12): the differences cancel in the mean over coordinates."""
    report = check_same_expectation(estimates(), estimates(bias=np.array([0, 0, 0.4, 0, -0.4, 0]), seed=1))
    assert not report.ok
    assert report.groups[0].index in {(2,), (4,)}
    assert int((np.abs(report.groups[0].statistics) > 6).sum()) == 2


def test_comparing_two_raises_false_alarms_as_rarely_as_promised() -> None:
    """(checks.10), (checks.12)"""
    alarms, runs = 0, 400
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        a, b = TRUTH + 3 * rng.standard_normal((300, 6)), TRUTH + rng.standard_normal((40, 6))
        alarms += not check_same_expectation(a, b, significance=0.05).ok
    assert alarms / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


def test_an_estimator_without_variance_is_right_to_its_rounding_and_no_further() -> None:
    """(checks.8): many equal estimates, and a truth that another sum has rounded."""
    constant = np.full((50_000, 2), -0.3842134)
    check_unbiased(constant, constant[0]).assert_ok()
    assert not check_unbiased(constant, constant[0] + 1e-12).ok
    check_unbiased(constant, constant[0] + 1e-12, rounding=1e-12).assert_ok()
    assert not check_unbiased(constant, constant[0] + 1e-10, rounding=1e-12).ok


def test_bad_calls_say_what_is_wrong() -> None:
    with pytest.raises(InputError, match=r"estimates must have shape \(R, 6\) to fit the truth, got \(2000, 5\)"):
        check_unbiased(estimates()[:, :5], TRUTH)
    with pytest.raises(InputError, match="at least 8 along the first axis"):
        check_unbiased(estimates(3), TRUTH)
    with pytest.raises(InputError, match=r"estimates must be finite, got nan at \[0, 0\]"):
        check_unbiased(estimates() * np.array([np.nan, 1, 1, 1, 1, 1]), TRUTH)
    with pytest.raises(InputError, match="truth must be finite"):
        check_unbiased(estimates(), TRUTH + np.inf)
    with pytest.raises(InputError, match="estimates of b must be at least 8"):
        check_same_expectation(estimates(), estimates(3))
    with pytest.raises(InputError, match="arrays of one shape"):
        check_same_expectation(estimates(), estimates()[:, :2])
