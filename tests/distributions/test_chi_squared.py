"""The chi-squared distribution: hand-worked values, squares of normals, its kin, and planted bugs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.chi_squared import ChiSquared
from numvae.distributions.contract import least_positive
from numvae.distributions.exponential import Exponential
from numvae.distributions.gamma import Gamma

Q = ChiSquared()
PARAMS = np.log([[3.0, 0.7]])


def as_gamma(params: Array) -> Array:
    """[log_shape | log_rate] of the same distribution: half the degrees of freedom, rate ½."""
    return np.concatenate([params - math.log(2), np.full_like(params, -math.log(2))], axis=-1)


def test_log_density_by_hand() -> None:
    """Two degrees of freedom: the density is e^(-z/2) / 2   (chi_squared.3)."""
    assert Q.log_prob(np.log([[2.0]]), np.array([[3.0]]))[0][0] == pytest.approx(-1.5 - math.log(2))


def test_squares_of_normals_follow_it() -> None:
    """(chi_squared.1), (chi_squared.9)."""
    squares = (np.random.default_rng(0).standard_normal((20_000, 3)) ** 2).sum(axis=-1)
    assert stats.kstest(squares, lambda z: Q.cdf(np.log([3.0]), z[:, None])[:, 0]).pvalue > 1e-3


def test_two_degrees_of_freedom_are_an_exponential() -> None:
    """Of rate ½   (chi_squared.1), (chi_squared.3), (chi_squared.8)."""
    two, rate, noise = np.log([[2.0]]), -np.log([[2.0]]), np.linspace(0.01, 0.99, 9)[:, None, None]
    z, _ = Q.sample(two, noise)
    np.testing.assert_allclose(z, Exponential().sample(rate, noise)[0], rtol=1e-13)
    np.testing.assert_allclose(Q.log_prob(two, z)[0], Exponential().log_prob(rate, z)[0], rtol=1e-13)
    np.testing.assert_allclose(Q.entropy(two), Exponential().entropy(rate), rtol=1e-13)


def test_it_is_a_gamma_in_every_number() -> None:
    """(chi_squared.1) to (chi_squared.9)."""
    prior, gamma, rng = np.log([[1.5, 4.0]]), as_gamma(PARAMS), np.random.default_rng(0)
    noise, dz = rng.random((5, 1, 2)), rng.standard_normal((5, 1, 2))
    (z, pullback), (expected, gamma_pullback) = Q.sample(PARAMS, noise), Gamma().sample(gamma, noise)
    np.testing.assert_allclose(z, expected, rtol=1e-13)
    np.testing.assert_allclose(pullback(dz)[0], gamma_pullback(dz)[0][:, :2], rtol=1e-12)
    for (value, d), (gamma_value, gamma_d) in [
        (Q.log_prob(PARAMS, z), Gamma().log_prob(gamma, z)),
        (Q.kl(PARAMS, prior), Gamma().kl(gamma, as_gamma(prior))),
    ]:
        np.testing.assert_allclose(value, gamma_value, rtol=1e-13)
        np.testing.assert_allclose(d(np.ones_like(value))[0], gamma_d(np.ones_like(value))[0][:, :2], rtol=1e-11)
    for name in ("mean", "std", "entropy"):
        np.testing.assert_allclose(getattr(Q, name)(PARAMS), getattr(Gamma(), name)(gamma), rtol=1e-13)
    np.testing.assert_allclose(Q.cdf(PARAMS, z), Gamma().cdf(gamma, z), rtol=1e-13)
    np.testing.assert_allclose(Q.quantile(PARAMS, noise), Gamma().quantile(gamma, noise), rtol=1e-13)


def test_pathwise_gradient_of_the_mean_is_the_degrees_of_freedom() -> None:
    """∂E[z]/∂log_dof = dof, by quadrature over the levels   (chi_squared.2), (chi_squared.7)."""
    points, weights = np.polynomial.legendre.leggauss(200)
    levels, weights = np.tanh(6 * points) / 2 + 0.5, weights * 3 / np.cosh(6 * points) ** 2
    z, pullback = Q.sample(np.log([[3.0]]), levels[:, None, None])
    assert pullback(np.ones_like(z) * weights[:, None, None])[0][0, 0] == pytest.approx(3, rel=2e-3)


def test_a_sample_below_the_smallest_number_has_its_own_gradient() -> None:
    """d log z = a D = ψ(a + 1) - log x with the log x that z cannot show, a = 0.01   (chi_squared.2)."""
    z, pullback = Q.sample(np.log([[0.02]]), np.array([[[1e-6]]]))
    assert z[0, 0, 0] == least_positive(np.float64)
    assert pullback(1 / z)[0][0, 0] == pytest.approx(1381.5592011331656, rel=1e-12)


class HalfForgotten(ChiSquared):
    """The bug of ∂half/∂log_dof taken for dof: every gradient twice as large."""

    def log_prob(self, params: Array, value: Array) -> Any:
        log_density, pullback = super().log_prob(params, value)
        return log_density, lambda d: (2 * pullback(d)[0], pullback(d)[1])


class NotHalved(ChiSquared):
    """The bug of the degrees of freedom taken for the shape, consistent within itself."""

    def sample(self, params: Array, noise: Array) -> Any:
        return super().sample(params + math.log(2), noise)


def test_planted_bugs_are_rejected() -> None:
    assert not check_pullback(HalfForgotten().log_prob, PARAMS, np.array([[0.4, 2.0]])).ok
    assert check_pullback(NotHalved().sample, PARAMS, np.full((2, 1, 2), 0.3)).ok
    assert not check_sampler(NotHalved(), PARAMS).ok
