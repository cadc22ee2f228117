"""The same sample from σ² itself, whose gradient source 003 misprints."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def reparameterize_variance(mean, variance, noise):
    std = np.sqrt(variance)
    z = mean + std * noise

    def pullback(dz):
        return dz, dz * noise / (2 * std), None

    return z, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """No variance near 1, where the printed formula would be right, and no noise near 0."""
    shape = (rows, rows + 2)
    mean, log_std, noise, dz = (rng.choice([-1, 1], shape) * rng.uniform(0.3, 0.9, shape) for _ in range(4))
    return Draw({"mean": mean, "variance": np.exp(2 * log_std), "noise": 2 * noise}, cotangent=dz, rows=rows)


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of."""
    mean, variance, noise = draw.arguments.values()
    return {"z": {"mean": mean, "std ε": np.sqrt(variance) * noise}}


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    variance = draw.arguments["variance"]
    return {"variance": variance, "std": np.sqrt(variance), "ε": draw.arguments["noise"], "2": 2.0}


def variance_for_std(mean, variance, noise):
    """The noise scaled by σ², with the gradient to match."""
    return mean + variance * noise, lambda dz: (dz, dz * noise, None)


def printed_in_003(mean, variance, noise):
    """ε / (2 σ²), as printed."""
    return mean + np.sqrt(variance) * noise, lambda dz: (dz, dz * noise / (2 * variance), None)


def printed_without_noise(mean, variance, noise):
    """The line's second print, in which ε is missing."""
    return mean + np.sqrt(variance) * noise, lambda dz: (dz, dz / (2 * np.sqrt(variance)), None)


def gradient_without_half(mean, variance, noise):
    """ε / σ: the root's ½ is forgotten."""
    return mean + np.sqrt(variance) * noise, lambda dz: (dz, dz * noise / np.sqrt(variance), None)


def gradient_in_std(mean, variance, noise):
    """dz ε, the gradient in σ."""
    return mean + np.sqrt(variance) * noise, lambda dz: (dz, dz * noise, None)


def gradient_in_log_variance(mean, variance, noise):
    """½ dz σ ε, the gradient in log σ²."""
    return mean + np.sqrt(variance) * noise, lambda dz: (dz, 0.5 * dz * np.sqrt(variance) * noise, None)


EXERCISE = Exercise(
    name="reparameterize_variance",
    title="The reparameterised sample, from σ²: find the factor",
    statement="""
        A sample z of N(mean, diag(variance)), made from standard normal noise, and its pullback.

        mean, variance, noise: (B, Z), the variance positive; z: (B, Z).
        `pullback(dz)` returns (dmean, dvariance, None).

        Source 003 prints this gradient in its section 3.5, with a wrong power of σ. Derive it instead.
    """,
    labels=("sample_gradient.2", "sample_gradient.6"),
    solution=reparameterize_variance,
    draw=draw,
    observe=of_rule("z", "dmean", "dvariance", ""),
    terms=terms,
    factors=factors,
    differences={"dmean": "mean", "dvariance": "variance"},
    misconceptions=(
        Misconception(
            id="variance_sample_of_variance",
            label="sample_gradient.2",
            wrong=variance_for_std,
            message="You scale the noise by the variance; its square root, the standard deviation, scales it.",
            hints=(
                "Your gradient belongs to your value; it is the value that is wrong.",
                "How far do samples of a normal with variance 9 spread?",
                "Noise of standard deviation 1, times c, has variance c².",
            ),
            link="z",
            truth="std ε × std",
            proof="law",
        ),
        Misconception(
            id="variance_gradient_of_003",
            label="sample_gradient.6",
            wrong=printed_in_003,
            message="You divide by 2σ², as source 003 prints; the derivative of a root is one over twice the root.",
            hints=(
                "Which power of std lies between yours and the numeric gradient?",
                "At a variance of 1 you are right. Where else?",
                "What is the derivative of √v, at v = 4?",
            ),
            link="dvariance",
            truth="1/std",
            source="erratum 003-1",
        ),
        Misconception(
            id="variance_gradient_without_noise",
            label="sample_gradient.6",
            wrong=printed_without_noise,
            message="You forgot ε, as source 003 does where it repeats the line: how z moves depends on the noise.",
            hints=(
                "If the noise is 0, z does not depend on the variance. What is your gradient then?",
                "Which factor lies between yours and the numeric gradient?",
                "Everything that multiplies σ in z multiplies its derivative too.",
            ),
            link="dvariance",
            truth="1/ε",
            source="erratum 003-1",
        ),
        Misconception(
            id="variance_gradient_without_half",
            label="sample_gradient.6",
            wrong=gradient_without_half,
            message="You forgot the 2: the derivative of a root is one over *twice* the root.",
            hints=(
                "Which factor lies between yours and the numeric gradient?",
                "A root is a power. What comes down in front when it is differentiated?",
                "What is the derivative of √v, at v = 4?",
            ),
            link="dvariance",
            truth="2",
        ),
        Misconception(
            id="variance_gradient_in_std",
            label="sample_gradient.6",
            wrong=gradient_in_std,
            message="You return the gradient in σ; the argument is σ², and the root between them has a derivative too.",
            hints=(
                "Which factor lies between yours and the numeric gradient?",
                "In which variable did you differentiate?",
                "σ is a function of the argument: one more step of the chain rule.",
            ),
            link="dvariance",
            truth="2·std",
        ),
        Misconception(
            id="variance_gradient_in_log_variance",
            label="sample_gradient.6",
            wrong=gradient_in_log_variance,
            message="You return the gradient in log σ²; the argument is σ² itself.",
            hints=(
                "Which power of std lies between yours and the numeric gradient?",
                "In which variable did you differentiate?",
                "d log v / d v is 1/v: apply it once more.",
            ),
            link="dvariance",
            truth="variance",
        ),
    ),
)
