"""The VAE with a flow: without one it is the VAE; its weight, its gradient, and the gap that a flow closes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from numvae import Dense, Normal, elbo, elbo_monte_carlo, importance_weighted, initial_theta, mlp_vae, score_function
from numvae.arrays import Array
from numvae.checks import check_pullback
from numvae.distributions import Laplace
from numvae.errors import InputError
from numvae.estimators import log_mean_exp
from numvae.exact_models import LinearGaussian
from numvae.exact_models.mean_field import mean_field_gap, mean_field_optimum
from numvae.flows import BaseIntegrand, Flow, FlowVAE, InverseAutoregressiveFlow, PlanarFlow, mlp_flow_vae
from numvae.objectives import weighted_elbo
from numvae.optimizers import Adam
from tests.device_array import DeviceArray

FEATURES, LATENTS, ROWS, SAMPLES = 5, 3, 4, 2

PLANAR, IAF = PlanarFlow(LATENTS, 2), InverseAutoregressiveFlow(LATENTS, 2, 2, (6,))
both_flows = pytest.mark.parametrize("flow", [PLANAR, IAF], ids=["planar", "iaf"])

CORRELATED = LinearGaussian(np.array([[1.5, 0.3, -0.2], [1.2, -0.5, 0.4]]), np.array([0.2, -0.1, 0.6]), beta=4.0)
"""Its posterior has a correlation of -0.67, which no diagonal normal has."""


def small(flow: Flow, hidden: tuple[int, ...] = (6,)) -> tuple[FlowVAE, Array, Array, Array]:
    """A model, weights, bits and noise."""
    rng = np.random.default_rng(0)
    model = mlp_flow_vae(FEATURES, flow, hidden=hidden)
    theta = 0.7 * rng.standard_normal(model.layout.size)
    x = (rng.random((ROWS, FEATURES)) < 0.5).astype(float)
    return model, theta, x, rng.standard_normal((SAMPLES, ROWS, LATENTS))


# ---- without a flow it is the VAE


@pytest.mark.parametrize("objective", [elbo_monte_carlo, importance_weighted])
@pytest.mark.parametrize(
    "flow", [PlanarFlow(LATENTS, 0), InverseAutoregressiveFlow(LATENTS, 0, 0)], ids=["planar", "iaf"]
)
def test_without_steps_bound_and_gradient_are_the_vaes(flow: Flow, objective: Any) -> None:
    model, theta, x, noise = small(flow)
    assert model.layout.size == model.vae.layout.size
    bound, pullback = objective(model, theta, x, noise)
    expected, expected_pullback = objective(model.vae, theta, x, noise)
    np.testing.assert_allclose(bound, expected, rtol=1e-12)
    np.testing.assert_allclose(pullback(bound)[0], expected_pullback(bound)[0], rtol=1e-11, atol=1e-12)


@both_flows
def test_at_the_identity_the_bound_is_the_vaes(flow: Flow) -> None:
    model, theta, x, noise = small(flow)
    weights = dict(model.layout.leaves(theta))
    weights["encoder.3.W"][:, 2 * LATENTS :] = weights["encoder.3.b"][2 * LATENTS :] = 0
    if flow is IAF:
        model.layout.views(theta)["flow"][...] = 0
        for step in (1, 2):
            weights[f"flow.{step}.3.b"][LATENTS:] = 60.0
    else:
        weights["encoder.3.b"][3 * LATENTS : 4 * LATENTS] = 1.0  # w of the first step; u is 0
    vae = mlp_vae(FEATURES, latents=LATENTS, hidden=(6,))
    narrow = np.zeros(vae.layout.size)
    for name, piece in vae.layout.leaves(narrow):
        piece[...] = weights[name][..., : 2 * LATENTS] if name.startswith("encoder.3") else weights[name]
    bound, expected = (elbo_monte_carlo(m, w, x, noise)[0] for m, w in ((model, theta), (vae, narrow)))
    np.testing.assert_allclose(bound, expected, rtol=1e-12)


# ---- the gradient


@both_flows
@pytest.mark.parametrize("objective", [elbo, importance_weighted])
def test_gradient_of_the_bound(flow: Flow, objective: Any) -> None:
    """(flows.3), (flows.4): the data's, the prior's and the posterior's, through the flow into every weight."""
    model, theta, x, noise = small(flow)

    def bound(theta: Array) -> Any:
        value, pullback = objective(model, theta, x, noise)
        return value, lambda dvalue: pullback(dvalue)[:1]

    check_pullback(bound, theta, parts={"theta": model.layout.leaves}, coordinates=3, directions=3).assert_ok()


@pytest.mark.parametrize("piece", ["encoder", "decoder", "flow"])
def test_the_gradient_check_sees_each_path_left_out(piece: str) -> None:
    model, theta, x, noise = small(InverseAutoregressiveFlow(LATENTS, 1, 1), hidden=())

    def bound(theta: Array) -> Any:
        value, pullback = elbo(model, theta, x, noise)

        def wrong(dvalue: Array) -> Any:
            (dtheta,) = pullback(dvalue)[:1]
            model.layout.views(dtheta)[piece][...] = 0
            return (dtheta,)

        return value, wrong

    assert not check_pullback(bound, theta, coordinates=0, directions=3).ok


@both_flows
def test_gradient_in_the_base_alone(flow: Flow) -> None:
    """The weight as an integrand of the base's params and of z_0, the context held   (flows.3), (flows.4)."""
    model, theta, x, noise = small(flow)
    integrand, params = BaseIntegrand(model, theta, x), model.encode(theta, x)

    def rule(params: Array, z_0: Array) -> Any:
        value, pullback = integrand(params, z_0)
        return value, lambda dvalue: pullback(dvalue)[:2]

    check_pullback(rule, params, noise).assert_ok()
    z_0, _ = model.posterior.sample(params, noise)
    np.testing.assert_allclose(integrand(params, z_0)[0], sum(model.log_weights(theta, x, noise)), rtol=1e-12)


# ---- on a model whose evidence is known


def of_exact(flow: Flow) -> tuple[FlowVAE, Array]:
    """The correlated model with a linear encoder, at the best diagonal normal q; the flow's own weights by chance."""
    vae, rng = CORRELATED.vae(), np.random.default_rng(0)
    model = FlowVAE(replace(vae, posterior=Normal(), encoder=Dense(3, 4 + flow.context)), flow)
    theta = initial_theta(model.layout, rng=rng)
    weights = dict(model.layout.leaves(theta))
    model.layout.views(theta)["decoder"][...] = vae.layout.views(CORRELATED.theta)["decoder"]
    weights["encoder.W"][:, :2] = CORRELATED.to_posterior_mean
    weights["encoder.W"][:, 2:] = 0
    best = mean_field_optimum(CORRELATED, np.zeros((1, 3)))[0]
    weights["encoder.b"][...] = np.concatenate([best, 0.3 * rng.standard_normal(flow.context)])
    return model, theta


@dataclass(frozen=True)
class FlippedFlow:
    """The planted bug: the log-determinant with the wrong sign."""

    flow: Any

    @property
    def latents(self) -> int:
        return int(self.flow.latents)

    @property
    def context(self) -> int:
        return int(self.flow.context)

    @property
    def layout(self) -> Any:
        return self.flow.layout

    def __call__(self, theta: Array, context: Array, z: Array) -> Any:
        (z, log_det), pullback = self.flow(theta, context, z)
        return (z, -log_det), lambda dz, dlog_det, out=None: pullback(dz, -dlog_det, out=out)


def log_weights(model: FlowVAE, theta: Array, x: Array, samples: int) -> Array:
    noise = model.draw_noise(None, np.random.default_rng(9), (samples, len(x)))
    log_likelihood, log_ratio = model.log_weights(theta, x, noise)
    return log_likelihood + log_ratio


def test_without_a_flow_the_gap_is_that_of_mean_field() -> None:
    model, theta = of_exact(PlanarFlow(2, 0))
    _, x = CORRELATED.draw(np.random.default_rng(1), 10)
    gaps = CORRELATED.evidence(x) - log_weights(model, theta, x, 4000)
    assert abs(gaps.mean() - mean_field_gap(CORRELATED)) < 4 * gaps.std() / gaps.size**0.5


@pytest.mark.parametrize("flow", [PlanarFlow(2, 3), InverseAutoregressiveFlow(2, 1, 2, (6,))], ids=["planar", "iaf"])
def test_weights_average_to_the_evidence_and_their_logarithms_to_less(flow: Flow) -> None:
    """E[w] = p(x) for every flow, E[log w] ≤ log p(x)   (flows.1), (flows.2); not with the log-det's sign flipped."""
    _, x = CORRELATED.draw(np.random.default_rng(1), 3)
    for each in (flow, FlippedFlow(flow)):
        model, theta = of_exact(each)
        dict(model.layout.leaves(theta))["encoder.b"][2:4] += 0.6  # wider than the posterior: weights are bounded
        dict(model.layout.leaves(theta))["encoder.b"][4:] *= 8  # and a flow that is far from the identity
        relative = np.exp(log_weights(model, theta, x, 40_000) - CORRELATED.evidence(x))
        error = relative.std(axis=0) / len(relative) ** 0.5
        off = np.abs(relative.mean(axis=0) - 1) / error
        if each is flow:
            assert off.max() < 4.5
            assert (np.log(relative).mean(axis=0) < 0).all()
        else:
            assert off.max() > 10


def test_one_linear_step_is_a_correlated_normal_and_closes_the_gap() -> None:
    """q is the posterior, by its Cholesky factor: each weight is the evidence, whatever the noise   (flows.2)."""
    flow = InverseAutoregressiveFlow(2, context=0, steps=1)
    model, theta = of_exact(flow)
    factor = np.linalg.cholesky(np.linalg.inv(CORRELATED.precision))
    weights, gate_at_start = dict(model.layout.leaves(theta)), 1 / (1 + np.exp(-2.0))
    # z_1 = μ_1 + l_11 ε_1 and z_2 = μ_2 + l_22 ε_2 + (l_21 / l_11)(z_1 - μ_1); the gates leave σ of what the base has.
    lean = factor[1, 0] / factor[0, 0]
    mean, log_std = CORRELATED.to_posterior_mean, np.log(np.diag(factor) / gate_at_start)
    base_mean = np.stack([mean[:, 0], mean[:, 1] - lean * mean[:, 0]], axis=-1) / gate_at_start
    weights["encoder.W"][...] = np.concatenate([base_mean, np.zeros((3, 2))], axis=-1)
    weights["encoder.b"][...] = np.concatenate([-CORRELATED.b @ base_mean, log_std])
    piece = model.layout.views(theta)["flow"]
    piece[...] = 0
    weights["flow.1.1.W"][0, 1] = lean * gate_at_start / (1 - gate_at_start)  # m_2 sees z_1 of the base
    _, x = CORRELATED.draw(np.random.default_rng(1), 5)
    np.testing.assert_allclose(log_weights(model, theta, x, 50), CORRELATED.evidence(x)[None] * np.ones((50, 1)))
    weights["flow.1.1.W"][0, 1] *= 1.1  # the negative control
    assert np.ptp(log_weights(model, theta, x, 50), axis=0).min() > 0.01


@pytest.mark.parametrize(
    ("flow", "left"),
    [(PlanarFlow(2, 2), 0.15), (InverseAutoregressiveFlow(2, 1, 2, (8,)), 0.15)],
    ids=["planar", "iaf"],
)
def test_training_the_flow_closes_most_of_the_mean_field_gap(flow: Flow, left: float) -> None:
    """The decoder stays, so the evidence does: what the bound gains is gap closed.  Never more than all of it."""
    model, theta = of_exact(flow)
    rng, steps = np.random.default_rng(2), 300
    _, x = CORRELATED.draw(rng, 20)
    optimizer = Adam(step_size=0.02)
    moments = optimizer.start(theta)
    for step in range(steps):
        _, pullback = elbo(model, theta, x, rng.standard_normal((6, len(x), 2)))
        gradient = pullback(np.full(len(x), 1 / len(x)))[0]
        model.layout.views(gradient)["decoder"][...] = 0
        optimizer.ascend(theta, gradient, moments, scale=0.5 * (1 + np.cos(np.pi * step / steps)))
    gaps = CORRELATED.evidence(x) - log_weights(model, theta, x, 4000)
    error = gaps.std() / gaps.size**0.5
    assert gaps.mean() > -4 * error
    assert gaps.mean() + 4 * error < left * mean_field_gap(CORRELATED)


# ---- the interface


@both_flows
def test_what_runs_ask_of_a_model(flow: Flow) -> None:
    model, theta, x, noise = small(flow)
    assert (model.latents, [name for name, _ in model.layout.pieces]) == (LATENTS, ["encoder", "decoder", "flow"])
    assert model.encode(theta, x).shape == (ROWS, 2 * LATENTS)
    assert model.latent_centre(theta, x).shape == (ROWS, LATENTS)
    assert model.decode_mean(theta, noise).shape == (SAMPLES, ROWS, FEATURES)
    drawn = model.draw_from_prior(theta, model.prior_noise(np.random.default_rng(0), 7))
    assert drawn.shape == (7, LATENTS)
    assert model.log_joint(theta, x)(noise)[0].shape == (SAMPLES, ROWS)
    ((params, seen, width),) = model.layers_at(theta, x)
    assert (params.shape, seen is x, width) == ((ROWS, 2 * LATENTS), True, LATENTS)
    decoder, weights = model.data_decoder(theta)
    np.testing.assert_array_equal(decoder(weights, noise)[0], model.decode(theta, noise))


@both_flows
def test_the_weight_is_made_of_what_the_model_offers(flow: Flow) -> None:
    """log p(x, z) by ``log_joint`` at z by ``transform``, less the base's density, with the log-det   (flows.2)."""
    model, theta, x, noise = small(flow)
    base = model.encode(theta, x)
    z_0, _ = model.posterior.sample(base, noise)
    z, log_det = model.transform(theta, x, z_0)
    expected = model.log_joint(theta, x)(z)[0] - model.posterior.log_prob(base, z_0)[0] + log_det
    np.testing.assert_allclose(sum(model.log_weights(theta, x, noise)), expected, rtol=1e-12)
    reduced = importance_weighted(model, theta, x, noise)[0]
    np.testing.assert_allclose(reduced, log_mean_exp(expected)[0], rtol=1e-12)


@both_flows
def test_float32_stays_float32(flow: Flow) -> None:
    model, theta, x, noise = small(flow)
    theta, x, noise = (array.astype(np.float32) for array in (theta, x, noise))
    bound, pullback = elbo(model, theta, x, noise)
    assert {bound.dtype, pullback(bound)[0].dtype} == {np.dtype(np.float32)}


@both_flows
def test_the_same_on_a_device(flow: Flow) -> None:
    model, theta, x, noise = small(flow)
    bound, pullback = elbo(model, theta, x, noise)
    on_device, device_pullback = elbo(model, *map(DeviceArray, (theta, x, noise)))  # type: ignore[arg-type]
    np.testing.assert_array_equal(on_device.get(), bound)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(device_pullback(on_device)[0].get(), pullback(bound)[0])


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(InputError, match="the posterior is a Laplace; use Normal"):
        mlp_flow_vae(FEATURES, PLANAR, posterior=Laplace())
    with pytest.raises(InputError, match="the flow is of 3 latents, the model of 2"):
        FlowVAE(mlp_vae(FEATURES, latents=2), PLANAR)
    model, theta, x, noise = small(PLANAR)
    with pytest.raises(InputError, match="use pathwise"):
        elbo(model, theta, x, noise, score_function)
    with pytest.raises(InputError, match="KL of a FlowVAE is no term of its own"):
        weighted_elbo(model, theta, x, noise, kl_weight=2.0)
