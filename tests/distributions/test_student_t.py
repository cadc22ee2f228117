"""Student's t distribution: hand-worked values, its two limits, tails beyond numbers, and planted bugs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.broadcasting import thirds
from numvae.distributions.normal import Normal
from numvae.distributions.student_t import StudentT
from tests.distributions.family_proofs import integral

Q = StudentT()


def params_of(location: float, scale: float, dof: float, dtype: Any = np.float64) -> Array:
    """One row, one coordinate."""
    return np.array([[location, math.log(scale), math.log(dof)]], dtype)


def test_one_degree_of_freedom_is_cauchy() -> None:
    """(student_t.4), (student_t.9), (student_t.10)."""
    params, value = params_of(0.5, 2.0, 1.0), np.linspace(-30, 30, 7)[:, None, None]
    cauchy = stats.cauchy(0.5, 2.0)
    np.testing.assert_allclose(Q.log_prob(params, value)[0], cauchy.logpdf(value[..., 0]), rtol=1e-13)
    np.testing.assert_allclose(Q.cdf(params, value), cauchy.cdf(value), rtol=1e-12)
    assert Q.entropy(params)[0] == pytest.approx(math.log(8 * math.pi))


def test_many_degrees_of_freedom_are_normal() -> None:
    """(student_t.1), (student_t.3), (student_t.4), (student_t.6)."""
    params, normal = params_of(0.5, 2.0, 1e7), np.array([[0.5, math.log(2)]])
    noise = np.array([[[0.7, 0.2]], [[-1.3, 0.9]]])
    z, pullback = Q.sample(params, noise)
    expected, normal_pullback = Normal().sample(normal, noise[..., :1])
    np.testing.assert_allclose(z, expected, rtol=2e-3)
    np.testing.assert_allclose(pullback(z)[0][:, :2], normal_pullback(expected)[0], atol=1e-2)
    log_density, log_prob_pullback = Q.log_prob(params, z)
    expected_density, normal_pullback = Normal().log_prob(normal, z)
    np.testing.assert_allclose(log_density, expected_density, rtol=1e-6)
    np.testing.assert_allclose(log_prob_pullback(np.ones((2, 1)))[1], normal_pullback(np.ones((2, 1)))[1], rtol=1e-6)


def test_sample_by_hand() -> None:
    """ε = 1 and chi² at its level u: z = location + scale √(dof / chi²)   (student_t.1), (student_t.2)."""
    z, _ = Q.sample(params_of(3.0, 2.0, 5.0), np.array([[[1.0, 0.3]]]))
    assert z[0, 0, 0] == pytest.approx(3 + 2 * math.sqrt(5 / stats.chi2(5).ppf(0.3)), rel=1e-13)


@pytest.mark.parametrize("dof", [0.01, 0.3, 4.0, 1000.0])
def test_gradient_in_dof_is_that_of_the_quantile_of_chi_squared(dof: float) -> None:
    """At levels from 1e-12 to 1 - 1e-12, with both halves of the noise held   (student_t.3)."""
    levels = np.array([0.3, 0.99, 1 - 1e-12] if dof < 0.1 else [1e-12, 0.3, 0.99, 1 - 1e-12])
    noise = np.stack([np.full_like(levels, 0.8), levels], axis=-1)[:, None, :]

    def log_z(params: Array) -> Any:
        z, pullback = Q.sample(params, noise)
        return np.log(z), lambda d: (pullback(d / z)[0],)

    check_pullback(log_z, params_of(0.0, 1.5, dof)).assert_ok()


def test_an_outlier_pulls_less_the_further_out_it_lies() -> None:
    """The robust likelihood: d log p / d value is largest at √dof scales, and falls like 1 / r   (student_t.6)."""
    params, r = params_of(0.0, 1.0, 3.0), np.array([1.0, math.sqrt(3), 10.0, 1e6, 1e200])
    _, pullback = Q.log_prob(params, r[:, None, None])
    pull = -pullback(np.ones((5, 1)))[1].ravel()
    assert pull.argmax() == 1
    np.testing.assert_allclose(pull[-2:] * r[-2:], 4, rtol=1e-10)


def test_log_prob_where_squares_are_no_numbers() -> None:
    """A power law: minus (dof + 1) log r, up to a constant   (student_t.4), (student_t.5)."""
    params, r = params_of(0.0, 1.0, 0.5), np.array([1e40, 1e290])
    (near, far), pullback = Q.log_prob(params, r[:, None, None])
    assert (near - far)[0] == pytest.approx(1.5 * 250 * math.log(10), rel=1e-13)
    dparams, _ = pullback(np.array([[0.0], [1.0]]))
    rise = 0.5 * (special.psi(0.75) - special.psi(0.25)) - 1 + 1.5
    expected = 0.5 * (rise - 0.5 * math.log(2 * 1e290) - 0.5 * math.log(1e290))
    np.testing.assert_allclose(dparams, [[0, 0.5, expected]], rtol=1e-12, atol=1e-280)


def test_mean_and_std_where_they_do_not_exist() -> None:
    """(student_t.7), (student_t.8): std as scipy; no mean is nan here, and inf there."""
    for dof in (0.5, 1.5, 2.0, 2.5, 300.0):
        params, law = params_of(0.3, 2.0, dof), stats.t(dof, 0.3, 2.0)
        np.testing.assert_allclose(Q.std(params)[0, 0], law.std(), rtol=1e-12)
        assert Q.mean(params)[0, 0] == 0.3 if dof > 1 else np.isnan(Q.mean(params)[0, 0])


@pytest.mark.parametrize("dof", [0.05, 0.7, 3.0, 80.0, 1000.0])
def test_entropy_is_minus_the_expected_log_density(dof: float) -> None:
    """By adaptive quadrature over log r   (student_t.9)."""
    params = params_of(0.0, 1.7, dof)

    def integrand(log_r: float) -> float:
        log_density = float(Q.log_prob(params, np.array([[1.7 * math.exp(log_r)]]))[0][0])
        return -2 * math.exp(log_density + log_r) * 1.7 * log_density

    reach = min(40 / dof, 650.0)
    pieces = [(-45.0, 0.0), (0.0, 5.0), (5.0, 5.0 + reach)]
    assert Q.entropy(params)[0] == pytest.approx(sum(integral(integrand, *piece) for piece in pieces), abs=1e-9)


def test_cdf_in_the_tails() -> None:
    """Closed for one and two degrees of freedom, to digits that scipy's own has not   (student_t.10)."""
    for r in (1e-12, 1e-3, 1.0, 1e3, 1e99, 1e200):
        assert Q.cdf(params_of(0, 1, 1), np.array([[-r]]))[0, 0] == pytest.approx(math.atan2(1, r) / math.pi, rel=1e-12)
        root = math.hypot(math.sqrt(2), r)
        expected = 1 / (root * (root + r)) if r < 1e99 else 0.5 * r**-2.0
        assert Q.cdf(params_of(0, 1, 2), np.array([[-r]]))[0, 0] == pytest.approx(expected, rel=1e-12)
    value, law = 1e200, params_of(0, 1, 0.01)
    half = 0.005
    exact = 0.5 * math.exp(half * math.log(0.01) - 0.01 * math.log(value)) / (half * special.beta(half, 0.5))
    assert Q.cdf(law, np.array([[-value]]))[0, 0] == pytest.approx(exact, rel=1e-11)
    assert Q.cdf(law, np.array([[value]]))[0, 0] == pytest.approx(1 - exact, rel=1e-11)


@pytest.mark.parametrize("dof", [0.01, 0.3, 1.0, 30.0, 1000.0])
def test_quantile_inverts_the_cdf(dof: float) -> None:
    """From the far tail to next to the median   (student_t.10), (student_t.11)."""
    levels = np.array([1e-100, 1e-12, 0.01, 0.3, 0.5 - 1e-9, 0.5, 0.9])[:, None]
    params = params_of(0.0, 3.0, dof)
    z = Q.quantile(params, levels)
    inside = np.isfinite(z)
    assert np.all(z[~inside] == -np.inf)
    np.testing.assert_allclose(Q.cdf(params, z)[inside], levels[inside], rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dof", [1e-3, 0.01, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_extremes_are_finite(scale: float, dof: float, dtype: Any) -> None:
    """Whatever the noise, 0 and nearly 1 among it   (student_t.1), (student_t.5)."""
    params = params_of(7.0, scale, dof, dtype)
    levels = [0.0, 1e-30, 0.5, 1 - float(np.finfo(dtype).epsneg)]
    noise = np.array([[[normal, level]] for normal in (-8.0, 0.0, 8.0) for level in levels], dtype)
    z, pullback = Q.sample(params, noise)
    log_density, log_prob_pullback = Q.log_prob(params, z)
    found = (z, pullback(np.ones_like(z))[0], log_density, *log_prob_pullback(np.ones_like(log_density)))
    for array in found:
        assert array.dtype == dtype
        assert np.isfinite(array).all()


def test_noise_of_exactly_zero_is_no_absurd_outlier() -> None:
    """In single precision it is drawn once in 17 million: with 4 degrees of freedom that is some 80 scales out

    (student_t.2).
    """
    z, _ = Q.sample(params_of(0, 1, 4, np.float32), np.array([[[1.0, 0.0]]], np.float32))
    assert z[0, 0, 0] == pytest.approx(math.sqrt(4 / stats.chi2(4).ppf(2.0**-25)), rel=1e-5)


def test_a_length_that_is_no_multiple_of_three_is_refused() -> None:
    with pytest.raises(ValueError, match="reshape"):
        Q.mean(np.zeros((4, 4)))
    assert [part.tolist() for part in thirds(np.arange(6.0))] == [[0, 1], [2, 3], [4, 5]]


class WithoutDof(StudentT):
    """The bug of a gradient that stops at chi²."""

    def sample(self, params: Array, noise: Array) -> Any:
        z, pullback = super().sample(params, noise)
        kept = np.repeat([1.0, 1.0, 0.0], params.shape[-1] // 3)
        return z, lambda dz: (pullback(dz)[0] * kept, None)


class SharedChi(StudentT):
    """The bug of one chi² for all coordinates: a multivariate t, whose density is another."""

    def sample(self, params: Array, noise: Array) -> Any:
        normal, uniform = np.split(noise, 2, axis=-1)
        shared = np.broadcast_to(uniform[..., :1], uniform.shape)
        return super().sample(params, np.concatenate([normal, shared], axis=-1))


class NotDivided(StudentT):
    """The bug of chi² not divided by its degrees of freedom."""

    def sample(self, params: Array, noise: Array) -> Any:
        location, log_scale, log_dof = thirds(params)
        return super().sample(np.concatenate([location, log_scale - 0.5 * log_dof, log_dof], axis=-1), noise)


def test_planted_bugs_are_rejected() -> None:
    params = np.array([[0.4, -0.3, 0.1, 0.2, 1.8, 2.2]])
    noise = Q.noise(np.random.default_rng(1), (3, 1, 2))
    assert check_pullback(Q.sample, params, noise).ok
    assert not check_pullback(WithoutDof().sample, params, noise).ok
    assert check_sampler(Q, params).ok
    assert not check_sampler(NotDivided(), params).ok


def test_every_coordinate_has_a_chi_squared_of_its_own() -> None:
    """By their sizes: a shared chi² leaves values uncorrelated, and ``check_sampler`` blind   (student_t.1)."""
    params, noise = np.array([[0.0, 0.0, 0.0, 0.0, 1.2, 1.2]]), Q.noise(np.random.default_rng(2), (20_000, 1, 2))
    for family, hangs_together in ((Q, False), (SharedChi(), True)):
        sizes = np.log(np.abs(family.sample(params, noise)[0][:, 0]))
        assert (abs(np.corrcoef(sizes.T)[0, 1]) > 5 / math.sqrt(20_000)) == hangs_together
