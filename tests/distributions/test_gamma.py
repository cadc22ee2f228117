"""The gamma distribution: the three proofs, its implicit gradient over all shapes, and extreme parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.contract import least_positive
from numvae.distributions.exponential import Exponential
from numvae.distributions.gamma import BoostedGamma, Gamma, log_quantile, log_quantile_slope
from numvae.distributions.polygamma import tetragamma, trigamma
from tests.cases import Argument, logs
from tests.distributions.family_proofs import integral, monte_carlo_kl_score

Q = Gamma()
PARAMS = logs("B, 2*Z", -1.6, 2.3)
NOISE = Argument("S, B, Z", lambda rng, numbers, spread: rng.uniform(0.02, 0.98, numbers))
VALUES = Argument("S, B, Z", lambda rng, numbers, spread: np.exp(rng.uniform(-2.3, 2.3, numbers)))


# (shape, log x, ∂ log x / ∂ shape).  By mpmath with 60 digits: central differences of gammainc(shape, 0, x,
# regularized=True) with a relative step of 1e-20, divided by minus the density of log x.
SLOPES = [
    (0.01, -2763.6711423874613, 276311.02569295926),
    (0.01, -300.142258150006, 29958.13726921373),
    (0.01, -69.88374885060145, 6932.286339273277),
    (0.01, -5.695033657983274, 515.4574769460144),
    (0.01, 2.996664835723223, 4.941646510524196),
    (0.1, -276.80893557188386, 2763.8518063147276),
    (0.1, -30.456047148138257, 300.32292207728847),
    (0.1, -7.429656841018318, 70.10172894769552),
    (0.1, -0.5439772750956234, 9.419709035568648),
    (0.1, 3.115160523016924, 0.5803060354823016),
    (0.7, -39.60975544762231, 56.883290460708295),
    (0.7, -4.409340325834006, 6.65045350684868),
    (0.7, -0.8979014841136194, 2.2821880240358983),
    (0.7, 0.8682007303659455, 0.9132401394887676),
    (0.7, 3.272511629850642, 0.16982538783344633),
    (1.0, -27.63102111592805, 28.053805451040795),
    (1.0, -2.9701952490421646, 3.494700140333537),
    (1.0, -0.366512920581664, 1.3965934762369347),
    (1.0, 1.0971887003649483, 0.6465172338144781),
    (1.0, 3.3189398956562393, 0.14227196142042658),
    (3.0, -8.613041785694566, 3.289873061791645),
    (3.0, -0.20127021749474439, 0.6269842576986354),
    (3.0, 0.9835980340437613, 0.3729416165453624),
    (3.0, 1.839881731332614, 0.237659596100161),
    (3.0, 3.5279004456667207, 0.08206818952171187),
    (30.0, 1.753190805627965, 0.06837027313178735),
    (30.0, 3.0724145363440694, 0.03932987503622206),
    (30.0, 3.3900465461449882, 0.03370635004757089),
    (30.0, 3.677337406310285, 0.02910352554026291),
    (30.0, 4.45352768514408, 0.018916577250374676),
    (1000.0, 6.676376948018979, 0.001120332892482016),
    (1000.0, 6.854944886365594, 0.00102680870397416),
    (1000.0, 6.907421909847787, 0.0010003334049339134),
    (1000.0, 6.958996834209445, 0.0009747604563267657),
    (1000.0, 7.12195057913075, 0.0008968719738570022),
    (10000.0, 9.13912671170378, 0.00010360466742753568),
    (10000.0, 9.193813056293278, 0.00010083032252054423),
    (10000.0, 9.210307038284826, 0.00010000333340493784),
    (10000.0, 9.226710832981638, 9.918536327009956e-05),
    (10000.0, 9.279837712167279, 9.656698793385673e-05),
]


@pytest.mark.parametrize(("shape", "log_x", "slope"), SLOPES)
def test_implicit_gradient_is_that_of_60_digits(shape: float, log_x: float, slope: float) -> None:
    """Shapes from 1e-2 to 1e4, levels from 1e-12 to 1 - 1e-12, and x far below the smallest number

    (gamma.4), (gamma.5).
    """
    assert log_quantile_slope(np.array(shape), np.array(log_x)) == pytest.approx(slope, rel=2e-12)


@pytest.mark.parametrize("shape", [1e-2, 0.1, 0.5, 1.0, 2.0, 10.0, 100.0, 1e3, 1e4])
def test_implicit_gradient_is_the_derivative_of_the_quantile(shape: float) -> None:
    """By finite differences of log P⁻¹, over levels from 1e-12 to 1 - 1e-12, to 1e-6   (gamma.2), (gamma.3)."""
    levels = np.array([1e-12, 1e-6, 0.01, 0.3, 0.5, 0.8, 0.99, 1 - 1e-6, 1 - 1e-12])

    def log_of_quantile(log_shape: Array) -> Any:
        shapes = np.exp(log_shape)
        log_x = log_quantile(shapes, levels)
        return log_x, lambda d: (d * shapes * log_quantile_slope(shapes, log_x),)

    report = check_pullback(log_of_quantile, np.full(levels.shape, math.log(shape)), tolerance=1e-6)
    report.assert_ok()


def test_two_sides_of_the_slope_meet() -> None:
    """Below and above e^ψ(shape + 1) different integrals give the same   (gamma.4), (gamma.5)."""
    for shape in (0.02, 0.4, 1.0, 7.0, 3e3):
        border = special.psi(shape + 1)
        below, above = log_quantile_slope(np.array(shape), border + np.array([-1e-9, 1e-9]))
        assert below == pytest.approx(above, rel=1e-6)
        assert below != above


def test_slope_in_closed_form() -> None:
    """Shape 1, by scipy's exponential integral E₁   (gamma.4), (gamma.5)."""
    x = np.array([0.01, 0.3, 1.0, 4.0, 30.0])
    tail = np.exp(-x) * np.log(x) + special.exp1(x) + np.euler_gamma * np.exp(-x)  # ∫_x^∞ (log t - ψ(1)) e^-t dt
    np.testing.assert_allclose(log_quantile_slope(np.ones(5), np.log(x)), tail / (x * np.exp(-x)), rtol=1e-12)


def test_pathwise_gradient_is_that_of_the_expectation() -> None:
    """∂E[z²]/∂log_shape with E[z²] = shape (shape + 1) / rate², over the levels of the CDF   (gamma.2)."""
    shape, rate = 2.3, 1.7
    levels, weights = np.polynomial.legendre.leggauss(400)
    stretched = np.tanh(6 * levels) / 2 + 0.5  # denser towards 0 and 1
    weights = weights * 3 / np.cosh(6 * levels) ** 2
    z, pullback = Q.sample(np.log([[shape, rate]]), stretched[:, None, None])
    dparams = pullback(2 * z * weights[:, None, None])[0][0]
    expected = [shape * (2 * shape + 1) / rate**2, -2 * shape * (shape + 1) / rate**2]
    np.testing.assert_allclose(dparams, expected, rtol=2e-3)


def test_shape_one_is_the_exponential() -> None:
    """(gamma.1), (gamma.6)."""
    params, noise = np.array([[0.0, 0.4]]), np.linspace(0.01, 0.99, 9)[:, None, None]
    z, _ = Q.sample(params, noise)
    expected, _ = Exponential().sample(params[:, 1:], noise)
    np.testing.assert_allclose(z, expected, rtol=1e-13)
    np.testing.assert_allclose(Q.log_prob(params, z)[0], Exponential().log_prob(params[:, 1:], z)[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "rate"), [(0.01, 1.0), (0.05, 2.0), (0.3, 1e-3), (1.0, 1.0), (40.0, 1e3), (900.0, 3.0)]
)
def test_samples_follow_scipys_law(shape: float, rate: float) -> None:
    """(gamma.1)."""
    z, _ = Q.sample(np.log([[shape, rate]]), Q.noise(np.random.default_rng(5), (20_000, 1, 1)))
    assert stats.kstest(z.ravel(), stats.gamma(shape, scale=1 / rate).cdf).pvalue > 1e-3


def test_log_prob_is_scipys_over_wide_ranges() -> None:
    """Shapes from 1e-2 to 1e4, rates from 1e-3 to 1e3, values out to tails of 1e-12: relative to the largest term

    (gamma.6).
    """
    shape, rate = (array.ravel() for array in np.meshgrid(np.geomspace(1e-2, 1e4, 13), np.geomspace(1e-3, 1e3, 7)))
    law = stats.gamma(shape, scale=1 / rate)
    for level in (1e-12, 0.01, 0.5, 0.99, 1 - 1e-12):
        z = np.maximum(law.ppf(level), 1e-300)
        found, _ = Q.log_prob(np.log(np.stack([shape, rate], axis=-1)), z[:, None])
        np.testing.assert_allclose(found, law.logpdf(z), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("q", "p"),
    [((0.3, -0.2), (-0.5, 0.4)), ((2.0, 1.0), (1.0, 2.0)), ((-1.0, 0.0), (0.7, -1.0)), ((0.4, 0.1), (0.4, 0.1))],
)
def test_kl_is_its_integral(q: tuple[float, float], p: tuple[float, float]) -> None:
    """(gamma.8)."""
    density, other = (stats.gamma(math.exp(a), scale=math.exp(-b)) for a, b in (q, p))

    def integrand(log_z: float) -> float:
        z = math.exp(log_z)
        return float(density.pdf(z) * z * (density.logpdf(z) - other.logpdf(z)))

    kl = Q.kl(np.array([q]), np.array([p]))[0][0]
    assert kl == pytest.approx(integral(integrand, -150.0, -20.0) + integral(integrand, -20.0, 6.0), abs=1e-8)
    assert kl >= 0


def test_kl_is_its_monte_carlo_mean_and_zero_at_equality() -> None:
    """(gamma.8), (gamma.9)."""
    params, prior = np.array([[0.3, -0.4, 0.2, 0.5]]), np.array([[-0.2, 0.6, 0.0, -0.3]])
    assert abs(monte_carlo_kl_score(Q, params, prior, np.random.default_rng(0))) < 4
    kl, pullback = Q.kl(params, params)
    assert kl[0] == pytest.approx(0, abs=1e-15)
    np.testing.assert_allclose(pullback(np.ones(1))[0], 0, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("log_shape", [-10.0, -4.0, 0.0, 9.2, 20.0])
@pytest.mark.parametrize("log_rate", [-10.0, 0.0, 10.0])
def test_extremes_are_finite(log_shape: float, log_rate: float, dtype: Any) -> None:
    """Whatever the noise; a sample too small for a number is the smallest number, never 0   (gamma.3)."""
    params = np.array([[log_shape, log_rate]], dtype)
    noise = np.array([0.0, 1e-30, 1e-3, 0.5, 1 - np.finfo(dtype).epsneg], dtype)[:, None, None]
    z, pullback = Q.sample(params, noise)
    assert z.dtype == dtype
    assert np.all(z > 0)
    gradient = pullback(np.ones_like(z))[0]
    assert np.isfinite(z).all()
    assert np.isfinite(gradient).all()
    assert np.isfinite(Q.log_prob(params, z)[0]).all()


def test_a_sample_below_the_smallest_number_has_its_own_gradient() -> None:
    """d log z = (ψ(shape + 1) - log z) / shape, with the log z that z cannot show   (gamma.3), (gamma.4)."""
    params, noise = np.array([[math.log(0.01), 0.0]]), np.array([[[1e-6]]])
    z, pullback = Q.sample(params, noise)
    assert z[0, 0, 0] == least_positive(np.float64)
    slope = pullback(1 / z)[0][0, 0] / 0.01
    assert slope == pytest.approx(138155.92011331656, rel=1e-12)


def test_trigamma_and_tetragamma_are_scipys() -> None:
    """(gamma.13)."""
    shapes = np.geomspace(1e-4, 1e6, 200)
    np.testing.assert_allclose(trigamma(shapes), special.polygamma(1, shapes), rtol=1e-14)
    np.testing.assert_allclose(tetragamma(shapes), special.polygamma(2, shapes), rtol=1e-13)


# ---- the shape boost


def test_boosted_sample_by_hand() -> None:
    """Shape 1, rate 2: a sample of Gamma(2) times ¼, halved; -log ¼ in the gradient   (gamma.14), (gamma.15)."""
    y = special.gammaincinv(2, 0.3)
    params, noise = np.log([[1.0, 2.0]]), np.array([[[0.3, 0.75]]])
    z, pullback = BoostedGamma().sample(params, noise)
    assert z[0, 0, 0] == pytest.approx(y / 4 / 2)
    slope = log_quantile_slope(np.array(2.0), np.log(y)) + math.log(4)
    np.testing.assert_allclose(pullback(1 / z)[0], [[slope, -1]], rtol=1e-12)


def test_noise_is_twice_as_long() -> None:
    assert BoostedGamma().noise(np.random.default_rng(0), (5, 3, 2), np.float32).shape == (5, 3, 4)


@pytest.mark.parametrize("shape", [0.01, 0.1, 0.5, 0.9, 1.0, 20.0])
def test_boosted_samples_follow_the_same_law(shape: float) -> None:
    """(gamma.14)."""
    q, params = BoostedGamma(), np.log([[shape, 2.0]])
    z, _ = q.sample(params, q.noise(np.random.default_rng(5), (50_000, 1, 1)))
    assert stats.kstest(z.ravel(), stats.gamma(shape, scale=0.5).cdf).pvalue > 1e-3


@pytest.mark.parametrize("shape", [0.05, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("x", [1e-3, 0.2, 1.5, 12.0])
def test_implicit_gradient_is_the_mean_of_the_boosted_one(shape: float, x: float) -> None:
    """Given x, y is x and an exponential wait more: the mean by the trapezoid rule in log wait

    (gamma.15), (gamma.15c).
    """
    log_wait = np.linspace(-40, 5, 2001)
    wait = np.exp(log_wait)
    boosted = log_quantile_slope(np.full_like(wait, shape + 1), np.log(x + wait)) + np.log1p(wait / x) / shape
    mean = np.sum(boosted * np.exp(-wait) * wait) * (log_wait[1] - log_wait[0])
    assert mean == pytest.approx(float(log_quantile_slope(np.array(shape), np.log(np.array(x)))), rel=1e-9)


@pytest.mark.parametrize("shape", [0.1, 0.5, 2.0])
def test_boosted_gradient_has_the_same_mean_and_a_larger_variance(shape: float) -> None:
    """∂E[z]/∂log_shape = shape and ∂E[log z]/∂log_shape = shape ψ'(shape), within four standard errors; both variances

    in the order of (gamma.15b).
    """
    count = 100_000
    params = np.repeat(np.log([[shape, 1.0]]), count, axis=0)
    variances = []
    for q in (Gamma(), BoostedGamma()):
        z, pullback = q.sample(params, q.noise(np.random.default_rng(0), (1, count, 1)))
        for cotangent, expected in ((np.ones_like(z), shape), (1 / z, shape * special.polygamma(1, shape))):
            gradient = pullback(cotangent)[0][:, 0]
            assert gradient.mean() == pytest.approx(expected, abs=4 * gradient.std() / math.sqrt(count))
            deviation = (gradient - gradient.mean()) ** 2
            variances.append((deviation.mean(), deviation.std() / math.sqrt(count)))
    for (implicit, error), (boosted, boosted_error) in zip(variances[:2], variances[2:], strict=True):
        assert boosted > implicit - 4 * math.hypot(error, boosted_error)
    (implicit, error), _, (boosted, boosted_error), _ = variances
    assert boosted > implicit + 10 * math.hypot(error, boosted_error)  # for E[z] it is plain to see


class WithoutThePower(BoostedGamma):
    """The bug of a boost that is taken for a constant of the shape."""

    def sample(self, params: Array, noise: Array) -> Any:
        z, _ = super().sample(params, noise)
        kept = np.array(noise)
        kept[..., kept.shape[-1] // 2 :] = 0.0
        boosted, pullback = super().sample(params, kept)
        return z, lambda dz: pullback(dz * z / boosted)


class PowerOfTheShape(BoostedGamma):
    """The bug of u^shape for u^(1 / shape), consistent within itself."""

    def sample(self, params: Array, noise: Array) -> Any:
        shape = np.exp(params[..., : params.shape[-1] // 2])
        uniform, power = np.split(noise, 2, axis=-1)
        return super().sample(params, np.concatenate([uniform, 1 - (1 - power) ** (shape**2)], axis=-1))


def test_planted_bugs_in_the_boost_are_rejected() -> None:
    params, noise = np.array([[-1.0, 0.2, 0.3, -0.4]]), np.random.default_rng(0).random((3, 1, 4))
    assert not check_pullback(WithoutThePower().sample, params, noise).ok
    assert not check_sampler(PowerOfTheShape(), params).ok
    assert check_sampler(BoostedGamma(), params).ok


class OnlyScaled(Gamma):
    """The bug of a gradient in the shape that moves the mean alone: right for no other moment."""

    def sample(self, params: Array, noise: Array) -> Any:
        z, _ = super().sample(params, noise)
        return z, lambda dz: (np.concatenate([(dz * z).sum(axis=0), -(dz * z).sum(axis=0)], axis=-1), None)


class RateForScale(Gamma):
    """The bug of a scale that is read as a rate (erratum 003-3 is of this kind)."""

    def sample(self, params: Array, noise: Array) -> Any:
        log_shape, log_rate = np.split(params, 2, axis=-1)
        return super().sample(np.concatenate([log_shape, -log_rate], axis=-1), noise)


def test_planted_bugs_are_rejected() -> None:
    params, noise = np.array([[0.4, -0.5]]), np.array([[[0.3]], [[0.8]]])
    assert not check_pullback(OnlyScaled().sample, params, noise).ok
    assert not check_sampler(RateForScale(), np.array([[0.4, 0.1, -0.5, 0.3]])).ok
