"""The affine map and the activation functions, as rules: ``value, pullback = rule(*arguments)``.

A pullback takes the gradient with respect to the value and returns one gradient per argument.
Derivations: ``derivations/layers.md``.
"""

from __future__ import annotations

import numpy as np

from numvae.arrays import Array, Pullback

__all__ = [
    "affine",
    "affine_of_data",
    "elu",
    "identity",
    "leaky_relu",
    "log",
    "logit",
    "relu",
    "sigmoid",
    "softplus",
    "tanh",
]


def affine(W: Array, b: Array, x: Array) -> tuple[Array, Pullback]:
    """y = x W + b   (layers.1).

    Shapes: W (m, n), b (n,), x (..., m), y (..., n).  The pullback may be given the memory of ``dW`` and ``db``
    to write into; it returns ``dW, db, dx``.

    >>> y, pullback = affine(np.array([[2.0], [3.0]]), np.array([1.0]), np.array([[1.0, 10.0]]))
    >>> y, pullback(np.array([[1.0]]))[2]
    (array([[33.]]), array([[2., 3.]]))
    """
    y, weight_pullback = affine_of_data(W, b, x)

    def pullback(dy: Array, dW: Array | None = None, db: Array | None = None) -> tuple[Array, Array, Array]:
        dW, db, _ = weight_pullback(dy, dW, db)
        drows = dy.reshape(-1, dy.shape[-1])
        return dW, db, (drows @ W.T).reshape(x.shape)  # (layers.3)

    return y, pullback


def affine_of_data(W: Array, b: Array, x: Array) -> tuple[Array, Pullback]:
    """The affine map (layers.1) of data, whose gradient nobody needs: its pullback returns ``dW, db, None``.

    A network's first layer is the widest; leaving its dx out saves one matrix product in twelve.
    """
    rows = x.reshape(-1, x.shape[-1])
    y = rows @ W  # (layers.1)
    y += b

    def pullback(dy: Array, dW: Array | None = None, db: Array | None = None) -> tuple[Array, Array, None]:
        drows = dy.reshape(-1, dy.shape[-1])
        return np.matmul(rows.T, drows, out=dW), np.sum(drows, axis=0, out=db), None  # (layers.2)

    return y.reshape(*x.shape[:-1], -1), pullback


def identity(x: Array) -> tuple[Array, Pullback]:
    """y = x   (layers.4); dx = dy.

    >>> identity(np.array([3.0]))[0]
    array([3.])
    """
    return x, lambda dy: (dy,)  # (layers.4)


def tanh(x: Array) -> tuple[Array, Pullback]:
    """y = tanh x   (layers.5); dx = dy (1 - y²)   (layers.6).

    >>> y, pullback = tanh(np.array([0.0]))
    >>> y, pullback(np.array([5.0]))
    (array([0.]), (array([5.]),))
    """
    y = np.tanh(x)  # (layers.5)

    def pullback(dy: Array) -> tuple[Array]:
        slope = y * y
        np.subtract(1, slope, out=slope)
        slope *= dy
        return (slope,)  # (layers.6)

    return y, pullback


def sigmoid(x: Array) -> tuple[Array, Pullback]:
    """y = 1 / (1 + exp(-x)) = (1 + tanh(x/2)) / 2   (layers.7); dx = dy y (1 - y)   (layers.8).

    The tanh form cannot overflow.

    >>> sigmoid(np.array([0.0, -1e4]))[0]
    array([0.5, 0. ])
    """
    y = np.tanh(0.5 * x)
    y *= 0.5
    y += 0.5  # (layers.7)

    def pullback(dy: Array) -> tuple[Array]:
        return (dy * (y * (1 - y)),)  # (layers.8)

    return y, pullback


def softplus(x: Array) -> tuple[Array, Pullback]:
    """y = log(1 + exp x) = max(x, 0) + log(1 + exp(-abs(x)))   (layers.9); dx = dy sigmoid(x)   (layers.10).

    >>> softplus(np.array([0.0, 1e4]))[0]
    array([6.93147181e-01, 1.00000000e+04])
    """
    y = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))  # (layers.9)

    def pullback(dy: Array) -> tuple[Array]:
        return (dy * sigmoid(x)[0],)  # (layers.10)

    return y, pullback


def relu(x: Array) -> tuple[Array, Pullback]:
    """y = max(x, 0)   (layers.11); dx = dy where x > 0, else 0 (at the kink too)   (layers.12).

    >>> relu(np.array([-2.0, 3.0]))[0]
    array([0., 3.])
    """
    positive = x > 0

    def pullback(dy: Array) -> tuple[Array]:
        return (dy * positive,)  # (layers.12)

    return np.maximum(x, 0), pullback  # (layers.11)


def leaky_relu(x: Array, slope: float = 0.01) -> tuple[Array, Pullback]:
    """y = x where x > 0, else slope x   (layers.13); dx = dy, times slope where x <= 0   (layers.14).

    >>> leaky_relu(np.array([-2.0, 3.0]), slope=0.5)[0]
    array([-1.,  3.])
    """
    gain = (x > 0).astype(x.dtype)
    gain *= 1 - slope
    gain += slope

    def pullback(dy: Array) -> tuple[Array]:
        return (dy * gain,)  # (layers.14)

    return x * gain, pullback  # (layers.13)


def elu(x: Array, alpha: float = 1.0) -> tuple[Array, Pullback]:
    """y = x where x > 0, else alpha (exp x - 1)   (layers.15); dx = dy, times y + alpha where x <= 0   (layers.16).

    >>> elu(np.array([-np.log(2.0), 3.0]))[0]
    array([-0.5,  3. ])
    """
    below_zero = alpha * np.expm1(np.minimum(x, 0))

    def pullback(dy: Array) -> tuple[Array]:
        positive = (x > 0).astype(x.dtype)
        return (dy * (positive + (1 - positive) * (below_zero + alpha)),)  # (layers.16)

    return np.maximum(x, 0) + below_zero, pullback  # (layers.15)


def log(x: Array) -> tuple[Array, Pullback]:
    """y = log x, for x > 0   (layers.17); dx = dy / x   (layers.18).

    It takes a positive latent to the log-rate of a count, and a network's positive outputs to log-parameters.

    >>> y, pullback = log(np.array([1.0, 4.0]))
    >>> y[0], pullback(np.ones(2))
    (np.float64(0.0), (array([1.  , 0.25]),))
    """
    return np.log(x), lambda dy: (dy / x,)  # (layers.17), (layers.18)


def logit(x: Array) -> tuple[Array, Pullback]:
    """y = log x - log(1 - x), for 0 < x < 1   (layers.19); dx = dy / (x (1 - x))   (layers.20).

    The inverse of the sigmoid.  It takes a latent in (0, 1) to the logit of a bit.

    >>> logit(np.array([0.5, 0.75]))[0]
    array([0.        , 1.09861229])
    """
    y = np.log(x) - np.log1p(-x)  # (layers.19)
    return y, lambda dy: (dy / (x * (1 - x)),)  # (layers.20)
