"""Bayesian logistic regression: exact by a grid, approximated by Laplace and by a learned normal q."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import integrate, special, stats

from numvae import Normal, elbo_monte_carlo, importance_weighted
from numvae.arrays import Array
from numvae.distributions.multivariate_normal import MultivariateNormal
from numvae.errors import InputError
from numvae.exact_models import BayesianLogisticRegression, cholesky_params
from numvae.exact_models.bayesian_logistic_regression import average_log_sigmoid
from tests.exact_models.ascent import ascend

RNG = np.random.default_rng(6)
MODEL = BayesianLogisticRegression(np.stack([RNG.standard_normal(12), np.ones(12)]) * [[2.0], [1.0]])
_, X = MODEL.draw(RNG, 3)


def log_joint(z: Array, x: Array) -> Array:
    """By scipy."""
    logits = (2 * x - 1) * (z @ MODEL.W)
    return special.log_expit(logits).sum(axis=-1) + stats.norm.logpdf(z).sum(axis=-1)


def test_evidence_is_the_integral() -> None:
    """(bayesian_logistic_regression.1), (bayesian_logistic_regression.2), by a plain grid over the prior."""
    step = 0.04
    axis = np.arange(-9, 9, step)
    z = np.stack(np.meshgrid(axis, axis), axis=-1)
    for row, evidence in zip(X, MODEL.evidence(X), strict=True):
        integral = step * step * np.exp(log_joint(z, row)).sum()
        assert evidence == pytest.approx(np.log(integral), rel=1e-11)


def test_evidences_of_all_labels_add_up_to_one() -> None:
    """(bayesian_logistic_regression.2), for cases from hardly informative to separable."""
    labels = np.array(np.meshgrid(*[[0.0, 1.0]] * 3)).reshape(3, -1).T
    for scale in (0.01, 1.0, 8.0):
        model = BayesianLogisticRegression(scale * RNG.standard_normal((2, 3)))
        assert np.exp(model.evidence(labels)).sum() == pytest.approx(1, rel=1e-12)


def test_one_case_without_a_bias_is_a_coin() -> None:
    """By symmetry log 1/2, however informative   (bayesian_logistic_regression.2)."""
    for scale in (0.1, 6.0, 40.0):
        model = BayesianLogisticRegression(np.array([[scale]]))
        assert model.evidence(np.array([[1.0]])).item() == pytest.approx(np.log(0.5), rel=1e-12)


def test_moments_are_those_of_importance_samples() -> None:
    """To four standard errors, from the prior's draws weighted by the likelihood."""
    mean, covariance = MODEL.posterior_moments(X[:1])
    z = np.random.default_rng(0).standard_normal((400_000, 2))
    weights = np.exp(special.log_expit((2 * X[0] - 1) * (z @ MODEL.W)).sum(axis=-1))
    weights /= weights.sum()
    error = np.sqrt(np.sum(weights[:, None] ** 2 * (z - mean[0]) ** 2, axis=0))
    assert np.all(np.abs(weights @ z - mean[0]) < 4 * error)
    centred = z - mean[0]
    products = centred[:, :, None] * centred[:, None, :]
    error = np.sqrt(np.tensordot(weights**2, (products - covariance[0]) ** 2, axes=1))
    assert np.all(np.abs(np.tensordot(weights, products, axes=1) - covariance[0]) < 4 * error)


def test_laplace_sits_at_the_mode_with_its_curvature() -> None:
    """(bayesian_logistic_regression.3)."""
    params, log_evidence = MODEL.laplace(X)
    mean, covariance = MultivariateNormal().mean(params), MultivariateNormal().covariance(params)
    for row, mode, spread, value in zip(X, mean, covariance, log_evidence, strict=True):
        steps = 1e-4 * np.linalg.cholesky(spread).T
        slopes = [log_joint(mode + step, row) - log_joint(mode - step, row) for step in steps]
        np.testing.assert_allclose(slopes, 0, atol=1e-9)
        bends = [log_joint(mode + step, row) + log_joint(mode - step, row) - 2 * log_joint(mode, row) for step in steps]
        np.testing.assert_allclose(bends, -1e-8, rtol=1e-3)
        expected = log_joint(mode, row) + np.log(2 * np.pi) + 0.5 * np.linalg.slogdet(spread)[1]
        assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(log_evidence, MODEL.evidence(X), atol=0.3)


def test_laplace_gets_better_with_data() -> None:
    errors = []
    for cases in (20, 200):
        rng = np.random.default_rng(0)
        model = BayesianLogisticRegression(rng.standard_normal((2, cases)))
        _, x = model.draw(rng, 5)
        errors.append(np.abs(model.laplace(x)[1] - model.evidence(x)).mean())
    assert errors[0] > 2 * errors[1]


def test_the_mode_is_found_where_newton_overshoots() -> None:
    """Separable and far from flat: a full first step would leave the basin."""
    model = BayesianLogisticRegression(50 * np.array([[1.0, -0.9, 0.8], [0.1, 0.2, -0.1]]))
    x = np.array([[1.0, 0.0, 1.0]])
    mode = MultivariateNormal().mean(model.laplace(x)[0])
    _, pullback = model.cost(x[0])(mode, mode)
    np.testing.assert_allclose(pullback(np.ones(1))[1], 0, atol=1e-8)


def test_average_log_sigmoid_against_scipy() -> None:
    """(bayesian_logistic_regression.5)."""
    for centre, spread in ((0.0, 2.0), (-3.0, 0.01), (1.0, 30.0), (5.0, 1.0)):
        integral, _ = integrate.quad(
            lambda e, c=centre, s=spread: special.log_expit(c + s * e) * stats.norm.pdf(e),
            -12,
            12,
            epsabs=1e-13,
            limit=400,
        )
        ours = average_log_sigmoid(np.array([centre]), np.array([spread])).item()
        assert ours == pytest.approx(integral, rel=1e-9)


@pytest.mark.parametrize("posterior", [Normal(), MultivariateNormal()], ids=["diagonal", "full"])
def test_the_bound_is_the_mean_of_the_estimates(posterior: Any) -> None:
    """(bayesian_logistic_regression.4) against numvae's estimator A, to four standard errors; below the evidence."""
    params = MODEL.laplace(X[:1])[0][:, : posterior.params_size(2) if hasattr(posterior, "params_size") else 4]
    covariance = MultivariateNormal().covariance(np.concatenate([params, np.zeros((1, 5 - params.shape[1]))], axis=-1))
    bound = MODEL.bound(params[:, :2], covariance, X[:1])
    assert bound < MODEL.evidence(X[:1])

    repeats = 20_000
    model, theta = MODEL.vae(posterior), MODEL.theta_with(params[0], posterior)
    noise = np.random.default_rng(0).standard_normal((1, repeats, 2))
    draws, _ = elbo_monte_carlo(model, theta, np.repeat(X[:1], repeats, axis=0), noise)
    assert abs(draws.mean() - bound.item()) < 4 * draws.std() / repeats**0.5


def test_a_learned_normal_is_below_the_evidence_and_above_laplace() -> None:
    """Variational fits by the pathwise gradient: ELBO of a diagonal q < of a full q < L_5 < L_50 ≤ log p(x).

    And Laplace's normal is not the best one   (bayesian_logistic_regression.4).
    """
    x, rng = X[:1], np.random.default_rng(0)
    evidence, laplace = MODEL.evidence(x), MODEL.laplace(x)[0]
    bounds, many = {}, np.repeat(x, 50, axis=0)
    for posterior in (Normal(), MultivariateNormal()):
        model = MODEL.vae(posterior)
        size = model.encoder.layout.views(np.zeros(model.encoder.layout.size))["b"].size
        start = MODEL.theta_with(laplace[0, :size], posterior)
        moving = np.zeros_like(start)
        dict(model.layout.leaves(moving))["encoder.b"][...] = 1
        theta = ascend(
            lambda theta, model=model: elbo_monte_carlo(model, theta, many, rng.standard_normal((4, 50, 2))),
            start,
            steps=300,
            step_size=0.02,
            moving=moving,
        )
        params = np.concatenate([model.encode(theta, x), np.zeros((1, 5 - size))], axis=-1)
        bounds[size] = MODEL.bound(params[:, :2], MultivariateNormal().covariance(params), x).item()
    at_laplace = MODEL.bound(laplace[:, :2], MultivariateNormal().covariance(laplace), x).item()
    assert bounds[4] < bounds[5] < evidence.item()
    assert at_laplace < bounds[5]
    ladder = [bounds[5]]
    for k in (5, 50):
        draws, _ = importance_weighted(model, theta, np.repeat(x, 5000, axis=0), rng.standard_normal((k, 5000, 2)))
        ladder.append(draws.mean())
    assert ladder[0] < ladder[1] < ladder[2] < evidence.item() + 4 * draws.std() / 5000**0.5
    assert evidence.item() - ladder[2] < 0.5 * (evidence.item() - ladder[0])


def test_erratum_003_5_a_real_number_is_no_probability() -> None:
    """Printed: Π z^x (1 - z)^(1 - x) with z normal; right: σ(z) in the place of z   (bayesian_logistic_regression.1).

    As printed most z have no likelihood at all, or a negative one, and labels do not add up to one.
    """
    z = np.random.default_rng(0).standard_normal(100_000)
    assert np.mean((z < 0) | (z > 1)) > 0.6
    as_printed = [np.mean(z * z), np.mean(z * (1 - z)), np.mean((1 - z) ** 2)]  # both 1; one each; both 0
    assert as_printed[1] < 0
    labels = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    right = np.exp(BayesianLogisticRegression(np.ones((1, 2))).evidence(labels))
    assert np.all(right > 0)
    assert right.sum() == pytest.approx(1, rel=1e-12)


def test_a_grid_of_three_dimensions_is_refused() -> None:
    with pytest.raises(InputError, match="at most 2 latents, got 3"):
        BayesianLogisticRegression(np.ones((3, 2))).evidence(np.ones((1, 2)))
    with pytest.raises(InputError, match="a column for each case"):
        BayesianLogisticRegression(np.ones(3))


def test_params_from_a_covariance_and_back() -> None:
    mean, spread = RNG.standard_normal((2, 3)), RNG.standard_normal((2, 3, 3))
    covariance = spread @ np.swapaxes(spread, -1, -2) + np.eye(3)
    params = cholesky_params(mean, covariance)
    np.testing.assert_allclose(MultivariateNormal().mean(params), mean)
    np.testing.assert_allclose(MultivariateNormal().covariance(params), covariance)
