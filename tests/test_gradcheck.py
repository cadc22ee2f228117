"""The check of a whole model: it passes what is right, and names the group of weights in which a bug sits."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from numvae import (
    Activation,
    Bernoulli,
    Chain,
    Normal,
    elbo,
    elbo_monte_carlo,
    importance_weighted,
    initial_theta,
    layers,
    mlp_vae,
    pathwise,
    score_function,
)
from numvae.checks import check_pullback
from numvae.config import Config
from numvae.datasets import Dataset
from numvae.errors import CheckError
from numvae.gradcheck import check_model, compare_estimators, dparams_estimates
from numvae.optimizers import SGD, Adam
from numvae.training import Recipe, train
from tests.small_runs import BATCH, DIGITS, MODEL, begin

X = (DIGITS.test[:4] > 127).astype(float)


SMALLER = mlp_vae(6, latents=2, hidden=(3,))
BITS = np.random.default_rng(0).integers(0, 2, (4, 6)).astype(float)


def check(model=MODEL, theta=None, x=X, seed=0, **keywords):
    if theta is None:
        theta = initial_theta(model.layout, rng=np.random.default_rng(seed))
    return check_model(model, theta, x, rng=np.random.default_rng(seed), **keywords)


def check_smaller(model=SMALLER):
    """Looking for the wrong entry of a gradient takes time: on fewer weights, less."""
    return check(model, x=BITS)


@cache
def trained_theta():
    recipe = Recipe(epochs=15, batch=BATCH, optimizer=Adam(0.01))
    return train(MODEL, DIGITS, recipe, begin(recipe)).theta


@pytest.fixture
def spoil(monkeypatch):
    """Call it with a class, one of its rules and a change of what its pullback returns."""

    def plant(family, rule, change):
        right = getattr(family, rule)

        def wrong(self, *arguments):
            value, pullback = right(self, *arguments)
            return value, lambda d: change(pullback(d))

        monkeypatch.setattr(family, rule, wrong)

    return plant


def test_a_right_model_passes_whatever_the_seed():
    for seed in range(6):
        found = check(seed=seed)
        assert found.ok, found.to_json()["problems"]
        assert found.pullback.tolerance == 1e-8


def test_a_trained_model_passes_in_float64_with_its_float32_weights():
    assert trained_theta().dtype == np.float32
    assert check(theta=trained_theta()).ok


@pytest.mark.parametrize("objective", [elbo, elbo_monte_carlo, importance_weighted])
def test_every_objective_passes(objective):
    assert check(objective=objective).ok


@pytest.mark.parametrize("likelihood", ["normal", "normal_shared_std", "normal_fixed_std"])
def test_every_normal_likelihood_passes(likelihood):
    model = Config(likelihood=likelihood, binarize="none", hidden=[8], latent=2).build_model(DIGITS.features)
    found = check(model)
    assert found.ok, found.to_json()["problems"]


@pytest.mark.parametrize(
    ("activation", "tolerance"),
    [
        (layers.identity, 1e-8),
        (layers.tanh, 1e-8),
        (layers.sigmoid, 1e-8),
        (layers.softplus, 1e-8),
        (layers.relu, 1e-6),
        (layers.leaky_relu, 1e-6),
        (layers.elu, 1e-8),
    ],
)
def test_kinks_loosen_the_tolerance_and_nothing_else_does(activation, tolerance):
    found = check(mlp_vae(DIGITS.features, latents=2, hidden=(8,), activation=activation))
    assert found.pullback.tolerance == tolerance
    assert found.ok, found.to_json()["problems"]


def test_its_json_is_what_the_command_promises():
    found = check().to_json()
    assert {"ok", "worst_relative_error", "groups", "variance_ratio"} <= found.keys()
    assert found["ok"] is True
    assert found["problems"] == []
    assert [group["name"] for group in found["groups"]] == [
        name for name, _ in MODEL.layout.leaves(np.zeros(MODEL.layout.size))
    ]
    for group in found["groups"]:
        assert {"name", "analytic", "numeric", "relative_error", "scale", "inconclusive"} <= group.keys()
        error = abs(group["analytic"] - group["numeric"]) / group["scale"]
        assert group["relative_error"] == pytest.approx(error, rel=1e-9)
        assert group["analytic"] == pytest.approx(group["numeric"], rel=1e-7)
    assert found["worst_relative_error"] == max(group["relative_error"] for group in found["groups"]) <= 1e-8
    json.dumps(found, allow_nan=False)


def passes_without_kinks(found):
    assert found.ok, found.to_json()["problems"]
    assert found.verdict == "passed", found.to_json()["doubts"]
    assert sum(row.kinks for row in found.pullback.arguments) == 0
    return True


def state_of(recipe=None, data=DIGITS, **settings):
    """A model and its weights as a run would start them, trained where there is a recipe."""
    config = Config(binarize="none", **settings)
    model = config.build_model(data.features)
    state = config.build_state(model, data)
    return model, state.theta if recipe is None else train(model, data, recipe, state).theta


def test_tiny_weights_pass_at_the_start_and_after_a_step():
    for seed in range(2):
        settings = {"hidden": [20], "latent": 5, "weights": "small_normal", "likelihood": "bernoulli", "seed": seed}
        recipe = Recipe(epochs=1, batch=100, optimizer=SGD(0.01))
        for model, theta in (state_of(**settings), state_of(recipe, **settings)):
            assert passes_without_kinks(check(model, theta, seed=seed))
            assert passes_without_kinks(check(model, 1e-6 * theta, seed=seed))


def test_collapsed_latents_pass():
    recipe = Recipe(epochs=3, batch=100, optimizer=Adam(0.003))
    model, theta = state_of(recipe, hidden=[12, 12, 12], latent=5, activation="softplus", likelihood="bernoulli")
    assert passes_without_kinks(check(model, theta))
    last = dict(model.layout.leaves(theta))["encoder.7.W"]
    last *= 1e-9  # the posterior is the prior, whatever the data
    assert passes_without_kinks(check(model, theta))


@pytest.mark.parametrize("likelihood", ["bernoulli", "normal", "normal_shared_std"])
def test_black_images_pass(likelihood):
    black = Dataset("black", np.zeros((200, 49), np.uint8), np.zeros((10, 49), np.uint8))
    for recipe in (None, Recipe(epochs=5, batch=50, optimizer=Adam(0.003))):
        model, theta = state_of(recipe, black, hidden=[20], latent=10, likelihood=likelihood)
        for seed in range(3):
            assert passes_without_kinks(check(model, theta, np.zeros((4, 49)), seed))


def all_at_a_kink():
    """ReLU at exactly zero: black images and biases that are zero."""
    model = mlp_vae(6, latents=2, hidden=(3,), activation=layers.relu)
    return check(model, x=np.zeros((4, 6)))


def test_a_group_at_kinks_is_inconclusive_and_fails_nothing():
    found = all_at_a_kink()
    content = found.to_json()
    assert found.verdict == content["verdict"] == "inconclusive"
    assert found.ok
    assert content["problems"] == []
    assert "dtheta.encoder.1.b: inconclusive" in content["doubts"][0]
    (group,) = (group for group in content["groups"] if group["inconclusive"])
    assert group["name"] == "encoder.1.b"
    assert not group["ok"]
    assert group["analytic"] is group["numeric"] is group["relative_error"] is None
    json.dumps(content, allow_nan=False)


def test_a_check_that_judged_nothing_is_not_ok_though_nothing_failed():
    def relu(x):
        return np.maximum(x, 0), lambda dy: (dy * (x > 0),)

    found = replace(all_at_a_kink(), pullback=check_pullback(relu, np.zeros(4)))
    assert not found.ok
    assert found.verdict == "inconclusive"


def test_the_estimators_are_compared_at_a_level_that_fails_once_in_a_million():
    report = compare_estimators(MODEL, trained_theta().astype(float), X[:1], rng=np.random.default_rng(0))
    assert {group.significance for group in report.groups} == {1e-6}


# ---- planted bugs


def wrong_groups(found):
    assert not found.ok
    content = found.to_json()
    assert content["ok"] is False
    assert content["problems"]
    assert content["verdict"] == "failed"
    return {group["name"].split(".")[0] for group in content["groups"] if not group["ok"]}


def test_a_likelihood_gradient_off_by_two_is_seen_in_every_group(spoil):
    spoil(Bernoulli, "log_prob", lambda gradients: (2 * gradients[0], None))
    assert wrong_groups(check_smaller()) == {"encoder", "decoder"}


def test_a_kl_gradient_of_the_wrong_sign_is_seen_in_the_encoder_alone(spoil):
    spoil(Normal, "kl", lambda gradients: (-gradients[0], gradients[1]))
    assert wrong_groups(check_smaller()) == {"encoder"}


def test_a_sample_that_forgets_its_log_std_is_seen_in_the_encoder_alone(spoil):
    def forget(gradients):
        dmean, _ = np.split(gradients[0], 2, axis=-1)
        return np.concatenate([dmean, np.zeros_like(dmean)], axis=-1), None

    spoil(Normal, "sample", forget)
    assert wrong_groups(check_smaller()) == {"encoder"}


def test_a_gradient_of_zero_is_no_gradient(spoil):
    spoil(Bernoulli, "log_prob", lambda gradients: (0 * gradients[0], None))
    assert "decoder" in wrong_groups(check_smaller())


def test_a_bug_is_seen_with_tiny_weights_and_with_black_images(spoil):
    spoil(Bernoulli, "log_prob", lambda gradients: (1.01 * gradients[0], None))
    theta = initial_theta(SMALLER.layout, rng=np.random.default_rng(0))
    assert "decoder" in wrong_groups(check(SMALLER, 1e-3 * theta, BITS))
    assert "decoder" in wrong_groups(check(SMALLER, theta, np.zeros((4, 6))))


def test_a_kl_of_the_wrong_sign_is_seen_with_black_images(spoil):
    spoil(Normal, "kl", lambda gradients: (-gradients[0], gradients[1]))
    theta = np.random.default_rng(0).normal(0, 0.3, SMALLER.layout.size)
    assert wrong_groups(check(SMALLER, theta, np.zeros((4, 6)))) == {"encoder"}


def test_the_smaller_model_passes_without_a_bug():
    assert check_smaller().ok


def test_a_gradient_of_nan_fails_the_check_and_its_json_is_still_to_be_had():
    def broken(x):
        return layers.tanh(x)[0], lambda dy: (np.nan * dy,)

    first_layer, _, last_layer = SMALLER.encoder.parts
    found = check_smaller(replace(SMALLER, encoder=Chain((first_layer, Activation(broken), last_layer))))
    assert not found.ok
    assert found.to_json()["problems"]


def test_an_estimate_of_nan_fails_the_check(spoil):
    spoil(Normal, "kl", lambda gradients: (np.nan * gradients[0], gradients[1]))
    with pytest.raises(CheckError, match="score_function: the gradient in the parameters"):
        check_smaller()


def test_a_wrong_score_is_seen_by_the_comparison_of_estimators(spoil):
    """The objective's own gradient is right here; only the score-function estimator uses the posterior's density."""
    spoil(Normal, "log_prob", lambda gradients: (2 * gradients[0], gradients[1]))
    found = check(theta=trained_theta())
    assert found.pullback.ok
    assert not found.estimators.ok
    assert not found.ok


# ---- the estimators


def test_the_score_function_has_the_larger_variance_on_a_trained_model():
    found = check(theta=trained_theta())
    assert found.variance_ratio > 1
    assert found.variance_ratio == found.to_json()["variance_ratio"]


def test_the_variances_are_those_of_the_estimates():
    theta = trained_theta().astype(float)
    report = compare_estimators(MODEL, theta, X[:1], rng=np.random.default_rng(0))
    rng = np.random.default_rng(0)
    score, path = (
        dparams_estimates(MODEL, theta, X[:1], estimator, rng=rng, repeats=1500)
        for estimator in (score_function, pathwise)
    )
    ratio = score.var(axis=0, ddof=1).sum() / path.var(axis=0, ddof=1).sum()
    assert report.variance_ratio == pytest.approx(ratio, rel=1e-9)


@pytest.mark.parametrize("estimator", [pathwise, score_function])
def test_estimates_average_to_the_derivative_of_the_elbo_in_the_posterior_parameters(estimator):
    """The mean of many, against finite differences of an ELBO with very many samples of fixed noise."""
    theta, x = trained_theta().astype(float), X[:1]
    estimates = dparams_estimates(MODEL, theta, x, estimator, rng=np.random.default_rng(1), repeats=4000)
    params = MODEL.encode(theta, x)
    noise = np.random.default_rng(2).standard_normal((20_000, 1, 2))

    def bound(params):
        z = MODEL.posterior.sample(params, noise)[0]
        prior = MODEL.prior_params(params)
        return (MODEL.log_likelihood(theta, z, x)[0].mean(axis=0) - MODEL.posterior.kl(params, prior)[0])[0]

    step = 1e-4
    for coordinate in range(4):
        move = np.zeros((1, 4))
        move[0, coordinate] = step
        slope = (bound(params + move) - bound(params - move)) / (2 * step)
        mine = estimates[:, coordinate]
        spread = estimates.std(axis=0, ddof=1)[coordinate]
        assert abs(mine.mean() - slope) < 4.5 * spread * (1 / np.sqrt(4000) + 1 / np.sqrt(20_000))
