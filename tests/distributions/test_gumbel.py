"""The Gumbel distribution: hand-worked values, maxima, the Gumbel-max trick, and planted bugs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import special

from numvae.arrays import Array
from numvae.checks import check_pullback, check_sampler
from numvae.distributions.gumbel import Gumbel
from tests.distributions.family_proofs import integral, monte_carlo_kl_score

Q = Gumbel()


def test_sample_and_gradient_by_hand() -> None:
    """u = e^-1 is the location itself, u = e^-e one scale below   (gumbel.1), (gumbel.2)."""
    noise = np.exp(-np.array([1.0, math.e]))[:, None, None]
    z, pullback = Q.sample(np.array([[3.0, math.log(2)]]), noise)
    np.testing.assert_allclose(z.ravel(), [3, 1], rtol=1e-14)
    np.testing.assert_allclose(pullback(np.array([1.0, 10])[:, None, None])[0], [[11, -20]], rtol=1e-13)


def test_log_prob_and_gradient_by_hand() -> None:
    """The mode is the location; one scale below it the slope is e - 1   (gumbel.3), (gumbel.4)."""
    value, pullback = Q.log_prob(np.zeros((1, 2)), np.array([[0.0], [-1.0]]))
    np.testing.assert_allclose(value, [-1, 1 - math.e], rtol=1e-14)
    dparams, dvalue = pullback(np.array([0.0, 1.0]))
    np.testing.assert_allclose(dparams, [[1 - math.e, math.e - 2]], rtol=1e-14)
    np.testing.assert_allclose(dvalue.ravel(), [0, math.e - 1], rtol=1e-14)


@pytest.mark.parametrize(
    ("q", "p"),
    [((1.0, 0.0), (0.0, 0.0)), ((0.0, 1.0), (0.5, -0.5)), ((-2.0, -1.0), (1.0, 1.0)), ((3.0, 2.0), (0.0, 2.5))],
)
def test_kl_is_its_integral(q: tuple[float, float], p: tuple[float, float]) -> None:
    """Over the exponential variable T   (gumbel.5)."""

    def log_ratio(log_t: float) -> float:
        t, z = math.exp(log_t), q[0] - math.exp(q[1]) * log_t
        residual = (z - p[0]) * math.exp(-p[1])
        return t * math.exp(-t) * (log_t - t - q[1] + residual + math.exp(-residual) + p[1])

    kl = Q.kl(np.array([q]), np.array([p]))[0][0]
    assert kl == pytest.approx(integral(log_ratio, -60, 0) + integral(log_ratio, 0, 6), rel=1e-8)


def test_kl_by_hand_and_by_monte_carlo() -> None:
    """A move alone costs δ + e^-δ - 1; (gumbel.5), (gumbel.6)."""
    delta = np.array([-2.0, -1e-6, 0.0, 1e-6, 3.0])
    moved = np.stack([delta, np.zeros(5)], axis=-1)
    np.testing.assert_allclose(Q.kl(moved, np.zeros((1, 2)))[0], delta + np.expm1(-delta), rtol=1e-9)
    params, prior = np.array([[0.3, -0.4, 0.2, 0.1]]), np.array([[-0.2, 0.5, 0.0, 0.3]])
    assert abs(monte_carlo_kl_score(Q, params, prior, np.random.default_rng(0))) < 4


def test_mean_std_and_entropy_in_units_of_the_scale() -> None:
    """Euler's constant is -ψ(1), π²/6 is ψ'(1)   (gumbel.7), (gumbel.8)."""
    params = np.array([[2.0, math.log(3)]])
    assert -special.psi(1) == pytest.approx(np.euler_gamma, rel=1e-15)
    assert Q.mean(params)[0, 0] == pytest.approx(2 - 3 * special.psi(1), rel=1e-14)
    assert Q.std(params)[0, 0] == pytest.approx(3 * math.sqrt(special.polygamma(1, 1)), rel=1e-14)
    assert Q.entropy(params)[0] == pytest.approx(math.log(3) + 1 + np.euler_gamma, rel=1e-14)


def test_the_largest_of_many_is_the_same_law_moved() -> None:
    """F^n is F moved by scale log n   (gumbel.9); far below the location it is 0, without an overflow."""
    params, moved = np.array([[0.5, 0.7]]), np.array([[0.5 + math.exp(0.7) * math.log(10), 0.7]])
    z = np.linspace(-3, 9, 25)[:, None]
    np.testing.assert_allclose(Q.cdf(params, z) ** 10, Q.cdf(moved, z), rtol=1e-12)
    assert Q.cdf(params, np.array([[-1e6]]))[0, 0] == 0


def test_the_argmax_of_moved_gumbels_is_a_categorical_sample() -> None:
    """P(argmax = k) = softmax, within four standard errors   (gumbel.1)."""
    logits = np.array([[0.3, -1.0, 1.2]])
    z, _ = Q.sample(
        np.concatenate([logits, np.zeros((1, 3))], axis=-1), Q.noise(np.random.default_rng(0), (40_000, 1, 3))
    )
    share = np.bincount(z[:, 0].argmax(axis=-1)) / 40_000
    expected = special.softmax(logits[0])
    np.testing.assert_array_less(np.abs(share - expected), 4 * np.sqrt(expected * (1 - expected) / 40_000))


@pytest.mark.parametrize(("dtype", "lowest", "highest"), [(np.float32, -2.9, 16.7), (np.float64, -3.7, 36.8)])
def test_extremes_are_finite(dtype: Any, lowest: float, highest: float) -> None:
    """Noise 0 is half a step of the generator; the last level is one step below 1   (gumbel.1)."""
    noise = np.array([0.0, 1 - np.finfo(dtype).epsneg], dtype)[:, None, None]
    z, _ = Q.sample(np.zeros((1, 2), dtype), noise)
    assert lowest < z[0, 0, 0] < lowest + 0.2
    assert highest - 0.2 < z[1, 0, 0] < highest


class OfMinima(Gumbel):
    """The bug of the other Gumbel: -z, moved so that even the mean is right."""

    def sample(self, params: Array, noise: Array) -> Any:
        z, pullback = super().sample(params, noise)
        mean = self.mean(params)
        double = 2 * (mean - np.split(params, 2, axis=-1)[0])

        def mirrored(dz: Array) -> Any:
            turned = pullback(-dz)[0]
            rows = dz.sum(axis=0)
            return turned + np.concatenate([2 * rows, double * rows], axis=-1), None

        return 2 * mean - z, mirrored


class DigammaOfRatio(Gumbel):
    """The bug of ψ(ρ) for ψ(1 + ρ) in the gradient of the KL."""

    def kl(self, params: Array, prior_params: Array) -> Any:
        kl, pullback = super().kl(params, prior_params)
        return kl, lambda dkl: (pullback(dkl)[0] - dkl[:, None] * np.array([0.0, 1.0]), pullback(dkl)[1])


def test_planted_bugs_are_rejected() -> None:
    params = np.array([[0.5, -0.4]])
    assert check_pullback(OfMinima().sample, params, np.array([[[0.2]], [[0.7]]])).ok
    assert not check_sampler(OfMinima(), params).ok
    assert not check_pullback(DigammaOfRatio().kl, params, np.zeros((1, 2))).ok
