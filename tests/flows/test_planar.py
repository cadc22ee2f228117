"""Planar flows: the map, its log-determinant, its gradients, and the constraint that keeps it invertible."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

from numvae.arrays import Array, Pullback
from numvae.checks import check_pullback
from numvae.errors import InputError
from numvae.flows import PlanarFlow, invertible_direction, planar
from tests.flows.oracles import Grid, inverse_planar, log_determinant, standard_normal_density

SAMPLES, ROWS = 3, 4
KOLMOGOROV = 2.2
"""Exceeded once in 8,000 right samplers."""


def parameters(latents: int, rows: tuple[int, ...] = (ROWS,), size: float = 1.0, seed: int = 0) -> tuple[Array, ...]:
    rng = np.random.default_rng(seed)
    u, w = size * rng.standard_normal((2, *rows, latents))
    return u, w, rng.standard_normal((*rows, 1))


def points(latents: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal((SAMPLES, ROWS, latents))


# ---- pullbacks


@pytest.mark.parametrize("rows", [(ROWS,), ()], ids=["amortised", "shared"])
@pytest.mark.parametrize("latents", [1, 2, 5])
def test_gradients_of_a_step(rows: tuple[int, ...], latents: int) -> None:
    """(planar.3), (planar.4): of the value and of the log-determinant, for each argument."""
    check_pullback(planar, *parameters(latents, rows), points(latents)).assert_ok()


@pytest.mark.parametrize("size", [0.01, 1.0, 4.0])
@pytest.mark.parametrize("latents", [1, 3])
def test_gradients_of_the_constraint(size: float, latents: int) -> None:
    """(planar.7)."""
    u, w, _ = parameters(latents, size=size)
    check_pullback(invertible_direction, u, w).assert_ok()


def test_gradients_of_a_flow() -> None:
    flow, rng = PlanarFlow(latents=2, steps=3), np.random.default_rng(2)
    context = rng.standard_normal((ROWS, flow.context))
    check_pullback(flow, np.empty(0), context, points(2)).assert_ok()


def test_a_flow_is_its_steps_one_after_the_other() -> None:
    """With u times 0.1 and w over √Z   (planar.8), and (planar.5) before each   (flows.1)."""
    flow, rng = PlanarFlow(latents=4, steps=2), np.random.default_rng(2)
    context, z = rng.standard_normal((ROWS, flow.context)), points(4)
    (found, log_det), _ = flow(np.empty(0), context, z)
    expected = np.zeros((SAMPLES, ROWS))
    for step in (context[:, :9], context[:, 9:]):
        u, w, b = 0.1 * step[:, :4], step[:, 4:8] / 2, step[:, 8:]
        (z, stretch), _ = planar(invertible_direction(u, w)[0], w, b, z)
        expected = expected + stretch
    np.testing.assert_allclose(found, z, rtol=1e-13)
    np.testing.assert_allclose(log_det, expected, rtol=1e-12, atol=1e-14)


def with_planted_bug(wrong: Callable[..., tuple[Array, ...]]) -> Callable[..., Any]:
    """``planar`` with a pullback of one's own."""

    def rule(u: Array, w: Array, b: Array, z: Array) -> tuple[tuple[Array, Array], Pullback]:
        value, pullback = planar(u, w, b, z)
        return value, lambda dz, dlog_det: wrong(pullback, dz, dlog_det)

    return rule


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda pullback, dz, dlog_det: pullback(dz, -dlog_det), id="sign of the log-det"),
        pytest.param(lambda pullback, dz, dlog_det: pullback(dz, 0 * dlog_det), id="log-det without gradient"),
    ],
)
def test_the_gradient_check_sees_a_planted_bug(wrong: Any) -> None:
    assert not check_pullback(with_planted_bug(wrong), *parameters(2), points(2)).ok


def test_numbers_at_the_origin_by_hand() -> None:
    """u = w = 1, b = z = 0: z' = 0, slope 1, log|det| = log 2; dz = 1 + 1, and the log-det has no slope there."""
    one, zero = np.array([1.0]), np.array([0.0])
    (z, log_det), pullback = planar(one, one, zero, zero)
    assert z[0] == 0
    assert log_det == pytest.approx(math.log(2))
    du, dw, db, dz = pullback(np.array([1.0]), np.array(2.0))
    np.testing.assert_allclose([du[0], dw[0], db[0], dz[0]], [1, 1, 1, 2], rtol=1e-14)


# ---- the log-determinant


def step_of(u: Array, w: Array, b: Array) -> Callable[[Array], Array]:
    """z -> z'."""
    return lambda z: planar(u, w, b, z)[0][0]


@pytest.mark.parametrize("latents", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [0.3, 1.0, 3.0])
def test_log_determinant_is_that_of_the_jacobian(latents: int, size: float) -> None:
    """(planar.1), (planar.2) against the determinant of a Jacobian by complex steps; its sign flipped is seen."""
    flipped = []
    for seed in range(5):
        u, w, b = parameters(latents, (), size, seed)
        z = points(latents, seed + 100)[0, 0]
        (_, log_det), _ = planar(u, w, b, z)
        expected = log_determinant(step_of(u, w, b), z)
        np.testing.assert_allclose(log_det, expected, rtol=1e-11, atol=1e-12)
        flipped.append(abs(-log_det - expected))
    assert max(flipped) > 0.01  # the negative control


def test_log_determinant_next_to_the_constraint() -> None:
    """Where w·û is -1 + 1e-6 and the slope nearly 1, the step all but flattens space."""
    w = np.array([1.0, 2.0])
    u, _ = invertible_direction(-3.0 * w, w)
    z = np.array([1e-3, 0.0])
    (_, log_det), _ = planar(u, w, np.zeros(1), z)
    expected = log_determinant(step_of(u, w, np.zeros(1)), z)
    assert expected < -10
    np.testing.assert_allclose(log_det, expected, rtol=1e-8)


# ---- the constraint


def test_no_direction_gets_below_the_constraint() -> None:
    """w·û = m(w·u) ≥ -1 whatever u is   (planar.5)."""
    u, w, _ = parameters(3, (10_000,), size=5.0)
    along = np.sum(u * w, axis=-1)
    direction, _ = invertible_direction(u, w)
    found = np.sum(direction * w, axis=-1)
    np.testing.assert_allclose(found, np.logaddexp(0, along + math.log(math.e - 1)) - 1, rtol=1e-9, atol=1e-9)
    assert found.min() >= -1 - 1e-12
    assert along.min() < -1  # the negative control: u itself does


def test_only_the_part_along_w_is_moved() -> None:
    u, w, _ = parameters(3)
    moved = invertible_direction(u, w)[0] - u
    np.testing.assert_allclose(np.cross(moved, w), 0, atol=1e-14)


@pytest.mark.parametrize("along", [-700.0, -40.0, -1e-9, 0.0, 1e-9, 40.0, 700.0])
def test_the_lift_is_accurate_over_the_whole_range(along: float) -> None:
    """m(a) - a against 400 digits   (planar.6)."""
    with localcontext(prec=400):
        a, e = Decimal(along), Decimal(1).exp()
        expected = float((1 + (e - 1) * a.exp()).ln() - 1 - a)
    direction, pullback = invertible_direction(np.array([along, 0.0]), np.array([1.0, 0.0]))
    assert direction[0] - along == pytest.approx(expected, rel=1e-12, abs=1e-13)
    assert all(np.isfinite(gradient).all() for gradient in pullback(np.ones(2)))


def test_a_zero_direction_is_the_identity_and_a_zero_w_does_no_harm() -> None:
    """The paper's own m has m(0) = log 2 - 1: with it a step at u = 0 moves z, the further the shorter w is."""
    _, w, b = parameters(2)
    (z, log_det), _ = planar(invertible_direction(np.zeros_like(w), w)[0], w, b, points(2))
    np.testing.assert_array_equal(z, points(2))
    np.testing.assert_array_equal(log_det, 0)
    u = np.array([[1.0, -2.0]])
    direction, pullback = invertible_direction(u, np.zeros((1, 2)))
    np.testing.assert_array_equal(direction, u)
    assert all(np.isfinite(gradient).all() for gradient in pullback(np.ones((1, 2))))
    for length in (1e-2, 1e-6):
        direction, _ = invertible_direction(u, np.array([[length, 0.0]]))
        assert np.abs(direction).max() <= np.abs(u).max()


def test_without_the_constraint_two_points_go_to_one() -> None:
    """z - 3 tanh z has three zeros; with the constraint no two points of a line meet   (planar.5)."""
    w, b, line = np.ones(1), np.zeros(1), np.linspace(-4, 4, 401)[:, None]
    free = planar(-3 * w, w, b, line)[0][0][:, 0]
    kept = planar(invertible_direction(-3 * w, w)[0], w, b, line)[0][0][:, 0]
    assert (np.diff(kept) > 0).all()
    assert (np.diff(free) < 0).any()


# ---- the density


def drawn_flow() -> tuple[list[tuple[Array, Array, Array]], Array]:
    """Three steps in the plane with their constraint, and 20,000 samples through them."""
    z: Array = np.random.default_rng(3).standard_normal((20_000, 2))
    steps = []
    for seed in (4, 5, 6):
        u, w, b = parameters(2, (), 1.0, seed)
        direction, _ = invertible_direction(u, w)
        steps.append((direction, w, b))
        z = step_of(direction, w, b)(z)
    return steps, z


def density_on(grid: Grid, steps: list[tuple[Array, Array, Array]], sign: float) -> Array:
    """q_K on the grid: back to z_0 by bisection, and the log-determinants on the way there."""
    z: Array = grid.points
    log_det = np.zeros_like(z[:, 0])
    for u, w, b in reversed(steps):
        z = inverse_planar(u, w, float(b[0]), z)
        log_det = log_det + planar(u, w, b, z)[0][1]
    density: Array = standard_normal_density(z) * np.exp(-sign * log_det)
    return density


def test_the_density_integrates_to_one_and_is_that_of_the_samples() -> None:
    """(planar.2), (flows.1); with the sign of the log-determinant flipped neither holds."""
    grid, (steps, samples) = Grid(), drawn_flow()
    density, flipped = (density_on(grid, steps, sign) for sign in (1.0, -1.0))
    assert grid.total(density) == pytest.approx(1, abs=2e-4)
    assert all(grid.distance(density, samples, coordinate) < KOLMOGOROV for coordinate in (0, 1))
    assert abs(grid.total(flipped) - 1) > 0.1
    assert max(grid.distance(flipped, samples, coordinate) for coordinate in (0, 1)) > 5


# ---- the rest of the contract


def test_float32_stays_float32() -> None:
    flow = PlanarFlow(latents=2, steps=2)
    context = np.random.default_rng(0).standard_normal((ROWS, flow.context)).astype(np.float32)
    (z, log_det), pullback = flow(np.empty(0, np.float32), context, points(2).astype(np.float32))
    assert {array.dtype for array in (z, log_det, *pullback(z, log_det))} == {np.dtype(np.float32)}


def test_a_flow_of_no_latents_is_refused() -> None:
    with pytest.raises(InputError, match="latents must be a whole number >= 1, got 0"):
        PlanarFlow(latents=0, steps=1)
