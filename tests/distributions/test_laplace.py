"""The Laplace distribution: hand-worked values, its corner, its tails, and planted bugs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.exponential import Exponential
from numvae.distributions.laplace import Laplace, standard_quantile
from numvae.distributions.noise import positive_level
from tests.distributions.family_proofs import integral

Q = Laplace()


def test_sample_by_hand() -> None:
    """The quartiles lie log 2 scales from the location   (laplace.1), (laplace.2), (laplace.3)."""
    z, pullback = Q.sample(np.array([[1.0, math.log(3)]]), np.array([0.25, 0.5, 0.75])[:, None, None])
    np.testing.assert_allclose(z.ravel(), [1 - 3 * math.log(2), 1, 1 + 3 * math.log(2)], rtol=1e-15)
    dparams, dnoise = pullback(np.array([1.0, 10.0, 100.0])[:, None, None])
    np.testing.assert_allclose(dparams, [[111, 99 * 3 * math.log(2)]])
    assert dnoise is None


def test_size_of_a_deviation_is_exponential() -> None:
    """|z - location| has the density of an exponential with rate 1 / scale, halved   (laplace.4)."""
    params, value = np.array([[0.7, -0.4]]), np.array([[[1.1]], [[0.2]], [[-3.0]]])
    expected = Exponential().log_prob(np.array([[0.4]]), np.abs(value - 0.7))[0] - math.log(2)
    np.testing.assert_allclose(Q.log_prob(params, value)[0], expected, rtol=1e-13)


def test_gradient_at_the_corner_is_the_middle_one() -> None:
    """(laplace.5)."""
    _, pullback = Q.log_prob(np.array([[0.5, 0.0]]), np.array([[0.5]]))
    dparams, dvalue = pullback(np.ones(1))
    np.testing.assert_array_equal(dparams, [[0, -1]])
    assert dvalue == 0


def test_kl_by_hand() -> None:
    """To the standard one: |location| + scale exp(-|location| / scale) - log_scale - 1   (laplace.6)."""
    location, scale = 1.7, 0.4
    kl, _ = Q.kl(np.array([[location, math.log(scale)]]), np.zeros((1, 2)))
    assert kl[0] == pytest.approx(location + scale * math.exp(-location / scale) - math.log(scale) - 1, rel=1e-14)


@pytest.mark.parametrize(("q", "p"), [((0.3, -1.2), (-0.4, 0.5)), ((2.0, 1.0), (2.0, -0.5)), ((-1.0, 0.3), (4.0, 0.3))])
def test_kl_is_its_integral(q: tuple[float, float], p: tuple[float, float]) -> None:
    """By adaptive quadrature over scipy's densities, in pieces between the two corners   (laplace.6)."""
    density, other = (stats.laplace(location, math.exp(log_scale)) for location, log_scale in (q, p))

    def integrand(z: float) -> float:
        return float(density.pdf(z) * (density.logpdf(z) - other.logpdf(z)))

    first, second = sorted((q[0], p[0]))
    pieces = [(-200, first), (first, second), (second, 200)]
    expected = sum(integral(integrand, *piece) for piece in pieces if piece[0] < piece[1])
    assert Q.kl(np.array([q]), np.array([p]))[0][0] == pytest.approx(expected, abs=1e-10)


def test_kl_keeps_its_digits_where_both_are_nearly_one() -> None:
    """ρ - 1 - log ρ ≈ ½ (log ρ)² and e^-t - 1 + t ≈ ½ t² for small differences   (laplace.6)."""
    kl, _ = Q.kl(np.array([[3e-6, 4e-6]]), np.zeros((1, 2)))
    assert kl[0] == pytest.approx(0.5 * (9e-12 + 16e-12), rel=1e-4)


def test_kl_has_no_corner_where_the_locations_meet() -> None:
    """(laplace.7)."""
    prior = np.array([[0.5, 0.0]])
    for location in (0.5 - 1e-9, 0.5, 0.5 + 1e-9):
        _, pullback = Q.kl(np.array([[location, -0.3]]), prior)
        np.testing.assert_allclose(pullback(np.ones(1))[0][0, 0], 0, atol=3e-9)


def test_moments_and_entropy_by_hand() -> None:
    """(laplace.8), (laplace.9), (laplace.10)."""
    params = np.array([[2.0, math.log(3)]])
    assert Q.mean(params) == 2
    assert Q.std(params) == pytest.approx(3 * math.sqrt(2))
    assert Q.entropy(params)[0] == pytest.approx(math.log(6 * math.e))
    assert Q.cdf(params, np.array([[2.0]])) == 0.5


def test_both_tails_keep_their_digits() -> None:
    """(laplace.2), (laplace.10)."""
    params = np.zeros((1, 2))
    for level in (1e-300, 1e-12, 0.3):
        assert Q.quantile(params, np.array([[level]]))[0, 0] == pytest.approx(math.log(2 * level), rel=1e-15)
    for level in (1e-300, 1e-12, 0.3):
        assert Q.cdf(params, np.array([[math.log(2 * level)]]))[0, 0] == pytest.approx(level, rel=1e-12)
    assert Q.quantile(params, np.array([[1 - 2**-40]]))[0, 0] == pytest.approx(39 * math.log(2), rel=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_of_exactly_zero_lies_just_beyond_the_smallest_other(dtype: Any) -> None:
    """Not at minus infinity, nor where the smallest floating-point number would put it   (laplace.2)."""
    step = np.finfo(dtype).epsneg
    zero, smallest, largest = standard_quantile(positive_level(np.array([0, step, 1 - step], dtype)))
    assert zero == pytest.approx(smallest - math.log(2), rel=1e-6)
    assert smallest == pytest.approx(-largest, rel=1e-6)
    assert zero.dtype == dtype


class Smooth(Laplace):
    """The bug of a gradient that believes in squared errors."""

    def log_prob(self, params: Array, value: Array) -> Any:
        log_density, pullback = super().log_prob(params, value)
        location, _ = np.split(params, 2, axis=-1)

        def squared(d: Array) -> Any:
            dparams, dvalue = pullback(d)
            return dparams, dvalue * np.abs(value - location)

        return log_density, squared


class ScaleForStd(Laplace):
    """The bug of a scale that is taken for the standard deviation."""

    def sample(self, params: Array, noise: Array) -> Any:
        location, log_scale = np.split(params, 2, axis=-1)
        return super().sample(np.concatenate([location, log_scale - 0.5 * math.log(2)], axis=-1), noise)


class OneSided(Laplace):
    """The bug of a sign forgotten: samples lie below the location alone."""

    def sample(self, params: Array, noise: Array) -> Any:
        return super().sample(params, np.minimum(noise, 1 - noise))


def test_planted_bugs_are_rejected() -> None:
    params, value = np.array([[0.4, -0.5]]), np.array([[[0.3]], [[2.8]]])
    assert not check_pullback(Smooth().log_prob, params, value).ok
    assert check_pullback(ScaleForStd().sample, params, np.array([[[0.3]]])).ok  # a right gradient of the wrong law
    wide = np.array([[0.4, 0.1, -0.5, 0.3]])
    assert check_sampler(Q, wide).ok
    assert not check_sampler(ScaleForStd(), wide).ok
    assert not check_sampler(OneSided(), wide).ok
