"""Bounds as reductions of the log weight of a path: on the smallest model there is, written out by hand."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae import elbo, elbo_monte_carlo, importance_weighted, log_mean_exp, sample_mean, score_function
from numvae.arrays import Array, Pullback
from numvae.checks import check_pullback, check_unbiased
from numvae.errors import InputError
from numvae.path_models import PathModel, path_bound
from tests.oracles import gradient_of, noise_nodes

HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)


@dataclass(frozen=True)
class OneNormal(PathModel):
    """z ~ N(0, 1),  x ~ N(z, 1),  q(z|x) = N(mean, std²) with theta = [mean, log_std]; its evidence is N(x; 0, 2)."""

    judged: bool = True
    """Whether the prior is in the weight."""

    @property
    def latents(self) -> int:
        return 1

    def weigh(self, theta: Array, x: Array, noise: Array) -> tuple[tuple[Array, Array], Pullback]:
        mean, log_std = theta
        step = np.exp(log_std) * noise[..., 0]
        z, of_data = mean + step, x[:, 0]
        log_likelihood = -0.5 * (of_data - z) ** 2 - HALF_LOG_2PI
        log_prior = self.judged * (-0.5 * z**2 - HALF_LOG_2PI)
        log_q = -0.5 * noise[..., 0] ** 2 - log_std - HALF_LOG_2PI

        def pullback(dvalues: Array) -> tuple[Array]:
            dz = dvalues * (of_data - z - self.judged * z)
            return (np.array([dz.sum(), (dz * step + dvalues).sum()]),)

        return (log_likelihood, log_prior - log_q), pullback


MODEL = OneNormal()
X = np.array([[1.0]])
POSTERIOR, OFF = np.array([0.5, -0.5 * np.log(2)]), np.array([-0.2, 0.3])
EVIDENCE = stats.norm.logpdf(1.0, 0, np.sqrt(2))


def noise_of(samples: int, rows: int) -> Array:
    return MODEL.draw_noise(None, np.random.default_rng(0), (samples, rows))


def estimates(model: PathModel, samples: int, repeats: int, reduce: Any) -> Array:
    """Independent bounds, each at a row of its own."""
    return path_bound(model, OFF, np.repeat(X, repeats, axis=0), noise_of(samples, repeats), reduce=reduce)[0]


def test_every_weight_of_the_posterior_is_the_evidence() -> None:
    """(path_models.1)."""
    log_likelihood, log_ratio = MODEL.log_weights(POSTERIOR, X, noise_of(5, 1))
    np.testing.assert_allclose(log_likelihood + log_ratio, EVIDENCE, rtol=1e-12)


def test_a_weight_is_right_on_average_and_one_without_the_prior_is_not() -> None:
    """E[w] = p(x) by quadrature   (path_models.1); the negative control has no weight, and a bound above log p(x)."""
    noise, weights = noise_nodes(1, 1)
    rows = np.repeat(X, noise.shape[1], axis=0)
    for model, right in ((MODEL, True), (OneNormal(judged=False), False)):
        log_likelihood, log_ratio = model.log_weights(OFF, rows, noise)
        log_w = (log_likelihood + log_ratio)[0]
        assert (abs(float(weights @ np.exp(log_w)) - np.exp(EVIDENCE)) < 1e-6) == right
        assert (float(weights @ log_w) < EVIDENCE) == right


@pytest.mark.parametrize("reduce", [sample_mean, log_mean_exp])
def test_a_bound_is_a_reduction_of_the_weights_and_so_is_its_gradient(reduce: Any) -> None:
    """(path_models.2)."""
    x, noise = np.array([[1.0], [-0.5], [2.0]]), noise_of(4, 3)

    def rule(theta: Array) -> tuple[Array, Pullback]:
        bound, pullback = path_bound(MODEL, theta, x, noise, reduce=reduce)
        assert pullback(np.ones(3))[1:] == (None, None)
        return bound, lambda dbound: pullback(dbound)[:1]

    np.testing.assert_array_equal(rule(OFF)[0], reduce(sum(MODEL.log_weights(OFF, x, noise)))[0])
    check_pullback(rule, OFF).assert_ok()


def test_the_bounds_are_in_order() -> None:
    """ELBO ≤ L_5 ≤ L_50 ≤ log p(x), each by four standard errors   (path_models.2)."""
    rows = 20_000
    bounds = [estimates(MODEL, 1, rows, sample_mean), *(estimates(MODEL, k, rows, log_mean_exp) for k in (5, 50))]
    errors = [bound.std() / rows**0.5 for bound in bounds]
    for (lower, upper), error in zip(pairwise([*(bound.mean() for bound in bounds), EVIDENCE]), errors, strict=True):
        assert upper - lower > 4 * error


@pytest.mark.parametrize(("samples", "reduce"), [(1, sample_mean), (2, log_mean_exp)], ids=["elbo", "two samples"])
def test_the_gradient_is_unbiased(samples: int, reduce: Any) -> None:
    """Against finite differences of the expectation by quadrature   (path_models.2)."""
    noise, weights = noise_nodes(samples, 1)
    rows = np.repeat(X, noise.shape[1], axis=0)

    def log_w(theta: Array) -> Array:
        q = stats.norm(theta[0], np.exp(theta[1]))
        z = q.mean() + q.std() * noise[..., 0]
        return np.asarray(stats.norm.logpdf(rows[:, 0], z) + stats.norm.logpdf(z) - q.logpdf(z))

    truth = gradient_of(lambda theta: float(weights @ reduce(log_w(theta))[0]), OFF)
    drawn = noise_of(samples, 4000)
    found = [path_bound(MODEL, OFF, X, drawn[:, [row]], reduce=reduce)[1](np.ones(1))[0] for row in range(4000)]
    check_unbiased(np.stack(found), truth).assert_ok()
    even = [  # the negative control: every sample given the same share, as the mean does and the logarithm does not
        MODEL.weigh(OFF, X, drawn[:, [row]])[1](np.full((samples, 1), 1 / samples))[0] for row in range(4000)
    ]
    assert check_unbiased(np.stack(even), truth).ok == (reduce is sample_mean)


@pytest.mark.parametrize(
    ("objective", "reduce"),
    [(elbo, sample_mean), (elbo_monte_carlo, sample_mean), (importance_weighted, log_mean_exp)],
)
def test_the_objectives_know_such_models(objective: Any, reduce: Any) -> None:
    """(path_models.2)."""
    noise = noise_of(3, 1)
    found, pullback = objective(MODEL, OFF, X, noise)
    bound, bound_pullback = path_bound(MODEL, OFF, X, noise, reduce=reduce)
    np.testing.assert_array_equal(found, bound)
    np.testing.assert_array_equal(pullback(np.ones(1))[0], bound_pullback(np.ones(1))[0])


def test_there_is_no_choice_of_estimator() -> None:
    with pytest.raises(InputError, match="a OneNormal has one path from noise to bound, which score_function"):
        elbo(MODEL, OFF, X, noise_of(2, 1), score_function)  # type: ignore[arg-type]


def test_noise_is_standard_normal_of_the_asked_precision() -> None:
    drawn = MODEL.draw_noise(None, np.random.default_rng(0), (3, 2000), np.float32)
    assert drawn.shape == (3, 2000, 1)
    assert drawn.dtype == np.float32
    assert abs(drawn.mean()) < 4 / 6000**0.5
