"""Two affine layers with a tanh between them: the first gradient that is a chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, Observation


def perceptron(W1, b1, W2, b2, x):
    h = np.tanh(x @ W1 + b1)
    y = h @ W2 + b2

    def pullback(dy):
        da = (dy @ W2.T) * (1 - h**2)
        return x.T @ da, da.sum(axis=0), h.T @ dy, dy.sum(axis=0), None

    return y, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """Four different sizes, so that no transposed product fits by accident."""
    inputs, hidden, outputs = rows + 1, rows + 3, rows + 2
    shapes = {"W1": (inputs, hidden), "b1": (hidden,), "W2": (hidden, outputs), "b2": (outputs,), "x": (rows, inputs)}
    arguments = {name: 0.7 * rng.standard_normal(shape) for name, shape in shapes.items()}
    return Draw(arguments, cotangent=rng.standard_normal((rows, outputs)), rows=rows)


def observe(function: Callable[..., Any], draw: Draw) -> Observation:
    """The second layer's gradients before the first's, as backpropagation meets them."""
    y, pullback = function(**draw.arguments)
    dW1, db1, dW2, db2, _ = pullback(draw.cotangent)
    return {"y": y, "dW2": dW2, "db2": db2, "dW1": dW1, "db1": db1}


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of, apart by row or by hidden unit still: 1 - h² has two parts."""
    W1, b1, W2, b2, x = draw.arguments.values()
    h, dy = np.tanh(x @ W1 + b1), draw.cotangent
    dh = dy @ W2.T
    da = {"1": dh, "-h²": -dh * h**2}
    return {
        "y": {"h W2": h[:, None, :] * W2.T, "b2": np.broadcast_to(b2, dy.shape)},
        "dW2": {"h dy": h[:, :, None] * dy[:, None, :]},
        "db2": {"dy": dy},
        "dW1": {name: x[:, :, None] * part[:, None, :] for name, part in da.items()},
        "db1": da,
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely, or in the place of another."""
    W1, b1, _, _, x = draw.arguments.values()
    a = x @ W1 + b1
    h = np.tanh(a)
    return {"a": a, "h": h, "tanh(h)": np.tanh(h), "1 - h²": 1 - h**2, "B": float(draw.rows), "2": 2.0}


def no_hidden_tanh(W1, b1, W2, b2, x):
    """The tanh is missing: two affine maps in a row are one."""
    h = x @ W1 + b1

    def pullback(dy):
        dh = dy @ W2.T
        return x.T @ dh, dh.sum(axis=0), h.T @ dy, dy.sum(axis=0), None

    return h @ W2 + b2, pullback


def before_tanh(W1, b1, W2, b2, x):
    """dW2 from what went into the tanh, not from what came out."""
    a = x @ W1 + b1
    h = np.tanh(a)

    def pullback(dy):
        da = (dy @ W2.T) * (1 - h**2)
        return x.T @ da, da.sum(axis=0), a.T @ dy, dy.sum(axis=0), None

    return h @ W2 + b2, pullback


def no_slope(W1, b1, W2, b2, x):
    """The gradient of h taken for that of what went into the tanh."""
    h = np.tanh(x @ W1 + b1)

    def pullback(dy):
        dh = dy @ W2.T
        return x.T @ dh, dh.sum(axis=0), h.T @ dy, dy.sum(axis=0), None

    return h @ W2 + b2, pullback


def slope_at_the_input(W1, b1, W2, b2, x):
    """1 - a², with a what went into the tanh."""
    a = x @ W1 + b1
    h = np.tanh(a)

    def pullback(dy):
        da = (dy @ W2.T) * (1 - a**2)
        return x.T @ da, da.sum(axis=0), h.T @ dy, dy.sum(axis=0), None

    return h @ W2 + b2, pullback


def tanh_twice(W1, b1, W2, b2, x):
    """1 - tanh(h)²: the slope as a function of the input, given the output."""
    h = np.tanh(x @ W1 + b1)

    def pullback(dy):
        da = (dy @ W2.T) * (1 - np.tanh(h) ** 2)
        return x.T @ da, da.sum(axis=0), h.T @ dy, dy.sum(axis=0), None

    return h @ W2 + b2, pullback


def reshaped(W1, b1, W2, b2, x):
    """dh through W2 reshaped, where it is to be transposed."""
    h = np.tanh(x @ W1 + b1)

    def pullback(dy):
        da = (dy @ W2.reshape(W2.shape[::-1])) * (1 - h**2)
        return x.T @ da, da.sum(axis=0), h.T @ dy, dy.sum(axis=0), None

    return h @ W2 + b2, pullback


def bias_without_slope(W1, b1, W2, b2, x):
    """db1 from dh, past the tanh."""
    h = np.tanh(x @ W1 + b1)

    def pullback(dy):
        dh = dy @ W2.T
        return x.T @ (dh * (1 - h**2)), dh.sum(axis=0), h.T @ dy, dy.sum(axis=0), None

    return h @ W2 + b2, pullback


def bias_means(W1, b1, W2, b2, x):
    """The mean over rows for both biases."""
    h = np.tanh(x @ W1 + b1)

    def pullback(dy):
        da = (dy @ W2.T) * (1 - h**2)
        return x.T @ da, da.mean(axis=0), h.T @ dy, dy.mean(axis=0), None

    return h @ W2 + b2, pullback


EXERCISE = Exercise(
    name="perceptron",
    title="Backpropagation through two layers",
    statement="""
        y = tanh(x W1 + b1) W2 + b2, for every row of x, and its pullback.

        W1: (D, H); b1: (H,); W2: (H, Z); b2: (Z,); x: (B, D); y: (B, Z).
        `pullback(dy)` returns (dW1, db1, dW2, db2, None): x is data, and nobody needs its gradient.

        Write it backwards: dW2 and db2 first, then the gradient that goes on through W2, then that through the tanh,
        and last dW1 and db1.
    """,
    labels=("networks.1", "layers.3", "layers.6"),
    solution=perceptron,
    draw=draw,
    observe=observe,
    terms=terms,
    factors=factors,
    differences={"dW2": "W2", "db2": "b2", "dW1": "W1", "db1": "b1"},
    misconceptions=(
        Misconception(
            id="perceptron_without_tanh",
            label="layers.5",
            wrong=no_hidden_tanh,
            message="You left the tanh out of the value: without it two affine maps are just one.",
            hints=(
                "Double x, with both biases 0. Does y double?",
                "What stands between the two layers?",
                "The hidden units lie between -1 and 1.",
            ),
            link="y",
            truth="h W2 × a/h",
            proof="law",
        ),
        Misconception(
            id="perceptron_before_tanh",
            label="layers.2",
            wrong=before_tanh,
            message="Your dW2 uses what went into the tanh; W2 was multiplied by what came out of it.",
            hints=(
                "By what was W2 multiplied on the way forward?",
                "The gradient of a matrix is its input, transposed, times dy.",
                "Which of your two hidden arrays lies between -1 and 1?",
            ),
            link="dW2",
            truth="h dy × a/h",
        ),
        Misconception(
            id="perceptron_bias_means",
            label="layers.2",
            wrong=bias_means,
            message="You take means over rows for the biases; they are sums, as the biases were added once per row.",
            hints=(
                "The weights are right and the biases are not: by which factor?",
                "Which factor lies between yours and the numeric gradient, at two batch sizes?",
                "What is repeated on the way forward is summed on the way back.",
            ),
            link="db2",
            truth="1/B",
        ),
        Misconception(
            id="perceptron_without_slope",
            label="layers.6",
            wrong=no_slope,
            message="You skip the tanh on the way back: the gradient of h has to be multiplied by 1 - h².",
            hints=(
                "The second layer is right. What lies between it and W1?",
                "A hidden unit near 1 hardly moves. What should its dW1 be?",
                "Every step forward has its own step back; count them.",
            ),
            link="dW1",
            truth="-h² × 0",
        ),
        Misconception(
            id="perceptron_slope_at_the_input",
            label="layers.6",
            wrong=slope_at_the_input,
            message="You put what went into the tanh in 1 - h²; that formula wants what came out.",
            hints=(
                "The second layer is right. Is your slope of tanh between 0 and 1?",
                "In terms of which variable is the slope 1 - ( )²?",
                "You have both the input and the output of the tanh at hand: take the other one.",
            ),
            link="dW1",
            truth="-h² × a²/h²",
        ),
        Misconception(
            id="perceptron_tanh_twice",
            label="layers.6",
            wrong=tanh_twice,
            message="You take the slope of tanh at its output: tanh is applied twice.",
            hints=(
                "The second layer is right. How often does tanh act on x in your pullback?",
                "Your slope is one of tanh, but at another point.",
                "h is a tanh already.",
            ),
            link="dW1",
            truth="-h² × tanh(h)²/h²",
            source="`tanh_prime(activation)` in public code",
        ),
        Misconception(
            id="perceptron_reshaped_for_transposed",
            label="layers.3",
            wrong=reshaped,
            message="You take dy through W2 reshaped; it goes back through W2 transposed.",
            hints=(
                "The second layer is right. How does dy get to the hidden units?",
                "Reshaping keeps the order in memory; where does W2[0, 1] end up?",
                "dh[r, j] pairs dy[r, k] with W2[j, k].",
            ),
            link="dW1",
            truth="W2 reshaped for W2 transposed",
            source="shape errors silenced by reshape",
        ),
        Misconception(
            id="perceptron_bias_without_slope",
            label="layers.6",
            wrong=bias_without_slope,
            message="Your db1 skips the tanh: b1 is added before it, just as x W1 is.",
            hints=(
                "dW1 is right. What does db1 have in common with it?",
                "Is b1 added before or after the tanh?",
                "Both gradients of the first layer start from the same array.",
            ),
            link="db1",
            truth="-h² × 0",
        ),
    ),
)
