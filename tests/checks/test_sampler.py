"""The sampler check: right samplers pass at the promised rate, each planted bug fails the test made for it."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from numvae.arrays import Array, Pullback
from numvae.checks import SamplerReport, check_pullback, check_sampler
from numvae.distributions import Bernoulli, FixedStdNormal, Normal
from numvae.distributions.poisson import Poisson
from numvae.errors import CheckError, InputError

PARAMS = 0.7 * np.random.default_rng(1).standard_normal((3, 4))
NOISE = np.random.default_rng(2).standard_normal((5, 3, 2))


def rejected(report: SamplerReport) -> set[str]:
    return {group.name for group in report.groups if not group.ok}


class Exponential:
    """rate exp(params), with nothing beyond the contract: the distribution function has to be integrated."""

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
        return rng.standard_exponential(shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        z = np.exp(-params) * noise
        return z, lambda dz: (-np.sum(dz * z, axis=0), None)

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        rate = np.exp(params)
        log_density = np.sum(np.where(value >= 0, params - rate * value, -np.inf), axis=-1)
        return log_density, lambda d: (d[..., None] * (1 - rate * value), -d[..., None] * rate)


class OffCentre(Exponential):
    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        return super().sample(params, noise)[0] + 0.02, lambda dz: (None, None)


class Negative(Exponential):
    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        return super().sample(params, -noise)


class Correlated:
    """N(params, C) with C = [[1, ρ], [ρ, 1]]: the features depend on each other, as the density says."""

    def __init__(self, sampled: float = 0.6, stated: float = 0.6) -> None:
        self.sampled, self.stated = sampled, stated

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
        return rng.standard_normal(shape, dtype)

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        second = self.sampled * noise[..., 0] + math.sqrt(1 - self.sampled**2) * noise[..., 1]
        return params + np.stack([noise[..., 0], second], axis=-1), lambda dz: (np.sum(dz, axis=0), None)

    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        precision = np.linalg.inv(np.array([[1.0, self.stated], [self.stated, 1.0]]))
        residual = value - params
        pull = residual @ precision
        log_density = (
            -0.5 * np.sum(residual * pull, axis=-1) - math.log(2 * math.pi) - 0.5 * math.log(1 - self.stated**2)
        )
        return log_density, lambda d: (d[..., None] * pull, -d[..., None] * pull)

    def mean(self, params: Array) -> Array:
        return params


class VarianceForStd(Normal):
    """z = mean + exp(2 log_std) noise, with the backward pass to match."""

    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        mean, log_std = np.split(params, 2, axis=-1)
        scaled = np.exp(2 * log_std) * noise
        return mean + scaled, lambda dz: (
            np.concatenate([dz.sum(axis=0), (2 * dz * scaled).sum(axis=0)], axis=-1),
            None,
        )


class LogVarForLogStd(Normal):
    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        return super().sample(params * [1, 1, 0.5, 0.5], noise)


class StdAgreesWithTheBug(VarianceForStd):
    """Sampler and stated std wrong together: density and score still tell."""

    def std(self, params: Array) -> Array:
        return super().std(params) ** 2

    def cdf(self, params: Array, value: Array) -> Array:
        return Normal().cdf(params, value)


class NoiseSharedBetween(Normal):
    def __init__(self, axis: int) -> None:
        object.__setattr__(self, "axis", axis)

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
        return np.broadcast_to(np.take(super().noise(rng, shape, dtype), [0], axis=self.axis), shape)


class NoiseDrawnOnce(Normal):
    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
        return np.repeat(super().noise(rng, (shape[0] // 2, *shape[1:]), dtype), 2, axis=0)


class NoiseTooSmall(Normal):
    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
        return super().noise(rng, shape[1:], dtype)


class NoiseDrawnInside(Normal):
    def sample(self, params: Array, noise: Array) -> tuple[Array, Pullback]:
        return super().sample(params, np.random.default_rng().permutation(noise))


class Heavier(Normal):
    """Right mean and std, wrong law."""

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
        return rng.laplace(scale=math.sqrt(0.5), size=shape)


class ScoreOfAnother(Normal):
    def log_prob(self, params: Array, value: Array) -> tuple[Array, Pullback]:
        log_density, pullback = super().log_prob(params, value)
        return log_density, lambda d: (pullback(d)[0] + 0.1 * d[..., None], pullback(d)[1])


@pytest.mark.parametrize(
    "family", [Normal(), FixedStdNormal(0.3), Bernoulli()], ids=lambda family: type(family).__name__
)
def test_right_families_pass(family: Any) -> None:
    """(checks.14), (checks.15), (checks.16), (checks.17), (checks.18)"""
    check_sampler(family, PARAMS).assert_ok()


@pytest.mark.parametrize("shape", [(3, 4), (4,), (2, 3, 4)])
def test_any_number_of_rows_passes(shape: tuple[int, ...]) -> None:
    check_sampler(Normal(), np.random.default_rng(3).standard_normal(shape), samples=5000).assert_ok()


def test_a_family_without_cdf_is_integrated() -> None:
    """(checks.14): bounded support, rates from 0.1 to 10."""
    params = np.log(np.array([[0.1, 1.0], [3.0, 10.0]]))
    report = check_sampler(Exponential(), params, shape=params.shape)
    report.assert_ok()
    assert {group.name for group in report.groups} >= {"distribution", "score"}
    assert "distribution" in rejected(check_sampler(OffCentre(), params, shape=params.shape))


def test_the_integrated_distribution_agrees_with_the_closed_one() -> None:
    class WithoutCdf:
        noise, sample, log_prob = Normal().noise, Normal().sample, Normal().log_prob

    closed, integrated = check_sampler(Normal(), PARAMS), check_sampler(WithoutCdf(), PARAMS, shape=(3, 2))
    np.testing.assert_allclose(integrated.groups[0].statistics, closed.groups[0].statistics, atol=1e-3)


def test_the_variance_taken_for_the_standard_deviation_passes_differences_and_fails_here() -> None:
    """(checks.14), (checks.15), (checks.16): the star negative control."""
    check_pullback(VarianceForStd().sample, PARAMS, NOISE).assert_ok()
    report = check_sampler(VarianceForStd(), PARAMS)
    assert rejected(report) == {"distribution", "score", "std"}
    with pytest.raises(CheckError, match=r"exp\(2 log_std\) where exp\(log_std\) is meant \(and 2 more\)"):
        report.assert_ok()
    assert rejected(check_sampler(StdAgreesWithTheBug(), PARAMS)) == {"distribution", "score"}


def test_log_var_taken_for_log_std_is_named() -> None:
    """(checks.16)"""
    with pytest.raises(CheckError, match="as if log_std were log_var"):
        check_sampler(LogVarForLogStd(), PARAMS).assert_ok()


@pytest.mark.parametrize(
    ("family", "only"),
    [
        (NoiseDrawnOnce(), {"independence of samples"}),
        (NoiseSharedBetween(axis=1), {"independence of rows"}),
        (NoiseSharedBetween(axis=2), {"dependence of features"}),
        (ScoreOfAnother(), {"score"}),
    ],
    ids=["drawn once for two samples", "shared between rows", "shared between features", "score"],
)
def test_planted_bug_fails_the_one_test_made_for_it(family: Any, only: set[str]) -> None:
    """(checks.15), (checks.17), (checks.18)"""
    assert rejected(check_sampler(family, PARAMS)) == only


def test_the_right_moments_of_the_wrong_law_are_rejected() -> None:
    """(checks.14)"""
    found = rejected(check_sampler(Heavier(), PARAMS))
    assert "distribution" in found
    assert not found & {"mean", "std"}


def test_features_may_depend_on_each_other_as_the_density_says() -> None:
    """(checks.18)"""
    params = PARAMS[:, :2]
    report = check_sampler(Correlated(), params)
    report.assert_ok()
    assert "no distribution test: the features depend on each other, and the family has no cdf" in report.notes
    assert "dependence of features" in rejected(check_sampler(Correlated(sampled=0.5), params))


@pytest.mark.parametrize(
    ("family", "problem"),
    [
        (NoiseTooSmall(), r"noise has shape \(3, 2\) where \(20000, 3, 2\) was asked for"),
        (NoiseDrawnInside(), "two samples from the same noise differ"),
        (Negative(), "60000 samples lie where log_prob is not finite"),
    ],
    ids=lambda item: type(item).__name__,
)
def test_what_needs_no_statistics_is_said_at_once(family: Any, problem: str) -> None:
    with pytest.raises(CheckError, match=problem):
        check_sampler(family, PARAMS[:, :2] if family.__class__ is Negative else PARAMS, shape=(3, 2)).assert_ok()


def test_false_alarms_are_as_rare_as_promised() -> None:
    """(checks.10): at 10 %, at most 10 % of right samplers fail, three standard errors allowed."""
    alarms = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        alarms += not check_sampler(Normal(), rng.standard_normal((2, 4)), rng=rng, samples=2000, significance=0.1).ok
    assert alarms <= 10 + 3 * math.sqrt(9)


def test_discrete_families_get_no_distribution_test_and_the_report_says_so() -> None:
    report = check_sampler(Bernoulli(), PARAMS)
    assert "distribution" not in {group.name for group in report.groups}
    assert any("discrete" in note for note in report.notes)


def test_bad_calls_say_what_is_wrong() -> None:
    with pytest.raises(InputError, match=r"no mean to tell the shape of a value; pass shape="):
        check_sampler(Exponential(), PARAMS)
    with pytest.raises(InputError, match=r"at least 1000 .* got 10"):
        check_sampler(Normal(), PARAMS, samples=10)


def test_report_keeps_every_z_score() -> None:
    report = check_sampler(Normal(), PARAMS, samples=2000)
    assert {group.name: len(group.statistics) for group in report.groups}["score"] == 12
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["ok"] is True


def test_a_family_of_one_latent_has_no_features_to_compare() -> None:
    report = check_sampler(Normal(), np.array([[0.3, 0.1]]))
    report.assert_ok()
    assert "dependence of features" not in str(report)


def test_counts_of_a_high_rate_are_discrete_all_the_same() -> None:
    report = check_sampler(Poisson(), np.array([[8.0]]))
    report.assert_ok()
    assert report.without_distribution == "a discrete family"


def test_moments_that_do_not_exist_are_not_asked_for() -> None:
    """Student's t with half a degree of freedom has neither mean nor spread, and yet right samples."""
    from numvae.distributions import StudentT

    report = check_sampler(StudentT(), np.array([[0.0, 1.0, 0.0, 0.0, np.log(0.5), np.log(9.0)]]), shape=(1, 2))
    report.assert_ok()
    assert [group.count for group in report.groups if group.name in ("mean", "std")] == [1, 1]
