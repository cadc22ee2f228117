"""Gradients of single draws, both kinds, against the rules themselves."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from numvae import Normal, initial_theta, mlp_vae, pathwise, sample_mean, score_function
from numvae.arena import sampled
from numvae.arena.sampled import per_sample_gradients
from numvae.arrays import Array
from numvae.errors import InputError
from numvae.layers import relu
from numvae.models import VAE
from numvae.networks import Chain, Dense, SharedLogStd, SigmoidMean
from numvae.objectives import ReconstructionIntegrand

GREY_HEAD = (SigmoidMean(6), SharedLogStd())
MODELS = {
    "bits": mlp_vae(6, latents=2, hidden=(4, 3)),
    "greys": mlp_vae(6, latents=2, hidden=(5,), activation=relu, likelihood=Normal(), likelihood_head=GREY_HEAD),
    "one layer": VAE(Dense(6, 4), Dense(2, 6), latents=2),
    "nested": VAE(Dense(6, 4), Chain((Chain((Dense(2, 3), Dense(3, 6))),)), latents=2),
}
EVERY = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def setting(model: VAE, samples: int, rows: int = 3) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(0)
    theta = initial_theta(model.layout, rng=rng)
    theta += 0.1 * rng.standard_normal(theta.shape)
    return theta, (rng.random((rows, 6)) < 0.4).astype(float), rng.standard_normal((samples, rows, 2))


@EVERY
def test_every_draw_has_the_gradients_its_estimators_give(model: VAE, monkeypatch: pytest.MonkeyPatch) -> None:
    """(gradient_noise.8), (gradient_noise.9), (gradient_noise.10)."""
    monkeypatch.setattr(sampled, "AT_ONCE", 3)  # the last block is shorter
    theta, x, noise = setting(model, samples=7)
    drawn, params = per_sample_gradients(model, theta, x, noise), model.encode(theta, x)
    f = ReconstructionIntegrand(model, theta, x)
    for s in range(len(noise)):
        for estimator, ours in ((pathwise, drawn.pathwise), (score_function, drawn.score_function)):
            bound, pullback = estimator(model.posterior, params, noise[s : s + 1], f, sample_mean)
            np.testing.assert_allclose(drawn.values[s], bound, rtol=1e-12)
            np.testing.assert_allclose(ours[s], pullback(np.ones(3))[0], rtol=1e-10, atol=1e-12)


def test_logits_of_any_size_stay_finite() -> None:
    model = MODELS["one layer"]
    theta, x, noise = setting(model, samples=50)
    theta *= 300
    model.layout.views(theta)["encoder"][...] = 0
    drawn = per_sample_gradients(model, theta.astype(np.float32), x.astype(np.float32), noise.astype(np.float32))
    exact = per_sample_gradients(model, theta, x, noise)
    assert np.abs(exact.values).max() > 1000
    for ours, wide in ((drawn.values, exact.values), (drawn.pathwise, exact.pathwise)):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, wide, rtol=1e-4, atol=1e-4 * np.abs(wide).max())


def test_memory_is_bounded_whatever_the_number_of_draws() -> None:
    model = mlp_vae(200, latents=2, hidden=(50,))
    rng = np.random.default_rng(0)
    theta, x = initial_theta(model.layout, rng=rng, dtype=np.float32), np.ones((1, 200), np.float32)
    beside = {}
    for draws in (4_000, 40_000):
        noise = rng.standard_normal((draws, 1, 2), dtype=np.float32)
        tracemalloc.start()
        drawn = per_sample_gradients(model, theta, x, noise)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        beside[draws] = peak - sum(a.nbytes for a in (drawn.values, drawn.pathwise, drawn.score_function))
    assert beside[40_000] < 1.5 * beside[4_000]


def test_noise_of_another_shape_is_refused() -> None:
    theta, x, noise = setting(MODELS["bits"], samples=4)
    with pytest.raises(InputError, match=r"\(\*, 3, 2\), got \(4, 2\)"):
        per_sample_gradients(MODELS["bits"], theta, x, noise[:, 0])
