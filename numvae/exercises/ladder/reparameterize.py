"""A normal sample as a function of its parameters: z = mean + std ε."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def reparameterize(mean, log_std, noise):
    std = np.exp(log_std)
    z = mean + std * noise

    def pullback(dz):
        return dz, dz * std * noise, None

    return z, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """No std near 1, where powers of it could not be told apart, and no noise near 0."""
    shape = (rows, rows + 2)
    mean, log_std, noise, dz = (rng.choice([-1, 1], shape) * rng.uniform(0.3, 0.9, shape) for _ in range(4))
    return Draw({"mean": mean, "log_std": log_std, "noise": 2 * noise}, cotangent=dz, rows=rows)


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of."""
    mean, log_std, noise = draw.arguments.values()
    return {"z": {"mean": mean, "std ε": np.exp(log_std) * noise}}


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    std = np.exp(draw.arguments["log_std"])
    return {"std": std, "√std": np.sqrt(std), "ε": draw.arguments["noise"], "2": 2.0}


def drawn_inside(mean, log_std, noise):
    """Draws noise of its own."""
    std, own = np.exp(log_std), np.random.default_rng().standard_normal(mean.shape)
    return mean + std * own, lambda dz: (dz, dz * std * own, None)


def mean_alone(mean, log_std, noise):
    """z = mean: no noise at all."""
    return mean.copy(), lambda dz: (dz, np.zeros_like(dz), None)


def variance_for_std(mean, log_std, noise):
    """The noise scaled by exp(2 log_std), with the gradient to match."""
    variance = np.exp(2 * log_std)
    return mean + variance * noise, lambda dz: (dz, 2 * dz * variance * noise, None)


def log_std_as_log_variance(mean, log_std, noise):
    """The noise scaled by exp(½ log_std), as if that were log σ²."""
    std = np.exp(0.5 * log_std)
    return mean + std * noise, lambda dz: (dz, 0.5 * dz * std * noise, None)


def gradient_without_std(mean, log_std, noise):
    """dz ε, the gradient in std."""
    return mean + np.exp(log_std) * noise, lambda dz: (dz, dz * noise, None)


def gradient_without_noise(mean, log_std, noise):
    """dz σ, without ε."""
    std = np.exp(log_std)
    return mean + std * noise, lambda dz: (dz, dz * std, None)


def gradient_with_variance(mean, log_std, noise):
    """dz σ² ε."""
    return mean + np.exp(log_std) * noise, lambda dz: (dz, dz * np.exp(2 * log_std) * noise, None)


def no_path(mean, log_std, noise):
    """The sample held constant for log_std."""
    return mean + np.exp(log_std) * noise, lambda dz: (dz, np.zeros_like(dz), None)


EXERCISE = Exercise(
    name="reparameterize",
    title="The reparameterised sample",
    statement="""
        A sample z of N(mean, diag(exp(2 log_std))), made from standard normal noise, and its pullback.

        mean, log_std, noise: (B, Z); z: (B, Z). The noise is an argument: the same arguments give the same z.
        `pullback(dz)` returns (dmean, dlog_std, None).
    """,
    labels=("normal.1", "normal.2"),
    solution=reparameterize,
    draw=draw,
    observe=of_rule("z", "dmean", "dlog_std", ""),
    terms=terms,
    factors=factors,
    differences={"dmean": "mean", "dlog_std": "log_std"},
    misconceptions=(
        Misconception(
            id="sample_noise_drawn_inside",
            label="normal.1",
            wrong=drawn_inside,
            message="You draw new noise inside; use the noise that is given, or forward and backward disagree.",
            hints=(
                "Call it twice with the same arguments.",
                "Which of the arguments does your function not use?",
                "A gradient check compares two calls: they have to share their noise.",
            ),
            link="z",
            source="noise drawn again in the backward pass, in public code",
        ),
        Misconception(
            id="sample_mean_alone",
            label="normal.1",
            wrong=mean_alone,
            message="You return the mean, which is no sample: the noise has to move z by std.",
            hints=(
                "How far do your samples spread?",
                "Which of the arguments does your function not use?",
                "In training as in evaluation, the bound is an average over samples.",
            ),
            link="z",
            truth="std ε × 0",
            source="evaluation modes that put z = mean and report the result as a bound",
            proof="law",
        ),
        Misconception(
            id="sample_variance_for_std",
            label="normal.1",
            wrong=variance_for_std,
            message="You scale the noise by the variance exp(2 log_std); it is scaled by the standard deviation.",
            hints=(
                "Your gradient belongs to your value; it is the value that is wrong.",
                "How far do samples of a normal with log_std 1 spread?",
                "Noise of standard deviation 1, times c, has standard deviation c.",
            ),
            link="z",
            truth="std ε × std",
            source="public trackers; a gradient check does not find it",
            proof="law",
        ),
        Misconception(
            id="sample_log_std_as_log_variance",
            label="normal.1",
            wrong=log_std_as_log_variance,
            message="You halve log_std, as if it were log σ²; the standard deviation is exp(log_std).",
            hints=(
                "Your gradient belongs to your value; it is the value that is wrong.",
                "How far do samples of a normal with log_std 1 spread?",
                "The ½ belongs to code whose argument is the log of the variance.",
            ),
            link="z",
            truth="std ε × 1/√std",
            source="numpy-ml and many others",
            proof="law",
        ),
        Misconception(
            id="sample_dlog_std_without_std",
            label="normal.2",
            wrong=gradient_without_std,
            message="You return the gradient in std; the argument is log_std, which brings one more factor std.",
            hints=(
                "Which power of std lies between yours and the numeric gradient?",
                "In which variable did you differentiate?",
                "The derivative of exp is exp.",
            ),
            link="dlog_std",
            truth="1/std",
        ),
        Misconception(
            id="sample_dlog_std_without_noise",
            label="normal.2",
            wrong=gradient_without_noise,
            message="You forgot ε: how much z moves with log_std depends on the noise, in size and sign.",
            hints=(
                "If the noise is 0, z does not depend on the std. What is your gradient then?",
                "Which factor lies between yours and the numeric gradient?",
                "Everything that multiplies std in z multiplies its derivative too.",
            ),
            link="dlog_std",
            truth="1/ε",
        ),
        Misconception(
            id="sample_dlog_std_with_variance",
            label="normal.2",
            wrong=gradient_with_variance,
            message="You multiply by σ² where σ is right: your gradient has one std too many.",
            hints=(
                "Which power of std lies between yours and the numeric gradient?",
                "Differentiate exp(log_std) ε in log_std.",
                "The chain rule does not square: it brings exp(log_std) once.",
            ),
            link="dlog_std",
            truth="std",
        ),
        Misconception(
            id="sample_without_path",
            label="normal.2",
            wrong=no_path,
            message="You hold the sample constant in log_std; moving z with its parameters is what this sample is for.",
            hints=(
                "Does z change when log_std does?",
                "A detached sample has no gradient. Did you detach it?",
                "z = mean + something that depends on log_std.",
            ),
            link="dlog_std",
            truth="0",
            source="samples detached from the graph",
        ),
    ),
)
