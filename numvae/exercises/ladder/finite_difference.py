"""A gradient by central differences, one coordinate at a time: the tool that every later exercise is checked with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numvae.arrays import Array
from numvae.exercises.contract import Draw, Exercise, Misconception, Observation


def finite_difference(f, x, step):
    gradient = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        move = np.zeros(x.shape)
        move[place] = step
        gradient[place] = (f(x + move) - f(x - move)) / (2 * step)
    return gradient


@dataclass(frozen=True, eq=False)
class Cubic:
    """f(x) = Σ a x³ + (Σ b x)², bent enough for one-sided differences to show, and with all coordinates coupled."""

    a: Array
    b: Array

    def __call__(self, x: Array) -> float:
        return float(np.sum(self.a * x**3) + np.sum(self.b * x) ** 2)

    def gradient(self, x: Array) -> Array:
        """By hand."""
        return 3 * self.a * x**2 + 2 * np.sum(self.b * x) * self.b


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """A step so wide that every formula for a difference gives its own number."""
    shape = (rows, rows + 2)
    a, b, x = (rng.choice([-1, 1], shape) * rng.uniform(0.4, 1.6, shape) for _ in range(3))
    return Draw({"f": Cubic(a, b), "x": x, "step": float(rng.uniform(0.1, 0.3))}, rows=rows)


def observe(function: Callable[..., Any], draw: Draw) -> Observation:
    """Gives a copy of x, since moving one coordinate of it and putting that back is a good way to write this."""
    f, x, step = draw.arguments.values()
    return {"gradient": function(f, x.copy(), step)}


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """A central difference is half of what f gains on the way to either side."""
    f, x, step = draw.arguments.values()
    above, below = np.empty(x.shape), np.empty(x.shape)
    for place in np.ndindex(x.shape):
        move = np.zeros(x.shape)
        move[place] = step
        above[place], below[place] = f(x + move) - f(x), f(x) - f(x - move)
    return {"gradient": {"f(x + step) - f(x)": above / (2 * step), "f(x) - f(x - step)": below / (2 * step)}}


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    return {"2": 2.0, "step": draw.arguments["step"]}


def one_sided(f, x, step):
    """The forward difference, (f(x + h) - f(x)) / h."""
    gradient = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        move = np.zeros(x.shape)
        move[place] = step
        gradient[place] = (f(x + move) - f(x)) / step
    return gradient


def divided_by_one_step(f, x, step):
    """Moves 2h, divides by h."""
    gradient = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        move = np.zeros(x.shape)
        move[place] = step
        gradient[place] = (f(x + move) - f(x - move)) / step
    return gradient


def left_moved(f, x, step):
    """Moves x in place and does not put it back, so that later coordinates are taken at another point."""
    gradient = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        x[place] += step
        above = f(x)
        x[place] -= 2 * step
        gradient[place] = (above - f(x)) / (2 * step)
    return gradient


def all_at_once(f, x, step):
    """Moves every coordinate together: the sum of all partial derivatives, at every place."""
    return np.full(x.shape, (f(x + step) - f(x - step)) / (2 * step))


EXERCISE = Exercise(
    name="finite_difference",
    title="A gradient by central differences",
    statement="""
        The numeric gradient of `f` at `x`: for each coordinate i the central difference
        (f(x + step e_i) - f(x - step e_i)) / (2 step), where e_i is 1 at i and 0 elsewhere.

        f: takes an array of x's shape, returns one number; x: of any shape, here (B, D); step: a positive number.
        Returns the gradient, of x's shape.

        Its error falls like step², that of a one-sided difference like step.
    """,
    labels=("checks.1",),
    solution=finite_difference,
    draw=draw,
    observe=observe,
    terms=terms,
    factors=factors,
    misconceptions=(
        Misconception(
            id="difference_one_sided",
            label="checks.1",
            wrong=one_sided,
            message="You take the difference on one side only; take it from step below to step above.",
            hints=(
                "Try it on f(x) = x², at x = 0: the slope there is 0. What do you get?",
                "The error of a one-sided difference falls like step, here it has to fall like step².",
                "The point x itself does not occur in a central difference.",
            ),
            link="gradient",
            truth="f(x) - f(x - step) × 0",
            source="CS231n notes, on gradient checks",
        ),
        Misconception(
            id="difference_over_one_step",
            label="checks.1",
            wrong=divided_by_one_step,
            message="You divide by step what lies 2 step apart: your gradient is twice what it should be.",
            hints=(
                "Try it on f(x) = x, whose slope is 1 everywhere.",
                "How far apart are the two points at which you call f?",
                "A slope is the rise over the run, and the run has two halves.",
            ),
            link="gradient",
            truth="2",
        ),
        Misconception(
            id="difference_left_moved",
            label="checks.1",
            wrong=left_moved,
            message="You move x in place and do not put it back, so all coordinates but the first are taken elsewhere.",
            hints=(
                "The first coordinate is right. What has changed when the second is taken?",
                "Compare x before and after your function has run.",
                "Up by one step, down by two: where does that leave x?",
            ),
            link="gradient",
            source="public solutions of CS231n, assignment 1",
        ),
        Misconception(
            id="difference_all_at_once",
            label="checks.1",
            wrong=all_at_once,
            message="You move all coordinates at once and get the sum of the partial derivatives; move one at a time.",
            hints=(
                "All entries of your gradient are equal. Should they be?",
                "A partial derivative holds every coordinate but one.",
                "What does x + step do to an array x?",
            ),
            link="gradient",
            truth="the same everywhere",
        ),
    ),
)
