"""The third proof: estimators have the right expectation, coordinate by coordinate, and the variance theory says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae import Normal, elbo, mlp_vae, pathwise, sample_mean, score_function
from numvae.arrays import Array, Pullback
from numvae.checks import check_same_expectation, check_unbiased
from tests.cases import ESTIMATIONS, Estimation, log_ratio
from tests.oracles import for_all_rows, gradient_of, noise_nodes

every_estimation = pytest.mark.parametrize("e", ESTIMATIONS, ids=lambda e: e.id)

PARAMS = np.array([[0.3, -0.2]])
TARGET = np.array([[-0.4, 0.3]])
NODES = {1: 40, 2: 40, 3: 24}


@every_estimation
def test_expected_gradient_is_exact_by_quadrature(e: Estimation) -> None:
    """Σ w ∇(node), over nodes in the place of noise, is the gradient of Σ w bound(node) by finite differences."""
    np.testing.assert_allclose(expected_gradient(e.estimator, e.reduce, e.samples), truth(e), atol=2e-7)


def expected_gradient(estimator: Any, reduce: Any, samples: int) -> Array:
    """What an estimator of E_q[reduce log_ratio] gives on average: [dmean, dlog_std | dtarget]."""
    noise, weights = noise_nodes(samples, 1, NODES[samples])
    params, target = for_all_rows(PARAMS, len(weights)), for_all_rows(TARGET, len(weights))
    _, pullback = estimator(Normal(), params, noise, log_ratio(target), reduce)
    return np.concatenate([gradient.sum(axis=0) for gradient in pullback(weights)])


def truth(e: Estimation) -> Array:
    """The same from the bound's values alone."""
    noise, weights = noise_nodes(e.samples, 1, NODES[e.samples])

    def expected_bound(point: Array) -> float:
        params, target = (for_all_rows(half[None], len(weights)) for half in np.split(point, 2))
        z = Normal().sample(params, noise)[0]
        return float(weights @ e.reduce(log_ratio(target)(params, z)[0])[0])

    return gradient_of(expected_bound, np.concatenate([PARAMS[0], TARGET[0]]))


def draws(e: Estimation, rng: np.random.Generator, repeats: int = 20_000) -> Array:
    """Independent estimates of the same gradient, one per row: [dmean, dlog_std | dtarget]."""
    params, target = for_all_rows(PARAMS, repeats), for_all_rows(TARGET, repeats)
    noise = Normal().noise(rng, (e.samples, repeats, 1))
    _, pullback = e.estimator(Normal(), params, noise, log_ratio(target), e.reduce)
    return np.concatenate(pullback(np.ones(repeats)), axis=-1)


@every_estimation
def test_no_bias_is_seen_in_many_draws(e: Estimation) -> None:
    """Each coordinate by itself: biases that cancel in the mean over coordinates do not hide."""
    check_unbiased(draws(e, np.random.default_rng(0)), truth(e), name=e.name).assert_ok()


def squared_distance(k: float) -> Any:
    """f(z) = (z - k)², which knows nothing of params: the worked example of variance closed forms."""

    def f(params: Array, z: Array) -> tuple[Array, Pullback]:
        return np.sum((z - k) ** 2, axis=-1), lambda dvalues: (0.0, 2 * dvalues[..., None] * (z - k), None)

    return f


@pytest.mark.parametrize(("a", "std"), [(4.0, 1.0), (1.0, 1.0), (-0.7, 0.6), (0.0, 2.0)])
def test_variances_are_their_divergences(a: float, std: float) -> None:
    """For f = (z - k)² and a = mean - k   (pathwise.2), (score_function.2).

    Our parameter is log_std, so that the column of std is multiplied by std².
    """
    score = [a**4 / std**2 + 14 * a**2 + 15 * std**2, (2 * a**4 / std**2 + 60 * a**2 + 74 * std**2) * std**2]
    np.testing.assert_allclose(variances(score_function, a, std), score, rtol=1e-11)
    path = [4 * std**2, (4 * a**2 + 8 * std**2) * std**2]
    np.testing.assert_allclose(variances(pathwise, a, std), path, rtol=1e-11)


def variances(estimator: Any, a: float, std: float, samples: int = 1) -> Array:
    """Of the gradients in mean and log_std, by quadrature: exact, for they are polynomials of the noise."""
    noise, weights = noise_nodes(samples, 1, count=12)
    params = for_all_rows(np.array([[a, np.log(std)]]), len(weights))
    _, pullback = estimator(Normal(), params, noise, squared_distance(0.0), sample_mean)
    dparams, _ = pullback(np.ones(len(weights)))
    mean = weights @ dparams
    np.testing.assert_allclose(mean, [2 * a, 2 * std**2], atol=1e-10)
    return weights @ (dparams - mean) ** 2


def test_the_score_function_pays_a_hundredfold_far_from_the_optimum() -> None:
    """Mean and std both 1, k = -3: 495 against 4, that is 124 times the variance   (score_function.2)."""
    np.testing.assert_allclose(variances(score_function, 4.0, 1.0), [495, 1546], rtol=1e-11)
    np.testing.assert_allclose(variances(pathwise, 4.0, 1.0), [4, 72], rtol=1e-11)


def test_independent_samples_divide_the_variance() -> None:
    """(pathwise.2)."""
    np.testing.assert_allclose(variances(pathwise, 1.5, 0.8, samples=2), variances(pathwise, 1.5, 0.8) / 2, rtol=1e-11)


def test_leave_one_out_baseline_saves_more_than_two_samples_do() -> None:
    """(score_function.3)."""
    with_baseline, without = variances(score_function, 4.0, 1.0, samples=2), variances(score_function, 4.0, 1.0) / 2
    assert np.all(with_baseline < 0.6 * without)


def tiny_vae() -> tuple[Any, Array, Array]:
    """A VAE with one latent, its weights, and one image of four bits."""
    model = mlp_vae(4, latents=1, hidden=(3,))
    theta = 0.4 * np.random.default_rng(3).standard_normal(model.layout.size)
    return model, theta, np.array([[1.0, 0.0, 1.0, 1.0]])


def test_score_function_and_pathwise_agree_on_the_elbo_by_quadrature() -> None:
    """The same expected gradient for every single weight   (objectives.3)."""
    model, theta, x = tiny_vae()
    noise, weights = noise_nodes(1, 1, count=60)
    gradients = []
    for estimator in (pathwise, score_function):
        _, pullback = elbo(model, theta, for_all_rows(x, len(weights)), noise, estimator)
        gradients.append(pullback(weights)[0])
    np.testing.assert_allclose(gradients[1], gradients[0], atol=1e-9)


def test_score_function_and_pathwise_agree_on_the_elbo_in_many_draws() -> None:
    """As a trained model is checked, no truth at hand: the score function pays in variance   (objectives.3)."""
    model, theta, x = tiny_vae()

    def estimates(estimator: Any, samples: int) -> Any:
        def draw(rng: np.random.Generator) -> Array:
            _, pullback = elbo(model, theta, x, rng.standard_normal((samples, 1, 1)), estimator)
            return pullback(np.ones(1))[0]

        return draw

    report = check_same_expectation(
        estimates(score_function, 4), estimates(pathwise, 4), repeats=1500, names=("score_function", "pathwise")
    )
    report.assert_ok()
    assert report.variance_ratio > 1
