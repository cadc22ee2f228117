"""Second derivatives by hand: the Hessian of log p(x|z) in z times a direction, at the price of two more passes.

    log_likelihood_hessian_product(network, likelihood, theta, z, x, direction) -> (S, B, Z)

``theta`` is the network's own flat vector (a VAE's: ``model.layout.views(theta)["decoder"]``).  An integrand that is a
sum holds such a product for each term; to put one together for another log-density, use ``rates``, which carries a
direction through a network and back:

    (y, y_rate), pullback = rates(network, theta, z, z_rate)        dz, dz_rate = pullback(dy, dy_rate)

A *rate* is the derivative along one direction: of z along z_rate, of the gradient dz as z moves along it.  So with dy a
log-density's gradient at y and dy_rate how fast it changes, ``dz_rate`` is the Hessian product.
Derivations: ``derivations/curvature.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from numvae import layers
from numvae.arrays import Array
from numvae.distributions import Bernoulli, FixedStdNormal, Normal
from numvae.distributions.broadcasting import halves
from numvae.errors import InputError
from numvae.networks import Activation, Chain, Dense, Network

__all__ = ["log_likelihood_hessian_product", "rates"]

RatesPullback: TypeAlias = Callable[[Array, Array], tuple[Array, Array]]
Rates: TypeAlias = tuple[tuple[Array, Array], RatesPullback]


def log_likelihood_hessian_product(
    network: Network, likelihood: Any, theta: Array, z: Array, x: Array, direction: Array
) -> Array:
    """∂²/∂z² log p(x | network(z)) times ``direction``   (curvature.3).

    Shapes: theta the network's own vector, z and direction (S, B, Z), x (B, D), result (S, B, Z).

    Raises:
        InputError: second derivatives of the likelihood, or of a part of the network, are not known.

    >>> from numvae import mlp
    >>> z, x, theta = np.zeros((1, 1, 1)), np.ones((1, 1)), np.array([2.0, 0.0])
    >>> log_likelihood_hessian_product(mlp([1, 1]), Bernoulli(), theta, z, x, np.ones_like(z))  # -σ'(0) 2²
    array([[[-1.]]])
    """
    gradient_rates = GRADIENT_RATES.get(type(likelihood))
    if gradient_rates is None:
        known = ", ".join(family.__name__ for family in GRADIENT_RATES)
        raise InputError(f"no second derivatives are known of {type(likelihood).__name__}; known are {known}")
    (y, y_rate), pullback = rates(network, theta, z, direction)
    _, hessian_product = pullback(*gradient_rates(likelihood, y, y_rate, x))  # (curvature.3)
    return hessian_product


def rates(network: Network, theta: Array, x: Array, x_rate: Array) -> Rates:
    """(y, y_rate), pullback -> (dx, dx_rate): value and gradient of a network, and how fast both change along x_rate.

    y_rate = J x_rate   (curvature.1) and dx_rate = Jᵀ dy_rate + (d/dt Jᵀ) dy   (curvature.2); weights are held.

    Raises:
        InputError: the network has a part that is not made of Dense and the activations of ``layers``.
    """
    if isinstance(network, Chain):
        return _chain_rates(network, theta, x, x_rate)
    if isinstance(network, Dense):
        return _dense_rates(network, theta, x, x_rate)
    if isinstance(network, Activation):
        return _activation_rates(network, x, x_rate)
    raise InputError(f"no second derivatives are known of {network!r}; use Chain, Dense and Activation")


def _chain_rates(chain: Chain, theta: Array, x: Array, x_rate: Array) -> Rates:
    pullbacks: list[RatesPullback] = []
    for part, weights in zip(chain.parts, chain.layout.views(theta).values(), strict=True):
        (x, x_rate), part_pullback = rates(part, weights, x, x_rate)
        pullbacks.append(part_pullback)

    def pullback(dy: Array, dy_rate: Array) -> tuple[Array, Array]:
        for part_pullback in reversed(pullbacks):
            dy, dy_rate = part_pullback(dy, dy_rate)
        return dy, dy_rate

    return (x, x_rate), pullback


def _dense_rates(dense: Dense, theta: Array, x: Array, x_rate: Array) -> Rates:
    """An affine map has no curvature: rates go through it as gradients do   (curvature.4)."""
    W, b = dense.layout.views(theta).values()
    y, y_rate = _product(x, W) + b, _product(x_rate, W)
    return (y, y_rate), lambda dy, dy_rate: (_product(dy, W.T), _product(dy_rate, W.T))  # (curvature.4)


def _product(x: Array, W: Array) -> Array:
    """x W over the last axis, as one matrix product whatever axes are before it."""
    product: Array = (x.reshape(-1, x.shape[-1]) @ W).reshape(*x.shape[:-1], W.shape[-1])
    return product


def _activation_rates(activation: Activation, x: Array, x_rate: Array) -> Rates:
    """y = a(x): dx_rate = a'(x) dy_rate + a''(x) x_rate dy   (curvature.5)."""
    y, function_pullback = activation.function(x)
    (slope,) = function_pullback(np.ones_like(y))
    bend = _second_derivative(activation)(x)

    def pullback(dy: Array, dy_rate: Array) -> tuple[Array, Array]:
        return slope * dy, slope * dy_rate + bend * x_rate * dy  # (curvature.5)

    return (y, slope * x_rate), pullback


# ---- the second derivatives a''(x) of activations


def _second_derivative(activation: Activation) -> Callable[[Array], Array]:
    """a''(x) of an activation, whose options may be bound by ``functools.partial``."""
    function: Any = activation.function
    options = function.keywords if isinstance(function, partial) else {}
    known = SECOND_DERIVATIVES.get(getattr(function, "func", function))
    if known is None:
        names = ", ".join(rule.__name__ for rule in SECOND_DERIVATIVES)
        raise InputError(f"no second derivative is known of {activation!r}; known are {names}")
    return partial(known, **options)


def _tanh_bend(x: Array) -> Array:
    y = np.tanh(x)
    bend: Array = -2 * y * (1 - y * y)  # (curvature.6)
    return bend


def _sigmoid_bend(x: Array) -> Array:
    y, _ = layers.sigmoid(x)
    return y * (1 - y) * (1 - 2 * y)  # (curvature.7)


def _softplus_bend(x: Array) -> Array:
    y, _ = layers.sigmoid(x)
    return y * (1 - y)  # (curvature.8)


def _elu_bend(x: Array, alpha: float = 1.0) -> Array:
    bend: Array = alpha * np.exp(np.minimum(x, 0)) * (x <= 0)  # (curvature.9)
    return bend


def _no_bend(x: Array, slope: float = 0.0) -> Array:
    """Straight lines, and at most a kink, whatever their slope."""
    return np.zeros_like(x)


SECOND_DERIVATIVES: dict[Any, Callable[..., Array]] = {
    layers.tanh: _tanh_bend,
    layers.sigmoid: _sigmoid_bend,
    layers.softplus: _softplus_bend,
    layers.elu: _elu_bend,
    layers.identity: _no_bend,
    layers.relu: _no_bend,
    layers.leaky_relu: _no_bend,
}
"""Activation -> its second derivative; a table that grows by one function."""


# ---- the gradient of log p(x|y) in y, and how fast it changes as y does


def _bernoulli_rates(likelihood: Bernoulli, y: Array, y_rate: Array, x: Array) -> tuple[Array, Array]:
    mean = likelihood.mean(y)
    return x - mean, -mean * (1 - mean) * y_rate  # (curvature.10)


def _normal_rates(likelihood: Normal, y: Array, y_rate: Array, x: Array) -> tuple[Array, Array]:
    mean, log_std = halves(y)
    mean_rate, log_std_rate = halves(y_rate)
    precision_root = np.exp(-log_std)
    residual = (x - mean) * precision_root
    residual_rate = -mean_rate * precision_root - residual * log_std_rate
    dmean, dlog_std = residual * precision_root, residual * residual - 1
    dmean_rate = precision_root * (residual_rate - residual * log_std_rate)
    dlog_std_rate = 2 * residual * residual_rate
    dy_rate = np.concatenate([dmean_rate, dlog_std_rate], axis=-1)  # (curvature.11)
    return np.concatenate([dmean, dlog_std], axis=-1), dy_rate


def _fixed_std_normal_rates(likelihood: FixedStdNormal, y: Array, y_rate: Array, x: Array) -> tuple[Array, Array]:
    precision = math.pow(likelihood.fixed_std, -2)
    return precision * (x - y), -precision * y_rate  # (curvature.12)


GRADIENT_RATES: dict[type, Callable[..., tuple[Array, Array]]] = {
    Bernoulli: _bernoulli_rates,
    Normal: _normal_rates,
    FixedStdNormal: _fixed_std_normal_rates,
}
"""Likelihood -> (dy, dy_rate) at (y, y_rate); a table that grows by one function."""
