"""Networks: chains of layers over one flat vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from numvae import Activation, Chain, Dense, layers, mlp
from numvae.arrays import Array
from numvae.checks import check_pullback
from numvae.networks import AtMost, LeastLogStd, SharedLogStd, SigmoidMean, largest_log_shape, with_frozen_weights

NETWORKS = [
    Dense(3, 2),
    mlp([3, 4, 2]),
    mlp([3, 4, 5, 2], layers.softplus),
    Chain((Dense(3, 2), SharedLogStd())),
    Chain((Dense(3, 4), LeastLogStd(-1.0))),
    Chain((Dense(3, 4), SigmoidMean(2))),
]
every_network = pytest.mark.parametrize("network", NETWORKS, ids=repr)


def weights_for(network: Any) -> Any:
    return np.random.default_rng(0).standard_normal(network.layout.size)


def test_a_chain_is_its_parts_one_after_the_other() -> None:
    """(networks.1)."""
    network = mlp([3, 4, 2])
    theta, x = weights_for(network), np.random.default_rng(1).standard_normal((5, 3))
    W1, b1, W2, b2 = (leaf for _, leaf in network.layout.leaves(theta))
    np.testing.assert_allclose(network(theta, x)[0], np.tanh(x @ W1 + b1) @ W2 + b2, rtol=1e-13)


@every_network
def test_gradient_is_written_into_given_memory(network: Any) -> None:
    theta, x = weights_for(network), np.random.default_rng(1).standard_normal((5, 3))
    y, pullback = network(theta, x)
    memory = np.full_like(theta, np.nan)
    dtheta, dx = pullback(y, out=memory)
    assert dtheta is memory
    fresh_dtheta, fresh_dx = pullback(y)
    np.testing.assert_array_equal(dtheta, fresh_dtheta)
    np.testing.assert_array_equal(dx, fresh_dx)


@pytest.mark.parametrize("network", [Activation(layers.tanh), LeastLogStd(-1.0), SigmoidMean(2)], ids=repr)
def test_a_network_without_weights_has_an_empty_gradient_of_its_own(network: Any) -> None:
    theta, x = np.empty(0), np.random.default_rng(1).standard_normal((5, 4))
    y, pullback = network(theta, x)
    dtheta, _ = pullback(y)
    assert dtheta.shape == (0,)
    assert dtheta is not theta


@every_network
def test_of_data_gives_the_same_without_dx(network: Any) -> None:
    theta, x = weights_for(network), np.random.default_rng(1).standard_normal((5, 3))
    y, pullback = network(theta, x)
    y_of_data, pullback_of_data = network.of_data(theta, x)
    np.testing.assert_array_equal(y_of_data, y)
    dtheta, dx = pullback_of_data(y)
    np.testing.assert_array_equal(dtheta, pullback(y)[0])
    assert dx is None


@every_network
@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3)], ids=str)
def test_with_frozen_weights_gives_the_same_without_dtheta(network: Any, shape: tuple[int, ...]) -> None:
    """(networks.11)."""
    theta, x = weights_for(network), np.random.default_rng(1).standard_normal(shape)
    y, pullback = network(theta, x)
    frozen_y, frozen_pullback = with_frozen_weights(network, theta, x)
    dy = np.random.default_rng(2).standard_normal(y.shape)
    np.testing.assert_array_equal(frozen_y, y)
    np.testing.assert_array_equal(frozen_pullback(dy)[0], pullback(dy)[1])
    check_pullback(lambda x: with_frozen_weights(network, theta, x), x, directions=3, coordinates=2).assert_ok()


def test_with_frozen_weights_in_single_precision_and_from_memory_it_may_not_write() -> None:
    network = mlp([3, 4, 2])
    theta, x = weights_for(network).astype(np.float32), np.ones((5, 3), np.float32)
    for array in (theta, x):
        array.setflags(write=False)
    y, pullback = with_frozen_weights(network, theta, x)
    assert y.dtype == pullback(y)[0].dtype == np.float32


class Counting(np.ndarray):
    """An array that counts the matrix products it takes part in."""

    products = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **keywords: Any) -> Any:
        Counting.products += ufunc is np.matmul
        if out:
            keywords["out"] = tuple(np.asarray(array) for array in out)
        result = getattr(ufunc, method)(*map(np.asarray, inputs), **keywords)
        return np.asarray(result).view(Counting)


def products_of(run: Any, network: Any) -> int:
    theta, x = weights_for(network).view(Counting), np.ones((5, 3)).view(Counting)
    y, pullback = run(network, theta, x)
    Counting.products = 0
    pullback(y)
    return Counting.products


def test_with_frozen_weights_takes_half_the_matrix_products() -> None:
    """(networks.11): one for each affine layer on the way back, where there are two."""
    network = mlp([3, 4, 5, 2])
    assert products_of(lambda network, theta, x: network(theta, x), network) == 6
    assert products_of(with_frozen_weights, network) == 3


def test_a_transposed_weight_matrix_would_be_noticed() -> None:
    """The negative control: W for its transpose fits where a layer is square."""
    network = Dense(3, 3)
    theta, x = weights_for(network), np.random.default_rng(1).standard_normal((5, 3))

    def transposed(x: Array) -> Any:
        return with_frozen_weights(network, theta, x)[0], lambda dy: (dy @ network.layout.views(theta)["W"],)

    assert not check_pullback(transposed, x).ok


def test_one_network_serves_twice_in_one_step() -> None:
    """Nothing is cached on the network: the first call's pullback is not disturbed by the second call."""
    network = mlp([3, 4, 2])
    theta = weights_for(network)
    x, other = np.random.default_rng(1).standard_normal((2, 5, 3))
    y, pullback = network(theta, x)
    expected, _ = pullback(y)
    network(theta, other)[1](y)
    np.testing.assert_array_equal(pullback(y)[0], expected)


def test_shared_log_std_gathers_the_gradient_of_all_features() -> None:
    """(networks.2), (networks.3)."""
    y, pullback = SharedLogStd()(np.array([0.5]), np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(y, [[1, 2, 0.5, 0.5]])
    dlog_std, dx = pullback(np.array([[1.0, 10.0, 100.0, 1000.0]]))
    np.testing.assert_array_equal(dlog_std, [1100])
    np.testing.assert_array_equal(dx, [[1, 10]])


def test_least_log_std_bounds_below_and_leaves_large_ones_alone() -> None:
    """(networks.4), (networks.5)."""
    y, pullback = LeastLogStd(-2.0)(np.empty(0), np.array([[7.0, 7.0, -2.0, 60.0]]))
    np.testing.assert_allclose(y, [[7, 7, -2 + np.log(2), 60]])
    _, dx = pullback(np.ones((1, 4)))
    np.testing.assert_allclose(dx, [[1, 1, 0.5, 1]])
    raw = np.array([[0.0, -1e6]])
    assert LeastLogStd(-2.0)(np.empty(0), raw)[0][0, 1] == -2


def test_least_log_std_leaves_blocks_behind_the_second_alone() -> None:
    y, _ = LeastLogStd(-2.0, blocks=3)(np.empty(0), np.array([[7.0, -2.0, -90.0]]))
    np.testing.assert_allclose(y, [[7, -2 + np.log(2), -90]])


def test_at_most_bounds_above_and_leaves_small_ones_alone() -> None:
    """(networks.8), (networks.9)."""
    y, pullback = AtMost(3.0)(np.empty(0), np.array([[-60.0, 3.0, 1e6]]))
    np.testing.assert_allclose(y, [[-60, 3 - np.log(2), 3]])
    np.testing.assert_allclose(pullback(np.ones((1, 3)))[1], [[1, 0.5, 0]], atol=1e-15)


@pytest.mark.parametrize("std", [0.2, 1 / 255, 1e-4])
def test_the_largest_shape_is_that_of_the_least_std(std: float) -> None:
    """(networks.10)."""
    shape = np.exp(largest_log_shape(std))
    assert stats.beta(shape, shape).std() == pytest.approx(std, rel=1e-9)


def test_sigmoid_mean_leaves_what_follows_the_means_alone() -> None:
    """(networks.6), (networks.7)."""
    y, pullback = SigmoidMean(1)(np.empty(0), np.array([[0.0, 7.0]]))
    np.testing.assert_allclose(y, [[0.5, 7]])
    np.testing.assert_allclose(pullback(np.ones((1, 2)))[1], [[0.25, 1]])


@pytest.mark.parametrize("head", [SharedLogStd(), LeastLogStd(-1.0), AtMost(2.5), SigmoidMean(2)], ids=repr)
def test_a_heads_inverse_finds_the_input(head: Any) -> None:
    x = np.array([[0.3, -1.2]]) if isinstance(head, SharedLogStd) else np.array([[0.3, -1.2, 0.5, 2.0]])
    np.testing.assert_allclose(head.inverse(head(np.array([0.7]), x)[0]), x, rtol=1e-12)


def test_the_inverse_of_an_unreachable_log_std_lies_just_above_the_least() -> None:
    head, unreachable = LeastLogStd(-2.0), np.array([[0.3, -9.0]])
    y, _ = head(np.empty(0), head.inverse(unreachable))
    np.testing.assert_allclose(y, [[0.3, -1.99]])


@every_network
def test_networks_compare_by_value_and_hash(network: Any) -> None:
    assert network in set(NETWORKS)


def test_repr_reads_like_the_code_that_made_it() -> None:
    assert repr(Chain((Dense(3, 2), Activation(layers.relu)))) == (
        "Chain((Dense(inputs=3, outputs=2), Activation(relu)))"
    )
