"""The learned control variate: its value, its slope, and the slope's own gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae.arrays import Array, Pullback
from numvae.checks import check_pullback
from numvae.errors import CheckError, InputError
from numvae.estimators.control_variates import ControlVariate

HIDDEN = [(4,), (5, 3), (6, 4, 2)]


def arguments(hidden: tuple[int, ...]) -> tuple[ControlVariate, Array, Array, Array]:
    """A network, its weights, points and directions."""
    rng = np.random.default_rng(0)
    control = ControlVariate(hidden)
    weights = rng.standard_normal(control.layout_for(2).size)
    return control, weights, rng.standard_normal((3, 4, 2)), rng.standard_normal((3, 4, 2))


@pytest.mark.parametrize("hidden", HIDDEN)
def test_gradients_of_the_value_are_right(hidden: tuple[int, ...]) -> None:
    """(control_variates.1)."""
    control, weights, z, _ = arguments(hidden)
    check_pullback(control, weights, z).assert_ok()


@pytest.mark.parametrize("hidden", HIDDEN)
def test_mixed_second_derivatives_are_right(hidden: tuple[int, ...]) -> None:
    """(control_variates.3)."""
    control, weights, z, direction = arguments(hidden)
    check_pullback(control.slope, weights, z, direction).assert_ok()


@pytest.mark.parametrize("hidden", HIDDEN)
def test_the_slope_is_the_gradient_along_the_direction(hidden: tuple[int, ...]) -> None:
    """(control_variates.2)."""
    control, weights, z, direction = arguments(hidden)
    _, dz = control(weights, z)[1](np.ones(z.shape[:-1]))
    np.testing.assert_allclose(control.slope(weights, z, direction)[0], np.sum(direction * dz, axis=-1), rtol=1e-12)


def test_one_hidden_unit_by_hand() -> None:
    """c = v tanh(w z): c' = v w (1 - h²), ∂c'/∂w = v (1 - h²) (1 - 2 w z h)   (control_variates.2)."""
    w, v, z = 1.3, 0.7, 0.4
    h = np.tanh(w * z)
    slope, pullback = ControlVariate((1,)).slope(np.array([w, 0.0, v, 9.0]), np.full((1, 1, 1), z), np.ones((1, 1, 1)))
    dweights, dz, _ = pullback(np.ones((1, 1)))
    bend = 1 - h * h
    np.testing.assert_allclose(slope, v * w * bend, rtol=1e-13)
    np.testing.assert_allclose(dz, -2 * v * w * w * h * bend, rtol=1e-13)
    expected = [v * bend * (1 - 2 * w * z * h), -2 * v * w * h * bend, w * bend, 0.0]
    np.testing.assert_allclose(dweights, expected, rtol=1e-13)


def test_it_starts_at_zero() -> None:
    control = ControlVariate((5, 3))
    weights = control.start(4, rng=np.random.default_rng(0), dtype=np.float32)
    z = np.random.default_rng(1).standard_normal((2, 3, 4), dtype=np.float32)
    c, pullback = control(weights, z)
    assert weights.dtype == c.dtype == np.float32
    np.testing.assert_array_equal(c, 0)
    assert np.any(pullback(np.ones_like(c))[0])  # but it can leave


def test_a_network_without_hidden_units_is_refused() -> None:
    with pytest.raises(InputError, match="hidden must be whole numbers >= 1"):
        ControlVariate((0,))


def test_a_slope_that_takes_its_bend_for_constant_is_rejected() -> None:
    """The mistake of stopping at first derivatives: z and weights also move 1 - h²   (control_variates.3)."""
    control, weights, z, direction = arguments((4,))

    def first_order(weights: Array, z: Array, direction: Array) -> tuple[Array, Pullback]:
        slope, pullback = control.slope(weights, z, direction)
        layout = control.layout_for(2)

        def wrong(dslope: Array) -> tuple[Any, ...]:
            dweights, dz, ddirection = pullback(dslope)
            kept = dict(layout.leaves(dweights))
            kept["1.b"][...] = 0  # moves nothing but the bend
            return dweights, np.zeros_like(dz), ddirection

        return slope, wrong

    with pytest.raises(CheckError):
        check_pullback(first_order, weights, z, direction).assert_ok()
