"""The continuous Bernoulli: against 60 digits over all logits, its limits, and the normaliser often left out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.bernoulli import Bernoulli
from numvae.distributions.continuous_bernoulli import ContinuousBernoulli
from numvae.distributions.exponential import Exponential
from tests.distributions.family_proofs import integral

Q = ContinuousBernoulli()

# (logit, E[x], std, H).  By mpmath with 60 digits, from the plain formulas.
MOMENTS = [
    (-1000.0, 0.001, 0.001, -5.907755278982137),
    (-40.0, 0.024999999999999994, 0.024999999999999915, -2.6888794541139367),
    (-2.5, 0.310574510166148, 0.2501551357340553, -0.2255049402008233),
    (-1.9, 0.3504419651965075, 0.2649582682353044, -0.13802570373792486),
    (-0.01, 0.49916666805555227, 0.28867441290893814, -4.166656250027557e-06),
    (-1e-07, 0.49999999166666664, 0.2886751345948128, -4.166666666666665e-16),
    (1e-12, 0.5000000000000834, 0.28867513459481287, -4.1666666666666663e-26),
    (0.3, 0.5249625801767492, 0.28802720082067057, -0.0037415825419354672),
    (1.99, 0.6558271813209217, 0.2628833526076505, -0.15021845440339454),
    (2.01, 0.657206872144456, 0.26241427352206464, -0.15297782783690786),
    (7.0, 0.8580555713960789, 0.1396231211682949, -0.9532114468107045),
    (300.0, 0.9966666666666667, 0.0033333333333333335, -4.703782474656201),
]

# (logit, level, quantile, ∂quantile/∂logit).  By mpmath with 60 digits: the slope is -∂F/∂logit / p.
QUANTILES = [
    (-1000.0, 1e-12, 1.0000000000005e-15, 1.0000000000005e-18),
    (-1000.0, 0.2, 0.00022314355131420978, 2.2314355131420977e-07),
    (-1000.0, 0.9, 0.002302585092994046, 2.302585092994046e-06),
    (-5.0, 1e-12, 1.9865241060028155e-13, 3.838289272023788e-14),
    (-5.0, 0.2, 0.044292096344202475, 0.00852208846367107),
    (-5.0, 0.9, 0.44874223151328274, 0.07831357001745952),
    (-0.021, 1e-12, 9.895731157400299e-13, 4.930548176452359e-13),
    (-0.021, 0.2, 0.1983270533879237, 0.07932837990679056),
    (-0.021, 0.9, 0.8990496920344836, 0.04550628030787911),
    (-0.019, 1e-12, 9.905598819575879e-13, 4.937115639349194e-13),
    (-0.019, 0.2, 0.1984857740754182, 0.07939230888731065),
    (-0.019, 0.9, 0.8991406561747067, 0.045457866798460686),
    (-1e-06, 1e-12, 9.999995000001667e-13, 4.999996666662916e-13),
    (-1e-06, 0.2, 0.199999920000016, 0.07999996800000081),
    (-1e-06, 0.9, 0.899999954999988, 0.04500002400000517),
    (1e-09, 1e-12, 1.0000000005e-12, 5.000000003328334e-13),
    (1e-09, 0.2, 0.20000000008000002, 0.080000000032),
    (1e-09, 0.9, 0.900000000045, 0.04499999997599999),
    (0.015, 1e-12, 1.0075376410479243e-12, 5.050282378519532e-13),
    (0.015, 0.2, 0.2012036008626173, 0.08048017002310448),
    (0.015, 0.9, 0.9006723058242362, 0.044641165000062134),
    (0.0199, 0.5, 0.5024874589562971, 0.1249938126160023),
    (0.5, 1e-12, 1.2974425413998355e-12, 7.025574585984463e-13),
    (0.5, 0.2, 0.24398256667854207, 0.09578513212407254),
    (0.5, 0.9, 0.9197161024991897, 0.034293142643247496),
    (6.0, 1e-12, 6.707146556862677e-11, 5.6059554626959496e-11),
    (6.0, 0.2, 0.7334047108471491, 0.042796270449099706),
    (6.0, 0.9, 0.9824858105550697, 0.0028731413949999187),
    (29.0, 1e-12, 0.05502102068771086, 0.02559290021184519),
    (29.0, 0.2, 0.9445021409505834, 0.0019137192775310063),
    (29.0, 0.9, 0.9963668787704207, 0.00012528004239830963),
    (31.0, 1e-12, 0.10976852837283411, 0.02764362346652486),
    (31.0, 0.2, 0.9480826479860012, 0.0016747532907697127),
    (31.0, 0.9, 0.9966012736884573, 0.00010963633263028499),
    (500.0, 1e-12, 0.944737957768143, 0.0001105240844637142),
    (500.0, 0.2, 0.9967811241751318, 6.437751649736401e-06),
    (500.0, 0.9, 0.9997892789686843, 4.214420626313051e-07),
]


@pytest.mark.parametrize(("logit", "mean", "std", "entropy"), MOMENTS)
def test_moments_are_those_of_60_digits(logit: float, mean: float, std: float, entropy: float) -> None:
    """On both sides of every border between two forms

    (continuous_bernoulli.1), (continuous_bernoulli.3), (continuous_bernoulli.4), (continuous_bernoulli.6),
    (continuous_bernoulli.12).
    """
    params = np.array([[logit]])
    assert Q.mean(params)[0, 0] == pytest.approx(mean, rel=1e-14)
    assert Q.std(params)[0, 0] == pytest.approx(std, rel=1e-14)
    assert Q.entropy(params)[0] == pytest.approx(entropy, rel=1e-13, abs=1e-15)


@pytest.mark.parametrize(("logit", "level", "quantile", "slope"), QUANTILES)
def test_quantile_and_its_slope_are_those_of_60_digits(
    logit: float, level: float, quantile: float, slope: float
) -> None:
    """(continuous_bernoulli.8), (continuous_bernoulli.9)."""
    x, pullback = Q.sample(np.array([[logit]]), np.array([[[level]]]))
    assert x[0, 0, 0] == pytest.approx(quantile, rel=1e-12)
    assert pullback(np.ones_like(x))[0][0, 0] == pytest.approx(slope, rel=1e-12)
    assert Q.cdf(np.array([[logit]]), x)[0, 0, 0] == pytest.approx(level, rel=1e-10)


@pytest.mark.parametrize("logit", [-300.0, -3.0, -1e-3, 0.0, 1e-9, 0.5, 40.0])
def test_the_density_integrates_to_one(logit: float) -> None:
    """(continuous_bernoulli.2); Bernoulli's formula in its place does not."""

    def density(x: float) -> float:
        return math.exp(Q.log_prob(np.array([[logit]]), np.array([[x]]))[0][0])

    assert integral(density, 0, 0.1) + integral(density, 0.1, 0.9) + integral(density, 0.9, 1) == pytest.approx(1)


def test_the_middle_is_uniform() -> None:
    """Logit 0: density 1, mean ½, variance 1/12, entropy 0, and a sample is its noise."""
    zero, x = np.zeros((1, 3)), np.array([[0.0, 0.25, 1.0]])
    assert Q.log_prob(zero, x)[0][0] == 0
    assert (Q.mean(zero)[0, 0], Q.entropy(zero)[0]) == (0.5, 0)
    assert Q.std(zero)[0, 0] == pytest.approx(12**-0.5, rel=1e-15)
    noise = np.array([[[0.125, 0.5, 0.75]]])
    found, pullback = Q.sample(zero, noise)
    np.testing.assert_array_equal(found, noise)
    np.testing.assert_allclose(pullback(np.ones_like(found))[0], noise[0] * (1 - noise[0]) / 2)
    np.testing.assert_array_equal(Q.cdf(zero, x), x)


def test_steep_ones_are_exponential() -> None:
    """At logit -1000 nothing reaches the other end: rate 1000."""
    params, x = np.array([[-1000.0]]), np.array([[[1e-4]], [[2e-3]]])
    exponential = Exponential()
    np.testing.assert_allclose(Q.log_prob(params, x)[0], exponential.log_prob(np.log(-params), x)[0], rtol=1e-13)
    assert Q.mean(params)[0, 0] == pytest.approx(1e-3, rel=1e-12)
    np.testing.assert_allclose(Q.quantile(params, x), exponential.sample(np.log(-params), x)[0], rtol=1e-13)


def test_white_and_black_change_places_with_the_sign() -> None:
    """x at η is 1 - x at -η, in law: density, mean, CDF, KL."""
    rng = np.random.default_rng(0)
    params, prior, x = 5 * rng.standard_normal((2, 4)), rng.standard_normal((2, 4)), rng.random((2, 4))
    np.testing.assert_allclose(Q.log_prob(params, x)[0], Q.log_prob(-params, 1 - x)[0], rtol=1e-13)
    np.testing.assert_allclose(Q.mean(params), 1 - Q.mean(-params), rtol=1e-14)
    np.testing.assert_allclose(Q.cdf(params, x), 1 - Q.cdf(-params, 1 - x), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(Q.kl(params, prior)[0], Q.kl(-params, -prior)[0], rtol=1e-12)


def test_kl_from_the_uniform_is_minus_the_entropy() -> None:
    """(continuous_bernoulli.10), (continuous_bernoulli.12)."""
    params = np.array([[0.0, -3.0, 1e-4, 200.0]])
    np.testing.assert_allclose(Q.kl(params, np.zeros((1, 4)))[0], -Q.entropy(params), rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("logit", [-1e6, -90.0, -1e-25, 0.0, 1e-10, 29.9, 90.0, 1e6])
def test_extremes_are_finite_and_inside(logit: float, dtype: Any) -> None:
    params = np.array([[logit]], dtype)
    noise = np.array([0.0, 1e-30, 0.5, 1 - np.finfo(dtype).epsneg], dtype)[:, None, None]
    x, sample_pullback = Q.sample(params, noise)
    log_density, pullback = Q.log_prob(params, x)
    assert x.dtype == log_density.dtype == dtype
    assert np.all((x > 0) & (x < 1))
    found = (sample_pullback(np.ones_like(x))[0], log_density, *pullback(np.ones_like(log_density)))
    others = (Q.mean(params), Q.std(params), Q.entropy(params), Q.cdf(params, x), *Q.kl(params, -params)[:1])
    assert all(np.isfinite(array).all() and array.dtype == dtype for array in (*found, *others))


def test_the_lower_end_of_the_quantile_is_the_lower_end() -> None:
    params = np.array([[-800.0, -2.0, 0.0, 2.0, 800.0]])
    np.testing.assert_array_equal(Q.quantile(params, np.zeros((1, 5))), np.zeros((1, 5)))


class WithoutNormalizer(ContinuousBernoulli):
    """The widespread bug: binary cross-entropy on grey values."""

    def log_prob(self, params: Array, value: Array) -> Any:
        return Bernoulli().relaxed_log_prob(params, value)


class ProbabilityForMean(ContinuousBernoulli):
    """The bug of λ = sigmoid(logit) taken for the mean."""

    def mean(self, params: Array) -> Array:
        return Bernoulli().mean(params)


class MirroredSlope(ContinuousBernoulli):
    """The bug of a gradient with F(x; η) for F(x; -η)."""

    def _quantile_slope(self, params: Array, x: Array) -> Array:
        slope: Array = (self.cdf(params, x) - x) / params
        return slope


def test_planted_bugs_are_rejected() -> None:
    """(continuous_bernoulli.2), (continuous_bernoulli.3), (continuous_bernoulli.5), (continuous_bernoulli.9)."""
    params, noise = np.array([[1.4, -0.5]]), np.array([[[0.3, 0.6]], [[0.8, 0.1]]])
    assert check_sampler(Q, params).ok
    assert not check_sampler(WithoutNormalizer(), params).ok
    assert not check_sampler(ProbabilityForMean(), params).ok
    assert not check_pullback(MirroredSlope().sample, params, noise).ok
