"""Inverse autoregressive flows: masks, the gated step, its log-determinant, its inverse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from numvae.arrays import Array
from numvae.checks import check_pullback
from numvae.errors import InputError
from numvae.flows import InverseAutoregressiveFlow, MaskedDense, gate, masked_mlp
from numvae.networks import Chain
from tests.flows.oracles import Grid, jacobian, log_determinant, standard_normal_density

SAMPLES, ROWS, CONTEXT = 3, 4, 2
KOLMOGOROV = 2.2
"""Exceeded once in 8,000 right samplers."""
LARGE = 1e3

every_flow = pytest.mark.parametrize(
    "flow",
    [
        InverseAutoregressiveFlow(1, CONTEXT, 1),
        InverseAutoregressiveFlow(2, 0, 2, (5,)),
        InverseAutoregressiveFlow(3, CONTEXT, 2),
        InverseAutoregressiveFlow(4, CONTEXT, 3, (9,)),
        InverseAutoregressiveFlow(5, CONTEXT, 1, (8, 7)),
    ],
    ids=lambda flow: f"{flow.latents} latents, {flow.steps} steps, hidden {flow.hidden}",
)


def arguments(flow: InverseAutoregressiveFlow, seed: int = 0, size: float = 0.8) -> tuple[Array, Array, Array]:
    """(theta, context, z)."""
    rng = np.random.default_rng(seed)
    theta = size * rng.standard_normal(flow.layout.size)
    return theta, rng.standard_normal((ROWS, flow.context)), rng.standard_normal((SAMPLES, ROWS, flow.latents))


def seen_by(network: Chain, latents: int, context: int) -> Array:
    """∂[m | s]/∂[z | h] of a masked network at random weights, (2Z, Z + C), by complex steps."""
    rng = np.random.default_rng(0)
    theta, x = rng.standard_normal(network.layout.size), rng.standard_normal(latents + context)
    columns = [np.imag(network(theta, x + 1e-30j * unit)[0]) / 1e-30 for unit in np.eye(len(x))]
    return np.stack(columns, axis=-1)


def off_by_one(network: Chain) -> Chain:
    """The bug that masks are known for: the last layer lets each output see its own latent."""
    *parts, last = network.parts
    return Chain((*parts, replace(last, strict=False)))


def steps_of(flow: InverseAutoregressiveFlow, theta: Array, context: Array) -> Callable[[Array], Array]:
    """z_0 -> z_K."""
    return lambda z: flow(theta, context, z)[0][0]


# ---- masks


def test_a_mask_by_hand() -> None:
    """Places 2, 1 and a context of degree 0 before units of degree 0 and 1   (autoregressive.1)."""
    first = MaskedDense(seen=(2, 1, 0), by=(0, 1))
    assert first.mask(np.zeros(1)).tolist() == [[0, 0], [0, 1], [1, 1]]
    last = MaskedDense(seen=(0, 1), by=(2, 1), strict=True)
    assert last.mask(np.zeros(1)).tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize("strict", [False, True])
def test_a_masked_layer(strict: bool) -> None:
    """(autoregressive.2), (autoregressive.3): masked weights change nothing and have no gradient."""
    layer, rng = MaskedDense((1, 2, 3), (1, 2, 3, 2), strict), np.random.default_rng(0)
    theta, x = rng.standard_normal(layer.layout.size), rng.standard_normal((5, 3))
    y, pullback = layer(theta, x)
    W, b = layer.layout.views(theta).values()
    hidden = layer.mask(theta) == 0
    np.testing.assert_allclose(y, x @ (W * ~hidden) + b, rtol=1e-14)
    check_pullback(layer, theta, x).assert_ok()
    dW = layer.layout.views(pullback(np.ones_like(y))[0])["W"]
    assert hidden.any()
    assert not dW[hidden].any()


def test_the_gradient_check_sees_a_gradient_that_is_not_masked() -> None:
    layer, rng = MaskedDense((1, 2), (1, 2)), np.random.default_rng(0)

    def unmasked(theta: Array, x: Array) -> Any:
        y, pullback = layer(theta, x)

        def wrong(dy: Array) -> Any:
            dtheta, dx = pullback(dy)
            layer.layout.views(dtheta)["W"][...] = x.T @ dy
            return dtheta, dx

        return y, wrong

    assert not check_pullback(unmasked, rng.standard_normal(layer.layout.size), rng.standard_normal((5, 2))).ok


@pytest.mark.parametrize("hidden", [(), (12,), (6, 7)], ids=str)
@pytest.mark.parametrize("order", [(1, 2, 3, 4), (4, 3, 2, 1), (2, 4, 1, 3)], ids=str)
def test_each_output_sees_all_latents_before_it_and_no_other(hidden: tuple[int, ...], order: tuple[int, ...]) -> None:
    """(autoregressive.1): the property by which the Jacobian is triangular; a mask off by one lacks it."""
    network = masked_mlp(order, CONTEXT, hidden)
    places = np.array(order)
    before = places[None, :] < np.tile(places, 2)[:, None]
    seen = seen_by(network, 4, CONTEXT)
    np.testing.assert_array_equal(seen[:, :4] != 0, before)
    assert (seen[:, 4:] != 0).all()  # the context by all, also by the first, which sees nothing else
    assert ((seen_by(off_by_one(network), 4, CONTEXT)[:, :4] != 0) & ~before).any()


# ---- the step


def test_gradients_of_the_gate() -> None:
    """(autoregressive.6)."""
    rng = np.random.default_rng(0)
    check_pullback(gate, *(2 * rng.standard_normal((3, SAMPLES, ROWS, 5)))).assert_ok()


def test_the_gate_by_hand() -> None:
    """s = -2 gives σ = 1/2: halfway from z to m, and a log-determinant of -log 2 for each latent."""
    (z, log_det), _ = gate(np.array([1.0, 3.0]), np.array([-2.0, -2.0]), np.array([5.0, 5.0]))  # (autoregressive.4)
    assert z.tolist() == [3, 4]
    assert log_det == pytest.approx(-2 * np.log(2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_gate_overflows(dtype: Any) -> None:
    """(autoregressive.5): log σ is s where the gate is shut, and nearly 0 where it is open."""
    s = np.array([-LARGE, LARGE], dtype)
    with np.errstate(all="raise", under="ignore"):
        (z, log_det), pullback = gate(np.ones(2, dtype), s, np.zeros(2, dtype))
        gradients = pullback(np.ones(2, dtype), np.array(1, dtype))
    assert z.tolist() == [1, 0]
    assert log_det == pytest.approx(-LARGE + 2)
    assert all(np.isfinite(gradient).all() and gradient.dtype == dtype for gradient in gradients)


# ---- the flow


@every_flow
def test_gradients_of_a_flow(flow: InverseAutoregressiveFlow) -> None:
    """(autoregressive.7): z goes on its own way and through the networks that see it."""
    check_pullback(flow, *arguments(flow), parts={"theta": flow.layout.leaves}, coordinates=4).assert_ok()


@every_flow
def test_log_determinant_is_that_of_the_jacobian(flow: InverseAutoregressiveFlow) -> None:
    """(autoregressive.5) against slogdet of a Jacobian by complex steps; its sign flipped is seen."""
    for seed in range(3):
        theta, context, z = arguments(flow, seed)
        (_, log_det), _ = flow(theta, context, z)
        for sample, row in ((0, 0), (2, 3)):
            expected = log_determinant(steps_of(flow, theta, context[row]), z[sample, row])
            assert log_det[sample, row] == pytest.approx(expected, rel=1e-11)
            assert abs(-log_det[sample, row] - expected) > 1e-3


def test_a_mask_off_by_one_spoils_the_log_determinant() -> None:
    """The negative control: the Jacobian is no longer triangular, and Σ log σ no longer its log-determinant."""
    flow = InverseAutoregressiveFlow(3, CONTEXT, 1, (6,))
    theta, context, z = arguments(flow)
    flow.__dict__["networks"] = tuple(off_by_one(network) for network in flow.networks)
    (_, log_det), _ = flow(theta, context, z)
    expected = log_determinant(steps_of(flow, theta, context[0]), z[0, 0])
    assert abs(log_det[0, 0] - expected) > 0.01


def test_one_step_is_triangular_and_a_second_in_reversed_order_is_not() -> None:
    """Were the order kept, the first latent would never learn of the others: the reason for reversing it."""
    flow = InverseAutoregressiveFlow(3, CONTEXT, 2, (6,))
    theta, context, z = arguments(flow)
    full = jacobian(steps_of(flow, theta, context[0]), z[0, 0])
    assert (full != 0).all()
    kept = InverseAutoregressiveFlow(3, CONTEXT, 2, (6,))
    kept.__dict__["networks"] = (flow.networks[0], flow.networks[0])
    triangular = jacobian(steps_of(kept, theta, context[0]), z[0, 0])
    np.testing.assert_array_equal(triangular != 0, np.tri(3) > 0)


@every_flow
def test_the_inverse_undoes_the_flow(flow: InverseAutoregressiveFlow) -> None:
    """(autoregressive.8)."""
    theta, context, z = arguments(flow, size=0.6)
    (moved, _), _ = flow(theta, context, z)
    np.testing.assert_allclose(flow.inverse(theta, context, moved), z, rtol=1e-9, atol=1e-9)
    assert np.abs(moved - z).max() > 0.1


def test_the_density_integrates_to_one_and_is_that_of_the_samples() -> None:
    """(autoregressive.5), (flows.1); with the sign of the log-determinant flipped neither holds."""
    flow = InverseAutoregressiveFlow(2, 0, 2, (6,))
    theta, _, _ = arguments(flow, seed=3, size=1.0)
    context = np.empty((1, 0))
    grid, noise = Grid(), np.random.default_rng(1).standard_normal((20_000, 1, 2))
    samples = flow(theta, context, noise)[0][0][:, 0]
    z = flow.inverse(theta, context, grid.points[:, None])
    log_det = flow(theta, context, z)[0][1][:, 0]
    density, flipped = (standard_normal_density(z[:, 0]) * np.exp(-sign * log_det) for sign in (1.0, -1.0))
    assert grid.total(density) == pytest.approx(1, abs=2e-4)
    assert all(grid.distance(density, samples, coordinate) < KOLMOGOROV for coordinate in (0, 1))
    assert abs(grid.total(flipped) - 1) > 0.1
    assert max(grid.distance(flipped, samples, coordinate) for coordinate in (0, 1)) > 5


# ---- the rest of the contract


def test_open_gates_are_the_identity() -> None:
    flow = InverseAutoregressiveFlow(3, CONTEXT, 2, (6,))
    theta, context, z = arguments(flow)
    theta[...] = 0
    for name, piece in flow.layout.leaves(theta):
        if name.endswith("3.b"):
            piece[3:] = 60.0
    (moved, log_det), _ = flow(theta, context, z)
    np.testing.assert_array_equal(moved, z)
    np.testing.assert_allclose(log_det, 0, atol=1e-24)


def test_float32_stays_float32() -> None:
    flow = InverseAutoregressiveFlow(3, CONTEXT, 2, (6,))
    (z, log_det), pullback = flow(*(argument.astype(np.float32) for argument in arguments(flow)))
    assert {array.dtype for array in (z, log_det, *pullback(z, log_det))} == {np.dtype(np.float32)}


def test_a_flow_with_negative_steps_is_refused() -> None:
    with pytest.raises(InputError, match="steps must be a whole number >= 0, got -1"):
        InverseAutoregressiveFlow(2, 3, steps=-1)
