"""The sigmoid, for any x: no exponential may overflow."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def sigmoid(x):
    y = 0.5 * (1 + np.tanh(0.5 * x))

    def pullback(dy):
        return (dy * y * (1 - y),)

    return y, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """Two inputs so large, one of each sign, that their exponential overflows."""
    shape = (rows, rows + 2)
    x, dy = (rng.choice([-1, 1], shape) * rng.uniform(0.4, 1.8, shape) for _ in range(2))
    x[0, :2] = rng.uniform(800, 1000, 2) * [1, -1]
    return Draw({"x": x}, cotangent=dy, rows=rows)


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of."""
    y, dy = 0.5 * (1 + np.tanh(0.5 * draw.arguments["x"])), draw.cotangent
    return {"dx": {"y": dy * y, "-y²": -dy * y**2}}


def factors(draw: Draw) -> dict[str, Any]:
    """What may stand in the place of another."""
    x = draw.arguments["x"]
    y = 0.5 * (1 + np.tanh(0.5 * x))
    return {"x (1 - x)": x * (1 - x), "y (1 - y)": y * (1 - y), "1 - y²": 1 - y**2}


def overflowing(x):
    """exp(x) / (1 + exp(x)), which is ∞/∞ at large x."""
    y = np.exp(x) / (1 + np.exp(x))
    return y, lambda dy: (dy * y * (1 - y),)


def slope_at_the_input(x):
    """x (1 - x): the formula in y, given x."""
    return 0.5 * (1 + np.tanh(0.5 * x)), lambda dy: (dy * x * (1 - x),)


def sigmoid_twice(x):
    """The slope taken at y, so that the sigmoid acts twice."""
    y = 0.5 * (1 + np.tanh(0.5 * x))
    again = 0.5 * (1 + np.tanh(0.5 * y))
    return y, lambda dy: (dy * again * (1 - again),)


def half_a_slope(x):
    """y for y (1 - y), as if exp(x) were the whole function."""
    y = 0.5 * (1 + np.tanh(0.5 * x))
    return y, lambda dy: (dy * y,)


def slope_of_tanh(x):
    """1 - y², which is the slope of tanh."""
    y = 0.5 * (1 + np.tanh(0.5 * x))
    return y, lambda dy: (dy * (1 - y**2),)


EXERCISE = Exercise(
    name="sigmoid",
    title="The sigmoid and its pullback",
    statement="""
        y = 1 / (1 + exp(-x)), element by element, for any x, also ±1000: nothing may become NaN.

        x, y: any shape, here (B, H). `pullback(dy)` returns (dx,): a tuple with one gradient, of x's shape.

        Derive the slope; it can be had from y alone.
    """,
    labels=("layers.7", "layers.8"),
    solution=sigmoid,
    draw=draw,
    observe=of_rule("y", "dx"),
    terms=terms,
    factors=factors,
    differences={"dx": "x"},
    misconceptions=(
        Misconception(
            id="sigmoid_overflows",
            label="layers.7",
            wrong=overflowing,
            message="Your sigmoid is NaN at large x, where exp(x) overflows and ∞/∞ is left.",
            hints=(
                "Try x = 1000.",
                "What is exp(1000) in float64, and what is it divided by itself?",
                "Write it with tanh(x / 2), which never overflows, or with exponentials of negative numbers only.",
            ),
            link="y",
        ),
        Misconception(
            id="sigmoid_slope_at_the_input",
            label="layers.8",
            wrong=slope_at_the_input,
            message="You put the input x into the formula of the slope; y (1 - y) wants the output y.",
            hints=(
                "Is your slope ever negative? The sigmoid rises everywhere.",
                "In terms of which variable is your formula of the slope?",
                "At x = 0 the slope is a quarter.",
            ),
            link="dx",
            truth="dy·(x (1 - x)) for dx",
            source="questions about backpropagation on public forums",
        ),
        Misconception(
            id="sigmoid_twice",
            label="layers.8",
            wrong=sigmoid_twice,
            message="You take the slope at y instead of at x: the sigmoid is applied twice.",
            hints=(
                "How often does the sigmoid act on x in your pullback?",
                "Far out your slope should be 0. Is it?",
                "A slope formula in x wants x, one in y wants y; you mixed the two.",
            ),
            link="dx",
            truth="y, the output, for x",
            source="`sigmoid_prime(activation)` in public code",
        ),
        Misconception(
            id="sigmoid_half_a_slope",
            label="layers.8",
            wrong=half_a_slope,
            message="You wrote y for the slope; the factor 1 - y, which makes it flat on the right, is missing.",
            hints=(
                "At large x the sigmoid is flat. Is your slope 0 there?",
                "The slope is the same for x and -x. Is yours?",
                "The quotient rule has two parts.",
            ),
            link="dx",
            truth="-y² × 0",
        ),
        Misconception(
            id="sigmoid_slope_of_tanh",
            label="layers.8",
            wrong=slope_of_tanh,
            message="You wrote 1 - y², the slope of tanh; the sigmoid's is another.",
            hints=(
                "At x = 0 the slope of the sigmoid is a quarter. What is yours?",
                "At large negative x it is flat. Is yours?",
                "Differentiate 1 / (1 + exp(-x)) and look for y and for 1 - y in the result.",
            ),
            link="dx",
            truth="dy for y",
        ),
    ),
)
