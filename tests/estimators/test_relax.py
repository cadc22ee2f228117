"""RELAX: the network's share in the control variate, no variance for one coin, and below DisARM once it has learned."""

from __future__ import annotations

import numpy as np
import pytest

from numvae import sample_mean
from numvae.arena.costs import QuadraticForm
from numvae.arena.problems import DISCRETE, draw_gradients
from numvae.arrays import Array, Pullback
from numvae.checks import check_pullback
from numvae.errors import InputError
from numvae.estimators import draw_noise
from numvae.estimators.control_variates import ControlVariate
from numvae.estimators.rebar import Rebar
from numvae.estimators.relax import Relax
from tests.estimators.test_rebar import adapted, coin, variance

F = QuadraticForm((0.3, 0.8, -0.2))


def weights(relax: Relax, latents: int = 3) -> Array:
    """Anywhere."""
    rng = np.random.default_rng(6)
    eta = relax.start(np.zeros((1, latents)), np.zeros((1, latents)), latents, rng=rng)
    return eta + 0.5 * rng.standard_normal(eta.shape)


@pytest.mark.parametrize("hidden", [(4,), (5, 3)], ids=str)
def test_control_variate_and_its_slope_are_right_in_all_weights(hidden: tuple[int, ...]) -> None:
    """(relax.1), (relax.2), by finite differences."""
    relax = Relax(ControlVariate(hidden))
    z = np.random.default_rng(0).standard_normal((4, 2, 3))

    def rule(eta: Array) -> tuple[tuple[Array, Array], Pullback]:
        return relax.control(eta, F, np.zeros((2, 3)), z)

    check_pullback(rule, weights(relax)).assert_ok()


def test_slope_is_the_derivative_of_the_value() -> None:
    """(relax.1)."""
    eta = weights(Relax())

    def rule(z: Array) -> tuple[Array, Pullback]:
        (c, slope), _ = Relax().control(eta, F, np.zeros((2, 3)), z)
        return c, lambda dc: (dc[..., None] * slope,)

    check_pullback(rule, np.random.default_rng(0).standard_normal((4, 2, 3))).assert_ok()


def test_it_starts_as_rebar() -> None:
    problem = DISCRETE[1]
    relax = Relax(temperature=0.7, scale=0.6)
    eta = relax.start(problem.at(), problem.at(), problem.latents, rng=np.random.default_rng(0))
    noise = draw_noise(relax.at(eta), problem.q, np.random.default_rng(0), (2, 50, 3))
    both = [
        estimator(problem.q, problem.at(50), noise, problem.f, sample_mean)[1](np.ones(50))[0]
        for estimator in (relax.at(eta), Rebar(0.7, 0.6))
    ]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-13)


@pytest.mark.parametrize(("theta", "target"), [(0.3, 0.45), (0.5, 0.499), (0.9, -1.0)])
def test_one_coin_has_a_constant_without_variance(theta: float, target: float) -> None:
    """(relax.1) with r = (1 - theta) f(1) + theta f(0): each draw is the truth."""
    problem = coin(theta, target)
    eta = Relax(scale=0.0).start(problem.at(), problem.at(), 1, rng=np.random.default_rng(0))
    eta[-1] = (1 - theta) * (1 - target) ** 2 + theta * target**2
    gradients = draw_gradients(Relax().at(eta), problem, 100, rng=np.random.default_rng(0))
    np.testing.assert_allclose(gradients, np.tile(problem.truth(), (100, 1)), atol=1e-14)


@pytest.mark.parametrize(("theta", "target", "steps"), [(0.3, 0.45, 600), (0.3, 0.499, 2000)])
def test_it_learns_its_way_below_disarm(theta: float, target: float, steps: int) -> None:
    """The toy, against the closed variances Δ² p (½ - p) of RLOO and Δ² M² m (½ - m) of DisARM, two samples each."""
    problem = coin(theta, target)
    eta = adapted(Relax(), problem, steps)
    p, m, difference = theta * (1 - theta), min(theta, 1 - theta), (1 - target) ** 2 - target**2
    disarm, rloo = difference**2 * (1 - m) ** 2 * m * (0.5 - m), difference**2 * p * (0.5 - p)
    found = variance(Relax().at(eta), problem)
    assert found < disarm < rloo


def test_it_learns_on_coupled_coins() -> None:
    problem = DISCRETE[2]
    assert variance(Relax().at(adapted(Relax(), problem, 400)), problem) < 0.8 * variance(Rebar(), problem)


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match=r"temperature must be a number in \(0, inf\)"):
        Relax(temperature=0.0)
