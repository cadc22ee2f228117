"""Any latent with any likelihood: each pair of the parameter file is built, started at its data, and differentiates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae.arrays import Array, Pullback
from numvae.checks import check_pullback
from numvae.config import Config, prepare_data
from numvae.datasets import Dataset
from numvae.distributions.catalogue import POSTERIORS, PRIORS, natural_prior
from numvae.distributions.contract import inside
from numvae.distributions.kl_table import has_closed_form
from numvae.errors import InputError
from numvae.estimators import draw_noise
from numvae.evaluation import evaluate
from numvae.gradcheck import check_model
from numvae.likelihoods import SEES
from numvae.training import train

GREYS = np.random.default_rng(0).integers(0, 256, size=(40, 6)).astype(np.uint8)
DATA = Dataset("greys", GREYS, GREYS[:10])


def config(posterior: str, likelihood: str, **more: Any) -> Config:
    """Small, in float64, with what the likelihood sees, and the KL in closed form where there is one."""
    closed = has_closed_form(POSTERIORS[posterior], PRIORS[natural_prior(posterior)])
    settings = {"latent": 3, "hidden": [5], "dtype": "float64", "kl": "analytic" if closed else "monte_carlo"}
    sees = "fresh" if likelihood == "bernoulli" else SEES[likelihood][0]
    return Config(posterior=posterior, likelihood=likelihood, binarize=sees, **settings, **more)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_a_latent_goes_with_every_likelihood(posterior: str) -> None:
    rng = np.random.default_rng(1)
    for likelihood in SEES:
        settings = config(posterior, likelihood)
        model, recipe = settings.build_model(6), settings.build_recipe()
        state = settings.build_state(model, DATA)
        x = recipe.binarize(DATA.train[:3], rng, np.float64)
        noise = draw_noise(recipe.estimator, model.posterior, rng, (2, 3, 3))

        def rule(theta: Array, x: Array = x, noise: Array = noise, recipe: Any = recipe, model: Any = model) -> Any:
            bound, pullback = recipe.objective(model, theta, x, noise, recipe.estimator)
            return bound, gradient_alone(pullback)

        report = check_pullback(rule, state.theta, names=["theta"], directions=2, coordinates=0, rng=rng)
        assert not report.failures, (likelihood, report.failures)


def gradient_alone(pullback: Pullback) -> Pullback:
    """Of (dtheta, None, None), the first."""
    return lambda dbound: pullback(dbound)[:1]


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_estimators_agree_and_a_few_steps_raise_the_bound(posterior: str) -> None:
    settings = config(posterior, "bernoulli", epochs=30, batch=20, lr=0.02)
    model = settings.build_model(6)
    state = settings.build_state(model, DATA)
    recipe, rng = settings.build_recipe(), np.random.default_rng(2)
    x = recipe.binarize(DATA.train[:2], rng, np.float64)
    assert check_model(model, state.theta, x, rng=rng, objective=recipe.objective).ok
    before = evaluate(model, state.theta, DATA.train, rng=np.random.default_rng(3), samples=50).elbo
    train(model, DATA, recipe, state)
    after = evaluate(model, state.theta, DATA.train, rng=np.random.default_rng(3), samples=50).elbo
    assert after > before


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_the_natural_prior_has_a_density_wherever_the_posterior_has_values(posterior: str) -> None:
    assert inside(POSTERIORS[posterior], PRIORS[natural_prior(posterior)])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"likelihood": "bernoulli", "binarize": "photons"},
            "use binarize 'none', or likelihood poisson or negative_binomial",
        ),
        ({"likelihood": "poisson", "binarize": "fresh"}, "'poisson' is for counts, but binarize 'fresh' makes bits"),
        ({"likelihood": "beta", "binarize": "none"}, "use binarize 'inside', or likelihood bernoulli,"),
        (
            {"posterior": "normal", "prior": "exponential"},
            "'exponential' (over: positive) has no density at every value of posterior 'normal'",
        ),
        ({"posterior": "logistic"}, 'use the paper\'s estimator A, which needs none: kl="monte_carlo"'),
        ({"posterior": "gamma", "prior_params": {"log_scale": 1.0}}, "it has log_shape, log_rate"),
        ({"posterior": "gamma", "prior_precision": 2.0}, "prior_precision is that of a normal prior"),
        ({"model": "sbn", "posterior": "gamma"}, "posterior is a vae's"),
        ({"posterior": "uniform", "estimator": "score_function"}, "score_function is not for Uniform latents"),
        ({"posterior": "multivariate_normal", "estimator": "lax"}, "lax is for latents with parameters of their own"),
        ({"posterior": "dirichlet", "latent": 1}, "a single one is always 1"),
        ({"posterior": "wiebull"}, "--posterior: 'wiebull' is not known, did you mean weibull?"),
        ({"prior_params": 3}, '--prior-params must be a JSON object like {"log_std": 0.5}'),
        ({"prior_params": {"log_std": 1000.0}}, "--prior-params: log_std must be from -14.0 to 14.0, got 1000"),
        ({"likelihood": "beta", "least_std": 0.5}, "--least-std must be below 0.5"),
    ],
    ids=lambda value: "",
)
def test_combinations_without_sense_get_one_line(settings: dict[str, Any], said: str) -> None:
    from numvae.config import read_config

    with pytest.raises(InputError) as raised:
        read_config(flags=settings)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_prior_is_the_one_asked_for() -> None:
    model = Config(posterior="exponential", prior="gamma", prior_params={"log_shape": 0.5}).build_model(4)
    np.testing.assert_array_equal(model.prior_params(np.zeros((1, 1)))[0, :20], 0.5)


def test_draws_from_the_prior_are_the_priors() -> None:
    model = Config(posterior="exponential", latent=2, prior_params={"log_rate": 1.0}).build_model(4)
    z = model.draw_from_prior(np.zeros(model.layout.size), model.prior_noise(np.random.default_rng(0), 20_000))
    assert z.mean() == pytest.approx(np.exp(-1.0), rel=0.02)


def test_counts_of_ones_own_get_a_poisson_likelihood(tmp_path: Any) -> None:
    rows = np.random.default_rng(0).poisson(300.0, (30, 4))
    np.save(tmp_path / "counts.npy", rows)
    settled, dataset = prepare_data(Config(data=str(tmp_path / "counts.npy"), likelihood="poisson"))
    assert (settled.binarize, settled.likelihood) == ("counts", "poisson")
    assert dataset.train.max() > 255
