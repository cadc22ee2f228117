"""Measure-valued gradients: the contract, the exact expectation by quadrature over the noise, bias and variance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from numvae import Bernoulli, FixedStdNormal, Normal, log_mean_exp, sample_mean
from numvae.arena.costs import Quadratic
from numvae.arena.problems import CONTINUOUS, COUNTS, DISCRETE, POSITIVE, Problem, draw_gradients
from numvae.arena.truth import nodes
from numvae.arrays import Array, Pullback
from numvae.checks import check_unbiased
from numvae.distributions.exponential import Exponential
from numvae.distributions.gamma import Gamma
from numvae.distributions.poisson import Poisson
from numvae.errors import InputError
from numvae.estimators import Reduction, claims_of, draw_noise
from numvae.estimators.measure_valued import DECOMPOSITIONS, Decomposition, Difference, MeasureValued
from tests.cases import Argument, Case, logs
from tests.distributions.family_proofs import runs_elsewhere
from tests.estimators.rule_proofs import every_proof

PROBLEMS = CONTINUOUS + POSITIVE + DISCRETE + COUNTS
LABELS = {
    Normal: "measure_valued.1 measure_valued.2 measure_valued.3",
    Exponential: "measure_valued.1 measure_valued.4",
    Gamma: "measure_valued.1 measure_valued.5 measure_valued.6",
    Bernoulli: "measure_valued.1 measure_valued.7",
    Poisson: "measure_valued.1 measure_valued.8",
}


@dataclass(frozen=True)
class Estimated:
    """The rule (params, noise, target) -> bound of the log-ratio of two members of a family."""

    q: Any
    reduce: Reduction

    def __call__(self, params: Array, noise: Array, target: Array) -> tuple[Array, Pullback]:
        def f(params: Array, z: Array) -> tuple[Array, Pullback]:
            log_target, target_pullback = self.q.log_prob(target, z)
            log_q, q_pullback = self.q.log_prob(params, z)
            return log_target - log_q, lambda d: (q_pullback(-d)[0], None, target_pullback(d)[0])

        bound, pullback = MeasureValued(self.q)(self.q, params, noise, f, self.reduce)

        def with_none_for_noise(dbound: Array) -> tuple[Array, None, Array]:
            dparams, dtarget = pullback(dbound)
            return dparams, None, dtarget

        return bound, with_none_for_noise


def case(q: Any, reduce: Reduction) -> Case:
    """An estimator of the log-ratio; uniforms away from the ends, where float32 rounds."""
    params = logs(f"B, {q.params_per_value}*Z", -0.7, 0.7)
    noise = Argument(f"S, B, {DECOMPOSITIONS[type(q)].uniforms}*Z", lambda rng, n, spread: rng.uniform(0.05, 0.45, n))
    name = f"{type(q).__name__} {reduce.__name__}"
    return Case(name, LABELS[type(q)], Estimated(q, reduce), (params, noise, params), "B", on_average=True)


CASES = [case(family(), reduce) for family in DECOMPOSITIONS for reduce in (sample_mean, log_mean_exp)]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


@every_case
@every_proof
def test_contract(proof: Any, case: Case) -> None:
    proof(case)


@every_case
def test_runs_on_a_device(case: Case) -> None:
    runs_elsewhere(case)


# ---- the expected gradient, exactly: nodes of a quadrature in the place of noise


def panel(low: float, high: float, count: int) -> tuple[Array, Array]:
    points, weights = np.polynomial.legendre.leggauss(count)
    return low + (high - low) * (points + 1) / 2, (high - low) / 2 * weights


def waiting_times(ends: tuple[float, ...] = (0.0, 32.0), count: int = 30) -> tuple[Array, Array]:
    """Uniform noise and weights: the nodes of an exponential density, piece by piece."""
    panels = [panel(low, high, count) for low, high in pairwise(ends)]
    points, weights = (np.concatenate(arrays) for arrays in zip(*panels, strict=True))
    return -np.expm1(-points), weights * np.exp(-points)


def noise_axes(q: Any, params: Array) -> list[tuple[Array, Array]]:
    """Nodes and weights for each uniform number that the decomposition asks for, one latent."""
    if isinstance(q, Normal):
        step, weights = panel(0.0, 8.0, 24)
        rayleigh = -np.expm1(-(step**2) / 2), weights * step * np.exp(-(step**2) / 2)
        level, mass = special.gammainc(1.5, step**2 / 2), weights * step**2 * np.exp(-(step**2) / 2)
        maxwell = np.concatenate([level, level + 1]) / 2, np.tile(mass / math.sqrt(2 * math.pi), 2)
        return [rayleigh, maxwell, panel(0.0, 1.0, 16)]
    if q.discrete:  # one number inside each step of the CDF
        z, weights = nodes(q, params, 1)
        order = np.argsort(-z[:, 0] if isinstance(q, Bernoulli) else z[:, 0])
        levels = np.cumsum(weights[order]) - weights[order] / 2
        return [(levels, weights[order])]
    z, weights = nodes(q, params, 1)
    own = np.minimum(q.cdf(params, z)[:, 0], 1 - 1e-16), weights
    if isinstance(q, Exponential):
        return [own, waiting_times()]
    kink = float(np.log1p(np.exp(params[0, 0])))
    return [own, waiting_times((0.0, 0.01, 0.3, 4.0, 32.0), 12), waiting_times((0.0, kink, kink + 4, kink + 30), 12)]


def expected_gradient(problem: Problem, estimator: Any = None) -> Array:
    """What the estimator gives on average over all its noise."""
    axes = noise_axes(problem.q, problem.at())
    noise = np.stack(np.meshgrid(*[points for points, _ in axes], indexing="ij"), axis=-1).reshape(-1, len(axes))
    weights = np.prod(
        np.stack(np.meshgrid(*[w for _, w in axes], indexing="ij"), axis=-1).reshape(-1, len(axes)), axis=-1
    )
    estimator = MeasureValued(problem.q) if estimator is None else estimator
    _, pullback = estimator(problem.q, problem.at(len(weights)), noise[None], problem.f, sample_mean)
    expected: Array = pullback(weights)[0].sum(axis=0)
    return expected


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.latents == 1], ids=lambda p: p.name)
def test_expected_gradient_is_exact_by_quadrature(problem: Problem) -> None:
    """(measure_valued.2), (measure_valued.3), (measure_valued.4), (measure_valued.5), (measure_valued.6),

    (measure_valued.7), (measure_valued.8).
    """
    np.testing.assert_allclose(expected_gradient(problem), problem.truth(), rtol=1e-6, atol=1e-6)


def test_double_maxwell_times_uniform_is_normal() -> None:
    """(measure_valued.3)."""
    rng = np.random.default_rng(0)
    z, _ = DECOMPOSITIONS[Normal].split(np.zeros((1, 2)), *rng.random((3, 50_000, 1, 1)))
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3


# ---- bias, in many draws


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_no_bias_is_seen_in_many_draws(problem: Problem) -> None:
    """For bits and a cost that is a sum over bits it is exact, so there is nothing to test but rounding."""
    gradients = draw_gradients(MeasureValued(problem.q), problem, 20_000, rng=np.random.default_rng(1))
    if np.all(gradients.std(axis=0) < 1e-12):
        np.testing.assert_allclose(gradients, np.broadcast_to(problem.truth(), gradients.shape), rtol=1e-11)
    else:
        check_unbiased(gradients, problem.truth(), name=problem.name).assert_ok()


NONLINEAR = [p for p in PROBLEMS if p.latents == 1 and ("ELBO" in p.name or "coin" in p.name)]


@pytest.mark.parametrize("problem", NONLINEAR, ids=lambda p: p.name)
def test_no_bias_is_seen_under_a_nonlinear_bound(problem: Problem) -> None:
    """Two samples under log_mean_exp: one of them moves, the other stays   (measure_valued.1)."""
    rng = np.random.default_rng(2)
    gradients = draw_gradients(MeasureValued(problem.q), problem, 20_000, rng=rng, samples=2, reduce=log_mean_exp)
    check_unbiased(gradients, problem.truth(log_mean_exp, 2), name=problem.name).assert_ok()


def test_other_latents_and_samples_divide_the_variance() -> None:
    problem = POSITIVE[0]
    one, four = (
        draw_gradients(MeasureValued(problem.q), problem, 20_000, rng=np.random.default_rng(s), samples=s).var()
        for s in (1, 4)
    )
    assert one / four == pytest.approx(4, rel=0.15)


# ---- variance


@pytest.mark.parametrize(("a", "std"), [(4.0, 1.0), (1.0, 1.0), (-0.7, 0.6), (0.0, 2.0)])
def test_variances_are_their_divergences(a: float, std: float) -> None:
    """(16/π - 4) a² for the mean; 4 a² + 4 std² for std, hence times std² for log_std

    (measure_valued.2), (measure_valued.3).
    """
    problem = Problem("", Normal(), (a, math.log(std)), Quadratic(0.0), 1)
    axes = noise_axes(problem.q, problem.at())
    noise = np.stack(np.meshgrid(*[points for points, _ in axes], indexing="ij"), axis=-1).reshape(1, -1, 3)
    weights = np.prod(np.stack(np.meshgrid(*[w for _, w in axes], indexing="ij"), axis=-1).reshape(-1, 3), axis=-1)
    _, pullback = MeasureValued(problem.q)(problem.q, problem.at(len(weights)), noise, problem.f, sample_mean)
    gradients = pullback(np.ones(len(weights)))[0]
    mean = weights @ gradients
    np.testing.assert_allclose(mean, [2 * a, 2 * std**2], atol=1e-8)
    closed = [(16 / math.pi - 4) * a**2, (4 * a**2 + 4 * std**2) * std**2]
    np.testing.assert_allclose(weights @ (gradients - mean) ** 2, closed, rtol=1e-6, atol=1e-8)


def test_for_log_costs_the_gammas_shape_costs_almost_nothing() -> None:
    """f = log z: each difference is s, its weight nearly its inverse   (measure_valued.6)."""

    def log_cost(params: Array, z: Array) -> tuple[Array, Pullback]:
        return np.log(z)[..., 0], lambda d: (0.0, d[..., None] / z, None)

    problem = Problem("log", Gamma(), (0.4, 0.0), log_cost, 1)
    gradients = draw_gradients(MeasureValued(Gamma()), problem, 20_000, rng=np.random.default_rng(0))
    check_unbiased(gradients, [math.exp(0.4) * special.polygamma(1, math.exp(0.4)), -1.0]).assert_ok()
    assert gradients[:, 0].std() < 0.1 * gradients[:, 0].mean()


# ---- its promises


class Counted:
    """A cost that counts the samples put through it, and back."""

    def __init__(self, f: Any) -> None:
        self.f, self.forward, self.backward = f, 0, 0

    def __call__(self, params: Array, z: Array) -> tuple[Array, Pullback]:
        self.forward += len(z)
        values, pullback = self.f(params, z)

        def counted(dvalues: Array) -> tuple[Any, ...]:
            self.backward += len(dvalues)
            dparams, _, dtheta = pullback(dvalues)
            return dparams, None, dtheta  # no derivative in z is asked for

        return values, counted


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.latents == 2], ids=lambda p: p.name)
def test_calls_are_as_claimed(problem: Problem) -> None:
    estimator, f = MeasureValued(problem.q), Counted(problem.f)
    claims, noise = claims_of(estimator), draw_noise(estimator, problem.q, np.random.default_rng(0), (3, 5, 2))
    estimator(problem.q, problem.at(5), noise, f, sample_mean)[1](np.ones(5))
    assert (f.forward, f.backward) == (claims.f_calls(3, 2), claims.pullback_calls(3, 2))
    assert claims.cover(problem.q)


def test_weights_get_the_plain_gradient() -> None:
    """dtheta is f's own at the sample, and params inside f are differentiated directly."""
    q, params = Poisson(), np.array([[0.3], [-0.4]])

    def f(params: Array, z: Array) -> tuple[Array, Pullback]:
        return 3 * params[:, 0] + 0 * z[..., 0], lambda d: (3 * d.sum(axis=0)[:, None], None, (d * z[..., 0]).sum())

    noise = q.noise(np.random.default_rng(0), (4, 2, 1))
    dparams, dtheta = MeasureValued(q)(q, params, noise, f, sample_mean)[1](np.ones(2))
    np.testing.assert_allclose(dparams, 3)
    assert dtheta == pytest.approx(q.sample(params, noise)[0].mean(axis=0).sum())


@pytest.mark.parametrize(
    ("q", "params"),
    [
        (Normal(), (40.0, 10.0)),
        (Normal(), (-40.0, -10.0)),
        (Bernoulli(), (40.0,)),
        (Bernoulli(), (-40.0,)),
        (Exponential(), (10.0,)),
        (Exponential(), (-10.0,)),
        (Gamma(), (-10.0, 10.0)),
        (Gamma(), (8.0, -10.0)),
        (Poisson(), (-40.0,)),
        (Poisson(), (10.0,)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_are_finite(q: Any, params: tuple[float, ...], dtype: Any) -> None:
    """Noise of exactly 0, and the largest below 1, included."""
    ends = np.array([0.0, 0.5, 1 - np.finfo(dtype).epsneg], dtype)
    noise = np.tile(ends[:, None, None], DECOMPOSITIONS[type(q)].uniforms)
    bound, pullback = MeasureValued(q)(q, np.array([params], dtype), noise, Quadratic(0.5), sample_mean)
    dparams, _ = pullback(np.ones(1, dtype))
    assert bound.dtype == dparams.dtype == dtype
    assert np.isfinite(bound).all()
    assert np.isfinite(dparams).all()


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(InputError, match="FixedStdNormal has no measure-valued decomposition; known are Normal, Exp"):
        MeasureValued(FixedStdNormal())
    with pytest.raises(InputError, match=r"this is MeasureValued\(Normal\(\)\), but q is Poisson\(\)"):
        MeasureValued()(Poisson(), np.zeros((1, 1)), np.zeros((1, 1, 1)), Quadratic(), sample_mean)
    with pytest.raises(InputError, match="3 uniform numbers for each of 1 latents, got 1 in all"):
        MeasureValued()(Normal(), np.zeros((1, 2)), np.zeros((1, 1, 1)), Quadratic(), sample_mean)


# ---- negative controls


def test_a_normal_in_the_place_of_the_maxwell_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A normal with the Maxwell's second moment: right for quadratics, and for nothing else."""
    right = DECOMPOSITIONS[Normal].split

    def wrong(params: Array, *noise: Array) -> Any:
        z, (mean, std) = right(params, *noise)
        return z, [mean, Difference(std.weight, params[:, :1] + (z - params[:, :1]) * math.sqrt(3), None)]

    monkeypatch.setitem(DECOMPOSITIONS, Normal, Decomposition(wrong, uniforms=3, moved=3))
    problem = CONTINUOUS[2]
    gradients = draw_gradients(MeasureValued(Normal()), problem, 20_000, rng=np.random.default_rng(1))
    assert not check_unbiased(gradients, problem.truth()).ok


def test_a_count_less_in_the_place_of_one_more_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    right = DECOMPOSITIONS[Poisson].split

    def wrong(params: Array, uniform: Array) -> Any:
        z, (difference,) = right(params, uniform)
        return z, [Difference(difference.weight, None, np.maximum(z - 1, 0))]

    monkeypatch.setitem(DECOMPOSITIONS, Poisson, Decomposition(wrong, uniforms=1, moved=1))
    problem = COUNTS[0]
    gradients = draw_gradients(MeasureValued(Poisson()), problem, 20_000, rng=np.random.default_rng(1))
    assert not check_unbiased(gradients, problem.truth()).ok
