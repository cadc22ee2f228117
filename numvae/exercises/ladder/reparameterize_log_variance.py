"""The same sample from log σ²: where the ½ comes from."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def reparameterize_log_variance(mean, log_variance, noise):
    std = np.exp(0.5 * log_variance)
    z = mean + std * noise

    def pullback(dz):
        return dz, 0.5 * dz * std * noise, None

    return z, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """No std near 1, where powers of it could not be told apart, and no noise near 0."""
    shape = (rows, rows + 2)
    mean, log_std, noise, dz = (rng.choice([-1, 1], shape) * rng.uniform(0.3, 0.9, shape) for _ in range(4))
    return Draw({"mean": mean, "log_variance": 2 * log_std, "noise": 2 * noise}, cotangent=dz, rows=rows)


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of."""
    mean, log_variance, noise = draw.arguments.values()
    return {"z": {"mean": mean, "std ε": np.exp(0.5 * log_variance) * noise}}


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    return {"std": np.exp(0.5 * draw.arguments["log_variance"]), "ε": draw.arguments["noise"], "2": 2.0}


def variance_for_std(mean, log_variance, noise):
    """The noise scaled by σ², with the gradient to match."""
    variance = np.exp(log_variance)
    return mean + variance * noise, lambda dz: (dz, dz * variance * noise, None)


def gradient_without_half(mean, log_variance, noise):
    """The gradient in log σ, twice that in log σ²."""
    std = np.exp(0.5 * log_variance)
    return mean + std * noise, lambda dz: (dz, dz * std * noise, None)


def gradient_with_variance(mean, log_variance, noise):
    """½ dz σ² ε."""
    std = np.exp(0.5 * log_variance)
    return mean + std * noise, lambda dz: (dz, 0.5 * dz * std**2 * noise, None)


def gradient_without_std(mean, log_variance, noise):
    """½ dz ε: the outer derivative is forgotten."""
    std = np.exp(0.5 * log_variance)
    return mean + std * noise, lambda dz: (dz, 0.5 * dz * noise, None)


def gradient_without_noise(mean, log_variance, noise):
    """½ dz σ, without ε."""
    std = np.exp(0.5 * log_variance)
    return mean + std * noise, lambda dz: (dz, 0.5 * dz * std, None)


EXERCISE = Exercise(
    name="reparameterize_log_variance",
    title="The reparameterised sample, from log σ²",
    statement="""
        A sample z of N(mean, diag(exp(log_variance))), made from standard normal noise, and its pullback.

        mean, log_variance, noise: (B, Z); z: (B, Z).
        `pullback(dz)` returns (dmean, dlog_variance, None).

        Most public code takes log σ² where this package takes log σ. Here you see what changes.
    """,
    labels=("normal.1", "normal.2"),
    solution=reparameterize_log_variance,
    draw=draw,
    observe=of_rule("z", "dmean", "dlog_variance", ""),
    terms=terms,
    factors=factors,
    differences={"dmean": "mean", "dlog_variance": "log_variance"},
    misconceptions=(
        Misconception(
            id="log_variance_sample_of_variance",
            label="normal.1",
            wrong=variance_for_std,
            message="You scale the noise by the variance; the standard deviation does that, so halve log_variance.",
            hints=(
                "Your gradient belongs to your value; it is the value that is wrong.",
                "How far do samples of a normal with variance 9 spread?",
                "The root of a number is the exponential of half its logarithm.",
            ),
            link="z",
            truth="std ε × std",
            source="the most reported mistake in public VAE code",
            proof="law",
        ),
        Misconception(
            id="log_variance_gradient_without_half",
            label="normal.2",
            wrong=gradient_without_half,
            message="You forgot the ½: z depends on log_variance through half of it.",
            hints=(
                "Which factor lies between yours and the numeric gradient?",
                "Your gradient is that in log σ. How is that related to log σ²?",
                "What is the inner derivative of your exponential?",
            ),
            link="dlog_variance",
            truth="2",
        ),
        Misconception(
            id="log_variance_gradient_with_variance",
            label="normal.2",
            wrong=gradient_with_variance,
            message="You multiply by σ² where σ is right: the exponential that scales the noise is its own derivative.",
            hints=(
                "Which power of std lies between yours and the numeric gradient?",
                "Which exponential multiplies the noise in z?",
                "The derivative of exp(c l) in l is c exp(c l), with the same exponent.",
            ),
            link="dlog_variance",
            truth="std",
        ),
        Misconception(
            id="log_variance_gradient_without_std",
            label="normal.2",
            wrong=gradient_without_std,
            message="You forgot σ: only the inner derivative, ½, is there, the exponential itself is missing.",
            hints=(
                "Which power of std lies between yours and the numeric gradient?",
                "If σ is tiny, z hardly moves. Does your gradient shrink with it?",
                "The chain rule has two factors here.",
            ),
            link="dlog_variance",
            truth="1/std",
        ),
        Misconception(
            id="log_variance_gradient_without_noise",
            label="normal.2",
            wrong=gradient_without_noise,
            message="You forgot ε: how much z moves with log_variance depends on the noise, in size and sign.",
            hints=(
                "If the noise is 0, z does not depend on the variance. What is your gradient then?",
                "Which factor lies between yours and the numeric gradient?",
                "Everything that multiplies σ in z multiplies its derivative too.",
            ),
            link="dlog_variance",
            truth="1/ε",
        ),
    ),
)
