"""Networks: frozen descriptions without arrays that map ``(theta, x)`` to ``y`` with a pullback.

    y, pullback = network(theta, x)          dtheta, dx   = pullback(dy)
    y, pullback = network.of_data(theta, x)  dtheta, None = pullback(dy)

``theta`` is the network's own flat vector; ``pullback(dy, out=...)`` writes the weights' gradient straight into given
memory, so a model's gradient is filled in place and never copied.  Derivations: ``derivations/networks.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from numvae import layers
from numvae.arrays import Array, Pullback
from numvae.distributions.broadcasting import halves
from numvae.parameters import Layout

__all__ = [
    "Activation",
    "AtMost",
    "Chain",
    "Dense",
    "LeastLogStd",
    "Network",
    "SharedLogStd",
    "SigmoidMean",
    "largest_log_shape",
    "mlp",
    "with_frozen_weights",
]


class Network(Protocol):
    """What every network offers."""

    @property
    def layout(self) -> Layout:
        """What lies where in the network's flat vector of weights."""

    def __call__(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        """The output and the pullback ``(dy, out=None) -> (dtheta, dx)``."""

    def of_data(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        """The same on data: the pullback returns ``(dtheta, None)``."""


@dataclass(frozen=True)
class Dense:
    """One affine layer, (layers.1) to (layers.3).  x: (..., inputs), y: (..., outputs)."""

    inputs: int
    outputs: int

    @cached_property
    def layout(self) -> Layout:
        return Layout.of({"W": (self.inputs, self.outputs), "b": (self.outputs,)})

    def __call__(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        return self._run(layers.affine, theta, x)

    def of_data(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        return self._run(layers.affine_of_data, theta, x)

    def _run(self, rule: Callable[..., tuple[Array, Pullback]], theta: Array, x: Array) -> tuple[Array, Pullback]:
        y, affine_pullback = rule(**self.layout.views(theta), x=x)

        def pullback(dy: Array, out: Array | None = None) -> tuple[Array, Array | None]:
            dtheta = np.empty_like(theta) if out is None else out
            gradients = self.layout.views(dtheta)
            _, _, dx = affine_pullback(dy, gradients["W"], gradients["b"])
            return dtheta, dx

        return y, pullback


@dataclass(frozen=True)
class Activation:
    """A function without weights, applied to every element.  ``function`` is a rule ``x -> y, pullback``."""

    function: Callable[..., tuple[Array, Pullback]] = layers.tanh
    layout = Layout(())

    def __call__(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        y, function_pullback = self.function(x)

        def pullback(dy: Array, out: Array | None = None) -> tuple[Array, Array]:
            return (np.empty_like(theta) if out is None else out), function_pullback(dy)[0]

        return y, pullback

    of_data = __call__

    def __repr__(self) -> str:
        return f"Activation({getattr(self.function, '__name__', repr(self.function))})"


@dataclass(frozen=True)
class SharedLogStd:
    """y = [x | log_std, log_std, …] with one learned ``log_std`` for all features   (networks.2).

    Behind a decoder of means it makes the parameters of a normal likelihood with one learned standard deviation.
    x: (..., D), y: (..., 2D).
    """

    layout = Layout.of({"log_std": (1,)})

    def __call__(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        features = x.shape[-1]
        y = np.concatenate([x, np.broadcast_to(theta, x.shape)], axis=-1)  # (networks.2)

        def pullback(dy: Array, out: Array | None = None) -> tuple[Array, Array]:
            dtheta = np.empty_like(theta) if out is None else out
            dtheta[...] = np.sum(dy[..., features:])  # (networks.3)
            return dtheta, dy[..., :features]

        return y, pullback

    of_data = __call__

    def inverse(self, y: Array) -> Array:
        """The input that makes y = [mean | log_std]: the means."""
        return halves(y)[0]


@dataclass(frozen=True)
class LeastLogStd:
    """y = [mean | least + softplus(raw - least)] for x = [mean | raw]: log_std stays above ``least``   (networks.4).

    A density has no upper bound: on a pixel that never changes, a free standard deviation shrinks to zero and the bound
    grows for ever.  Data in steps of 1/255 cannot tell a smaller standard deviation anyway.  x, y: (..., 2D); or
    (..., blocks·D), of which it is the second block, with what follows left alone.
    """

    least: float
    blocks: int = 2
    layout = Layout(())

    def __call__(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        mean, raw, rest = self._split(x)
        above_least, softplus_pullback = layers.softplus(raw - self.least)
        y = np.concatenate([mean, above_least + self.least, rest], axis=-1)  # (networks.4)

        def pullback(dy: Array, out: Array | None = None) -> tuple[Array, Array]:
            dmean, dlog_std, drest = self._split(dy)
            (draw,) = softplus_pullback(dlog_std)  # (networks.5)
            return (np.empty_like(theta) if out is None else out), np.concatenate([dmean, draw, drest], axis=-1)

        return y, pullback

    of_data = __call__

    def _split(self, x: Array) -> tuple[Array, Array, Array]:
        features = x.shape[-1] // self.blocks
        return x[..., :features], x[..., features : 2 * features], x[..., 2 * features :]

    def inverse(self, y: Array) -> Array:
        """The input that makes y; a log_std at or below ``least``, which none makes, is taken for one just above."""
        mean, log_std, rest = self._split(y)
        above_least = np.maximum(log_std - self.least, 0.01)
        return np.concatenate([mean, self.least + np.log(np.expm1(above_least)), rest], axis=-1)


@dataclass(frozen=True)
class AtMost:
    """y = most - softplus(most - x), element by element: y stays below ``most``, and is x where x is well below it.

    (networks.8).  Behind a decoder of a beta likelihood it keeps the two shapes from growing for ever on a pixel that
    never changes.  x, y: (..., D).
    """

    most: float
    layout = Layout(())

    def __call__(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        below_most, softplus_pullback = layers.softplus(self.most - x)
        y = self.most - below_most  # (networks.8)

        def pullback(dy: Array, out: Array | None = None) -> tuple[Array, Array]:
            return (np.empty_like(theta) if out is None else out), softplus_pullback(dy)[0]  # (networks.9)

        return y, pullback

    of_data = __call__

    def inverse(self, y: Array) -> Array:
        """The input that makes y; a y at or above ``most``, which none makes, is taken for one just below."""
        x: Array = self.most - np.log(np.expm1(np.maximum(self.most - y, 0.01)))
        return x


def largest_log_shape(least_std: float) -> float:
    """log a at which Beta(a, a) has the standard deviation ``least_std``   (networks.10).

    >>> round(largest_log_shape(1 / 255), 2)
    9.0
    """
    return math.log((0.25 / least_std**2 - 1) / 2)  # (networks.10)


@dataclass(frozen=True)
class SigmoidMean:
    """y = [sigmoid(raw) | rest] for x = [raw | rest], raw the first ``features`` entries   (networks.6).

    Means of grey values stay in (0, 1): the paper's decoder for the Frey faces.  x, y: (..., D) or (..., 2D).
    """

    features: int
    layout = Layout(())

    def __call__(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        mean, sigmoid_pullback = layers.sigmoid(x[..., : self.features])
        y = np.concatenate([mean, x[..., self.features :]], axis=-1)  # (networks.6)

        def pullback(dy: Array, out: Array | None = None) -> tuple[Array, Array]:
            (draw,) = sigmoid_pullback(dy[..., : self.features])
            dx = np.concatenate([draw, dy[..., self.features :]], axis=-1)  # (networks.7)
            return (np.empty_like(theta) if out is None else out), dx

        return y, pullback

    of_data = __call__

    def inverse(self, y: Array) -> Array:
        """The input that makes y: a logit for every mean."""
        mean = y[..., : self.features]
        return np.concatenate([np.log(mean / (1 - mean)), y[..., self.features :]], axis=-1)


@dataclass(frozen=True)
class Chain:
    """Networks one after the other: y = f_n(… f_1(x))   (networks.1).

    >>> Chain((Dense(3, 2), Activation(layers.tanh)))
    Chain((Dense(inputs=3, outputs=2), Activation(tanh)))
    """

    parts: tuple[Any, ...]

    @cached_property
    def layout(self) -> Layout:
        return Layout(tuple((str(number), part.layout) for number, part in enumerate(self.parts, 1)))

    def __call__(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        return self._run(list(self.parts), theta, x)

    def of_data(self, theta: Array, x: Array) -> tuple[Array, Pullback]:
        return self._run([self.parts[0].of_data, *self.parts[1:]], theta, x)

    def _run(
        self, rules: Sequence[Callable[[Array, Array], tuple[Array, Pullback]]], theta: Array, x: Array
    ) -> tuple[Array, Pullback]:
        pullbacks = []
        for rule, weights in zip(rules, self.layout.views(theta).values(), strict=True):
            x, part_pullback = rule(weights, x)  # (networks.1)
            pullbacks.append(part_pullback)

        def pullback(dy: Array, out: Array | None = None) -> tuple[Array, Array | None]:
            dtheta = np.empty_like(theta) if out is None else out
            gradients = self.layout.views(dtheta).values()
            for part_pullback, dweights in zip(reversed(pullbacks), reversed(gradients), strict=True):
                _, dy = part_pullback(dy, out=dweights)  # (networks.1)
            return dtheta, dy

        return x, pullback

    def __repr__(self) -> str:
        return f"Chain({self.parts!r})"


def with_frozen_weights(network: Network, theta: Array, x: Array) -> tuple[Array, Pullback]:
    """The network at weights that stay: pullback -> (dx,), without the matrix products for dtheta (networks.11).

    For what asks only how the output moves with the input, as sampling from p(z|x) does.
    """
    if isinstance(network, Chain):
        pullbacks = []
        for part, weights in zip(network.parts, network.layout.views(theta).values(), strict=True):
            x, part_pullback = with_frozen_weights(part, weights, x)
            pullbacks.append(part_pullback)

        def chain_pullback(dy: Array) -> tuple[Array]:
            for part_pullback in reversed(pullbacks):
                (dy,) = part_pullback(dy)  # (networks.11)
            return (dy,)

        return x, chain_pullback
    if isinstance(network, Dense):
        W = network.layout.views(theta)["W"]
        y, _ = network.of_data(theta, x)
        return y, lambda dy: ((dy.reshape(-1, dy.shape[-1]) @ W.T).reshape(x.shape),)  # (networks.11)
    y, pullback = network(theta, x)
    return y, lambda dy: (pullback(dy)[1],)


def mlp(sizes: Sequence[int], activation: Callable[..., tuple[Array, Pullback]] = layers.tanh) -> Chain:
    """A multi-layer perceptron: affine layers of the given sizes, ``activation`` between them, none behind the last.

    >>> mlp([784, 500, 40]).layout.size
    412540
    """
    dense = [Dense(inputs, outputs) for inputs, outputs in pairwise(sizes)]
    between = [part for layer in dense[:-1] for part in (layer, Activation(activation))]
    return Chain((*between, dense[-1]))
