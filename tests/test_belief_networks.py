"""Sigmoid belief networks against enumeration: every chain of bits of a tiny model, every gradient of every weight."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from numvae import FixedStdNormal, belief_networks, initial_theta, log_mean_exp, score_function
from numvae.arrays import Array
from numvae.belief_networks import (
    CentredDense,
    OfSigns,
    chain_bound,
    first_layer_integrand,
    layered_bound,
    mlp_belief_network,
)
from numvae.checks import check_pullback, check_unbiased
from numvae.errors import InputError
from numvae.estimators import declares
from numvae.estimators.arm import arm, disarm
from numvae.estimators.baselines import NVIL, vimco
from numvae.estimators.contract import name_of
from numvae.estimators.enumeration import enumeration
from numvae.estimators.local_expectation import local_expectation
from numvae.estimators.muprop import muprop
from numvae.estimators.rebar import AdaptiveRebar, Rebar
from numvae.estimators.relax import Relax
from numvae.networks import Dense, mlp
from numvae.starting import start_at_data
from tests.oracles import all_bits, for_all_rows, gradient_of

FEATURES = 3
X = np.array([[1.0, 0.0, 1.0]])
MODELS = {
    "one layer": mlp_belief_network(FEATURES, latents=(2,)),
    "nonlinear": mlp_belief_network(FEATURES, latents=(2,), hidden=(2,)),
    "two layers": mlp_belief_network(FEATURES, latents=(2, 1)),
    "two nonlinear layers": mlp_belief_network(FEATURES, latents=(1, 2), hidden=(2,)),
    "three layers": mlp_belief_network(FEATURES, latents=(2, 1, 2)),
}
every_model = pytest.mark.parametrize("name", MODELS)


def some_theta(model: Any, scale: float = 0.8) -> Array:
    return scale * np.random.default_rng(1).standard_normal(int(model.layout.size))


# ---- the truth: a model's formulas once more, chain by chain


def log_mass(logits: Array, bits: Array) -> Array:
    """Σ log p, written as nobody should train with."""
    p = 1 / (1 + np.exp(-logits))
    return np.asarray(np.sum(np.log(np.where(bits == 1, p, 1 - p)), axis=-1))


def chains(model: Any, theta: Array, x: Array = X) -> tuple[Array, Array, Array]:
    """Every chain's (log q(z|x), log p(x, z)), and the chains (count, ΣZ) themselves."""
    z = all_bits(model.latents)
    levels = [for_all_rows(x, len(z)), *model.split(z)]
    log_q, log_p = np.zeros(len(z)), log_mass(model.layout.views(theta)["prior"], levels[-1])
    for level, (encoder, decoder) in enumerate(zip(model.encoders, model.decoders, strict=True)):
        below, above = levels[level : level + 2]
        log_q += log_mass(encoder(model.weights(theta, "encoder")[level], below)[0], above)
        log_p += log_mass(decoder(model.weights(theta, "decoder")[level], above)[0], below)
    return log_q, log_p, z


def exact_elbo(model: Any, theta: Array) -> float:
    log_q, log_p, _ = chains(model, theta)
    return float(np.exp(log_q) @ (log_p - log_q))


def exact_importance_weighted(model: Any, theta: Array, samples: int) -> float:
    """Over every way to choose so many chains."""
    log_q, log_p, _ = chains(model, theta)
    chosen = np.indices((len(log_q),) * samples).reshape(samples, -1)
    return float(np.exp(log_q[chosen].sum(axis=0)) @ log_mean_exp((log_p - log_q)[chosen])[0])


@cache
def exact_gradient(name: str, samples: int = 0) -> Array:
    """Of the ELBO, or of the importance-weighted bound of so many samples, by finite differences of exact values."""
    model = MODELS[name]
    value = (lambda t: exact_elbo(model, t)) if samples == 0 else lambda t: exact_importance_weighted(model, t, samples)
    return gradient_of(value, some_theta(model))


def evidence(model: Any, theta: Array) -> float:
    return float(np.log(np.exp(chains(model, theta)[1]).sum()))


# ---- values


@every_model
def test_the_joint_mass_sums_to_one_over_data_and_chains(name: str) -> None:
    """(belief_networks.1)."""
    model = MODELS[name]
    theta = some_theta(model)
    z = all_bits(model.latents)
    total = 0.0
    for x in all_bits(FEATURES):
        (log_likelihood, log_prior), _ = model.log_joint(theta, z[None], for_all_rows(x[None], len(z)))
        total += np.exp(log_likelihood + log_prior).sum()
    assert total == pytest.approx(1, rel=1e-12)


@every_model
def test_every_chain_has_its_masses(name: str) -> None:
    """log p(x, z) and log q(z|x) of every chain   (belief_networks.1), (belief_networks.9)."""
    model = MODELS[name]
    theta = some_theta(model)
    log_q, log_p, z = chains(model, theta)
    x = for_all_rows(X, len(z))
    terms, _ = model.log_joint(theta, z[None], x)
    np.testing.assert_allclose((terms[0] + terms[1])[0], log_p, rtol=1e-12)
    np.testing.assert_allclose(model.posterior_of(theta, x).log_prob(theta, z[None])[0][0], log_q, rtol=1e-12)


@every_model
def test_enumerating_every_layer_gives_the_exact_bound_and_gradient(name: str) -> None:
    """The nesting itself: with an exact expectation in each layer nothing is random   (belief_networks.5)."""
    model = MODELS[name]
    theta = some_theta(model)
    bound, pullback = layered_bound(model, theta, X, np.zeros((1, 1, model.latents)), enumeration)
    np.testing.assert_allclose(bound, exact_elbo(model, theta), rtol=1e-12)
    np.testing.assert_allclose(pullback(np.ones(1))[0], exact_gradient(name), atol=1e-8)  # (belief_networks.6)


def test_the_bounds_are_in_order() -> None:
    """ELBO < L_2 < L_3 < log p(x)   (belief_networks.10)."""
    model = MODELS["two layers"]
    theta = some_theta(model)
    bounds = [exact_elbo(model, theta), *(exact_importance_weighted(model, theta, k) for k in (2, 3))]
    assert np.all(np.diff([*bounds, evidence(model, theta)]) > 1e-3)


# ---- what a layer's estimator is given


@declares(uses_dz=True)
def enumeration_of_relaxed(*arguments: Any) -> Any:
    """An exact expectation, in which everything moves with z: finite differences can look at the layers above."""
    return enumeration(*arguments)


def relaxed_integrand(name: str, theta: Array) -> Any:
    model = MODELS[name]
    return first_layer_integrand(model, theta, X, np.zeros((1, 1, model.latents)), enumeration_of_relaxed)


@every_model
def test_an_integrands_pullback_is_its_derivative_between_the_bits(name: str) -> None:
    """In params and in z, with all layers above in f   (belief_networks.5), (belief_networks.7)."""
    model, rng = MODELS[name], np.random.default_rng(0)
    f = relaxed_integrand(name, some_theta(model))

    def rule(params: Array, z: Array) -> Any:
        values, pullback = f(params, z)
        return values, lambda dvalues: pullback(dvalues)[:2]

    shape = (1, model.widths[0])
    check_pullback(rule, rng.standard_normal(shape), rng.uniform(size=(2, *shape)), names=["params", "z"]).assert_ok()


@pytest.mark.parametrize("name", ["one layer", "nonlinear"])
def test_second_derivatives_are_those_of_the_first(name: str) -> None:
    """(belief_networks.8)."""
    model, rng = MODELS[name], np.random.default_rng(0)
    f, params = relaxed_integrand(name, some_theta(model)), rng.standard_normal((1, 2))
    z, direction = rng.uniform(size=(3, 1, 2)), rng.standard_normal((3, 1, 2))

    def slope(step: float) -> Array:
        values, pullback = f(params, z + step * direction)
        return np.asarray(pullback(np.ones_like(values))[1])

    numeric = (slope(1e-5) - slope(-1e-5)) / 2e-5
    np.testing.assert_allclose(f.hessian_product(params, z, direction), numeric, rtol=1e-7, atol=1e-9)


def test_only_the_highest_layer_knows_its_second_derivatives() -> None:
    model = MODELS["two layers"]
    assert not hasattr(relaxed_integrand("two layers", some_theta(model)), "hessian_product")
    assert hasattr(relaxed_integrand("one layer", some_theta(MODELS["one layer"])), "hessian_product")


@pytest.mark.parametrize(
    "network", [CentredDense(3, 2), OfSigns(Dense(3, 2)), OfSigns(mlp([3, 2, 2]))], ids=["centred", "signs", "deep"]
)
def test_networks_around_zero(network: Any) -> None:
    """(belief_networks.2), (belief_networks.3), (belief_networks.4)."""
    rng = np.random.default_rng(0)
    theta, x = rng.standard_normal(network.layout.size), rng.standard_normal((4, 3))
    check_pullback(network, theta, x, names=["theta", "x"]).assert_ok()
    y, pullback = network.of_data(theta, x)
    np.testing.assert_allclose(y, network(theta, x)[0])
    dtheta, dx = pullback(np.ones_like(y))
    assert dx is None
    np.testing.assert_allclose(dtheta, network(theta, x)[1](np.ones_like(y))[0])


# ---- gradients of estimators

LAYERED: dict[str, tuple[Any, int]] = {
    "score_function": (score_function, 2),
    "one sample": (score_function, 1),
    "disarm": (disarm, 1),
    "arm, two pairs": (arm, 2),
    "muprop": (muprop, 1),
    "rebar": (Rebar(), 1),
    "local_expectation": (local_expectation, 1),
}


def draws(model: Any, bound: Any, estimator: Any, samples: int, repeats: int, **keywords: Any) -> Array:
    """Independent estimates of every weight's gradient, (repeats, weights)."""
    rng, theta = np.random.default_rng(0), some_theta(model)
    rows = []
    for _ in range(repeats):
        noise = model.draw_noise(estimator, rng, (samples, 1))
        rows.append(bound(model, theta, X, noise, estimator, **keywords)[1](np.ones(1))[0])
    return np.stack(rows)


@pytest.mark.parametrize("case", LAYERED)
def test_layer_by_layer_every_weights_gradient_is_unbiased(case: str) -> None:
    """(belief_networks.5), (belief_networks.6), (belief_networks.7)."""
    estimator, samples = LAYERED[case]
    found = draws(MODELS["two layers"], layered_bound, estimator, samples, repeats=800)
    check_unbiased(found, exact_gradient("two layers"), name=case).assert_ok()


@pytest.mark.parametrize("case", ["disarm", "rebar"])
def test_three_layers_as_well(case: str) -> None:
    """(belief_networks.5)."""
    estimator, samples = LAYERED[case]
    found = draws(MODELS["three layers"], layered_bound, estimator, samples, repeats=400)
    check_unbiased(found, exact_gradient("three layers"), name=case).assert_ok()


@pytest.mark.parametrize("adaptive", [NVIL(hidden=(3,)), AdaptiveRebar(), Relax()], ids=lambda a: type(a).__name__)
def test_what_estimators_have_learnt_leaves_the_mean_alone(adaptive: Any) -> None:
    """Each layer with weights of its own, away from where they start   (belief_networks.6)."""
    model, rng = MODELS["two layers"], np.random.default_rng(3)
    layers = model.layers_at(some_theta(model), X)
    etas = [adaptive.start(params, context, latents, rng=rng) for params, context, latents in layers]
    estimators = tuple(adaptive.at(np.abs(eta + 0.3 * rng.standard_normal(len(eta)))) for eta in etas)
    found = draws(model, layered_bound, estimators, 1, repeats=800)
    check_unbiased(found, exact_gradient("two layers"), name=type(adaptive).__name__).assert_ok()


@pytest.mark.parametrize(("estimator", "samples"), [(score_function, 2), (vimco, 3)], ids=["loo", "vimco"])
def test_of_whole_chains_every_weights_gradient_is_unbiased(estimator: Any, samples: int) -> None:
    """(belief_networks.9), (belief_networks.10)."""
    found = draws(MODELS["two layers"], chain_bound, estimator, samples, repeats=800, reduce=log_mean_exp)
    check_unbiased(found, exact_gradient("two layers", samples), name=estimator.__name__).assert_ok()
    found = draws(MODELS["two layers"], chain_bound, estimator, samples, repeats=800)
    check_unbiased(found, exact_gradient("two layers"), name=estimator.__name__).assert_ok()


def test_several_samples_cannot_be_nested() -> None:
    """The negative control: under ``log_mean_exp`` the learning signal is not a layer's own   (belief_networks.10)."""
    found = draws(MODELS["two layers"], layered_bound, score_function, 2, repeats=800, reduce=log_mean_exp)
    assert not check_unbiased(found, exact_gradient("two layers", 2)).ok


def test_a_layer_that_forgets_those_above_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of nesting: the signal of z_1 without B_2   (belief_networks.5)."""
    right = belief_networks.LayerIntegrand.__call__

    def forgetful(self: Any, params: Array, z: Array) -> Any:
        values, pullback = right(self, params, z)
        return values - (0 if self.level else self.layers_above(z)[0]), pullback

    monkeypatch.setattr(belief_networks.LayerIntegrand, "__call__", forgetful)
    found = draws(MODELS["two layers"], layered_bound, disarm, 1, repeats=800)
    assert not check_unbiased(found, exact_gradient("two layers")).ok


# ---- pullbacks, dtypes, shapes


@pytest.mark.parametrize("bound", [layered_bound, chain_bound])
@pytest.mark.parametrize("name", ["one layer", "two nonlinear layers"])
def test_a_bounds_pullback_keeps_the_contract(bound: Any, name: str) -> None:
    """Linear, twice the same, rows add up, float32 stays, nothing written."""
    model, rng = MODELS[name], np.random.default_rng(0)
    theta, x = some_theta(model), rng.integers(0, 2, (4, FEATURES)).astype(float)
    noise = model.draw_noise(score_function, rng, (2, 4))
    for array in (theta, x, noise):
        array.flags.writeable = False
    values, pullback = bound(model, theta, x, noise, score_function)
    a, b = rng.standard_normal(4), rng.standard_normal(4)
    np.testing.assert_array_equal(pullback(a)[0], pullback(a)[0])
    np.testing.assert_allclose(pullback(2 * a + b)[0], 2 * pullback(a)[0] + pullback(b)[0], atol=1e-12)
    assert pullback(a)[1:] == (None, None)
    singles = [bound(model, theta, x[[row]], noise[:, [row]], score_function) for row in range(4)]
    np.testing.assert_allclose(values, np.concatenate([value for value, _ in singles]), rtol=1e-12)
    rows = sum(back(a[[row]])[0] for row, (_, back) in enumerate(singles))
    np.testing.assert_allclose(pullback(a)[0], rows, atol=1e-12)
    single = [array.astype(np.float32) for array in (theta, x, noise)]
    value, pullback = bound(model, *single, score_function)
    assert value.dtype == pullback(np.ones(4, np.float32))[0].dtype == np.float32


@pytest.mark.parametrize("estimator", [score_function, disarm, muprop, Rebar()], ids=name_of)
def test_single_precision_stays_in_every_layer(estimator: Any) -> None:
    model = MODELS["three layers"]
    theta, x = some_theta(model).astype(np.float32), np.ones((5, FEATURES), np.float32)
    noise = model.draw_noise(estimator, np.random.default_rng(0), (2, 5), np.float32)
    bound, pullback = layered_bound(model, theta, x, noise, estimator)
    assert bound.dtype == pullback(np.ones_like(bound))[0].dtype == np.float32


@pytest.mark.parametrize(
    ("bound", "estimator", "keywords"),
    [
        (layered_bound, disarm, {}),
        (layered_bound, Rebar(), {}),
        (chain_bound, vimco, {"reduce": log_mean_exp}),
    ],
    ids=["disarm", "rebar", "vimco"],
)
def test_a_bound_is_the_same_on_a_device(elsewhere: Any, bound: Any, estimator: Any, keywords: Any) -> None:
    model, rng = MODELS["two nonlinear layers"], np.random.default_rng(0)
    here = some_theta(model), np.ones((4, FEATURES)), model.draw_noise(estimator, rng, (2, 4))
    value, pullback = bound(model, *here, estimator, **keywords)
    there, device_pullback = bound(model, *map(elsewhere.asarray, here), estimator, **keywords)
    np.testing.assert_allclose(elsewhere.asnumpy(there), value, rtol=1e-9)
    dtheta = elsewhere.asnumpy(device_pullback(elsewhere.asarray(np.ones(4)))[0])
    np.testing.assert_allclose(dtheta, pullback(np.ones(4))[0], rtol=1e-9, atol=1e-12)


def test_logits_of_any_size_stay_finite() -> None:
    for name, model in MODELS.items():
        theta, x = some_theta(model, scale=30.0), all_bits(FEATURES)
        for estimator in (score_function, disarm, muprop, Rebar()):
            noise = model.draw_noise(estimator, np.random.default_rng(0), (1, len(x)))
            noise[0, 0] = 0.0
            bound, pullback = layered_bound(model, theta, x, noise, estimator)
            assert np.isfinite(bound).all(), name
            assert np.isfinite(pullback(np.ones_like(bound))[0]).all(), name


def test_grey_values_may_lie_below_the_bits() -> None:
    """Any likelihood: the layers above do not see it   (belief_networks.1)."""
    model = mlp_belief_network(FEATURES, latents=(2, 2), likelihood=FixedStdNormal(0.5))
    theta, x = some_theta(model), np.full((1, FEATURES), 0.3)
    noise = np.zeros((1, 1, model.latents))
    exact = gradient_of(lambda t: layered_bound(model, t, x, noise, enumeration)[0][0], theta)
    np.testing.assert_allclose(layered_bound(model, theta, x, noise, enumeration)[1](np.ones(1))[0], exact, atol=1e-8)


def test_ancestral_samples_have_the_models_own_frequencies() -> None:
    """z_1 by way of z_2, to four standard errors   (belief_networks.1)."""
    model = MODELS["two layers"]
    theta, noise = some_theta(model), np.random.default_rng(0).random((40_000, model.latents))
    prior = 1 / (1 + np.exp(-model.layout.views(theta)["prior"]))
    decoder, weights = model.decoders[1], model.weights(theta, "decoder")[1]
    on, off = (1 / (1 + np.exp(-decoder(weights, np.full((1, 1), bit))[0][0])) for bit in (1.0, 0.0))
    expected = prior * on + (1 - prior) * off
    found = model.draw_from_prior(theta, noise).mean(axis=0)
    assert np.all(np.abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / len(noise)))


def test_noise_out_of_proportion_is_refused() -> None:
    """An estimator with one number more per row: unequal layers could not be told apart."""

    class OneMore:
        def noise(self, q: Any, rng: Any, shape: Any, dtype: Any = np.float64) -> Array:
            return np.asarray(rng.random((*shape[:-1], shape[-1] + 1)))

    greedy: Any = OneMore()
    with pytest.raises(InputError, match="make all layers equally wide"):
        MODELS["two layers"].draw_noise(greedy, np.random.default_rng(0), (1, 1))


def test_a_chain_refuses_what_asks_for_derivatives_in_bits() -> None:
    model = MODELS["two layers"]
    with pytest.raises(InputError, match="has no derivative"):
        chain_bound(model, some_theta(model), X, np.zeros((1, 1, 6)), Rebar())
    with pytest.raises(InputError, match="has one estimator, got 2"):
        chain_bound(model, some_theta(model), X, np.zeros((1, 1, 3)), (disarm, disarm))


def test_a_fresh_model_is_centred_on_its_data() -> None:
    """(belief_networks.2)."""
    model = mlp_belief_network(FEATURES, latents=(2, 2))
    theta = initial_theta(model.layout, rng=np.random.default_rng(0))
    mean = np.array([0.2, 0.5, 0.9])
    start_at_data(model, theta, mean, np.full(3, 0.3))
    np.testing.assert_array_equal(dict(model.layout.leaves(theta))["encoder.1.1.centre"], mean)
    np.testing.assert_allclose(dict(model.layout.leaves(theta))["decoder.1.1.b"], np.log(mean / (1 - mean)))
