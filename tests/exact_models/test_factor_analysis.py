"""Factor analysis: EM never goes down, ends where scikit-learn ends, and a linear VAE ends there too."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from numvae import elbo_monte_carlo, initial_theta
from numvae.exact_models import LinearGaussian, corner_noise, em_step, em_steps, factor_analysis
from numvae.parameters import small_normal
from tests.exact_models.ascent import ascend

LOADINGS = 1.5 * np.array([[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, 1.0, -1.0, 1.0]])
TRUTH = LinearGaussian(LOADINGS, np.linspace(-1, 1, 7), beta=1 / np.array([0.3, 0.5, 0.8, 1.0, 0.4, 0.6, 0.9]))
_, X = TRUTH.draw(np.random.default_rng(4), 200)
START = LinearGaussian(np.random.default_rng(0).standard_normal((2, 7)), np.zeros(7), beta=np.ones(7))


def evidences(steps: object, count: int) -> np.ndarray:
    return np.array([model.evidence(X).mean() for model in islice(steps, count)])  # type: ignore[call-overload]


def test_the_evidence_never_falls() -> None:
    """(factor_analysis.1) to (factor_analysis.3), from anywhere; also where noises are held up."""
    for least in (0.0, 0.3):
        climb = evidences(em_steps(START, X, least_variance=least), 300)
        assert np.all(np.diff(climb) > -1e-12)
        assert climb[-1] > climb[0] + 1


def test_a_wrong_step_is_noticed() -> None:
    """The negative control: the noise of (factor_analysis.3) without what the latents' own variance adds."""

    def wrong(model: LinearGaussian) -> LinearGaussian:
        right = em_step(model, X)
        residual = X - model.b - model.posterior_mean(X) @ right.W
        return replace(right, beta=1 / np.mean(residual**2, axis=0))

    models = [replace(START, b=X.mean(axis=0))]
    for _ in range(8):
        models.append(wrong(models[-1]))
    assert np.any(np.diff(evidences(iter(models), 9)) < -0.01)


def test_one_step_is_the_best_for_the_expected_joint() -> None:
    """Σ E[log p(x, z)] under the old posterior has no slope at the new W and noise   (factor_analysis.2), (…3)."""
    old = replace(START, b=X.mean(axis=0))
    new = em_step(old, X)
    mean, covariance = old.posterior_mean(X), np.linalg.inv(old.precision)

    def expected_log_joint(W: np.ndarray, beta: np.ndarray) -> float:
        residual = X - old.b - mean @ W
        spread = np.einsum("zd,zy,yd->d", W, covariance, W)
        return float(np.sum(0.5 * np.log(beta) - 0.5 * beta * (np.mean(residual**2, axis=0) + spread)))

    best, rng = expected_log_joint(new.W, new.beta), np.random.default_rng(0)
    for _ in range(10):
        dW, dbeta = 1e-3 * rng.standard_normal(new.W.shape), 1e-3 * rng.standard_normal(7) * new.beta
        up, down = (expected_log_joint(new.W + sign * dW, new.beta + sign * dbeta) - best for sign in (1, -1))
        assert up < 0
        assert down < 0
        assert abs(up - down) < 0.02 * abs(up + down)


def test_it_agrees_with_scikit_learn() -> None:
    """Where both end: evidence, noises, and W Wᵀ, which knows no rotation."""
    decomposition = pytest.importorskip("sklearn.decomposition")
    theirs = decomposition.FactorAnalysis(n_components=2, tol=1e-8, max_iter=20_000, svd_method="lapack").fit(X)
    ours = factor_analysis(X, 2, tolerance=1e-12)
    assert ours.evidence(X).mean() == pytest.approx(theirs.score(X), abs=1e-7)
    np.testing.assert_allclose(1 / ours.beta, theirs.noise_variance_, rtol=1e-3)
    np.testing.assert_allclose(ours.covariance, theirs.get_covariance(), atol=1e-3)


def test_a_feature_without_noise_of_its_own_is_held_up() -> None:
    """A Heywood case: a feature that is a factor drives its noise to 0 and the evidence up without end."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((200, 1))
    x = z @ np.array([[1.0, 0.5, 0.3]]) + rng.standard_normal((200, 3)) * [0.0, 1.0, 1.0]
    model = factor_analysis(x, 1, least_variance=0.2)
    assert 1 / model.beta[0] == pytest.approx(0.2 * x[:, 0].var(), rel=1e-9)
    assert np.isfinite(model.evidence(x)).all()


def test_a_linear_vae_converges_to_it() -> None:
    """A decoder [mean | log_std] whose log_std knows no z, and a full-covariance q: the evidence of EM's end."""
    fitted = factor_analysis(X, 2, tolerance=1e-12)
    model = START.vae()
    start = initial_theta(model.layout, rng=np.random.default_rng(0), weights=small_normal)
    moving = np.ones_like(start)
    for vector, value in ((start, 0.0), (moving, 0.0)):
        dict(model.layout.leaves(vector))["decoder.W"][:, 7:] = value
    noise = corner_noise(2, len(X))
    theta = ascend(
        lambda theta: elbo_monte_carlo(model, theta, X, noise), start, steps=1000, step_size=0.03, moving=moving
    )
    bound, _ = elbo_monte_carlo(model, theta, X, noise)
    assert bound.mean() == pytest.approx(fitted.evidence(X).mean(), abs=1e-4)
    log_std = dict(model.layout.leaves(theta))["decoder.b"][7:]
    np.testing.assert_allclose(np.exp(2 * log_std), 1 / fitted.beta, rtol=0.01)
