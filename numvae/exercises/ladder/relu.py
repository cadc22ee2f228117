"""ReLU, and what to do at its kink."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def relu(x):
    y = np.maximum(x, 0)

    def pullback(dy):
        return (dy * (x > 0),)

    return y, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """In the first row a zero, and each sign of x with each sign of dy."""
    shape = (rows, rows + 4)
    x, dy = (rng.choice([-1, 1], shape) * rng.uniform(0.4, 1.8, shape) for _ in range(2))
    x[0, :5] = np.abs(x[0, :5]) * [0, 1, 1, -1, -1]
    dy[0, 1:5] = np.abs(dy[0, 1:5]) * [1, -1, 1, -1]
    return Draw({"x": x}, cotangent=dy, rows=rows)


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    return {"x": draw.arguments["x"], "2": 2.0}


def open_at_the_kink(x):
    """dy also at x = 0."""
    return np.maximum(x, 0), lambda dy: (dy * (x >= 0),)


def guided(x):
    """Lets through only what is positive in dy as well."""
    return np.maximum(x, 0), lambda dy: (dy * (x > 0) * (dy > 0),)


def masked_by_dy(x):
    """ReLU applied to dy: the mask is taken from dy, not from x."""
    return np.maximum(x, 0), lambda dy: (np.maximum(dy, 0),)


def times_the_output(x):
    """dy y: multiplied by the value, not by the slope."""
    y = np.maximum(x, 0)
    return y, lambda dy: (dy * y,)


def sign_for_step(x):
    """The sign of x, which is the slope of its absolute value."""
    return np.maximum(x, 0), lambda dy: (dy * np.sign(x),)


EXERCISE = Exercise(
    name="relu",
    title="ReLU and its kink",
    statement="""
        y = max(x, 0), element by element, and its pullback.

        x, y: any shape, here (B, H). `pullback(dy)` returns (dx,): a tuple with one gradient, of x's shape.

        At x = 0 there is no slope. Any number from 0 to 1 could stand for it; take 0 here, so that a unit that is off
        gets no gradient. A central difference says ½ there, whatever you write, and is not asked.
    """,
    labels=("layers.11", "layers.12"),
    solution=relu,
    draw=draw,
    observe=of_rule("y", "dx"),
    factors=factors,
    differences={"dx": "x"},
    misconceptions=(
        Misconception(
            id="relu_open_at_the_kink",
            label="layers.12",
            wrong=open_at_the_kink,
            message="You let the gradient through at x = 0; the convention here is that the slope at the kink is 0.",
            hints=(
                "All entries are right but those at one value of x.",
                "What does the statement say about x = 0?",
                "Zero is not greater than zero.",
            ),
            link="dx",
            truth="where x = 0",
            proof="law",
        ),
        Misconception(
            id="relu_guided",
            label="layers.12",
            wrong=guided,
            message="You stop negative gradients as well: whether dy comes through depends on x alone.",
            hints=(
                "Call your pullback with dy and with -dy.",
                "A pullback is linear in dy. Is yours?",
                "Where x is positive, ReLU is the identity: a negative dy passes too.",
            ),
            link="dx",
            truth="where x > 0 and dy < 0",
            source="guided backpropagation, meant for pictures and not for training",
        ),
        Misconception(
            id="relu_masked_by_dy",
            label="layers.12",
            wrong=masked_by_dy,
            message="You apply ReLU to the gradient; the way back looks at where x was positive, not dy.",
            hints=(
                "Does x occur in your pullback?",
                "Call your pullback with dy and with -dy.",
                "Where x is negative, nothing comes through, whatever dy is.",
            ),
            link="dx",
            truth="where only one of x and dy is positive",
        ),
        Misconception(
            id="relu_times_the_output",
            label="layers.12",
            wrong=times_the_output,
            message="You multiply dy by the output; the slope of ReLU is 1 where it is on, however large y is.",
            hints=(
                "What is the slope of max(x, 0) at x = 3?",
                "Which factor lies between yours and the numeric gradient?",
                "The slope says whether the unit is on, not by how much.",
            ),
            link="dx",
            truth="x",
        ),
        Misconception(
            id="relu_sign_for_step",
            label="layers.12",
            wrong=sign_for_step,
            message="Your slope is -1 at negative x, as for |x|; ReLU is flat there.",
            hints=(
                "What is the slope of max(x, 0) at x = -3?",
                "Which values can your slope take?",
                "A unit that is off passes nothing back.",
            ),
            link="dx",
            truth="where x < 0",
        ),
    ),
)
