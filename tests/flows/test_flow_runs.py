"""Flows in runs: from the flags to a folder that goes on, is evaluated, checked and shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numvae import elbo, pathwise, sample_mean
from numvae.arena.states import state_of_model
from numvae.arrays import Array
from numvae.config import Config, read_config
from numvae.flows import FlowVAE, InverseAutoregressiveFlow, PlanarFlow, mlp_flow_vae
from numvae.gradcheck import check_model
from numvae.parameters import initial_theta
from numvae.randomness import generator
from numvae.runs import create_run, open_run, resume_run
from numvae.training import train
from numvae.watching import _watched_model, first_nonfinite
from tests.small_runs import numvae, write_digits

FLOWS = [PlanarFlow(2, 2), InverseAutoregressiveFlow(2, 3, 2, (5,))]
both_flows = pytest.mark.parametrize("flow", FLOWS, ids=["planar", "iaf"])


def small(flow: Any) -> tuple[FlowVAE, Array, Array]:
    """A model, weights and bits."""
    rng = np.random.default_rng(0)
    model = mlp_flow_vae(6, flow, hidden=(5,))
    return model, initial_theta(model.layout, rng=rng), (rng.random((4, 6)) < 0.5).astype(float)


def settings(**given: Any) -> Config:
    return read_config(None, given)


def test_settings_make_the_flow_they_name() -> None:
    iaf = settings(latent=5, hidden=[7], flow="iaf", flow_steps=3, flow_hidden=8).build_model(9)
    planar = settings(latent=5, hidden=[7], flow="planar", prior_precision=4.0).build_model(9)
    assert isinstance(iaf, FlowVAE)
    assert isinstance(planar, FlowVAE)
    assert iaf.flow == InverseAutoregressiveFlow(5, 50, 3, (8,))
    assert planar.flow == PlanarFlow(5, 8)
    assert planar.prior.values


@pytest.mark.parametrize("flow", ["planar", "iaf"])
def test_the_bound_behind_a_flow_is_by_samples_and_says_so(flow: str) -> None:
    config = settings(flow=flow)
    assert (config.kl, config.settled_objective(), config.settled_estimator()) == (
        "monte_carlo",
        "elbo_monte_carlo",
        "pathwise",
    )
    assert settings(**config.model_dump()) == config


@pytest.mark.parametrize("flow", ["planar", "iaf"])
def test_a_run_goes_on_as_if_it_had_never_stopped(flow: str, tmp_path: Path) -> None:
    given = {"data": str(write_digits(tmp_path)), "flow": flow, "flow_steps": 2, "latent": 2, "hidden": [8]}
    for name, epochs in (("whole", 2), ("parts", 1)):
        run, dataset = create_run(settings(**given, epochs=epochs), tmp_path / name)
        train(run.model, dataset, run.recipe, run.state)
        run.save()
    run, dataset = resume_run(tmp_path / "parts", {"epochs": 2})
    assert isinstance(run.model, FlowVAE)
    train(run.model, dataset, run.recipe, run.state)
    thetas = [open_run(tmp_path / "whole").theta, run.theta]
    np.testing.assert_array_equal(thetas[0], thetas[1])


def test_a_run_leaves_its_page_with_where_the_flow_takes_the_mean(tmp_path: Path) -> None:
    words = ["train", "--data", write_digits(tmp_path), "--flow", "iaf", "--flow-steps", 1, "--latent", 2]
    outcome = numvae(*words, "--hidden", 8, "--epochs", 1, "--out", tmp_path / "run", "--json")
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "run" / "index.html").read_text()
    assert "auto-encoder with a normalising flow" in page
    assert (
        "49-8-2 units and its mirror image as decoder, an inverse autoregressive flow behind its normal (steps: 1"
        in page
    )
    assert (tmp_path / "run" / "figures" / "latent_scatter.png").exists()
    run = open_run(tmp_path / "run")
    assert isinstance(run.model, FlowVAE)
    rows = run.load_data().test[:5]
    x = run.recipe.binarize(rows, generator(run.config.seed, "pictures"), run.theta.dtype)
    np.testing.assert_array_equal(run.means(rows), run.model.latent_centre(run.theta, x))
    base_mean = run.model.posterior.mean(run.model.encode(run.theta, x))
    assert np.abs(run.means(rows) - base_mean).max() > 0.01


@both_flows
def test_the_gradient_check_passes_on_a_flow(flow: Any) -> None:
    model, theta, x = small(flow)
    check = check_model(model, theta, x, rng=np.random.default_rng(0))
    assert check.verdict == "passed"
    assert check.variance_ratio > 1
    assert any(row.name.startswith("theta.encoder") for row in check.pullback.arguments)


@both_flows
def test_estimators_can_be_compared_on_a_flow(flow: Any) -> None:
    """What they average is the whole weight (flows.2), the context held: pathwise finds the gradient by differences."""
    model, theta, x = small(flow)
    state = state_of_model(model, theta, x)
    noise = np.random.default_rng(1).standard_normal((3, len(x), 2))
    _, pullback = pathwise(state.q, state.params, noise, state.f, sample_mean)
    gradient = pullback(np.ones(len(x)))[0][0, 0]
    bounds = []
    for step in (1e-5, -1e-5):
        params = state.params.copy()
        params[0, 0] += step
        bounds.append(pathwise(state.q, params, noise, state.f, sample_mean)[0].sum())
    assert gradient == pytest.approx((bounds[0] - bounds[1]) / 2e-5, rel=1e-6)


@dataclass(frozen=True)
class BrokenFlow(PlanarFlow):
    """Its log-determinants, or their gradients, are not numbers."""

    of: str = "value"

    def __call__(self, theta: Array, context: Array, z: Array) -> Any:
        (z, log_det), pullback = super().__call__(theta, context, z)
        if self.of == "value":
            return (z, log_det * np.nan), pullback
        return (z, log_det), lambda dz, dlog_det, out=None: pullback(dz * np.nan, dlog_det, out)


@pytest.mark.parametrize(("of", "words"), [("value", "flow (BrokenFlow)"), ("pullback", "the pullback of flow (Broke")])
def test_a_flow_that_makes_a_nan_is_named(of: str, words: str) -> None:
    model, theta, x = small(BrokenFlow(2, 2, of))
    said = first_nonfinite(model, theta, x, np.ones((1, 4, 2)), elbo, pathwise)
    assert said is not None
    assert said.startswith(words)


@both_flows
def test_watching_changes_no_number(flow: Any) -> None:
    model, theta, x = small(flow)
    bounds = [elbo(each, theta, x, np.ones((1, 4, 2))) for each in (model, _watched_model(model))]
    np.testing.assert_array_equal(bounds[0][0], bounds[1][0])
    gradients = [pullback(np.ones(4))[0] for _, pullback in bounds]
    np.testing.assert_array_equal(gradients[0], gradients[1])
