"""The linear model: its evidence and posterior against plain conditioning, and a VAE that learns the posterior."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from numvae import Normal, elbo_monte_carlo
from numvae.arrays import Array
from numvae.distributions.multivariate_normal import MultivariateNormal
from numvae.errors import InputError
from numvae.exact_models import LinearGaussian, cholesky_params, corner_noise
from tests.exact_models.ascent import ascend

RNG = np.random.default_rng(7)
W, B = RNG.standard_normal((3, 5)), RNG.standard_normal(5)
MODELS = {
    "one noise": LinearGaussian(W, B, alpha=0.6, beta=2.5),
    "a noise for each feature": LinearGaussian(W, B, alpha=1.7, beta=np.array([0.2, 1.0, 5.0, 2.0, 30.0])),
    "more latents than features": LinearGaussian(W.T, np.array([1.0, -2.0, 0.0]), alpha=0.3, beta=4.0),
    "f(z) = z": LinearGaussian(np.eye(3), np.zeros(3), alpha=2.0, beta=3.0),
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


@every_model
def test_evidence_is_the_density_of_a_normal(model: LinearGaussian) -> None:
    """(linear_gaussian.4) in Z dimensions against scipy in D, with the covariance (linear_gaussian.5)."""
    _, x = model.draw(np.random.default_rng(0), 50)
    truth = stats.multivariate_normal(model.b, model.covariance).logpdf(x)
    np.testing.assert_allclose(model.evidence(x), truth, rtol=1e-11)


@every_model
def test_posterior_is_the_joint_normal_conditioned_on_x(model: LinearGaussian) -> None:
    """(linear_gaussian.2), (linear_gaussian.3) against the textbook's other form, through the covariance of x."""
    _, x = model.draw(np.random.default_rng(0), 10)
    cross = model.W / model.alpha  # Cov(z, x)
    gain = np.linalg.solve(model.covariance, cross.T)
    np.testing.assert_allclose(model.posterior_mean(x), (x - model.b) @ gain, atol=1e-11)
    covariance = np.eye(len(cross)) / model.alpha - cross @ gain
    np.testing.assert_allclose(np.linalg.inv(model.precision), covariance, atol=1e-12)
    params = cholesky_params(model.posterior_mean(x), covariance)
    np.testing.assert_allclose(MultivariateNormal().mean(params), model.posterior_mean(x))
    np.testing.assert_allclose(MultivariateNormal().covariance(params[0]), covariance, atol=1e-13)


def test_identity_by_hand() -> None:
    """f(z) = z: a precision-weighted mean β x / (α + β), variance 1 / (α + β)   (linear_gaussian.2)."""
    params = MODELS["f(z) = z"].posterior_params(np.array([[5.0, 0.0, -10.0]]))
    np.testing.assert_allclose(params, [[3.0, 0.0, -6.0, *[-0.5 * np.log(5)] * 3]], atol=1e-15)


def test_drawn_data_has_the_covariance() -> None:
    """(linear_gaussian.1), (linear_gaussian.5)."""
    model = MODELS["a noise for each feature"]
    _, x = model.draw(np.random.default_rng(0), 200_000)
    scale = np.sqrt(np.diag(model.covariance))
    np.testing.assert_allclose((np.cov(x.T) - model.covariance) / np.outer(scale, scale), 0, atol=0.01)


def test_erratum_003_9_a_number_added_to_a_matrix() -> None:
    """Printed: (α + β WᵀW)⁻¹, which adds α to every entry; right: α I   (linear_gaussian.2)."""
    model = MODELS["one noise"]
    _, x = model.draw(np.random.default_rng(0), 1)
    gram = model.beta * model.W @ model.W.T
    as_printed, right = gram + model.alpha, gram + model.alpha * np.eye(3)

    def log_posterior(z: Array, precision: Array) -> Array:
        mean = (x - model.b) @ (model.beta * model.W.T) @ np.linalg.inv(precision)
        return stats.multivariate_normal(mean[0], np.linalg.inv(precision)).logpdf(z)

    z = np.random.default_rng(1).standard_normal((6, 3))
    log_joint = stats.norm(0, model.alpha**-0.5).logpdf(z).sum(axis=-1)
    log_joint += stats.norm(z @ model.W + model.b, model.beta**-0.5).logpdf(x).sum(axis=-1)
    np.testing.assert_allclose(log_joint - log_posterior(z, right), model.evidence(x).item(), rtol=1e-10)
    assert np.ptp(log_joint - log_posterior(z, as_printed)) > 0.1


def test_corners_are_exact() -> None:
    """The mean over noise of ±1 is the expectation of the bound of a linear model   (linear_gaussian.7)."""
    exact = MODELS["one noise"]
    model, theta = exact.vae(), exact.theta.copy()
    model.layout.views(theta)["encoder"][...] += 0.1 * np.random.default_rng(0).standard_normal(6 * 9)
    _, x = exact.draw(np.random.default_rng(1), 4)
    gap, _ = MultivariateNormal().kl(model.encode(theta, x), exact.posterior_params(x))
    bound, _ = elbo_monte_carlo(model, theta, x, corner_noise(3, 4))
    np.testing.assert_allclose(bound, exact.evidence(x) - gap, rtol=1e-12)


@pytest.mark.parametrize("name", ["one noise", "f(z) = z"])
def test_a_linear_encoder_learns_the_posterior(name: str) -> None:
    """From zero, the decoder held; ELBO = log p(x) on unseen data   (linear_gaussian.3), (linear_gaussian.6)."""
    exact = MODELS[name]
    model, rng = exact.vae(), np.random.default_rng(0)
    _, x = exact.draw(rng, 50)
    start = exact.theta.copy()
    model.layout.views(start)["encoder"][...] = 0
    moving = np.zeros_like(start)
    model.layout.views(moving)["encoder"][...] = 1
    noise = corner_noise(model.latents, len(x))
    theta = ascend(lambda theta: elbo_monte_carlo(model, theta, x, noise), start, steps=1500, moving=moving)
    np.testing.assert_allclose(theta, exact.theta, atol=1e-4)
    _, unseen = exact.draw(rng, 10)
    bound, _ = elbo_monte_carlo(model, theta, unseen, corner_noise(model.latents, 10))
    np.testing.assert_allclose(bound, exact.evidence(unseen), atol=1e-6)


def test_the_posterior_family_follows_the_rows_of_W() -> None:
    assert LinearGaussian(np.array([[1.0, 1.0], [2.0, -2.0]]), np.zeros(2)).posterior == Normal()
    assert LinearGaussian(np.array([[1.0, 1.0], [2.0, -1.0]]), np.zeros(2)).posterior == MultivariateNormal()


def test_extreme_precisions_keep_their_digits() -> None:
    """In one dimension the evidence is that of a normal of variance W²/α + 1/β."""
    x = np.array([[3.0]])
    for alpha, beta in ((1e-6, 1e6), (1e6, 1e-6), (1e8, 1e8), (1e-8, 1e-8)):
        model = LinearGaussian(np.array([[2.0]]), np.array([1.0]), alpha, beta)
        truth = stats.norm(1.0, (4 / alpha + 1 / beta) ** 0.5).logpdf(x[:, 0])
        np.testing.assert_allclose(model.evidence(x), truth, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: LinearGaussian(W, np.zeros(3)), r"W must be \(Z, D\)", id="b of Z"),
        pytest.param(lambda: LinearGaussian(B, B), r"W must be \(Z, D\)", id="W of one axis"),
        pytest.param(lambda: LinearGaussian(W, B, beta=np.ones(3)), "one for each feature", id="beta of Z"),
        pytest.param(lambda: LinearGaussian(W, B, alpha=0.0), "alpha must be positive", id="alpha of 0"),
        pytest.param(
            lambda: LinearGaussian(W, B, beta=np.array([1, 1, 1, 1, -1.0])), "beta must be", id="beta below 0"
        ),
    ],
)
def test_what_does_not_go_together_is_refused(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]
