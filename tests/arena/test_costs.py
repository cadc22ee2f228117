"""Costs: values worked by hand, first and second derivatives by finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae import Bernoulli, Normal
from numvae.arena.costs import Cosine, Exponential, LogRatio, Quadratic, QuadraticForm
from numvae.checks import check_pullback
from numvae.distributions.poisson import Poisson
from numvae.errors import InputError
from tests.oracles import gradient_of

Z = np.array([[[0.3, -1.2], [0.8, 2.1], [-0.4, 0.1]], [[1.3, -0.2], [0.5, -2.1], [0.4, 0.7]]])
PARAMS = np.array([[0.2, -0.3, 0.1, -0.5], [0.4, 0.1, -0.2, 0.3], [-0.6, 0.2, 0.0, 0.1]])
LOGITS = PARAMS[:, :2]

COSTS: dict[str, Any] = {
    "costs.1 costs.2 costs.3": Quadratic(0.7),
    "costs.4 costs.5 costs.6": Exponential(0.8),
    "costs.7 costs.8 costs.9": Cosine(1.7),
    "costs.10 costs.11 costs.12": QuadraticForm((0.3, -0.4), coupling=0.3),
}
of_z = pytest.mark.parametrize("f", COSTS.values(), ids=COSTS.keys())


@of_z
def test_slope_in_z(f: Any) -> None:
    """(costs.2), (costs.5), (costs.8), (costs.11)."""

    def rule(z: Any) -> Any:
        values, pullback = f(PARAMS, z)
        return values, lambda dvalues: (pullback(dvalues)[1],)

    check_pullback(rule, Z).assert_ok()


@of_z
def test_costs_know_nothing_of_parameters_and_have_no_weights(f: Any) -> None:
    dparams, _, dtheta = f(PARAMS, Z)[1](np.ones((2, 3)))
    assert dparams == 0
    assert dtheta is None


@of_z
def test_hessian_product_is_the_slope_of_the_slope(f: Any) -> None:
    """(costs.3), (costs.6), (costs.9), (costs.12)."""
    z, direction = Z[:1, :1], np.array([[[0.7, -0.4]]])

    def slope_along(point: np.ndarray) -> float:
        return float(np.sum(f(PARAMS, point[None, None])[1](np.ones((1, 1)))[1] * direction))

    product = f.hessian_product(PARAMS, z, direction)
    np.testing.assert_allclose(product.ravel(), gradient_of(slope_along, z.ravel()), atol=1e-9)


def test_values_worked_by_hand() -> None:
    """(costs.1), (costs.4), (costs.7), (costs.10)."""
    z = np.array([[[2.0, 0.0]]])
    assert Quadratic(-1.0)(None, z)[0].item() == 9 + 1
    assert Exponential(0.5)(None, z)[0].item() == pytest.approx(np.exp(-2) + 1)
    assert Cosine(np.pi)(None, z)[0].item() == pytest.approx(2)
    A = np.array([[0.75, 0.25], [0.25, 0.75]])
    residual = z.ravel() - [0.5, -1.0]
    assert QuadraticForm((0.5, -1.0))(None, z)[0].item() == pytest.approx(residual @ A @ residual)


@pytest.mark.parametrize(
    ("f", "params", "z"),
    [
        (LogRatio(Normal(), (-0.4, 0.3, 0.1, 0.2)), PARAMS, Z),
        (LogRatio(Normal(), (-0.4, 0.3, 0.1, 0.2), Cosine(1.3)), PARAMS, Z),
        (LogRatio(Bernoulli(), (0.3, -0.8), Quadratic(0.2)), LOGITS, 1 / (1 + np.exp(-Z))),
    ],
    ids=["normal", "with a bump", "relaxed bits"],
)
def test_log_ratio_has_both_gradients(f: Any, params: Any, z: Any) -> None:
    """(costs.13), (costs.14): in the parameters that stand in log q, and in z."""

    def rule(params: Any, z: Any) -> Any:
        values, pullback = f(params, z)
        return values, lambda dvalues: pullback(dvalues)[:2]

    check_pullback(rule, params, z).assert_ok()


@pytest.mark.parametrize(
    ("f", "params", "z"),
    [
        (LogRatio(Normal(), (-0.4, 0.3, 0.1, 0.2)), PARAMS, Z),
        (LogRatio(Normal(), (-0.4, 0.3, 0.1, 0.2), Cosine(1.3)), PARAMS, Z),
        (LogRatio(Bernoulli(), (0.3, -0.8)), LOGITS, 1 / (1 + np.exp(-Z))),
        (LogRatio(Bernoulli(), (0.3, -0.8), QuadraticForm((0.2, 0.1))), LOGITS, 1 / (1 + np.exp(-Z))),
    ],
    ids=["normal", "with a bump", "relaxed bits", "relaxed bits with a bump"],
)
def test_log_ratio_knows_its_second_derivatives(f: Any, params: Any, z: Any) -> None:
    """(costs.15): the slope's own slope, along a direction."""
    direction = np.linspace(-1, 1, z.size).reshape(z.shape)

    def slope(z: Any) -> Any:
        return f(params, z)[1](np.ones(z.shape[:-1]))[1]

    step = 1e-4
    expected = (slope(z + step * direction) - slope(z - step * direction)) / (2 * step)
    found = f.hessian_product(params, z, direction)
    assert found.shape == z.shape
    np.testing.assert_allclose(found, expected, atol=1e-7)
    single = f.hessian_product(*(array.astype(np.float32) for array in (params, z, direction)))
    assert single.dtype == np.float32


def test_log_ratio_of_another_family_says_what_it_does_not_know() -> None:
    with pytest.raises(InputError, match="under Poisson no second derivatives"):
        LogRatio(Poisson(), (0.3, 0.1)).hessian_product(LOGITS, Z, Z)


def test_log_ratio_is_zero_where_q_is_the_target() -> None:
    """(costs.13)."""
    target = (-0.4, 0.3, 0.1, 0.2)
    values, _ = LogRatio(Normal(), target)(np.array([target] * 3), Z)
    np.testing.assert_allclose(values, 0, atol=1e-15)
