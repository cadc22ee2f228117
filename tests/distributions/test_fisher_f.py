"""The F distribution: hand-worked values, its symmetry and its limit, the ends of its range, and planted bugs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.beta import Beta
from numvae.distributions.chi_squared import ChiSquared
from numvae.distributions.contract import greatest_positive, least_positive
from numvae.distributions.fisher_f import FisherF
from numvae.distributions.kl_table import has_closed_form

Q = FisherF()
PARAMS = np.log([[3.0, 5.0, 9.0, 6.0]])


def test_two_and_two_degrees_of_freedom_by_hand() -> None:
    """A ratio of two exponentials: P(z ≤ v) = v / (1 + v), density (1 + z)^-2, entropy 2

    (fisher_f.1), (fisher_f.3), (fisher_f.8), (fisher_f.9).
    """
    two, z = np.log([[2.0, 2.0]]), np.array([[0.25], [1.0], [7.0]])
    np.testing.assert_allclose(Q.log_prob(two, z)[0], -2 * np.log1p(z[:, 0]), rtol=1e-13)
    np.testing.assert_allclose(Q.cdf(two, z), z / (1 + z), rtol=1e-13)
    np.testing.assert_allclose(Q.quantile(two, z / (1 + z)), z, rtol=1e-13)
    assert Q.entropy(two)[0] == pytest.approx(2, rel=1e-13)
    sample, _ = Q.sample(two, np.array([[[1 - math.exp(-3), 1 - math.exp(-2)]]]))
    assert sample[0, 0, 0] == pytest.approx(1.5)


def test_sample_is_the_ratio_of_two_chi_squared_and_so_is_its_gradient() -> None:
    """(fisher_f.1), (fisher_f.2)."""
    noise = np.random.default_rng(0).random((5, 1, 4))
    (x, x_pullback), (y, y_pullback) = (
        ChiSquared().sample(PARAMS[:, i : i + 2], noise[..., i : i + 2]) for i in (0, 2)
    )
    dof_1, dof_2 = np.exp(PARAMS[:, :2]), np.exp(PARAMS[:, 2:])
    z, pullback = Q.sample(PARAMS, noise)
    np.testing.assert_allclose(z, (x / dof_1) / (y / dof_2), rtol=1e-12)
    dz = np.random.default_rng(1).standard_normal(z.shape)
    expected = np.concatenate(
        [x_pullback(dz * z / x)[0] - (dz * z).sum(axis=0), y_pullback(-dz * z / y)[0] + (dz * z).sum(axis=0)], axis=-1
    )
    np.testing.assert_allclose(pullback(dz)[0], expected, rtol=1e-11)


def test_the_inverse_has_the_degrees_of_freedom_exchanged() -> None:
    """log p(z; 1, 2) = log p(1/z; 2, 1) - 2 log z, out to where one of them is 1e200

    (fisher_f.3), (fisher_f.4), (fisher_f.9).
    """
    params, exchanged = np.log([[3.0, 0.4]]), np.log([[0.4, 3.0]])
    z = np.array([[1e-200], [1e-8], [0.5], [3.0], [1e9], [1e200]])
    jacobian = 2 * np.log(z[:, 0])
    np.testing.assert_allclose(Q.log_prob(params, z)[0], Q.log_prob(exchanged, 1 / z)[0] - jacobian, rtol=1e-12)
    np.testing.assert_allclose(Q.cdf(params, z[2:4]), 1 - Q.cdf(exchanged, 1 / z[2:4]), rtol=1e-12)


def test_it_is_the_odds_of_a_beta() -> None:
    """(fisher_f.3), (fisher_f.9)."""
    params = np.log([[3.0, 5.0]])
    share = np.array([[0.1], [0.5], [0.93]])
    z = share / (1 - share) * 5 / 3
    beta = params - math.log(2)
    np.testing.assert_allclose(Q.cdf(params, z), Beta().cdf(beta, share), rtol=1e-13)
    change = np.log(share * (1 - share) / z)[:, 0]
    np.testing.assert_allclose(Q.log_prob(params, z)[0], Beta().log_prob(beta, share)[0] + change, rtol=1e-12)


def test_many_degrees_of_freedom_below_leave_a_chi_squared() -> None:
    """(fisher_f.3)."""
    z = np.array([[0.2], [1.0], [4.0]])
    found = Q.log_prob(np.log([[3.0, 1e9]]), z)[0]
    expected = ChiSquared().log_prob(np.log([[3.0]]), 3 * z)[0] + math.log(3)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("dof_2", "mean", "std"),
    [(1.0, np.inf, np.inf), (2.0, np.inf, np.inf), (4.0, 2.0, np.inf), (6.0, 1.5, 2.291287847)],
)
def test_moments_are_infinite_where_the_tail_is_too_heavy(dof_2: float, mean: float, std: float) -> None:
    """(fisher_f.6), (fisher_f.7)."""
    params = np.log([[3.0, dof_2]])
    assert Q.mean(params)[0, 0] == pytest.approx(mean)
    assert Q.std(params)[0, 0] == pytest.approx(std)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_out_of_the_range_of_numbers_are_its_ends(dtype: Any) -> None:
    """And carry the gradient of their logarithm   (fisher_f.1), (fisher_f.2)."""
    params = np.log(np.full((1, 2), 0.002)).astype(dtype)
    noise = np.array([[[1e-4, 0.9999]], [[0.9999, 1e-4]]], dtype)
    z, pullback = Q.sample(params, noise)
    least = least_positive(dtype)
    np.testing.assert_allclose(z.ravel(), [least, greatest_positive(dtype)], rtol=1e-3)
    repeated = np.repeat(params, 2, axis=0)
    z, pullback = Q.sample(repeated, noise.reshape(1, 2, 2))
    dlog_dof_1 = pullback(1 / z)[0][:, 0]
    assert dlog_dof_1[0] == pytest.approx(-math.log(1e-4) * 1000, rel=1e-3)  # (ψ(1.001) - log x) - 1, far below
    assert np.isfinite(pullback(np.ones_like(z))[0]).all()


def test_it_has_no_closed_kl() -> None:
    assert not has_closed_form(Q, Q)


class WithoutDegrees(FisherF):
    """The bug of a ratio of gammas that are not divided by their shapes: a beta prime distribution."""

    def sample(self, params: Array, noise: Array) -> Any:
        z, _ = super().sample(params, noise)
        log_dof_1, log_dof_2 = np.split(params, 2, axis=-1)
        return z * np.exp(log_dof_1 - log_dof_2), None


class DegreesHeld(FisherF):
    """The bug of a gradient without the two -1."""

    def sample(self, params: Array, noise: Array) -> Any:
        z, pullback = super().sample(params, noise)
        return z, lambda dz: (pullback(dz)[0] + np.concatenate([dz * z, -dz * z], axis=-1).sum(axis=0), None)


class OneNoise(FisherF):
    """The bug of one noise for both parts."""

    def sample(self, params: Array, noise: Array) -> Any:
        half = noise.shape[-1] // 2
        return super().sample(params, np.tile(noise[..., :half], 2))


def test_planted_bugs_are_rejected() -> None:
    noise = np.random.default_rng(0).random((3, 1, 4))
    assert not check_sampler(WithoutDegrees(), PARAMS).ok
    assert not check_pullback(DegreesHeld().sample, PARAMS, noise).ok
    assert check_pullback(OneNoise().sample, PARAMS, noise).ok
    assert not check_sampler(OneNoise(), PARAMS).ok
