"""Hessian products by hand against finite differences of the gradients they are the derivatives of."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from numvae import Activation, Bernoulli, Chain, Dense, FixedStdNormal, Normal, layers, mlp, mlp_vae
from numvae.arrays import Array, Pullback
from numvae.checks import check_pullback
from numvae.curvature import log_likelihood_hessian_product, rates
from numvae.errors import InputError
from numvae.networks import SigmoidMean

ACTIVATIONS = [
    pytest.param(layers.tanh, id="curvature.6 tanh"),
    pytest.param(layers.sigmoid, id="curvature.7 sigmoid"),
    pytest.param(layers.softplus, id="curvature.8 softplus"),
    pytest.param(layers.elu, id="curvature.9 elu"),
    pytest.param(partial(layers.elu, alpha=0.4), id="curvature.9 elu with alpha"),
    pytest.param(layers.identity, id="identity"),
    pytest.param(layers.relu, id="relu"),
    pytest.param(layers.leaky_relu, id="leaky_relu"),
    pytest.param(partial(layers.leaky_relu, slope=0.3), id="leaky_relu with slope"),
]
LIKELIHOODS = [
    pytest.param(Bernoulli(), 5, id="curvature.10 Bernoulli"),
    pytest.param(Normal(), 10, id="curvature.11 Normal"),
    pytest.param(FixedStdNormal(0.6), 5, id="curvature.12 FixedStdNormal"),
]


def point(network: Any) -> tuple[Array, Array, Array]:
    """Weights, z (4, 3, 2) and data of five bits."""
    rng = np.random.default_rng(0)
    theta = 0.6 * rng.standard_normal(network.layout.size)
    return theta, rng.standard_normal((4, 3, 2)), rng.integers(2, size=(3, 5)).astype(float)


def gradient_rule(network: Any, likelihood: Any, theta: Array, x: Array) -> Any:
    """The rule z -> ∂ log p / ∂z; its pullback is the Hessian product, as a Hessian is its own transpose."""

    def rule(z: Array) -> tuple[Array, Pullback]:
        y, network_pullback = network(theta, z)
        _, likelihood_pullback = likelihood.log_prob(y, x)
        _, dz = network_pullback(likelihood_pullback(np.ones(z.shape[:2], z.dtype))[0])
        return dz, lambda direction: (
            log_likelihood_hessian_product(network, likelihood, theta.astype(z.dtype), z, x.astype(z.dtype), direction),
        )

    return rule


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_hessian_product_is_the_derivative_of_the_gradient(activation: Any) -> None:
    """(curvature.3) through (curvature.1), (curvature.2), (curvature.4) and (curvature.5)."""
    network = mlp([2, 6, 4, 5], activation)
    theta, z, x = point(network)
    check_pullback(gradient_rule(network, Bernoulli(), theta, x), z, tolerance=1e-7).assert_ok()


@pytest.mark.parametrize(("likelihood", "outputs"), LIKELIHOODS)
def test_every_likelihood_bends_as_its_gradient_changes(likelihood: Any, outputs: int) -> None:
    network = mlp([2, 6, outputs])
    theta, z, x = point(network)
    check_pullback(gradient_rule(network, likelihood, theta, x), z).assert_ok()


def test_gauss_newton_is_not_the_hessian() -> None:
    """The planted bug: without the term of the moving Jacobian."""
    network = mlp([2, 6, 5])
    theta, z, x = point(network)
    y, network_pullback = network(theta, z)
    mean = Bernoulli().mean(y)

    def rule(z: Array) -> tuple[Array, Pullback]:
        dz, _ = gradient_rule(network, Bernoulli(), theta, x)(z)

        def gauss_newton(direction: Array) -> tuple[Array]:
            (_, y_rate), _ = rates(network, theta, z, direction)
            return (network_pullback(-mean * (1 - mean) * y_rate)[1],)

        return dz, gauss_newton

    assert not check_pullback(rule, z).ok


def test_products_are_symmetric() -> None:
    """uᵀ H v = vᵀ H u, sample by sample   (curvature.3)."""
    network = mlp([2, 6, 4, 5])
    theta, z, x = point(network)
    u, v = np.random.default_rng(1).standard_normal((2, *z.shape))
    products = [log_likelihood_hessian_product(network, Bernoulli(), theta, z, x, d) for d in (u, v)]
    np.testing.assert_allclose(np.sum(v * products[0], axis=-1), np.sum(u * products[1], axis=-1), rtol=1e-12)


def test_value_and_gradient_ride_along_unchanged() -> None:
    network = Chain((Dense(2, 4), Chain((Activation(layers.softplus), Dense(4, 5)))))
    theta, z, _ = point(network)
    dy = np.random.default_rng(1).standard_normal((4, 3, 5))
    (y, _), pullback = rates(network, theta, z, np.ones_like(z))
    expected, network_pullback = network(theta, z)
    np.testing.assert_allclose(y, expected, rtol=1e-13)
    np.testing.assert_allclose(pullback(dy, dy)[0], network_pullback(dy)[1], rtol=1e-13)


def test_a_vaes_decoder_in_single_precision_and_far_out() -> None:
    model = mlp_vae(5, latents=2, hidden=(4,))
    theta = np.random.default_rng(0).standard_normal(model.layout.size).astype(np.float32)
    z, x = np.full((1, 3, 2), 200.0, np.float32), np.ones((3, 5), np.float32)
    decoder = model.layout.views(theta)["decoder"]
    product = log_likelihood_hessian_product(model.decoder, model.likelihood, decoder, z, x, np.ones_like(z))
    assert product.dtype == np.float32
    assert np.isfinite(product).all()


def test_what_is_not_known_is_named() -> None:
    z, x = np.zeros((1, 1, 2)), np.zeros((1, 2))

    def product(network: Any, likelihood: Any = Bernoulli()) -> Array:  # noqa: B008
        return log_likelihood_hessian_product(network, likelihood, np.zeros(network.layout.size), z, x, z)

    with pytest.raises(InputError, match=r"no second derivatives are known of SigmoidMean\(features=2\)"):
        product(SigmoidMean(2))
    with pytest.raises(InputError, match="no second derivatives are known of object"):
        product(Dense(2, 2), object())
    with pytest.raises(InputError, match="no second derivative is known of Activation"):
        product(Activation(lambda x: (x, lambda dy: (dy,))))
