"""Baselines of the score function: exact on average, as variable as theory says, and learned as derived."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from numvae import Normal, log_mean_exp, sample_mean, score_function
from numvae.arena.costs import Quadratic
from numvae.arena.problems import Problem, draw_gradients
from numvae.arrays import Array, Pullback
from numvae.errors import InputError
from numvae.estimators import claims_of, leave_one_out
from numvae.estimators.baselines import (
    NVIL,
    ConstantBaseline,
    MovingAverageBaseline,
    OptimalBaseline,
    filled_in,
    mean_of_others,
    reinforce,
    reinforce_loo,
    vimco,
)
from numvae.estimators.score_function import with_baseline
from tests.estimators.normals import (
    COINS,
    QUADRATIC,
    SKEWED,
    adapted,
    assert_bias_is_seen,
    assert_climbs_down_the_variance,
    assert_contract,
    assert_exact_with_weights,
    assert_no_bias_is_seen,
    fitting,
    moments,
    somewhere,
)
from tests.oracles import all_bits, gradient_of

FIXED = [reinforce, reinforce_loo, ConstantBaseline(1.7), vimco]
LEARNED = [OptimalBaseline(), MovingAverageBaseline(), NVIL(hidden=(5,))]
EVERY = [*FIXED, *LEARNED]


def name_of(thing: Any) -> str:
    return str(getattr(thing, "__name__", type(thing).__name__))


every_baseline = pytest.mark.parametrize("baseline", EVERY, ids=name_of)
both_reductions = pytest.mark.parametrize("reduce", [sample_mean, log_mean_exp], ids=name_of)


def ready(baseline: Any, problem: Problem = QUADRATIC, convert: Any = np.asarray) -> Any:
    """An estimator: a learned one with weights that are not its first."""
    return baseline.at(convert(somewhere(baseline, problem))) if baseline in LEARNED else baseline


def cases() -> list[Any]:
    """Every baseline with every exact model, number of samples and reduction it is for."""
    found = []
    for baseline in EVERY:
        claims = claims_of(baseline)
        for problem in fitting(baseline):
            found.append((baseline, problem, claims.least_samples, sample_mean))
            if problem in (SKEWED, COINS):
                found += [(baseline, problem, 2, globals()[name]) for name in claims.reductions]
    return [pytest.param(*case, id=f"{name_of(case[0])} {case[1].name} {case[2]} {name_of(case[3])}") for case in found]


@pytest.mark.parametrize(("baseline", "problem", "samples", "reduce"), cases())
def test_no_bias_is_seen_in_many_draws(baseline: Any, problem: Problem, samples: int, reduce: Any) -> None:
    """(baselines.1), (baselines.3), (baselines.6)."""
    assert_no_bias_is_seen(ready(baseline, problem), problem, samples, reduce)


@every_baseline
@both_reductions
def test_expected_gradients_are_exact_by_quadrature(baseline: Any, reduce: Any) -> None:
    """dparams and dtheta, for an f that contains params and weights of its own   (baselines.1)."""
    if reduce.__name__ in claims_of(baseline).reductions:
        problem = Problem("", Normal(), (0.0,) * 4, Quadratic(), 2)
        estimator = ready(baseline, problem)
        assert_exact_with_weights(estimator, 2, reduce)
        if claims_of(baseline).least_samples == 1:
            assert_exact_with_weights(estimator, 1, reduce)


@every_baseline
@both_reductions
def test_expected_gradients_are_exact_by_enumeration(baseline: Any, reduce: Any) -> None:
    """All pairs of outcomes of three coins, weighted   (baselines.1)."""
    if reduce.__name__ not in claims_of(baseline).reductions:
        return
    bits = all_bits(3)
    masses = np.exp(COINS.q.log_prob(COINS.at(), bits)[0])
    first, second = (index.ravel() for index in np.indices((8, 8)))
    noise = (1 - 1e-9) * (1 - np.stack([bits[first], bits[second]]))  # below, or above, every probability
    weights = masses[first] * masses[second]
    dparams, _ = ready(baseline, COINS)(COINS.q, COINS.at(64), noise, COINS.f, reduce)[1](weights)
    np.testing.assert_allclose(dparams.sum(axis=0), COINS.truth(reduce, 2), rtol=1e-10, atol=1e-12)


@every_baseline
@both_reductions
def test_they_keep_the_contract(baseline: Any, reduce: Any) -> None:
    if reduce.__name__ in claims_of(baseline).reductions:
        problem = Problem("", Normal(), (0.0,) * 4, Quadratic(), 2)
        assert_contract(partial(ready, baseline, problem), claims_of(baseline), 3, reduce)


# ---- what takes a sample's place


def test_a_guess_by_the_others_bound_leaves_the_place_empty() -> None:
    """(baselines.1) with R(others) as guess is (score_function.3), for both reductions."""
    values = np.random.default_rng(0).standard_normal((4, 3))
    for reduce in (sample_mean, log_mean_exp):
        others = leave_one_out(values, reduce)
        np.testing.assert_allclose(filled_in(values, others, reduce), others, rtol=1e-13)


def test_under_a_mean_each_score_is_weighted_by_value_minus_guess() -> None:
    """bound - baseline_s = (f_s - guess_s) / S   (baselines.1)."""
    values, guess = np.random.default_rng(0).standard_normal((2, 4, 3))
    np.testing.assert_allclose(values.mean(axis=0) - filled_in(values, guess, sample_mean), (values - guess) / 4)


def test_vimco_puts_the_geometric_mean_in_the_missing_place() -> None:
    """Three weights 1, 2, 8: beside 1 stands √(2 · 8) = 4, so the baseline is log((4 + 2 + 8) / 3)   (baselines.2)."""
    values = np.log(np.array([[1.0], [2.0], [8.0]]))
    np.testing.assert_allclose(np.exp(mean_of_others(values))[0], 4)
    np.testing.assert_allclose(filled_in(values, mean_of_others(values), log_mean_exp)[0], np.log(14 / 3))


def test_vimco_under_a_plain_mean_is_leave_one_out() -> None:
    """(baselines.2)."""
    rng = np.random.default_rng(0)
    params, noise = QUADRATIC.at(5), rng.standard_normal((3, 5, 1))
    ours, theirs = (
        estimator(Normal(), params, noise, QUADRATIC.f, sample_mean)[1](np.ones(5))[0]
        for estimator in (vimco, score_function)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_vimco_and_the_exact_leave_one_out_differ_from_three_samples_on() -> None:
    """With two, the one other has no other mean than itself   (baselines.2)."""
    for samples, least, most in ((2, 0.0, 1e-12), (3, 1e-3, 1.0)):
        ours, theirs = (moments(e, SKEWED, samples, log_mean_exp, count=12)[1] for e in (vimco, score_function))
        assert np.all(np.abs(ours / theirs - 1) >= least)
        assert np.all(np.abs(ours / theirs - 1) <= most)


# ---- variance, in closed form


def quadratic(a: float, std: float) -> Problem:
    return Problem("quadratic", Normal(), (a, float(np.log(std))), Quadratic(0.0), 1)


@pytest.mark.parametrize(("a", "std"), [(4.0, 1.0), (1.0, 1.0), (-0.7, 0.6), (0.0, 2.0)])
def test_variance_with_the_best_constant_is_its_closed_form(a: float, std: float) -> None:
    """b* = a² + 3σ² and a² + 5σ² leave 8a² + 6σ² and 40a² + 24σ²; our column is log_std's   (baselines.3)."""
    best = np.array([a**2 + 3 * std**2, a**2 + 5 * std**2])
    mean, variance = moments(OptimalBaseline().at(best), quadratic(a, std), count=12)
    np.testing.assert_allclose(mean, [2 * a, 2 * std**2], atol=1e-10)
    np.testing.assert_allclose(variance, [8 * a**2 + 6 * std**2, (40 * a**2 + 24 * std**2) * std**2], rtol=1e-11)


@pytest.mark.parametrize(("a", "std"), [(4.0, 1.0), (-0.7, 0.6), (0.0, 2.0)])
def test_variance_with_a_constant_is_its_closed_form(a: float, std: float) -> None:
    """Var = E[(f - b)² s²] - mean² = best + (b - b*)² E[s²]   (baselines.3)."""
    b = 2.5
    best = np.array([8 * a**2 + 6 * std**2, (40 * a**2 + 24 * std**2) * std**2])
    off = np.array([(b - a**2 - 3 * std**2) ** 2 / std**2, 2 * (b - a**2 - 5 * std**2) ** 2])
    np.testing.assert_allclose(moments(ConstantBaseline(b), quadratic(a, std), count=12)[1], best + off, rtol=1e-11)


@pytest.mark.parametrize("samples", [2, 3])
@pytest.mark.parametrize(("a", "std"), [(4.0, 1.0), (-0.7, 0.6)])
def test_variance_of_leave_one_out_is_that_of_a_sample_covariance(samples: int, a: float, std: float) -> None:
    """(8S a² + (10S - 8) σ²) / S(S-1), and ((40S - 32) a² + (56S - 48) σ²) / S(S-1)   (score_function.3)."""
    pairs, S = samples * (samples - 1), samples
    expected = [8 * S * a**2 + (10 * S - 8) * std**2, ((40 * S - 32) * a**2 + (56 * S - 48) * std**2) * std**2]
    variance = moments(score_function, quadratic(a, std), samples, count=8)[1]
    np.testing.assert_allclose(variance, np.array(expected) / pairs, rtol=1e-10)


# ---- what they learn


@pytest.mark.parametrize("samples", [1, 2])
def test_the_optimal_baseline_climbs_down_the_variance(samples: int) -> None:
    """(baselines.4), with f's own dependence on params and without."""
    for problem in (quadratic(1.5, 0.8), SKEWED):
        assert_climbs_down_the_variance(OptimalBaseline(), problem, samples)


def test_the_optimal_baseline_finds_its_closed_form() -> None:
    """Mean and std 1, k = -3: a² + 3σ² = 19 and a² + 5σ² = 21   (baselines.4)."""
    np.testing.assert_allclose(adapted(OptimalBaseline(), QUADRATIC, 1000), [19, 21], rtol=0.1)


def test_the_moving_average_is_the_exponential_moving_average() -> None:
    """eta + 0.1 (mean f - eta), step by step   (baselines.5)."""
    baseline, rng = MovingAverageBaseline(), np.random.default_rng(0)
    params, eta, expected = QUADRATIC.at(7), np.zeros(1), 0.0
    for _ in range(5):
        noise, deta = rng.standard_normal((3, 7, 1)), np.zeros(1)
        z = Normal().sample(params, noise)[0]
        baseline.at(eta, deta)(Normal(), params, noise, QUADRATIC.f, sample_mean)[1](np.full(7, 1 / 7))
        baseline.optimizer.ascend(eta, deta, {})
        expected = 0.9 * expected + 0.1 * float(QUADRATIC.f(params, z)[0].mean())
    np.testing.assert_allclose(eta, expected, rtol=1e-13)


def test_nvil_climbs_down_three_squared_errors() -> None:
    """Of the mean, of the variance, and of the network in units of the spread, each with the others held.

    (baselines.7).
    """
    nvil, rng = NVIL(hidden=(4,), network_rate=0.3), np.random.default_rng(0)
    params, noise, dbound = 0.5 * rng.standard_normal((6, 2)), rng.standard_normal((3, 6, 1)), rng.standard_normal(6)
    layout = nvil.layout_for(2)
    eta = nvil.start(params, params, 1, rng=rng) + 0.3 * rng.standard_normal(layout.size)
    eta[1] = 900.0  # a spread of 30, so that no error is beyond three of them
    values = QUADRATIC.f(params, Normal().sample(params, noise)[0])[0]
    deta = np.zeros_like(eta)
    nvil.at(eta, deta)(Normal(), params, noise, QUADRATIC.f, sample_mean)[1](dbound)
    mean = eta[0]

    def half_squares(errors: Array) -> float:
        return -0.5 * float(dbound @ np.mean(errors**2, axis=0))

    def network_error(weights: Array) -> float:
        output = nvil.network(2)(weights, params)[0][:, 0]
        return half_squares((values - mean) / 30.0 - output)

    np.testing.assert_allclose(deta[0], gradient_of(lambda m: half_squares(values - m[0]), eta[:1])[0], rtol=1e-9)
    variance = gradient_of(lambda v: half_squares((values - mean) ** 2 - v[0]), eta[1:2])[0]
    np.testing.assert_allclose(deta[1], variance, rtol=1e-9)
    np.testing.assert_allclose(deta[2:], 0.3 * gradient_of(network_error, eta[2:]), rtol=1e-7, atol=1e-9)


def test_an_error_beyond_three_spreads_counts_as_three() -> None:
    """(baselines.7): what the network learns from values in the millions is bounded; mean and variance see them all."""
    nvil, rng = NVIL(hidden=(4,)), np.random.default_rng(0)
    params, noise = 0.5 * rng.standard_normal((6, 2)), rng.standard_normal((1, 6, 1))
    eta = nvil.start(params, params, 1, rng=rng)
    learned = []
    for size in (1e3, 1e6):
        deta = np.zeros_like(eta)
        nvil.at(eta, deta)(Normal(), params, noise, of_size(size), sample_mean)[1](np.full(6, 1 / 6))
        learned.append(deta)
    np.testing.assert_allclose(learned[0][2:], learned[1][2:], rtol=1e-12)
    np.testing.assert_allclose(learned[1][:1], 1e6)
    output = nvil.network(2)(eta[2:], params)[1](np.full((6, 1), 3 * nvil.network_rate / 6))[0]
    np.testing.assert_allclose(learned[1][2:], output, rtol=1e-12)


def of_size(size: float) -> Any:
    """f = size, everywhere."""
    return lambda params, z: (np.full(z.shape[:-1], size), lambda dvalues: (0.0, None, None))


def test_nvil_learns_what_differs_from_row_to_row() -> None:
    """Half of the rows have f near 0, half near 100, and the context says which   (baselines.6)."""
    nvil, rng = NVIL(hidden=(8,)), np.random.default_rng(0)
    context = np.repeat([[1.0], [-1.0]], 50, axis=0)

    def f(params: Array, z: Array) -> tuple[Array, Pullback]:
        return z[..., 0] ** 2 + 50 * (1 + context[:, 0]), lambda dvalues: (0.0, None, None)

    f.context = context  # type: ignore[attr-defined]
    params = np.zeros((100, 2))
    eta = nvil.start(params, context, 1, rng=rng)
    memory = nvil.optimizer.start(eta)
    estimates = []
    for step in range(600):
        noise, deta = rng.standard_normal((1, 100, 1)), np.zeros_like(eta)
        _, pullback = nvil.at(eta, deta)(Normal(), params, noise, f, sample_mean)
        dparams, _ = pullback(np.full(100, 0.01))
        nvil.optimizer.ascend(eta, deta, memory)
        if step >= 500:
            estimates.append(100 * dparams)
    mean, variance, _ = nvil.layout_for(1).views(eta).values()
    assert abs(mean[0] - 51) < 3
    assert abs(variance[0] / 2500 - 1) < 0.1
    assert np.var(np.concatenate(estimates)[:, 0]) < 100  # a constant baseline leaves 2500


# ---- refusals, and the mistakes the proofs are for


def test_what_they_are_not_for_is_refused() -> None:
    noise = np.zeros((1, 2, 1))
    with pytest.raises(InputError, match="vimco needs at least 2 samples, got 1"):
        vimco(Normal(), QUADRATIC.at(2), noise, QUADRATIC.f, log_mean_exp)
    with pytest.raises(InputError, match="OptimalBaseline estimates under sample_mean, got log_mean_exp"):
        OptimalBaseline().at(np.zeros(2))(Normal(), QUADRATIC.at(2), noise, QUADRATIC.f, log_mean_exp)
    with pytest.raises(InputError, match="value must be finite"):
        ConstantBaseline(float("nan"))


def own_sample(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
    """The mean of all S samples as baseline, its own among them."""

    def baseline(values: Array, reduce: Any) -> Array:
        return filled_in(values, values.mean(axis=0), reduce)

    return with_baseline(q, params, noise, f, reduce, baseline)


def peeking(q: Any, params: Array, noise: Array, f: Any, reduce: Any) -> tuple[Array, Pullback]:
    """A learned baseline whose network sees the sample, and has begun to fit f."""

    def baseline(values: Array, reduce: Any) -> Array:
        return filled_in(values, 0.4 * values, reduce)

    return with_baseline(q, params, noise, f, reduce, baseline)


@pytest.mark.parametrize(("wrong", "samples"), [(own_sample, 2), (peeking, 1)])
def test_a_baseline_that_knows_its_sample_is_rejected(wrong: Any, samples: int) -> None:
    assert_bias_is_seen(wrong, QUADRATIC, samples)
    assert_bias_is_seen(wrong, COINS, samples)


def test_a_wrong_direction_of_learning_is_rejected() -> None:
    """Minus the gradient's own sign, and without f's direct term   (baselines.4)."""

    class Descending(OptimalBaseline):
        def at(self, eta: Array, deta: Array | None = None) -> Any:
            return super().at(-eta, deta)

    with pytest.raises(AssertionError):
        assert_climbs_down_the_variance(Descending(), SKEWED)


def test_a_moving_average_can_be_worse_than_nothing() -> None:
    """Of cos(1.5 z), whose values near the mean carry no score: the best constant is negative, the average positive."""
    cosine = next(problem for problem in fitting(reinforce) if problem.name == "cosine")
    rng = np.random.default_rng(0)
    average = MovingAverageBaseline().at(adapted(MovingAverageBaseline(), cosine, 100))
    variances = [draw_gradients(estimator, cosine, 20_000, rng=rng).var(axis=0) for estimator in (average, reinforce)]
    assert np.all(variances[0] > 1.5 * variances[1])
