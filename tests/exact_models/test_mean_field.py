"""Mean field by coordinate ascent: monotone, to the known optimum; a diagonal q learned by gradients ends there too."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from scipy import stats

from numvae import Dense, Normal, elbo
from numvae.distributions.multivariate_normal import MultivariateNormal
from numvae.exact_models import (
    LinearGaussian,
    cholesky_params,
    coordinate_ascent,
    coordinate_update,
    corner_noise,
    mean_field_bound,
    mean_field_gap,
    mean_field_optimum,
)
from tests.exact_models.ascent import ascend
from tests.oracles import gradient_of

RNG = np.random.default_rng(2)
MODEL = LinearGaussian(RNG.standard_normal((3, 4)), RNG.standard_normal(4), alpha=0.8, beta=np.array([1.0, 2, 0.5, 4]))
_, X = MODEL.draw(RNG, 5)
SOME = RNG.standard_normal((5, 6))


def as_full(params: np.ndarray) -> np.ndarray:
    """A diagonal q in the parameters of the full family."""
    return np.concatenate([params, np.zeros((len(params), 3))], axis=-1)


def posterior() -> np.ndarray:
    return cholesky_params(MODEL.posterior_mean(X), np.linalg.inv(MODEL.precision))


def test_bound_is_the_evidence_less_the_kl() -> None:
    """(mean_field.1), with the KL of two full normals."""
    kl, _ = MultivariateNormal().kl(as_full(SOME), posterior())
    np.testing.assert_allclose(mean_field_bound(MODEL, SOME, X), MODEL.evidence(X) - kl, rtol=1e-11)


@pytest.mark.parametrize("latent", [0, 1, 2])
def test_an_update_is_the_best_for_its_coordinate_and_touches_no_other(latent: int) -> None:
    """(mean_field.2), (mean_field.3): the bound has no slope in this mean and log_std, and curves down."""
    updated = coordinate_update(MODEL, SOME, X, latent)
    others = np.delete(np.arange(6), [latent, 3 + latent])
    np.testing.assert_array_equal(updated[:, others], SOME[:, others])
    slope = gradient_of(lambda params: float(mean_field_bound(MODEL, params, X).sum()), updated)
    np.testing.assert_allclose(slope[:, [latent, 3 + latent]], 0, atol=1e-8)
    assert np.abs(slope[:, others]).min() > 1e-3
    assert np.all(mean_field_bound(MODEL, updated, X) > mean_field_bound(MODEL, SOME, X))


def test_the_bound_never_falls_and_ends_at_the_optimum() -> None:
    """(mean_field.4), (mean_field.5): means right, variances 1 / diag(precision), the gap in closed form."""
    sweeps = list(islice(coordinate_ascent(MODEL, X), 200))
    bounds = np.array([mean_field_bound(MODEL, params, X) for params in sweeps])
    assert np.all(np.diff(bounds, axis=0) > -1e-12)
    np.testing.assert_allclose(sweeps[-1], mean_field_optimum(MODEL, X), atol=1e-10)
    np.testing.assert_allclose(MODEL.evidence(X) - bounds[-1], mean_field_gap(MODEL), rtol=1e-10)
    assert mean_field_gap(MODEL) > 0.1


def expected_log_joint(latent: int, at: float, averaged: str) -> np.ndarray:
    """The mean of log p(x, z) under q, by scipy, with z_latent = ``at`` if the others alone are averaged."""
    mean, log_std = np.split(SOME, 2, axis=-1)
    z = mean + np.exp(log_std) * corner_noise(3, 5)
    if averaged == "the others":
        z[..., latent] = at
    log_prior = stats.norm(0, MODEL.alpha**-0.5).logpdf(z).sum(axis=-1)
    log_likelihood = stats.norm(z @ MODEL.W + MODEL.b, np.sqrt(1 / MODEL.beta)).logpdf(X).sum(axis=-1)
    return np.mean(log_prior + log_likelihood, axis=0)


@pytest.mark.parametrize("latent", [0, 1, 2])
def test_erratum_003_6_the_mean_is_over_the_others(latent: int) -> None:
    """Printed: log Q_i = E over i ≠ j, the factor's own index; right: E over Q_j, j ≠ i   (mean_field.2).

    The right mean is a parabola in z_i, whose top and curvature are the update's; the other one is flat.
    """
    left, middle, right = (expected_log_joint(latent, at, "the others") for at in (-1.0, 0.0, 1.0))
    precision = 2 * middle - left - right
    updated = coordinate_update(MODEL, SOME, X, latent)
    np.testing.assert_allclose(Normal().mean(updated)[:, latent], 0.5 * (right - left) / precision, rtol=1e-9)
    np.testing.assert_allclose(Normal().std(updated)[:, latent] ** -2, precision, rtol=1e-9)
    flat = [expected_log_joint(latent, at, "its own too") for at in (-1.0, 0.0, 1.0)]
    np.testing.assert_array_equal(np.ptp(flat, axis=0), 0)


def test_variances_are_those_of_a_coordinate_with_the_others_known() -> None:
    """Too small, never too large: 1 / precision_jj ≤ covariance_jj   (mean_field.4)."""
    std = Normal().std(mean_field_optimum(MODEL, X))[0]
    exact = np.sqrt(np.diag(np.linalg.inv(MODEL.precision)))
    assert np.all(std < exact)


def test_orthogonal_rows_need_one_sweep_and_lose_nothing() -> None:
    """(mean_field.5) is zero for a diagonal precision."""
    model = LinearGaussian(np.diag([2.0, -1.0]) @ np.eye(2, 4), np.zeros(4), beta=3.0)
    _, x = model.draw(np.random.default_rng(0), 3)
    _, once = islice(coordinate_ascent(model, x), 2)
    np.testing.assert_allclose(once, mean_field_optimum(model, x), atol=1e-14)
    np.testing.assert_allclose(mean_field_bound(model, once, x), model.evidence(x), rtol=1e-12)
    assert mean_field_gap(model) == pytest.approx(0, abs=1e-14)


def test_a_vae_with_a_diagonal_q_ends_where_coordinate_ascent_ends() -> None:
    """The pathwise gradient of a linear encoder, the decoder held   (mean_field.4), (mean_field.5)."""
    model = replace(MODEL.vae(), encoder=Dense(4, 6), posterior=Normal())
    start, moving = np.zeros(model.layout.size), np.zeros(model.layout.size)
    decoder = MODEL.vae().layout.views(MODEL.theta)["decoder"]
    model.layout.views(start)["decoder"][...] = decoder
    model.layout.views(moving)["encoder"][...] = 1
    _, x = MODEL.draw(np.random.default_rng(0), 50)
    noise = corner_noise(3, len(x))
    theta = ascend(lambda theta: elbo(model, theta, x, noise), start, steps=1000, moving=moving)
    bound, _ = elbo(model, theta, X, corner_noise(3, len(X)))
    np.testing.assert_allclose(bound, MODEL.evidence(X) - mean_field_gap(MODEL), atol=1e-5)
    np.testing.assert_allclose(model.encode(theta, X), mean_field_optimum(MODEL, X), atol=1e-2)
