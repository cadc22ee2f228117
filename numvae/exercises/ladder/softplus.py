"""Softplus, for any x: max(x, 0) and a correction that cannot overflow."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def softplus(x):
    y = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))

    def pullback(dy):
        return (dy * 0.5 * (1 + np.tanh(0.5 * x)),)

    return y, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """Two inputs so large, one of each sign, that their exponential overflows."""
    shape = (rows, rows + 2)
    x, dy = (rng.choice([-1, 1], shape) * rng.uniform(0.4, 1.8, shape) for _ in range(2))
    x[0, :2] = rng.uniform(800, 1000, 2) * [1, -1]
    return Draw({"x": x}, cotangent=dy, rows=rows)


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of."""
    x = draw.arguments["x"]
    return {"y": {"max(x, 0)": np.maximum(x, 0), "log(1 + exp(-|x|))": np.log1p(np.exp(-np.abs(x)))}}


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    p = 0.5 * (1 + np.tanh(0.5 * draw.arguments["x"]))
    return {"sigmoid(x)": p, "1 - sigmoid(x)": 1 - p}


def overflowing(x):
    """log(1 + exp(x)) as it stands, infinite at large x."""
    return np.log(1 + np.exp(x)), lambda dy: (dy / (1 + np.exp(-x)),)


def clipped(x):
    """x clipped before the exponential: no overflow, and no growth either."""
    kept = np.clip(x, -30, 30)
    return np.log1p(np.exp(kept)), lambda dy: (dy * (kept == x) / (1 + np.exp(-kept)),)


def without_the_ramp(x):
    """The correction alone: max(x, 0) is forgotten."""
    return np.log1p(np.exp(-np.abs(x))), lambda dy: (dy * 0.5 * (1 + np.tanh(0.5 * x)),)


def slope_at_the_output(x):
    """The sigmoid of y for that of x."""
    y = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return y, lambda dy: (dy * 0.5 * (1 + np.tanh(0.5 * y)),)


def overflowing_slope(x):
    """A stable value, and exp(x) / (1 + exp(x)) for its slope."""
    y = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return y, lambda dy: (dy * np.exp(x) / (1 + np.exp(x)),)


def slope_of_sigmoid(x):
    """One derivative too many."""
    y = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    p = 0.5 * (1 + np.tanh(0.5 * x))
    return y, lambda dy: (dy * p * (1 - p),)


EXERCISE = Exercise(
    name="softplus",
    title="A softplus that does not overflow",
    statement="""
        y = log(1 + exp(x)), element by element, for any x: at 1000 it is 1000, and at -1000 it is 0.

        x, y: any shape, here (B, H). `pullback(dy)` returns (dx,): a tuple with one gradient, of x's shape; it must
        not become NaN either.

        First find a form of y in which only exponentials of negative numbers occur.
    """,
    labels=("layers.9", "layers.10"),
    solution=softplus,
    draw=draw,
    observe=of_rule("y", "dx"),
    terms=terms,
    factors=factors,
    differences={"dx": "x"},
    corners={
        "Where x is around 10": lambda draw: draw.but(x=10 * draw.arguments["x"]),
    },
    misconceptions=(
        Misconception(
            id="softplus_overflows",
            label="layers.9",
            wrong=overflowing,
            message="Your softplus is infinite at large x, where exp(x) overflows; y is nearly x there.",
            hints=(
                "Try x = 1000.",
                "For large x, log(1 + exp(x)) is nearly x. How far off is that?",
                "Take exp(x) out of the logarithm where x is positive.",
            ),
            link="y",
            source="NaN losses in public trackers",
        ),
        Misconception(
            id="softplus_clipped",
            label="layers.9",
            wrong=clipped,
            message="You clip x to keep exp finite; beyond the clip y no longer grows, and its gradient is lost.",
            hints=(
                "Try x = 1000: the result has to be 1000.",
                "What is the slope of your function beyond the clip?",
                "There is a form that needs no clip: find what is left of y when max(x, 0) is taken off.",
            ),
            link="y",
            truth="where x > 0 and x is large",
            proof="law",
        ),
        Misconception(
            id="softplus_without_the_ramp",
            label="layers.9",
            wrong=without_the_ramp,
            message="You kept the correction and forgot the ramp max(x, 0), which is nearly all of y at large x.",
            hints=(
                "Softplus rises everywhere. Does yours?",
                "Compare your value with log(1 + exp(x)) at x = 1 and at x = -1.",
                "Only half of the x are wrong. Which?",
            ),
            link="y",
            truth="max(x, 0) × 0",
        ),
        Misconception(
            id="softplus_slope_at_the_output",
            label="layers.10",
            wrong=slope_at_the_output,
            message="You take the slope at the output y; softplus has the slope sigmoid(x), of its input.",
            hints=(
                "At large negative x the slope is 0. Is yours?",
                "At which point do you evaluate the slope?",
                "Unlike tanh's, this slope is simplest in terms of x.",
            ),
            link="dx",
            truth="y, the output, for x",
        ),
        Misconception(
            id="softplus_slope_overflows",
            label="layers.10",
            wrong=overflowing_slope,
            message="Your slope is NaN at large x, where exp(x) overflows and ∞/∞ is left.",
            hints=(
                "Try x = 1000.",
                "Your value is safe, your slope is not: where is an exponential of a positive number?",
                "Use the form that you wrote for the sigmoid.",
            ),
            link="dx",
        ),
        Misconception(
            id="softplus_slope_of_sigmoid",
            label="layers.10",
            wrong=slope_of_sigmoid,
            message="You differentiated once too often: the slope of softplus is the sigmoid, not the sigmoid's slope.",
            hints=(
                "At large x softplus is a line of slope 1. What is yours?",
                "What is the derivative of log(1 + u)?",
                "Apply the chain rule once, and stop there.",
            ),
            link="dx",
            truth="1 - sigmoid(x)",
        ),
    ),
)
