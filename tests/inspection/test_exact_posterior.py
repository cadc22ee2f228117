"""Posteriors on a grid against closed forms and importance weights; and what the grid says of itself."""

from __future__ import annotations

import numpy as np
import pytest

from numvae import VAE, Dense, FixedStdNormal, initial_theta, mlp_vae
from numvae.arrays import Array
from numvae.errors import InputError
from numvae.exact_models import LinearGaussian
from numvae.flows import PlanarFlow, mlp_flow_vae
from numvae.inspection import exact_posterior
from numvae.layers import tanh
from numvae.marginal_likelihood import importance_weighted_bounds
from numvae.networks import mlp
from tests.small_runs import DIGITS, MODEL

W, B = np.array([[1.0, 0.5, 0.0], [0.8, -0.2, 1.0]]), np.array([0.1, 0.0, -0.3])
LINEAR = {
    "wide": LinearGaussian(W, B, alpha=1.0, beta=0.1),
    "narrow": LinearGaussian(W, B, alpha=0.5, beta=1e4),
    "thin": LinearGaussian(W * [[1.0], [30.0]], B, alpha=2.0, beta=20.0),
}
BOX = ((-0.5, 0.5), (-0.5, 0.5))


@pytest.mark.parametrize("name", LINEAR)
def test_it_is_the_posterior_of_the_linear_model(name: str) -> None:
    """(exact_posterior.1), (exact_posterior.2): evidence, mean and covariance; the density at every node."""
    exact = LINEAR[name]
    _, x = exact.draw(np.random.default_rng(3), 3)
    covariance = np.linalg.inv(exact.precision)
    for found, evidence, mean in zip(
        exact_posterior(exact.vae(), exact.theta, x), exact.evidence(x), exact.posterior_mean(x), strict=True
    ):
        assert found.log_evidence == pytest.approx(evidence, abs=1e-8)
        assert found.error < 1e-5
        np.testing.assert_allclose(found.mean, mean, atol=1e-7)
        np.testing.assert_allclose(found.covariance, covariance, rtol=1e-6, atol=1e-12)
        away = found.nodes - mean
        squares = np.einsum("abi,ij,abj->ab", away, exact.precision, away)
        log_density = 0.5 * np.linalg.slogdet(exact.precision / (2 * np.pi))[1] - 0.5 * squares
        np.testing.assert_allclose(found.log_density, log_density, atol=1e-6)


def test_data_beyond_the_first_grid_are_found() -> None:
    """A posterior eight standard deviations of the prior away: the grid grows where mass reaches its border."""
    exact = LINEAR["narrow"]
    x = np.array([[11.0, -11.0]]) @ W + B
    (found,) = exact_posterior(exact.vae(), exact.theta, x)
    assert found.log_evidence == pytest.approx(exact.evidence(x).item(), abs=1e-6)
    assert found.error < 1e-5


@pytest.mark.parametrize(
    ("box", "points"),
    [
        (((-0.5, 0.5), (-0.5, 0.5)), 129),
        (((-8.0, 8.0), (-8.0, 8.0)), 9),
        (((-2.0, 2.0), (-8.0, 8.0)), 65),
        (((-3.0, 3.0), (-3.0, 3.0)), 33),
    ],
    ids=["much too small", "too coarse", "too narrow", "a little too small"],
)
def test_a_grid_that_does_not_do_says_so(box: object, points: int) -> None:
    """The negative controls of (exact_posterior.3): no smaller an error is stated than is made."""
    exact = LinearGaussian(np.eye(2), np.zeros(2), alpha=1.0, beta=0.5)
    x = np.array([[0.6, -0.3]])
    (found,) = exact_posterior(exact.vae(), exact.theta, x, points=points, box=box)  # type: ignore[arg-type]
    made = abs(found.log_evidence - exact.evidence(x).item())
    assert made > 1e-4
    assert found.error >= made


def folded() -> tuple[VAE, Array, Array]:
    """x = tanh(z_1 - 3) - tanh(z_1 + 3), an even function of z_1: two modes, and z_2 as the prior has it."""
    decoder = mlp([2, 2, 1], tanh)
    model = VAE(encoder=Dense(1, 4), decoder=decoder, latents=2, likelihood=FixedStdNormal(0.05))
    theta = np.zeros(model.layout.size)
    leaves = dict(model.layout.leaves(theta))
    leaves["decoder.1.W"][0] = 1
    leaves["decoder.1.b"][...] = -3, 3
    leaves["decoder.3.W"][:, 0] = 1, -1
    return model, theta, np.array([[-1.2]])


def test_two_modes_are_both_kept() -> None:
    """(exact_posterior.2): half of the mass on either side, none between."""
    (found,) = exact_posterior(*folded())
    left = found.nodes[..., 0] < 0
    assert found.expectation(left.astype(float)) == pytest.approx(0.5, abs=1e-3)
    assert found.expectation((np.abs(found.nodes[..., 0]) < 1).astype(float)) < 1e-6
    assert found.covariance[1, 1] == pytest.approx(1, rel=1e-3)
    assert found.covariance[0, 0] > 4


def test_log_p_is_that_of_importance_weights() -> None:
    """(exact_posterior.1) beside L_k on a network, in which nothing is known in closed form."""
    theta = 1.5 * initial_theta(MODEL.layout, rng=np.random.default_rng(0))
    x = (DIGITS.test[:4] > 127).astype(np.float64)
    bounds = importance_weighted_bounds(MODEL, theta, x, rng=np.random.default_rng(1), samples=20_000)
    grids = exact_posterior(MODEL, theta, x)
    assert max(found.error for found in grids) < 1e-4
    truth = np.array([found.log_evidence for found in grids])
    assert np.all(np.abs(bounds.best - truth) < 4 * bounds.monte_carlo_error + bounds.loss())
    assert np.all(bounds.monte_carlo_error < 0.1)


def test_a_flow_has_no_part_in_the_posterior() -> None:
    """The same decoder, with and without a flow."""
    plain = mlp_vae(3, latents=2, hidden=(4,))
    flow = mlp_flow_vae(3, PlanarFlow(latents=2, steps=1), hidden=(4,))
    theta = initial_theta(flow.layout, rng=np.random.default_rng(0))
    of_plain = np.zeros(plain.layout.size)
    plain.layout.views(of_plain)["decoder"][...] = flow.layout.views(theta)["decoder"]
    x = np.array([[1.0, 0.0, 1.0]])
    (a,), (b,) = exact_posterior(plain, of_plain, x), exact_posterior(flow, theta, x)
    assert a.log_evidence == pytest.approx(b.log_evidence, rel=1e-12)


def test_what_cannot_be_done_is_said() -> None:
    three = mlp_vae(3, latents=3, hidden=())
    with pytest.raises(InputError, match="2 latents on all of the plane, got a VAE of 3"):
        exact_posterior(three, np.zeros(three.layout.size), np.zeros((1, 3)))
    exact = LINEAR["wide"]
    for points in (128, 7):
        with pytest.raises(InputError, match="points must be odd"):
            exact_posterior(exact.vae(), exact.theta, np.zeros((1, 3)), points=points)
