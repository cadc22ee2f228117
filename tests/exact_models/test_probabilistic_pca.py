"""Probabilistic PCA: nothing has more evidence, and the linear VAE learns it, axes and all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from numvae import Normal, elbo, initial_theta
from numvae.arrays import Array
from numvae.errors import InputError
from numvae.exact_models import LinearGaussian, corner_noise, greatest_evidence, probabilistic_pca
from numvae.parameters import small_normal
from tests.exact_models.ascent import ascend

AXES = np.linalg.qr(np.random.default_rng(3).standard_normal((6, 2)))[0].T
TRUTH = LinearGaussian(AXES * [[2.0], [1.0]], np.linspace(-1, 1, 6), beta=4.0)
_, X = TRUTH.draw(np.random.default_rng(4), 300)
_, UNSEEN = TRUTH.draw(np.random.default_rng(5), 300)
FITTED = probabilistic_pca(X, latents=2)


def test_evidence_is_what_the_eigenvalues_say() -> None:
    """(probabilistic_pca.3)."""
    assert FITTED.evidence(X).mean() == pytest.approx(greatest_evidence(X, 2), rel=1e-12)


def test_it_fits_the_data_it_was_made_from() -> None:
    """The covariance of the model has the data's trace, and its variance along each axis   (probabilistic_pca.1)."""
    covariance = np.cov(X.T, bias=True)
    assert np.trace(FITTED.covariance) == pytest.approx(np.trace(covariance))
    axes = FITTED.W / np.linalg.norm(FITTED.W, axis=1, keepdims=True)
    np.testing.assert_allclose(np.diag(axes @ FITTED.covariance @ axes.T), np.diag(axes @ covariance @ axes.T))


def test_it_agrees_with_scikit_learn() -> None:
    """(probabilistic_pca.1), (probabilistic_pca.2); scikit-learn divides by N - 1."""
    decomposition = pytest.importorskip("sklearn.decomposition")
    theirs = decomposition.PCA(n_components=2).fit(X)
    unbiased = len(X) / (len(X) - 1)
    assert unbiased / FITTED.beta == pytest.approx(theirs.noise_variance_)
    ours = replace(FITTED, W=FITTED.W * unbiased**0.5, beta=FITTED.beta / unbiased)
    np.testing.assert_allclose(ours.evidence(UNSEEN), theirs.score_samples(UNSEEN), rtol=1e-10)


@pytest.mark.parametrize("which", ["W", "b", "beta"])
def test_whatever_is_moved_loses_evidence(which: str) -> None:
    """A maximum: second differences below zero, first ones zero   (probabilistic_pca.1), (probabilistic_pca.2)."""
    rng = np.random.default_rng(0)

    def moved(by: float, direction: Array) -> float:
        changed = replace(FITTED, **{which: getattr(FITTED, which) + by * direction})
        return float(changed.evidence(X).mean() - greatest_evidence(X, 2))

    for _ in range(10):
        direction = rng.standard_normal(np.shape(getattr(FITTED, which)))
        up, down = moved(1e-3, direction), moved(-1e-3, direction)
        assert up < 0
        assert down < 0
        assert abs(up - down) < 1e-2 * abs(up + down)


def test_its_posterior_is_diagonal() -> None:
    """Its precision is the eigenvalues over the noise: a diagonal q loses nothing   (probabilistic_pca.4)."""
    assert FITTED.posterior == Normal()
    largest = np.sort(np.linalg.eigvalsh(np.cov(X.T, bias=True)))[::-1][:2]
    np.testing.assert_allclose(FITTED.precision, np.diag(largest * FITTED.beta), atol=1e-10)


def test_a_linear_vae_converges_to_it() -> None:
    """Gradient ascent from random weights: the same evidence, noise, subspace and, up to a sign each, principal axes.

    (probabilistic_pca.2), (probabilistic_pca.4).
    """
    model = FITTED.vae()
    start = initial_theta(model.layout, rng=np.random.default_rng(0), weights=small_normal)
    noise = corner_noise(2, len(X))
    theta = ascend(lambda theta: elbo(model, theta, X, noise), start, steps=1200, step_size=0.02)

    weights = dict(model.layout.leaves(theta))
    W, log_std = weights["decoder.1.W"], weights["decoder.2.log_std"]
    learned = LinearGaussian(W, weights["decoder.1.b"], beta=float(np.exp(-2 * log_std[0])))
    assert elbo(model, theta, X, noise)[0].mean() == pytest.approx(greatest_evidence(X, 2), abs=1e-10)
    np.testing.assert_allclose(learned.evidence(UNSEEN), FITTED.evidence(UNSEEN), atol=1e-6)
    assert learned.beta == pytest.approx(FITTED.beta, rel=1e-7)
    assert subspace_angles(W.T, FITTED.W.T).max() < 1e-6
    order = np.argsort(-np.linalg.norm(W, axis=1))
    cosines = np.sum(W[order] * FITTED.W, axis=1) / np.sum(FITTED.W**2, axis=1)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-6)


def test_data_without_noise_is_refused() -> None:
    flat = np.outer(np.arange(5.0), np.ones(3))
    with pytest.raises(InputError, match="leaves no noise"):
        probabilistic_pca(flat, 1)
    with pytest.raises(InputError, match="from 1 to 5, got 6"):
        probabilistic_pca(X, 6)
