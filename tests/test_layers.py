"""Hand-worked values of the layers; the proofs over all rules are in ``test_pullbacks.py`` and ``test_laws.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numvae import layers


def test_affine_by_hand() -> None:
    """(layers.1), (layers.2), (layers.3)."""
    W, b, x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), np.array([0.1, 0.2, 0.3]), np.array([[10.0, 1.0]])
    y, pullback = layers.affine(W, b, x)
    np.testing.assert_allclose(y, [[14.1, 25.2, 36.3]])
    dW, db, dx = pullback(np.array([[1.0, 0.0, -1.0]]))
    np.testing.assert_allclose(dW, [[10, 0, -10], [1, 0, -1]])
    np.testing.assert_allclose(db, [1, 0, -1])
    np.testing.assert_allclose(dx, [[-2, -2]])


def test_affine_writes_its_weights_gradients_into_given_memory() -> None:
    rng = np.random.default_rng(0)
    W, b, x, dy = rng.standard_normal((3, 2)), rng.standard_normal(2), rng.standard_normal((5, 3)), np.ones((5, 2))
    _, pullback = layers.affine(W, b, x)
    dW, db = np.full((3, 2), np.nan), np.full(2, np.nan)
    returned = pullback(dy, dW, db)
    assert returned[0] is dW
    assert returned[1] is db
    for given, fresh in zip(returned, pullback(dy), strict=True):
        np.testing.assert_array_equal(given, fresh)


def test_affine_of_data_is_affine_without_dx() -> None:
    rng = np.random.default_rng(0)
    W, b, x = rng.standard_normal((3, 2)), rng.standard_normal(2), rng.standard_normal((4, 5, 3))
    y, pullback = layers.affine(W, b, x)
    y_of_data, pullback_of_data = layers.affine_of_data(W, b, x)
    np.testing.assert_array_equal(y_of_data, y)
    dW, db, _ = pullback(y)
    dW_of_data, db_of_data, dx = pullback_of_data(y)
    np.testing.assert_array_equal(dW_of_data, dW)
    np.testing.assert_array_equal(db_of_data, db)
    assert dx is None


@pytest.mark.parametrize(
    ("rule", "slope"),
    [(layers.relu, 0.0), (layers.leaky_relu, 0.01), (layers.elu, 1.0)],
    ids=["relu", "leaky_relu", "elu"],
)
def test_the_slope_at_the_kink_is_the_one_from_below(rule: Any, slope: float) -> None:
    _, pullback = rule(np.array([0.0, -0.0]))
    np.testing.assert_allclose(pullback(np.ones(2))[0], slope)


def test_slope_and_alpha_are_settable() -> None:
    """(layers.13), (layers.15)."""
    x = np.array([-2.0, 3.0])
    np.testing.assert_allclose(layers.leaky_relu(x, slope=0.5)[0], [-1, 3])
    np.testing.assert_allclose(layers.elu(x, alpha=2.0)[0], [2 * np.expm1(-2), 3])


def test_activations_are_monotone_where_they_saturate() -> None:
    x = np.linspace(-50, 50, 2001)
    for rule in (layers.tanh, layers.sigmoid, layers.softplus, layers.relu, layers.leaky_relu, layers.elu):
        assert np.all(np.diff(rule(x)[0]) >= 0)
