"""A NaN or an infinity planted somewhere: the first rule that made it is named, and no other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from numvae import (
    VAE,
    Activation,
    Bernoulli,
    Chain,
    Normal,
    elbo,
    elbo_monte_carlo,
    importance_weighted,
    initial_theta,
    pathwise,
    score_function,
)
from numvae.errors import DivergedError
from numvae.layers import tanh
from numvae.watching import _watched_model, first_nonfinite, require_finite
from tests.small_runs import MODEL

ROWS, SAMPLES = 4, 2
THETA = initial_theta(MODEL.layout, rng=np.random.default_rng(0))
X = np.random.default_rng(1).integers(0, 2, (ROWS, 49)).astype(float)
NOISE = np.random.default_rng(2).standard_normal((SAMPLES, ROWS, 2))


def first(model=MODEL, theta=THETA, x=X, noise=NOISE, objective=elbo, estimator=pathwise):
    return first_nonfinite(model, theta, x, noise, objective, estimator)


def spoiled(array, value=np.nan, place=1):
    array = array.copy()
    array.flat[place] = value
    return array


def broken_value(x):
    return spoiled(x, np.inf), lambda dy: (dy,)


def broken_pullback(x):
    return x + 0, lambda dy: (spoiled(dy),)


@dataclass(frozen=True)
class BrokenBernoulli(Bernoulli):
    """Its log-density or its gradient has a NaN in it."""

    of: str = "value"

    def log_prob(self, params, value):
        log_mass, pullback = super().log_prob(params, value)
        if self.of == "value":
            return spoiled(log_mass), pullback
        return log_mass, lambda d: (spoiled(pullback(d)[0]), None)


@dataclass(frozen=True)
class BrokenNormal(Normal):
    """One of its rules, or the gradient of one, has a NaN in it."""

    rule: str = "kl"
    of: str = "value"

    def sample(self, params, noise):
        return self._break("sample", *super().sample(params, noise))

    def kl(self, params, prior_params):
        return self._break("kl", *super().kl(params, prior_params))

    def log_prob(self, params, value):
        return self._break("log_prob", *super().log_prob(params, value))

    def _break(self, rule, value, pullback):
        if rule != self.rule:
            return value, pullback
        if self.of == "value":
            return spoiled(value), pullback
        return value, lambda d: tuple(g if g is None else spoiled(g) for g in pullback(d))


def with_decoder_activation(function):
    first_layer, _, last_layer = MODEL.decoder.parts
    return replace(MODEL, decoder=Chain((first_layer, Activation(function), last_layer)))


@pytest.mark.parametrize("objective", [elbo, elbo_monte_carlo, importance_weighted])
@pytest.mark.parametrize("estimator", [pathwise, score_function])
def test_nothing_is_named_where_everything_is_finite(objective, estimator):
    assert first(objective=objective, estimator=estimator) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_array_that_is_not_finite_is_named_and_a_finite_one_is_not(value):
    require_finite([np.ones(3), None, 1.0], "nothing")
    kind = "NaN" if np.isnan(value) else "infinity"
    with pytest.raises(DivergedError, match=rf"^the weights made the first {kind} \(1 of 3 numbers not finite\)$"):
        require_finite([np.ones(3), np.array([0.0, value, 1.0])], "the weights")


def test_data_and_noise_are_named():
    assert first(x=spoiled(X)).startswith("the data made the first NaN (1 of 196 ")
    assert first(noise=spoiled(NOISE, -np.inf)).startswith("the noise made the first infinity (1 of 16 ")


def test_a_layer_is_named_by_its_value():
    said = first(with_decoder_activation(broken_value))
    assert said.startswith("decoder.2 (Activation(broken_value)) made the first infinity (1 of 128 ")


def test_a_layer_is_named_by_its_pullback():
    said = first(with_decoder_activation(broken_pullback))
    assert said.startswith("the pullback of decoder.2 (Activation(broken_pullback)) made the first NaN")


def test_the_layer_before_the_broken_one_is_not_blamed_for_what_it_is_handed():
    assert first(with_decoder_activation(tanh)) is None
    assert "decoder.1" not in first(with_decoder_activation(broken_pullback))


@pytest.mark.parametrize(
    ("of", "words"), [("value", "likelihood.log_prob"), ("pullback", "the pullback of likelihood")]
)
def test_the_likelihood_is_named(of, words):
    assert first(replace(MODEL, likelihood=BrokenBernoulli(of=of))).startswith(words)


@pytest.mark.parametrize("rule", ["sample", "kl"])
@pytest.mark.parametrize(("of", "words"), [("value", ""), ("pullback", "the pullback of ")])
def test_the_posterior_is_named(rule, of, words):
    said = first(replace(MODEL, posterior=BrokenNormal(rule=rule, of=of)))
    assert said.startswith(f"{words}posterior.{rule} (BrokenNormal) made the first NaN")


def test_the_posterior_density_is_named_where_the_objective_uses_it():
    model = replace(MODEL, posterior=BrokenNormal(rule="log_prob"))
    assert first(model) is None
    assert first(model, objective=elbo_monte_carlo).startswith("posterior.log_prob (BrokenNormal)")
    assert first(model, estimator=score_function).startswith("posterior.log_prob (BrokenNormal)")


@pytest.mark.parametrize(("of", "words"), [("value", "the bound made"), ("pullback", "the bound's pullback made")])
def test_an_objective_that_breaks_finite_parts_is_named(of, words):
    def objective(*arguments):
        bound, pullback = elbo(*arguments)
        if of == "value":
            return spoiled(bound), pullback
        return bound, lambda dbound: (spoiled(pullback(dbound)[0]), None, None)

    assert first(objective=objective).startswith(words)


def test_an_overflow_in_float32_is_named_without_a_warning():
    theta = THETA.astype(np.float32)
    dict(MODEL.layout.leaves(theta))["encoder.3.b"][...] = 200  # a log_std whose exp is too large for float32
    said = first(theta=theta, x=X.astype(np.float32), noise=NOISE.astype(np.float32))
    assert said.startswith("posterior.sample (Normal) made the first infinity")


@pytest.mark.parametrize("objective", [elbo, elbo_monte_carlo, importance_weighted])
def test_watching_changes_no_number(objective):
    def both(model: VAE):
        bound, pullback = objective(model, THETA, X, NOISE)
        return bound, pullback(np.ones_like(bound))[0]

    for plain, watched in zip(both(MODEL), both(_watched_model(MODEL)), strict=True):
        np.testing.assert_array_equal(plain, watched)
