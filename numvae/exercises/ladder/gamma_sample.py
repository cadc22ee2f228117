"""A gamma sample for any shape: the inverse CDF for its value, the CDF itself for its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule

GIVEN = """
    from scipy.special import gammainc, gammaincinv, gammaln

    x = gammaincinv(shape, noise)  # the sample with scale 1, P(shape, x) = noise
    h = 1e-5 * shape
    slope = (gammainc(shape + h, x) - gammainc(shape - h, x)) / (2 * h)  # ∂P/∂shape, with x held
"""


def gamma_sample(shape, scale, noise):
    from scipy.special import gammainc, gammaincinv, gammaln

    x = gammaincinv(shape, noise)
    h = 1e-5 * shape
    slope = (gammainc(shape + h, x) - gammainc(shape - h, x)) / (2 * h)
    density = np.exp((shape - 1) * np.log(x) - x - gammaln(shape))

    def pullback(dz):
        return -dz * scale * slope / density, dz * x, None

    return scale * x, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """Shapes on both sides of 1, no scale near 1, and the noise in the middle, where no density is tiny."""
    size = (rows, rows + 2)
    shape, scale = (np.exp(rng.choice([-1, 1], size) * rng.uniform(0.3, 0.9, size)) for _ in range(2))
    noise, dz = rng.uniform(0.2, 0.8, size), rng.choice([-1, 1], size) * rng.uniform(0.5, 2.0, size)
    return Draw({"shape": shape, "scale": scale, "noise": noise}, cotangent=dz, rows=rows)


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    from scipy.special import gammaincinv, gammaln

    shape, scale, noise = draw.arguments.values()
    x = gammaincinv(shape, noise)
    density = np.exp((shape - 1) * np.log(x) - x - gammaln(shape))
    return {"scale": scale, "density": density, "x": x, "shape": shape, "Γ(shape)": np.exp(gammaln(shape))}


def rate_for_scale(shape, scale, noise):
    """Divided by the scale, with the gradients to match."""
    from scipy.special import gammainc, gammaincinv, gammaln

    x = gammaincinv(shape, noise)
    h = 1e-5 * shape
    slope = (gammainc(shape + h, x) - gammainc(shape - h, x)) / (2 * h)
    density = np.exp((shape - 1) * np.log(x) - x - gammaln(shape))
    return x / scale, lambda dz: (-dz * slope / density / scale, -dz * x / scale**2, None)


def scale_alone(shape, scale, noise):
    """The shape gets no gradient, as if x did not depend on it."""
    from scipy.special import gammaincinv

    x = gammaincinv(shape, noise)
    return scale * x, lambda dz: (np.zeros_like(dz), dz * x, None)


def no_density(shape, scale, noise):
    """-∂P/∂shape alone: how far the level moves at a fixed x, not how far x moves at a fixed level."""
    from scipy.special import gammainc, gammaincinv

    x = gammaincinv(shape, noise)
    h = 1e-5 * shape
    slope = (gammainc(shape + h, x) - gammainc(shape - h, x)) / (2 * h)
    return scale * x, lambda dz: (-dz * scale * slope, dz * x, None)


def no_minus(shape, scale, noise):
    """∂P/∂shape / density, without the minus sign."""
    from scipy.special import gammainc, gammaincinv, gammaln

    x = gammaincinv(shape, noise)
    h = 1e-5 * shape
    slope = (gammainc(shape + h, x) - gammainc(shape - h, x)) / (2 * h)
    density = np.exp((shape - 1) * np.log(x) - x - gammaln(shape))
    return scale * x, lambda dz: (dz * scale * slope / density, dz * x, None)


def no_scale(shape, scale, noise):
    """The gradient of x, not that of z = scale x."""
    from scipy.special import gammainc, gammaincinv, gammaln

    x = gammaincinv(shape, noise)
    h = 1e-5 * shape
    slope = (gammainc(shape + h, x) - gammainc(shape - h, x)) / (2 * h)
    density = np.exp((shape - 1) * np.log(x) - x - gammaln(shape))
    return scale * x, lambda dz: (-dz * slope / density, dz * x, None)


def unnormalized_density(shape, scale, noise):
    """The density without its 1 / Γ(shape)."""
    from scipy.special import gammainc, gammaincinv

    x = gammaincinv(shape, noise)
    h = 1e-5 * shape
    slope = (gammainc(shape + h, x) - gammainc(shape - h, x)) / (2 * h)
    density = x ** (shape - 1) * np.exp(-x)
    return scale * x, lambda dz: (-dz * scale * slope / density, dz * x, None)


def scale_gradient_of_z(shape, scale, noise):
    """dz z for the scale: the gradient in log scale."""
    from scipy.special import gammainc, gammaincinv, gammaln

    x = gammaincinv(shape, noise)
    h = 1e-5 * shape
    slope = (gammainc(shape + h, x) - gammainc(shape - h, x)) / (2 * h)
    density = np.exp((shape - 1) * np.log(x) - x - gammaln(shape))
    return scale * x, lambda dz: (-dz * scale * slope / density, dz * scale * x, None)


EXERCISE = Exercise(
    name="gamma_sample",
    title="A gamma sample with a gradient in its shape",
    statement="""
        A sample z of the gamma distribution with a shape and a scale, from uniform noise, and its pullback.

        shape, scale: (B, Z), positive; noise: (B, Z), in (0, 1); z: (B, Z).
        `pullback(dz)` returns (dshape, dscale, None).

        The CDF of x = z / scale is the regularised incomplete gamma function P(shape, x), `scipy.special.gammainc`; its
        density is x^(shape - 1) exp(-x) / Γ(shape). P has an inverse to compute but none to differentiate. So
        differentiate P(shape, x) = noise instead: the noise stays, so the two ways in which P moves with the shape,
        directly and through x, cancel. The given lines have x and the first of them.
    """,
    labels=("gamma.1", "gamma.2", "implicit.1"),
    solution=gamma_sample,
    draw=draw,
    observe=of_rule("z", "dshape", "dscale", ""),
    factors=factors,
    differences={"dshape": "shape", "dscale": "scale"},
    given=GIVEN,
    misconceptions=(
        Misconception(
            id="gamma_rate_for_scale",
            label="gamma.1",
            wrong=rate_for_scale,
            message="You divide by the scale, as if it were a rate; the mean is shape times scale.",
            hints=(
                "Your gradients belong to your value; it is the value that is wrong.",
                "With twice the scale, everything is twice as large. Is it, in yours?",
                "Scale is one over rate.",
            ),
            link="z",
            truth="1/scale²",
            source="libraries differ in which of the two they take",
            proof="law",
        ),
        Misconception(
            id="gamma_scale_alone",
            label="implicit.1",
            wrong=scale_alone,
            message="Your shape has no gradient, but x depends on it: with the noise held, a larger shape moves x up.",
            hints=(
                "Call it with two shapes and the same noise. Does z move?",
                "The value is the inverse of a CDF in which the shape stands.",
                "Differentiate P(shape, x) = noise in the shape, with x a function of it.",
            ),
            link="dshape",
            truth="0",
            source="rejection samplers differentiated as if the accepted x were constant",
        ),
        Misconception(
            id="gamma_without_density",
            label="implicit.1",
            wrong=no_density,
            message="You forgot to divide by the density: -∂P/∂shape is a change of level, not yet one of x.",
            hints=(
                "Which factor lies between yours and the numeric gradient?",
                "A level is a probability, x is not. What turns one into the other?",
                "The slope of a CDF in x has a name.",
            ),
            link="dshape",
            truth="density",
        ),
        Misconception(
            id="gamma_without_minus",
            label="implicit.1",
            wrong=no_minus,
            message="Your sign is wrong: the two changes of the CDF cancel, so x moves against the direct one.",
            hints=(
                "With a larger shape, samples are larger. Is your derivative positive?",
                "P stays at the noise: its two changes sum to 0.",
                "Only the sign is wrong.",
            ),
            link="dshape",
            truth="-1",
        ),
        Misconception(
            id="gamma_without_scale",
            label="gamma.2",
            wrong=no_scale,
            message="You return the gradient of x; the sample is scale times x.",
            hints=(
                "Which factor lies between yours and the numeric gradient?",
                "Double the scale: should dshape double?",
                "dz is the gradient of z. What is that of x?",
            ),
            link="dshape",
            truth="1/scale",
        ),
        Misconception(
            id="gamma_unnormalized_density",
            label="implicit.1",
            wrong=unnormalized_density,
            message="Your density misses its normaliser Γ(shape): at shapes 1 and 2 that is 1, elsewhere not.",
            hints=(
                "Try the shapes 1 and 2, and then 3.",
                "Does your density have area 1?",
                "Which function of the shape stands in the denominator of a gamma density?",
            ),
            link="dshape",
            truth="1/Γ(shape)",
        ),
        Misconception(
            id="gamma_gradient_in_log_scale",
            label="gamma.2",
            wrong=scale_gradient_of_z,
            message="You return the gradient in log scale; the argument is the scale itself.",
            hints=(
                "Which factor lies between yours and the numeric gradient?",
                "z is linear in the scale. What is its slope?",
                "z = scale x: one of the two factors stays.",
            ),
            link="dscale",
            truth="scale",
        ),
    ),
)
