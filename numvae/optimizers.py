"""Optimisers: they climb, in place, on flat vectors.

Objectives are maximised, so every optimiser ADDS its step: theta += step.  An optimiser is a frozen dataclass of
hyper-parameters and holds no arrays; what it remembers between steps lives in a dictionary that a checkpoint can save:

    state = optimizer.start(theta)
    optimizer.ascend(theta, gradient, state, scale=schedule(step))

`ascend` writes theta and state in place and leaves the gradient as it was.  `scale` multiplies the step size: it is
where a schedule enters.  Everything works on device arrays as well.

Two habits make the steps lean.  Constants are folded: moving averages are kept as plain decayed sums, and their
normalisers and bias corrections go into two Python floats per step, which is algebra, not approximation
(optimizers.8).  And vectors are taken in blocks that stay in the processor's cache while the operations pass over them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from numvae.arrays import Array
from numvae.ranges import require_number

State: TypeAlias = dict[str, Any]
"""What an optimiser remembers: flat vectors shaped like theta, and for Adam the count `step`."""

BLOCK = 1 << 18
"""Elements taken at a time.  With float32, five vectors then fill 5 MB of cache; smaller blocks lose more to the calls
than they win back (measured: 64k costs 10 % more, no blocks 45 % more at 8 million weights)."""


class Optimizer(Protocol):
    """What training asks of an optimiser."""

    def start(self, theta: Array) -> State:
        """The state before the first step."""

    def ascend(self, theta: Array, gradient: Array, state: State, scale: float = 1.0) -> None:
        """Write one step up into theta and state, in place."""


@dataclass(frozen=True)
class SGD:
    """theta += step_size * gradient (optimizers.1).  Robbins and Monro (1951).

    >>> theta = np.array([1.0, 2.0])
    >>> SGD(step_size=0.5).ascend(theta, np.array([2.0, -2.0]), {})
    >>> theta
    array([2., 1.])
    """

    step_size: float = 0.01

    def __post_init__(self) -> None:
        require_number(self, "step_size", "(0, inf)", example=0.01)

    def start(self, theta: Array) -> State:
        """Nothing to remember."""
        return {}

    def ascend(self, theta: Array, gradient: Array, state: State, scale: float = 1.0) -> None:
        """Write one step up into theta, in place."""
        rate = scale * self.step_size

        def climb(weights: Array, slope: Array, step: Array) -> None:
            np.multiply(slope, rate, out=step)
            weights += step  # (optimizers.1)

        _in_blocks(climb, theta, gradient)


@dataclass(frozen=True)
class Momentum:
    """velocity = momentum * velocity + step_size * gradient; theta += velocity (optimizers.2).

    The heavy ball: Polyak (1964); in this form Sutskever et al. (2013), equations (1) and (2).

    >>> theta, ball = np.array([0.0]), Momentum(step_size=1.0, momentum=0.5)
    >>> state = ball.start(theta)
    >>> for _ in range(2): ball.ascend(theta, np.array([1.0]), state)
    >>> theta, state["velocity"]
    (array([2.5]), array([1.5]))
    """

    step_size: float = 0.01
    momentum: float = 0.9

    def __post_init__(self) -> None:
        require_number(self, "step_size", "(0, inf)", example=0.01)
        require_number(self, "momentum", "[0, 1)", example=0.9)

    def start(self, theta: Array) -> State:
        """At rest."""
        return {"velocity": np.zeros_like(theta)}

    def ascend(self, theta: Array, gradient: Array, state: State, scale: float = 1.0) -> None:
        """Write one step up into theta and state, in place."""
        rate = scale * self.step_size

        def climb(weights: Array, slope: Array, velocity: Array, step: Array) -> None:
            np.multiply(slope, rate, out=step)
            velocity *= self.momentum
            velocity += step
            weights += velocity  # (optimizers.2)

        _in_blocks(climb, theta, gradient, state["velocity"])


@dataclass(frozen=True)
class Nesterov(Momentum):
    """velocity as in the heavy ball, theta += step_size * gradient + momentum * velocity (optimizers.3).

    Nesterov's gradient is taken where the velocity is about to carry the weights.  Here theta *is* that point, which
    makes it an optimiser like the others; without velocity the two points are the same.  Nesterov (1983);
    Sutskever et al. (2013), equations (3) and (4); in this form, simplified Nesterov momentum, Bengio et al. (2013).

    >>> theta, ball = np.array([0.0]), Nesterov(step_size=1.0, momentum=0.5)
    >>> ball.ascend(theta, np.array([1.0]), ball.start(theta))
    >>> theta
    array([1.5])
    """

    def ascend(self, theta: Array, gradient: Array, state: State, scale: float = 1.0) -> None:
        """Write one step up into theta and state, in place."""
        rate = scale * self.step_size

        def climb(weights: Array, slope: Array, velocity: Array, step: Array) -> None:
            np.multiply(slope, rate, out=step)
            velocity *= self.momentum
            velocity += step
            weights += step
            np.multiply(velocity, self.momentum, out=step)
            weights += step  # (optimizers.3)

        _in_blocks(climb, theta, gradient, state["velocity"])


@dataclass(frozen=True)
class AdaGrad:
    """squares += gradient**2; theta += step_size * gradient / (sqrt(squares) + epsilon) (optimizers.4).

    The optimiser of the paper, which chose its step size from {0.01, 0.02, 0.1}.  Duchi, Hazan and Singer (2011),
    figure 1 with a diagonal matrix; their delta is epsilon.

    >>> theta = np.array([0.0, 0.0])
    >>> AdaGrad(step_size=0.1).ascend(theta, np.array([5.0, -0.01]), {"squares": np.zeros(2)})
    >>> theta.round(6)
    array([ 0.1, -0.1])
    """

    step_size: float = 0.02
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        require_number(self, "step_size", "(0, inf)", example=0.02)
        require_number(self, "epsilon", "(0, inf)", example=1e-8)

    def start(self, theta: Array) -> State:
        """No squares seen."""
        return {"squares": np.zeros_like(theta)}

    def ascend(self, theta: Array, gradient: Array, state: State, scale: float = 1.0) -> None:
        """Write one step up into theta and state, in place."""
        rate = scale * self.step_size

        def climb(weights: Array, slope: Array, squares: Array, step: Array) -> None:
            squares += np.square(slope, out=step)
            step = _normalise(slope, squares, self.epsilon, out=step)
            step *= rate
            weights += step  # (optimizers.4)

        _in_blocks(climb, theta, gradient, state["squares"])


@dataclass(frozen=True)
class RMSProp:
    """v = decay v + (1 - decay) gradient**2; theta += step_size * gradient / (sqrt(v) + epsilon) (optimizers.5).

    The state keeps squares = v / (1 - decay), so that the factor 1 - decay is two Python floats and no pass over the
    weights.  Tieleman and Hinton (2012), lecture 6.5 of Neural Networks for Machine Learning.

    >>> theta = np.array([0.0, 0.0])
    >>> RMSProp(step_size=0.1, decay=0.75).ascend(theta, np.array([5.0, -0.01]), {"squares": np.zeros(2)})
    >>> theta.round(6)
    array([ 0.2, -0.2])
    """

    step_size: float = 0.001
    decay: float = 0.9
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        require_number(self, "step_size", "(0, inf)", example=0.001)
        require_number(self, "decay", "[0, 1)", example=0.9)
        require_number(self, "epsilon", "(0, inf)", example=1e-8)

    def start(self, theta: Array) -> State:
        """No squares seen."""
        return {"squares": np.zeros_like(theta)}

    def ascend(self, theta: Array, gradient: Array, state: State, scale: float = 1.0) -> None:
        """Write one step up into theta and state, in place."""
        unit = math.sqrt(1 - self.decay)
        rate, epsilon = scale * self.step_size / unit, self.epsilon / unit  # (optimizers.6)

        def climb(weights: Array, slope: Array, squares: Array, step: Array) -> None:
            squares *= self.decay
            squares += np.square(slope, out=step)
            step = _normalise(slope, squares, epsilon, out=step)
            step *= rate
            weights += step  # (optimizers.5)

        _in_blocks(climb, theta, gradient, state["squares"])


@dataclass(frozen=True)
class Adam:
    """theta += step_size * m_hat / (sqrt(v_hat) + epsilon), bias-corrected moments (optimizers.7).

    Kingma and Ba (2015), Algorithm 1, with epsilon where Algorithm 1 has it: outside the root, added to the *corrected*
    sqrt(v_hat).  The faster order of operations at the end of their section 2 adds a constant epsilon to sqrt(v), which
    is another algorithm in the first thousand steps; here epsilon shrinks and grows with the correction, so nothing
    changes.  The state keeps first = m / (1 - beta1) and second = v / (1 - beta2), so that both normalisers and both
    corrections are two Python floats per step (optimizers.8) and no pass over the weights.

    >>> theta, adam = np.array([0.0, 0.0]), Adam(step_size=0.1)
    >>> adam.ascend(theta, np.array([5.0, -0.01]), adam.start(theta))
    >>> theta.round(6)
    array([ 0.1, -0.1])
    """

    step_size: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        require_number(self, "step_size", "(0, inf)", example=0.001)
        require_number(self, "beta1", "[0, 1)", example=0.9)
        require_number(self, "beta2", "[0, 1)", example=0.999)
        require_number(self, "epsilon", "(0, inf)", example=1e-8)

    def start(self, theta: Array) -> State:
        """No gradient seen, no step taken.  The count stays a number on the host when theta is on a device."""
        return {"step": 0, "first": np.zeros_like(theta), "second": np.zeros_like(theta)}

    def ascend(self, theta: Array, gradient: Array, state: State, scale: float = 1.0) -> None:
        """Write one step up into theta and state, in place."""
        state["step"] = t = int(state["step"]) + 1
        unit = math.sqrt((1 - self.beta2) / (1 - self.beta2**t))
        rate = scale * self.step_size * (1 - self.beta1) / (1 - self.beta1**t) / unit
        epsilon = self.epsilon / unit  # (optimizers.8)

        def climb(weights: Array, slope: Array, first: Array, second: Array, step: Array) -> None:
            first *= self.beta1
            first += slope
            second *= self.beta2
            second += np.square(slope, out=step)
            step = _normalise(first, second, epsilon, out=step)
            step *= rate
            weights += step  # (optimizers.7)

        _in_blocks(climb, theta, gradient, state["first"], state["second"])


@dataclass(frozen=True)
class AdamW(Adam):
    """theta *= 1 - step_size * weight_decay, then Adam's step (optimizers.9): weight decay decoupled from the moments.

    Loshchilov and Hutter (2019), Algorithm 2, line 12; their lambda is step_size * weight_decay here, as in PyTorch,
    Optax and Keras.  This is not the gradient of a N(0, I) prior on the weights: that one, -theta / N per datum, goes
    through Adam's denominator, and weights with large gradients then hardly feel it (optimizers.10).  For MAP use Adam
    and put the prior into the objective; with SGD the two are the same.

    >>> theta, adam = np.array([10.0]), AdamW(step_size=0.1, weight_decay=0.5)
    >>> adam.ascend(theta, np.array([3.0]), adam.start(theta))
    >>> theta.round(6)
    array([9.6])
    """

    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self, "weight_decay", "[0, inf)", example=0.01)

    def ascend(self, theta: Array, gradient: Array, state: State, scale: float = 1.0) -> None:
        """Write one step up into theta and state, in place."""
        theta *= 1 - scale * self.step_size * self.weight_decay  # (optimizers.9)
        super().ascend(theta, gradient, state, scale)


def clip_norm(gradient: Array, maximum: float) -> Any:
    """gradient *= min(1, maximum / norm), in place (optimizers.11); returns the norm it had.

    The norm is a number of gradient's own kind, never forced to the host: on a device it is a 0-d device array.  A norm
    beyond the range of the dtype is infinite, and the gradient becomes 0: that step is left out.
    Pascanu, Mikolov and Bengio (2013), Algorithm 1.

    >>> gradient = np.array([3.0, 4.0])
    >>> print(clip_norm(gradient, maximum=1.0), gradient)
    5.0 [0.6 0.8]
    """
    norm = np.sqrt(np.dot(gradient, gradient))
    gradient *= maximum / np.maximum(norm, maximum)  # (optimizers.11)
    return norm


def clip_value(gradient: Array, maximum: float) -> None:
    """gradient = max(-maximum, min(maximum, gradient)), in place and elementwise (optimizers.12).

    >>> gradient = np.array([3.0, -4.0, 0.5])
    >>> clip_value(gradient, maximum=1.0)
    >>> gradient
    array([ 1. , -1. ,  0.5])
    """
    np.clip(gradient, -maximum, maximum, out=gradient)  # (optimizers.12)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": AdaGrad,
    "rmsprop": RMSProp,
    "adam": Adam,
    "adamw": AdamW,
}
"""Names for the border: command line and JSON."""


def _in_blocks(climb: Callable[..., None], *vectors: Any) -> None:
    """Call climb(*pieces, scratch) for each block of matching pieces of flat vectors; the pieces are views."""
    size = vectors[0].size
    block = BLOCK if isinstance(vectors[0], np.ndarray) else size  # a device has no cache to stay in
    scratch = np.empty_like(vectors[0][:block])
    for begin in range(0, size, block or 1):
        pieces = [vector[begin : begin + block] for vector in vectors]
        climb(*pieces, scratch[: pieces[0].size])


def _normalise(direction: Array, squares: Array, epsilon: float, out: Array) -> Array:
    """Write direction / (sqrt(squares) + epsilon) into out and return it."""
    np.sqrt(squares, out=out)
    out += epsilon
    return np.divide(direction, out, out=out)
