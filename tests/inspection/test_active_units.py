"""Which latents are active, against variances in closed form; and models without the others."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from numvae import VAE, Normal, blocks, elbo, initial_theta, mlp_vae
from numvae.arrays import Array
from numvae.belief_networks import mlp_belief_network
from numvae.checks import check_pullback
from numvae.errors import InputError
from numvae.exact_models import LinearGaussian
from numvae.flows import PlanarFlow, mlp_flow_vae
from numvae.inspection import ActiveUnits, active_units, without_inactive
from numvae.layered import LayeredVAE, mlp_layered_vae
from numvae.marginal_likelihood import importance_weighted_bounds
from numvae.objectives import importance_weighted
from numvae.priors import Prior

RNG = np.random.default_rng(4)
DIRECTIONS = np.linalg.qr(RNG.standard_normal((6, 4)))[0].T
EXACT = LinearGaussian(DIRECTIONS * [[2.0], [0.0], [0.5], [0.02]], RNG.standard_normal(6), alpha=1.5, beta=2.0)
MODEL, THETA = EXACT.vae(), EXACT.theta
_, X = EXACT.draw(RNG, 4000)
KEPT = [0, 2]
FOUND = active_units(MODEL, THETA, X)


def test_the_activity_of_an_exact_posterior_is_the_prior_variance_it_explains() -> None:
    """(active_units.1): Var(z) = A + E Var(z|x), so A = 1/α - 1/Λ; a sample variance misses by A √(2/N)."""
    truth = 1 / EXACT.alpha - 1 / np.diag(EXACT.precision)
    (activity,) = FOUND.activities
    assert np.all(np.abs(activity - truth) <= 4 * truth * np.sqrt(2 / len(X)) + 1e-12)
    np.testing.assert_allclose(activity, EXACT.posterior_mean(X).var(axis=0, ddof=1), rtol=1e-10, atol=1e-20)
    np.testing.assert_allclose(FOUND.means[0], EXACT.posterior_mean(X).mean(axis=0), atol=1e-12)
    assert FOUND.active[0].tolist() == [True, False, True, False]
    assert FOUND.counts == (2,)


def test_the_variance_of_z_is_not_that_of_its_mean() -> None:
    """The negative control: a latent that x says nothing about varies as much as any other."""
    z, _ = MODEL.posterior.sample(MODEL.encode(THETA, X), RNG.standard_normal((1, len(X), 4)))
    of_z = z[0].var(axis=0, ddof=1)
    np.testing.assert_allclose(of_z, 1 / EXACT.alpha, rtol=0.1)
    wrong = ActiveUnits((of_z,), FOUND.means, FOUND.threshold, len(X))
    assert wrong.counts == (4,)
    assert FOUND.activities[0][1] == pytest.approx(0, abs=1e-25)


@pytest.mark.parametrize("block", [1, 7, 100_000])
def test_rows_come_in_any_blocks(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    whole = active_units(MODEL, THETA, X[:50])
    monkeypatch.setattr(blocks, "BLOCK_ROWS", block)
    np.testing.assert_allclose(active_units(MODEL, THETA, X[:50]).activities, whole.activities, rtol=1e-10)


# ---- means by samples


def two_layers() -> tuple[LayeredVAE, Array, Array]:
    """q(z_2|z_1) = N(z_1 V, ·), linear, so that E[z_2|x] = E[z_1|x] V; and the variance of z_1 given x."""
    model = mlp_layered_vae(6, latents=(3, 2), hidden=((), ()))
    theta = 0.3 * initial_theta(model.layout, rng=np.random.default_rng(0))
    leaves = dict(model.layout.leaves(theta))
    leaves["encoder.1.1.W"][:, 3:] = 0
    leaves["encoder.1.1.b"][3:] = 0.2
    leaves["encoder.2.1.W"][:, :2] *= 3
    leaves["encoder.2.1.W"][:, 2:] = 0
    return model, theta, np.exp(0.4) * np.sum(leaves["encoder.2.1.W"][:, :2] ** 2, axis=0)


@pytest.mark.parametrize("samples", [2, 20])
def test_an_upper_layer_is_averaged_over_the_lower(samples: int) -> None:
    """(active_units.2): what two samples add to the variance is as large as the activity, and taken away again."""
    model, theta, per_sample = two_layers()
    found = active_units(model, theta, X, rng=np.random.default_rng(1), samples=samples)
    below = Normal().mean(model.encode(theta, X))
    encoder = dict(model.layout.leaves(theta))["encoder.2.1.W"][:, :2]
    truth, added = (below @ encoder).var(axis=0, ddof=1), per_sample / samples
    error = np.sqrt((4 * truth * added + 2 * added**2) / len(X) + 2 * added**2 / (len(X) * (samples - 1)))
    np.testing.assert_allclose(found.activities[0], below.var(axis=0, ddof=1), rtol=1e-10)
    assert np.all(np.abs(found.activities[1] - truth) < 4 * error)
    assert np.all(added > 8 * error), "without (active_units.2) it is found out"


def test_behind_a_flow_and_in_bits_means_are_by_samples_too() -> None:
    flow = mlp_flow_vae(6, PlanarFlow(latents=2, steps=1), hidden=())
    theta = 0.4 * initial_theta(flow.layout, rng=np.random.default_rng(0))
    rng = np.random.default_rng(1)
    of_two = [active_units(flow, theta, X[:200], rng=rng, samples=2).activities[0] for _ in range(40)]
    of_many = active_units(flow, theta, X[:200], rng=rng, samples=2000).activities[0]
    error = np.std(of_two, axis=0, ddof=1) / np.sqrt(40)
    assert np.all(np.abs(np.mean(of_two, axis=0) - of_many) < 4 * error)
    bits = mlp_belief_network(6, latents=(3, 2))
    theta = initial_theta(bits.layout, rng=np.random.default_rng(0))
    found = active_units(bits, theta, X[:1000], rng=rng)
    assert [len(layer) for layer in found.activities] == [3, 2]
    assert max(layer.max() for layer in found.activities) < 0.25


# ---- without the inactive ones


def log_weights(model: Any, theta: Array, noise: Array, x: Array = X[:5]) -> Array:
    weights: Array = np.add(*model.log_weights(theta, x, noise))
    return weights


def test_without_units_it_is_the_model_of_the_others() -> None:
    """(active_units.3): with orthogonal rows of W each weight is the evidence of the model that lacks a row."""
    small = LinearGaussian(EXACT.W[KEPT], EXACT.b, EXACT.alpha, EXACT.beta)
    pruned = without_inactive(MODEL, THETA, FOUND)
    weights = log_weights(pruned, THETA, RNG.standard_normal((3, 5, 2)))
    np.testing.assert_allclose(weights, np.tile(small.evidence(X[:5]), (3, 1)), rtol=1e-12)


def test_dead_units_change_nothing_and_live_ones_do() -> None:
    """q of the dead one is the prior, and the decoder does not look: every single weight stays   (active_units.3)."""
    dead = ActiveUnits((np.array([1.0, 0.0, 1.0, 1.0]),), FOUND.means, 0.01, len(X))
    noise = RNG.standard_normal((3, 5, 4))
    pruned = without_inactive(MODEL, THETA, dead)
    kept = log_weights(pruned, THETA, noise[..., [0, 2, 3]])
    np.testing.assert_allclose(kept, log_weights(MODEL, THETA, noise), rtol=1e-12)
    rng = np.random.default_rng(0)
    nearly = importance_weighted_bounds(without_inactive(MODEL, THETA, FOUND), THETA, X, rng=rng, samples=1).best
    assert abs(np.mean(EXACT.evidence(X) - nearly)) < 1e-4, "the weakest tells next to nothing"
    alive = ActiveUnits((np.array([0.0, 0.0, 1.0, 1.0]),), FOUND.means, 0.01, len(X))
    lost = importance_weighted_bounds(without_inactive(MODEL, THETA, alive), THETA, X, rng=rng, samples=1).best
    assert np.mean(EXACT.evidence(X) - lost) > 1


def test_a_unit_unused_by_the_decoder_alone_gives_back_its_kl() -> None:
    """(active_units.3): its terms leave the weight, so the bound rises by what they cost on average."""
    theta = THETA.copy()
    dict(MODEL.layout.leaves(theta))["encoder.b"][1] += 0.8
    dead = ActiveUnits((np.array([1.0, 0.0, 1.0, 1.0]),), FOUND.means, 0.01, len(X))
    noise = np.zeros((1, 5, 4))
    rise = (
        elbo(without_inactive(MODEL, theta, dead), theta, X[:5], noise[..., :3])[0]
        - elbo(MODEL, theta, X[:5], noise)[0]
    )
    np.testing.assert_allclose(rise, 0.5 * EXACT.alpha * 0.8**2, rtol=1e-9)


def test_it_is_held_at_the_mean_of_the_prior() -> None:
    """Not at 0: with a prior around 0.7 that is another point."""
    model = replace(MODEL, prior=Prior(Normal(), (("mean", 0.7),)))
    pruned = without_inactive(model, THETA, FOUND)
    z = RNG.standard_normal((3, 2))
    whole = np.full((3, 4), 0.7)
    whole[:, KEPT] = z
    np.testing.assert_array_equal(pruned.decode(THETA, z), model.decode(THETA, whole))


def test_with_no_unit_left_the_likelihood_is_that_at_the_prior_mean() -> None:
    none = ActiveUnits((np.zeros(4),), FOUND.means, 0.01, len(X))
    weights = log_weights(without_inactive(MODEL, THETA, none), THETA, np.zeros((1, 5, 0)))
    at_zero = MODEL.log_likelihood(THETA, np.zeros((1, 5, 4)), X[:5])[0]
    np.testing.assert_allclose(weights, at_zero, rtol=1e-14)


def dead_in_the_lower_layer() -> tuple[LayeredVAE, Array]:
    """The second of three units of z_1: nobody looks at it, and q(u|x) and p(u|z_2) are the same normal."""
    model = mlp_layered_vae(6, latents=(3, 2), hidden=((5,), (4,)))
    theta = initial_theta(model.layout, rng=np.random.default_rng(3))
    leaves = dict(model.layout.leaves(theta))
    for reader in ("encoder.2.1.W", "decoder.1.1.W"):
        leaves[reader][1] = 0
    for writer in ("encoder.1.3", "decoder.2.3"):
        leaves[f"{writer}.W"][:, [1, 4]] = 0
        leaves[f"{writer}.b"][[1, 4]] = 1.3, -0.4
    return model, theta


def test_a_dead_unit_of_a_lower_layer_changes_nothing() -> None:
    """(active_units.3): held at the mean over the data; the layer above neither sees it nor has to explain it."""
    model, theta = dead_in_the_lower_layer()
    x = (X[:50] > 0).astype(np.float64)
    found = active_units(model, theta, x, threshold=1e-8, rng=np.random.default_rng(0))
    assert [active.tolist() for active in found.active] == [[True, False, True], [True, True]]
    assert found.means[0][1] == pytest.approx(1.3)
    pruned, noise = without_inactive(model, theta, found), RNG.standard_normal((3, 5, 5))
    assert isinstance(pruned, LayeredVAE)
    assert pruned.widths == (2, 2)
    kept = log_weights(pruned, theta, noise[..., [0, 2, 3, 4]], x[:5])
    np.testing.assert_allclose(kept, log_weights(model, theta, noise, x[:5]), rtol=1e-12)


def test_a_pruned_model_can_be_trained_on() -> None:
    """The pullbacks of ``Held`` and ``Picked``, in one layer and in two   (active_units.3)."""
    one = mlp_vae(6, latents=3, hidden=(4,))
    two, _ = dead_in_the_lower_layer()
    x, upper = (X[:3] > 0).astype(np.float64), np.array([0.0, 1.0])
    for model, layers in ((one, (np.array([1.0, 0.0, 1.0]),)), (two, (np.array([1.0, 0.0, 1.0]), upper))):
        theta = initial_theta(model.layout, rng=np.random.default_rng(1))
        found = ActiveUnits(layers, tuple(0.3 * layer for layer in layers), 0.01, 3)
        pruned = without_inactive(model, theta, found)
        noise = RNG.standard_normal((2, 3, pruned.latents))
        check_pullback(partial(importance_weighted, pruned), theta, x, noise).assert_ok()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: active_units(MODEL, THETA, X[:1]), "needs two of them"),
        (lambda: active_units(*two_layers()[:2], X), "give rng"),
        (lambda: active_units(*two_layers()[:2], X, rng=RNG, samples=1), "two a row"),
        (lambda: without_inactive(mlp_belief_network(6), THETA, FOUND), "of a VAE or a LayeredVAE"),
        (lambda: without_inactive(mlp_vae(6, latents=3), THETA, FOUND), "the model's of"),
        (lambda: without_inactive(*correlated()), "depend on each other"),
    ],
)
def test_what_cannot_be_done_is_said(ask: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ask()


def correlated() -> tuple[VAE, Array, ActiveUnits]:
    exact = LinearGaussian(np.array([[1.0, 1.0], [0.0, 1.0]]), np.zeros(2))
    return exact.vae(), exact.theta, active_units(exact.vae(), exact.theta, X[:9, :2])
