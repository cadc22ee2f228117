"""The two parts of the gap on models where both are known; refined posteriors against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import repeat
from typing import Any

import numpy as np
import pytest

from numvae import VAE, Dense, Normal, elbo_monte_carlo, initial_theta, mlp_vae
from numvae.arrays import Array
from numvae.checks import check_pullback
from numvae.distributions.multivariate_normal import MultivariateNormal
from numvae.errors import InputError
from numvae.exact_models import LinearGaussian, corner_noise, mean_field_bound, mean_field_gap, mean_field_optimum
from numvae.flows import PlanarFlow, mlp_flow_vae
from numvae.inspection import OwnPosterior, fresh_noises, inference_gaps, local_bound, refine
from numvae.inspection.refinement import encoded
from numvae.layered import mlp_layered_vae

EXACT = LinearGaussian(np.array([[1.0, 0.5, 0.0], [0.8, -0.2, 1.0]]), np.array([0.1, 0.0, -0.3]), alpha=1.0, beta=2.0)
_, X = EXACT.draw(np.random.default_rng(1), 12)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def amortised() -> tuple[VAE, Array]:
    """The exact decoder beside a factorised q whose linear encoder misses the best: here more, there less."""
    model = replace(EXACT.vae(), encoder=Dense(3, 4), posterior=Normal())
    theta = np.concatenate([np.zeros(16), EXACT.vae().layout.views(EXACT.theta)["decoder"]])
    encoder = model.encoder.layout.views(model.layout.views(theta)["encoder"])
    encoder["W"][:, :2] = 0.8 * EXACT.to_posterior_mean
    encoder["b"][...] = [0.2, -0.1, *(mean_field_optimum(EXACT, X)[0, 2:] + [0.1, -0.2])]
    return model, theta


MODEL, THETA = amortised()
TRUE_AMORTISATION = mean_field_bound(EXACT, mean_field_optimum(EXACT, X), X) - mean_field_bound(
    EXACT, MODEL.encode(THETA, X), X
)
FLOW = mlp_flow_vae(3, PlanarFlow(latents=2, steps=2), hidden=(4,))
FLOW_THETA = initial_theta(FLOW.layout, rng=np.random.default_rng(0))
BITS = (X > 0).astype(np.float64)
CASES: dict[str, tuple[Any, Array, Array]] = {
    "diagonal": (MODEL, THETA, X),
    "full": (EXACT.vae(), EXACT.theta, X),
    "flow": (FLOW, FLOW_THETA, BITS),
}
every_case = pytest.mark.parametrize("name", CASES)


@every_case
def test_the_local_bound_is_the_elbo_as_a_rule_of_the_params(name: str) -> None:
    """(inference_gap.2): its value that of the whole model, its pullback by finite differences."""
    model, theta, x = CASES[name]
    params, noise = encoded(model, theta, x), rng().standard_normal((3, len(x), 2))
    rule = local_bound(model, theta, x)
    np.testing.assert_allclose(rule(params, noise)[0], elbo_monte_carlo(model, theta, x, noise)[0], rtol=1e-12)
    check_pullback(rule, params + 0.1, noise).assert_ok()
    together = np.concatenate([x, params], axis=-1)
    for own, whole in zip(
        OwnPosterior(model, 3).log_weights(theta, together, noise), model.log_weights(theta, x, noise), strict=True
    ):
        np.testing.assert_allclose(own, whole, rtol=1e-12)


def test_refined_it_is_the_mean_field_optimum_and_in_a_wider_family_the_posterior() -> None:
    """(inference_gap.3), from the encoder's params, by noise without noise."""
    noises = repeat(corner_noise(2, len(X)))
    found = refine(MODEL, THETA, X, noises, steps=600)
    np.testing.assert_allclose(found, mean_field_optimum(EXACT, X), atol=1e-4)
    wider = replace(MODEL, posterior=MultivariateNormal())
    start = np.concatenate([found, np.zeros((len(X), 1))], axis=-1)
    full = refine(wider, THETA, X, noises, steps=600, start=start)
    np.testing.assert_allclose(full, EXACT.posterior_params(X), atol=1e-4)


def test_rows_do_not_see_each_other() -> None:
    noises = list(fresh_noises(MODEL, rng(), 20, (3, len(X))))
    together = refine(MODEL, THETA, X, noises, steps=20)
    alone = refine(MODEL, THETA, X[4:5], [noise[:, 4:5] for noise in noises], steps=20)
    np.testing.assert_allclose(alone, together[4:5], rtol=1e-9)


def test_both_gaps_are_those_in_closed_form() -> None:
    """(inference_gap.1): the approximation gap is that of mean field, the amortisation gap a difference of bounds."""
    found = inference_gaps(
        MODEL, THETA, X, rng=rng(), steps=300, training_samples=20, bound_samples=4000, likelihood_samples=4000
    )
    approximation, amortisation = found.approximation, found.amortisation
    truth = mean_field_gap(EXACT)
    assert np.all(np.abs(approximation.values - truth) < 4 * approximation.errors + 2e-3)
    assert np.all(np.abs(amortisation.values - TRUE_AMORTISATION) < 4 * amortisation.errors + 2e-3)
    assert abs(approximation.mean - truth) < 4 * approximation.monte_carlo_error + 2e-3
    assert abs(amortisation.mean - TRUE_AMORTISATION.mean()) < 4 * amortisation.monte_carlo_error + 2e-3
    assert truth > 20 * approximation.monte_carlo_error
    assert np.ptp(TRUE_AMORTISATION) > 20 * amortisation.errors.mean(), "the rows are not all alike"
    inference = EXACT.evidence(X) - mean_field_bound(EXACT, MODEL.encode(THETA, X), X)
    assert np.all(np.abs(found.inference.values - inference) < 4 * found.inference.errors + 4e-3)
    np.testing.assert_allclose(found.log_likelihood, EXACT.evidence(X), atol=0.05)
    np.testing.assert_allclose(found.refined, mean_field_optimum(EXACT, X), atol=0.1)
    exchanged = np.abs(approximation.values - TRUE_AMORTISATION) < 4 * approximation.errors + 2e-3
    assert not exchanged.all(), "the two parts exchanged are found out"


def test_errors_are_those_of_repetitions() -> None:
    """One row over and over: the spread of its gaps is what each states of itself."""
    rows, wide = np.repeat(X[:1], 300, axis=0), THETA.copy()
    MODEL.encoder.layout.views(MODEL.layout.views(wide)["encoder"])["b"][2:] += 0.5  # so that no weight is large
    found = inference_gaps(
        MODEL, wide, rows, rng=rng(), steps=0, training_samples=1, bound_samples=50, likelihood_samples=100
    )
    for gap in (found.approximation, found.amortisation):
        assert gap.monte_carlo_error == pytest.approx(np.sqrt(np.sum(gap.errors**2)) / 300)
    spread = found.approximation.values.std()
    assert found.approximation.monte_carlo_error == pytest.approx(spread / math.sqrt(300), rel=0.15)
    assert found.approximation.standard_error == pytest.approx(spread / math.sqrt(300), rel=0.01)
    np.testing.assert_array_equal(found.amortisation.values, 0)


def test_the_noise_it_was_fitted_to_flatters_it() -> None:
    """The negative control: on two samples held fixed q* beats what any factorised q can reach."""
    rows = np.repeat(X[:1], 50, axis=0)
    noise = rng().standard_normal((2, 50, 2))
    found = refine(MODEL, THETA, rows, repeat(noise), steps=400)
    best = EXACT.evidence(X[:1]) - mean_field_gap(EXACT)
    rule = local_bound(MODEL, THETA, rows)
    seen, fresh = (rule(found, each)[0] for each in (noise, rng(1).standard_normal((500, 50, 2))))
    assert seen.mean() - best > 4 * seen.std() / math.sqrt(50)
    assert np.all(mean_field_bound(EXACT, found, rows) <= best + 1e-12)
    assert fresh.mean() < best


def test_single_precision_stays_and_blocks_are_told() -> None:
    model = mlp_vae(3, latents=2, hidden=(4,))
    theta = initial_theta(model.layout, rng=rng(), dtype=np.float32)
    told: list[int] = []
    found = inference_gaps(
        model, theta, np.tile(BITS, (10, 1)).astype(np.float32), rng=rng(), steps=2, bound_samples=2,
        likelihood_samples=2, on_rows=told.append,
    )  # fmt: skip
    assert found.refined.dtype == np.float32
    assert found.approximation.values.dtype == np.float64
    assert sum(told) == 120 == len(found.inference.values)


def test_what_cannot_be_done_is_said() -> None:
    layered: Any = mlp_layered_vae(3, latents=(2, 1), hidden=((), ()))
    with pytest.raises(InputError, match="no list of parameters for each row"):
        local_bound(layered, THETA, X)
    with pytest.raises(InputError, match="two samples at least"):
        inference_gaps(MODEL, THETA, X, rng=rng(), bound_samples=1)
