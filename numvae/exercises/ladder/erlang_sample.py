"""An Erlang sample, as a sum of exponentials: composition where no inverse CDF is at hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def erlang_sample(log_rate, noise):
    z = -np.sum(np.log1p(-noise), axis=0) * np.exp(-log_rate)

    def pullback(dz):
        return -dz * z, None

    return z, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """No rate near 1, no noise near ½, and no two waits alike."""
    order, latents = rows + 1, rows + 2
    log_rate = rng.choice([-1, 1], (rows, latents)) * rng.uniform(0.3, 0.9, (rows, latents))
    noise = 0.5 + rng.choice([-1, 1], (order, rows, latents)) * rng.uniform(0.1, 0.4, (order, rows, latents))
    dz = rng.choice([-1, 1], (rows, latents)) * rng.uniform(0.5, 2.0, (rows, latents))
    return Draw({"log_rate": log_rate, "noise": noise}, cotangent=dz, rows=rows)


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    log_rate, noise = draw.arguments.values()
    return {"rate": np.exp(log_rate), "K": float(len(noise)), "z": -np.log1p(-noise).sum(axis=0) * np.exp(-log_rate)}


def printed_in_003(log_rate, noise):
    """Divided by the rate and multiplied by the scale, which is one over the rate: divided twice."""
    scale = np.exp(-log_rate)
    z = -scale * np.sum(np.log1p(-noise), axis=0) / np.exp(log_rate)
    return z, lambda dz: (-2 * dz * z, None)


def one_wait(log_rate, noise):
    """K times the first wait, for the sum of K different ones."""
    z = -len(noise) * np.log1p(-noise[0]) * np.exp(-log_rate)
    return z, lambda dz: (-dz * z, None)


def mean_of_waits(log_rate, noise):
    """The mean of the waits."""
    z = -np.mean(np.log1p(-noise), axis=0) * np.exp(-log_rate)
    return z, lambda dz: (-dz * z, None)


def log_of_the_sum(log_rate, noise):
    """The logarithm of the mean, for the sum of the logarithms."""
    z = -len(noise) * np.log1p(-np.mean(noise, axis=0)) * np.exp(-log_rate)
    return z, lambda dz: (-dz * z, None)


def gradient_per_wait(log_rate, noise):
    """-K dz z: K counted twice, as z holds all waits already."""
    z = -np.sum(np.log1p(-noise), axis=0) * np.exp(-log_rate)
    return z, lambda dz: (-len(noise) * dz * z, None)


def gradient_in_rate(log_rate, noise):
    """-dz z / rate, the gradient in the rate."""
    z = -np.sum(np.log1p(-noise), axis=0) * np.exp(-log_rate)
    return z, lambda dz: (-dz * z * np.exp(-log_rate), None)


EXERCISE = Exercise(
    name="erlang_sample",
    title="An Erlang sample as a sum of waits",
    statement="""
        A sample z of the Erlang distribution: the sum of K independent exponential waits with rate exp(log_rate), each
        from its own uniform number by the inverse CDF. And the pullback.

        log_rate: (B, Z); noise: (K, B, Z), uniform in [0, 1), one layer for each wait; z: (B, Z).
        `pullback(dz)` returns (dlog_rate, None).

        Source 003 has a factor too many in it. The mean has to be K / rate.
    """,
    labels=("erlang.1", "erlang.2"),
    solution=erlang_sample,
    draw=draw,
    observe=of_rule("z", "dlog_rate", ""),
    factors=factors,
    differences={"dlog_rate": "log_rate"},
    misconceptions=(
        Misconception(
            id="erlang_of_003",
            label="erlang.1",
            wrong=printed_in_003,
            message="You divide by the rate twice, as source 003 does: its scale θ is one over its rate λ already.",
            hints=(
                "Your gradient belongs to your value; it is the value that is wrong.",
                "What is the mean of a sum of K waits with rate 2? What is it in yours?",
                "Scale and rate are two names for one number.",
            ),
            link="z",
            truth="1/rate",
            source="erratum 003-3",
            proof="law",
        ),
        Misconception(
            id="erlang_one_wait",
            label="erlang.1",
            wrong=one_wait,
            message="You use one uniform number for all waits: the mean is right, but z spreads √K times too far.",
            hints=(
                "Your gradient belongs to your value; it is the value that is wrong.",
                "How many of the K uniform numbers does your sample depend on?",
                "Long and short waits even out, if they are independent.",
            ),
            link="z",
            truth="noise[0] everywhere for noise",
            proof="law",
        ),
        Misconception(
            id="erlang_mean_of_waits",
            label="erlang.1",
            wrong=mean_of_waits,
            message="You take the mean of the waits; an Erlang variable is their sum, with mean K / rate.",
            hints=(
                "Which factor lies between yours and the right sample? Try two values of K.",
                "With more waits it takes longer. Does it, in yours?",
                "One wait after the other: they add.",
            ),
            link="z",
            truth="1/K",
            proof="law",
        ),
        Misconception(
            id="erlang_log_of_the_mean",
            label="erlang.1",
            wrong=log_of_the_sum,
            message="You average the uniform numbers and take one logarithm; each wait has its own, and waits add.",
            hints=(
                "Your gradient belongs to your value; it is the value that is wrong.",
                "Is an average of uniform numbers uniform?",
                "First make K waits, then add.",
            ),
            link="z",
            truth="the mean of noise over its first axis for noise",
            proof="law",
        ),
        Misconception(
            id="erlang_gradient_per_wait",
            label="erlang.2",
            wrong=gradient_per_wait,
            message="You multiply by K: z is the sum of all waits already, so each is counted K times.",
            hints=(
                "Which factor lies between yours and the numeric gradient? Try two values of K.",
                "Each wait's gradient is minus that wait. What do they sum to?",
                "z has all K waits in it.",
            ),
            link="dlog_rate",
            truth="K",
        ),
        Misconception(
            id="erlang_gradient_in_rate",
            label="erlang.2",
            wrong=gradient_in_rate,
            message="You return the gradient in the rate; the argument is its log, which brings one more factor.",
            hints=(
                "Which power of the rate lies between yours and the numeric gradient?",
                "In which variable did you differentiate?",
                "d rate / d log_rate is rate.",
            ),
            link="dlog_rate",
            truth="1/rate",
        ),
    ),
)
