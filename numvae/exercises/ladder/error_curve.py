"""How wrong a central difference is: the V over its steps, and where that is lowest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, Observation


def error_curve(steps, value, slope, third, dtype):
    epsilon = float(np.finfo(dtype).eps)
    truncation = steps**2 * abs(third) / 6
    rounding = epsilon * abs(value) / steps
    errors = (truncation + rounding) / abs(slope)
    best = (3 * epsilon * abs(value) / abs(third)) ** (1 / 3)
    return errors, best


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """Float32, and steps around its best one: both arms of the V count.  NumPy's numbers, as f(x) would be."""
    value, slope, third = rng.choice([-1, 1], 3) * rng.uniform([1.3, 0.4, 2.0], [1.9, 0.8, 4.0])
    steps = np.sort(10 ** rng.uniform(-4, -1, rows + 2))
    arguments = {"steps": steps, "value": value, "slope": slope, "third": third}
    return Draw(arguments | {"dtype": "float32"}, rows=rows)


def observe(function: Callable[..., Any], draw: Draw) -> Observation:
    """The curve first, then its lowest place."""
    errors, best = function(**draw.arguments)
    return {"errors": errors, "best": best}


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What the error is a sum of."""
    steps, value, slope, third, dtype = draw.arguments.values()
    truncation = steps**2 * abs(third) / 6
    rounding = float(np.finfo(dtype).eps) * abs(value) / steps
    return {"errors": {"truncation": truncation / abs(slope), "rounding": rounding / abs(slope)}}


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    _, value, slope, third, dtype = draw.arguments.values()
    cubed = 3 * float(np.finfo(dtype).eps) * abs(value) / abs(third)
    return {"|slope|": abs(slope), "|value|": abs(value), "3 epsilon |value|/|third|": cubed, "2": 2.0}


def no_rounding(steps, value, slope, third, dtype):
    """Smaller is always better: truncation alone, and the smallest step is the best."""
    return steps**2 * abs(third) / 6 / abs(slope), steps.min()


def double_precision(steps, value, slope, third, dtype):
    """The rounding of float64, whatever the dtype."""
    epsilon = float(np.finfo(np.float64).eps)
    errors = (steps**2 * abs(third) / 6 + epsilon * abs(value) / steps) / abs(slope)
    return errors, (3 * epsilon * abs(value) / abs(third)) ** (1 / 3)


def absolute(steps, value, slope, third, dtype):
    """The absolute error, not divided by the slope."""
    epsilon = float(np.finfo(dtype).eps)
    errors = steps**2 * abs(third) / 6 + epsilon * abs(value) / steps
    return errors, (3 * epsilon * abs(value) / abs(third)) ** (1 / 3)


def arms_cross(steps, value, slope, third, dtype):
    """The step at which truncation and rounding are equal, for the one at which their sum is least."""
    epsilon = float(np.finfo(dtype).eps)
    errors = (steps**2 * abs(third) / 6 + epsilon * abs(value) / steps) / abs(slope)
    return errors, (6 * epsilon * abs(value) / abs(third)) ** (1 / 3)


def square_root(steps, value, slope, third, dtype):
    """The square root that belongs to one-sided differences."""
    epsilon = float(np.finfo(dtype).eps)
    errors = (steps**2 * abs(third) / 6 + epsilon * abs(value) / steps) / abs(slope)
    return errors, (3 * epsilon * abs(value) / abs(third)) ** (1 / 2)


EXERCISE = Exercise(
    name="error_curve",
    title="The V-shaped error of a central difference",
    statement="""
        How wrong a central difference of f will be, for each of several steps h, and the best step.

        Two errors add up. Cutting off the Taylor series of f costs h² |f'''| / 6. Rounding costs epsilon |f| / h, where
        epsilon is that of the dtype f is computed in, `np.finfo(dtype).eps`. Relative to |f'|, their sum over h has the
        shape of a V on logarithmic axes.

        steps: (S,), positive; value, slope, third: the numbers f(x), f'(x) and f'''(x), of any sign but not 0;
        dtype: "float32" or "float64". Returns (errors, best): the relative error at each step, (S,), and the h > 0 at
        which it is least, one number. Derive that: it need not be one of the steps.
    """,
    labels=("checks.3",),
    solution=error_curve,
    draw=draw,
    observe=observe,
    terms=terms,
    factors=factors,
    corners={
        "With dtype float64": lambda draw: draw.but(dtype="float64"),
    },
    misconceptions=(
        Misconception(
            id="curve_without_rounding",
            label="checks.3",
            wrong=no_rounding,
            message="You left the rounding out, so that smaller steps look better without end; it grows like 1/h.",
            hints=(
                "Plot your errors over the steps, both on logarithmic axes. A V has two arms.",
                "What is left of f(x + h) - f(x - h) when h is below the last digit of x?",
                "Each call of f is off by about epsilon |f|, and the difference is divided by the step.",
            ),
            link="errors",
            truth="rounding × 0",
            proof="law",
        ),
        Misconception(
            id="curve_of_float64",
            label="checks.3",
            wrong=double_precision,
            message="You take float64's rounding whatever the dtype; float32 is 5e8 times coarser.",
            hints=(
                "Call it with both dtypes. Are the results different?",
                "How many digits does a float32 have?",
                "`np.finfo` takes the dtype that f is computed in.",
            ),
            link="errors",
            source="gradient checks with a step of 1e-5 in float32",
            proof="law",
        ),
        Misconception(
            id="curve_absolute",
            label="checks.3",
            wrong=absolute,
            message="Your error is absolute; the relative one is divided by the size of the slope.",
            hints=(
                "In which unit is an error of 1e-3, and is that much?",
                "One argument does not occur in your function.",
                "Relative to what? To that which the difference approximates.",
            ),
            link="errors",
            truth="|slope|",
            proof="law",
        ),
        Misconception(
            id="curve_where_arms_cross",
            label="checks.3",
            wrong=arms_cross,
            message="Your best step is where both errors are equal; their sum is least where their slopes in h cancel.",
            hints=(
                "Your curve is right. Is it really least at your step? Try one 20 % smaller.",
                "At a minimum a derivative is zero. Which one?",
                "Differentiate both errors in h: one gains a factor 2, the other a sign.",
            ),
            link="best",
            proof="law",
        ),
        Misconception(
            id="curve_square_root",
            label="checks.3",
            wrong=square_root,
            message="Your best step goes with √epsilon, as for one-sided differences; here it is the cube root.",
            hints=(
                "Your curve is right. Is it really least at your step?",
                "A one-sided difference has an error in h, a central one in h².",
                "Set the derivative in h to zero. Which power of h is left?",
            ),
            link="best",
            truth="√(3 epsilon |value|/|third|) for best",
            source="Numerical Recipes, section 5.7, has both",
            proof="law",
        ),
    ),
)
