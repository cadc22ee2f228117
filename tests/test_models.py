"""The VAE as a description: shapes, layout, and where it starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from numvae import (
    VAE,
    Activation,
    Bernoulli,
    Chain,
    Dense,
    FixedStdNormal,
    Normal,
    initial_theta,
    layers,
    mlp,
    mlp_vae,
)
from numvae.arrays import Array, Pullback
from numvae.checks import check_pullback
from numvae.distributions import Laplace
from numvae.networks import LeastLogStd, Network, SharedLogStd, SigmoidMean
from numvae.priors import Prior, normal_prior
from numvae.starting import start_at_data

LIKELIHOODS = [
    (Bernoulli(), ()),
    (Normal(), ()),
    (Normal(), (SharedLogStd(),)),
    (Normal(), (LeastLogStd(-5.5), SigmoidMean(6))),
    (FixedStdNormal(0.1), ()),
]
every_likelihood = pytest.mark.parametrize(("likelihood", "head"), LIKELIHOODS, ids=repr)


def test_the_papers_network_has_as_many_weights_as_its_layers_say() -> None:
    """784-500-20-500-784 for bits: 785·500 + 501·40 + 21·500 + 501·784."""
    assert mlp_vae(784, latents=20, hidden=(500,)).layout.size == 785 * 500 + 501 * 40 + 21 * 500 + 501 * 784


@every_likelihood
def test_shapes_run_from_data_to_latents_and_back(likelihood: object, head: tuple[object, ...]) -> None:
    """(objectives.1)."""
    model = mlp_vae(6, latents=2, hidden=(5, 4), likelihood=likelihood, likelihood_head=head)  # type: ignore[arg-type]
    theta = initial_theta(model.layout, rng=np.random.default_rng(0))
    x, z = np.zeros((3, 6)), np.zeros((7, 3, 2))
    assert model.encode(theta, x).shape == (3, 4)
    assert model.decode_mean(theta, z).shape == (7, 3, 6)
    assert model.log_likelihood(theta, z, x)[0].shape == (7, 3)


@every_likelihood
def test_an_untrained_model_started_at_the_data_puts_it_out(likelihood: object, head: tuple[object, ...]) -> None:
    model = mlp_vae(6, latents=2, hidden=(5,), likelihood=likelihood, likelihood_head=head)  # type: ignore[arg-type]
    theta = np.zeros(model.layout.size)
    mean, std = np.linspace(0.1, 0.9, 6), np.full(6, 0.3)
    start_at_data(model, theta, mean, std)
    params = model.decode(theta, np.zeros((1, 2)))
    np.testing.assert_allclose(model.likelihood.mean(params)[0], mean, rtol=1e-12)
    if isinstance(likelihood, Normal):
        np.testing.assert_allclose(likelihood.std(params)[0], std, rtol=1e-12)


@pytest.mark.parametrize(
    "decoder",
    [
        Dense(2, 6),
        Chain((mlp([2, 5, 6]),)),
        Chain((Chain((Dense(2, 5), Activation(layers.tanh))), Chain((Dense(5, 6),)))),
    ],
    ids=repr,
)
def test_any_network_can_be_a_decoder_that_starts_at_the_data(decoder: Network) -> None:
    model = VAE(Dense(6, 4), decoder, latents=2)
    theta = np.zeros(model.layout.size)
    mean = np.linspace(0.1, 0.9, 6)
    start_at_data(model, theta, mean, np.full(6, 0.3))
    np.testing.assert_allclose(model.decode_mean(theta, np.zeros((1, 2)))[0], mean, rtol=1e-12)


def test_a_decoder_that_cannot_be_inverted_keeps_its_bias() -> None:
    model = VAE(Dense(6, 4), Chain((Dense(2, 6), Activation(layers.relu))), latents=2)
    theta = np.ones(model.layout.size)
    start_at_data(model, theta, np.full(6, 0.5), np.full(6, 0.3))
    np.testing.assert_array_equal(theta, 1)


def test_a_pixel_that_never_changes_still_starts_at_a_finite_logit() -> None:
    model = mlp_vae(2, latents=1, hidden=(3,))
    theta = np.zeros(model.layout.size)
    start_at_data(model, theta, np.array([0.0, 1.0]), np.zeros(2))
    np.testing.assert_allclose(model.decode_mean(theta, np.zeros((1, 1)))[0], [0.001, 0.999], rtol=1e-9)


def test_prior_params_are_the_precision_asked_for() -> None:
    """(objectives.1)."""
    model = mlp_vae(3, latents=2, hidden=(2,), prior=normal_prior(4.0))
    prior = model.prior_params(np.empty((5, 4)))
    assert prior.shape == (1, 4)
    np.testing.assert_allclose(Normal().std(prior), 0.5)
    np.testing.assert_allclose(Normal().mean(prior), 0)


def test_the_prior_is_standard_normal_unless_told_otherwise() -> None:
    for model in (mlp_vae(3, latents=2, hidden=(2,)), VAE(Dense(3, 4), Dense(2, 3), latents=2)):
        np.testing.assert_array_equal(model.prior_params(np.empty((5, 4))), np.zeros((1, 4)))


def test_log_likelihood_does_not_depend_on_the_encoder() -> None:
    model, rng = mlp_vae(6, latents=2, hidden=(5,)), np.random.default_rng(0)
    theta = initial_theta(model.layout, rng=rng)
    _, pullback = model.log_likelihood(theta, rng.standard_normal((4, 3, 2)), np.ones((3, 6)))
    dtheta, _, dx = pullback(np.ones((4, 3)))
    np.testing.assert_array_equal(model.layout.views(dtheta)["encoder"], 0)
    assert np.all(model.layout.views(dtheta)["decoder"][-6:] != 0)
    assert dx is None


PRIORS = [normal_prior(1.0), normal_prior(4.0), Prior(Laplace(), (("location", 0.3), ("log_scale", -0.2)))]


def joint_setting(likelihood: Any, head: tuple[Any, ...], prior: Prior) -> tuple[VAE, Array, Array, Array]:
    """A model, weights, three rows of data, and four samples of z for each."""
    model = mlp_vae(6, latents=2, hidden=(5,), likelihood=likelihood, likelihood_head=head, prior=prior)
    rng = np.random.default_rng(0)
    theta = initial_theta(model.layout, rng=rng)
    x = (rng.random((3, 6)) < 0.4).astype(float)
    return model, theta, x, rng.standard_normal((4, 3, 2))


@pytest.mark.parametrize("prior", PRIORS, ids=["normal", "narrow normal", "laplace"])
@every_likelihood
def test_log_joint_is_a_rule_of_the_latents(likelihood: Any, head: tuple[Any, ...], prior: Prior) -> None:
    """(hmc.1): pullback against finite differences; value, for samples and without, the sum of its two parts."""
    model, theta, x, z = joint_setting(likelihood, head, prior)
    rule = model.log_joint(theta, x)
    check_pullback(rule, z, names=["z"], directions=3, coordinates=4).assert_ok()
    log_prior, _ = prior.family.log_prob(model.prior_params(z), z)
    np.testing.assert_allclose(rule(z)[0], model.log_likelihood(theta, z, x)[0] + log_prior, rtol=1e-13)
    value, pullback = rule(z[0])
    np.testing.assert_allclose(value, rule(z)[0][0], rtol=1e-13)
    np.testing.assert_allclose(pullback(np.ones(3))[0], rule(z)[1](np.ones((4, 3)))[0][0], rtol=1e-12)


def test_log_joint_is_scipys() -> None:
    """(hmc.1): bits from logits, latents from a normal of precision 4."""
    model, theta, x, z = joint_setting(Bernoulli(), (), normal_prior(4.0))
    of_bits = stats.bernoulli(expit(model.decode(theta, z))).logpmf(x).sum(axis=-1)
    of_latents = stats.norm(scale=0.5).logpdf(z).sum(axis=-1)
    np.testing.assert_allclose(model.log_joint(theta, x)(z)[0], of_bits + of_latents, rtol=1e-12)


def test_log_joint_without_the_priors_gradient_would_be_noticed() -> None:
    """The negative control."""
    model, theta, x, z = joint_setting(Bernoulli(), (), normal_prior(1.0))

    def forgetful(z: Array) -> tuple[Array, Pullback]:
        value, pullback = model.log_joint(theta, x)(z)
        return value, lambda dvalue: (pullback(dvalue)[0] + dvalue[..., None] * z,)

    assert not check_pullback(forgetful, z).ok


def test_log_joint_keeps_single_precision_and_its_rows_apart() -> None:
    model, theta, x, z = joint_setting(Bernoulli(), (), normal_prior(1.0))
    value, pullback = model.log_joint(theta.astype(np.float32), x.astype(np.float32))(z.astype(np.float32))
    assert value.dtype == pullback(value)[0].dtype == np.float32
    whole = model.log_joint(theta, x)(z)[0]
    alone = model.log_joint(theta, x[1:2])(z[:, 1:2])[0]
    np.testing.assert_allclose(alone[:, 0], whole[:, 1], rtol=1e-13)
    other_encoder = replace(model, encoder=Dense(6, 4))
    weights = np.concatenate([np.ones(other_encoder.encoder.layout.size), model.layout.views(theta)["decoder"]])
    np.testing.assert_array_equal(other_encoder.log_joint(weights, x)(z)[0], whole)
