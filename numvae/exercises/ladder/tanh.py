"""Tanh: its slope is known from its value."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def tanh(x):
    y = np.tanh(x)

    def pullback(dy):
        return (dy * (1 - y**2),)

    return y, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """Inputs well away from 0, where the slope of almost anything is 1."""
    shape = (rows, rows + 2)
    x, dy = (rng.choice([-1, 1], shape) * rng.uniform(0.4, 1.8, shape) for _ in range(2))
    return Draw({"x": x}, cotangent=dy, rows=rows)


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of."""
    y, dy = np.tanh(draw.arguments["x"]), draw.cotangent
    return {"dx": {"1": dy, "-y²": -dy * y**2}}


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    x = draw.arguments["x"]
    y = np.tanh(x)
    return {"x": x, "y": y, "1 - y²": 1 - y**2, "2": 2.0}


def slope_at_the_input(x):
    """1 - x²: the formula in y, given x."""
    return np.tanh(x), lambda dy: (dy * (1 - x**2),)


def tanh_twice(x):
    """1 - tanh(y)²: the derivative as a function of x, called with y."""
    y = np.tanh(x)
    return y, lambda dy: (dy * (1 - np.tanh(y) ** 2),)


def no_slope(x):
    """dy handed through."""
    return np.tanh(x), lambda dy: (dy.copy(),)


def slope_ignores_cotangent(x):
    """The derivative itself, without what comes in."""
    y = np.tanh(x)
    return y, lambda dy: (1 - y**2,)


def not_squared(x):
    """1 - y for 1 - y²."""
    y = np.tanh(x)
    return y, lambda dy: (dy * (1 - y),)


EXERCISE = Exercise(
    name="tanh",
    title="Tanh and its pullback",
    statement="""
        y = tanh(x), element by element, and its pullback.

        x, y: any shape, here (B, H). `pullback(dy)` returns (dx,): a tuple with one gradient, of x's shape.

        Derive the slope; it can be had from y alone.
    """,
    labels=("layers.5", "layers.6"),
    solution=tanh,
    draw=draw,
    observe=of_rule("y", "dx"),
    terms=terms,
    factors=factors,
    differences={"dx": "x"},
    misconceptions=(
        Misconception(
            id="tanh_slope_at_the_input",
            label="layers.6",
            wrong=slope_at_the_input,
            message="You put the input x into the formula of the slope; 1 - y² wants the output y.",
            hints=(
                "Is your slope ever negative? tanh rises everywhere.",
                "In terms of which variable is your formula of the slope?",
                "Take x = 2: the slope there is 0.07, not -3.",
            ),
            link="dx",
            truth="-y² × x²/y²",
            source="questions about backpropagation on public forums",
        ),
        Misconception(
            id="tanh_twice",
            label="layers.6",
            wrong=tanh_twice,
            message="You take the slope at y instead of at x: tanh is applied twice.",
            hints=(
                "How often does tanh act on x in your pullback?",
                "Your slope is that of tanh, but at another point.",
                "A slope formula in x wants x, one in y wants y; you mixed the two.",
            ),
            link="dx",
            truth="y, the output, for x",
            source="`tanh_prime(activation)` in public code",
        ),
        Misconception(
            id="tanh_without_slope",
            label="layers.6",
            wrong=no_slope,
            message="You hand dy through unchanged; it has to be multiplied by the slope of tanh.",
            hints=(
                "How does dx differ from dy in your pullback?",
                "Far out tanh is flat. What should dx be there?",
                "For a function of each element alone, dx is dy times a slope.",
            ),
            link="dx",
            truth="-y² × 0",
        ),
        Misconception(
            id="tanh_ignores_dy",
            label="layers.6",
            wrong=slope_ignores_cotangent,
            message="You return the slope alone; a pullback multiplies it by the dy that comes in.",
            hints=(
                "Call your pullback with dy and with 2 dy.",
                "A pullback is linear in what it is given.",
                "With dy = 1 everywhere yours is right. Where else?",
            ),
            link="dx",
            truth="1/dy",
        ),
        Misconception(
            id="tanh_not_squared",
            label="layers.6",
            wrong=not_squared,
            message="You wrote 1 - y for the slope; it is 1 - y², the same for x and -x.",
            hints=(
                "Compare your slope at 1 and at -1.",
                "The slope of tanh is never above 1. Is yours?",
                "The quotient rule gives a difference of two squares.",
            ),
            link="dx",
            truth="-y² × 1/y",
        ),
    ),
)
