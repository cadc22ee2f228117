"""An exponential sample by the inverse of its CDF: noise without parameters in, z with a gradient out."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def exponential_sample(log_rate, noise):
    z = -np.log1p(-noise) * np.exp(-log_rate)

    def pullback(dz):
        return np.sum(-dz * z, axis=0), None

    return z, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """Several samples for each row; no rate near 1, and no noise near ½, where u and 1 - u are the same."""
    samples, latents = rows + 3, rows + 2
    log_rate = rng.choice([-1, 1], (rows, latents)) * rng.uniform(0.3, 0.9, (rows, latents))
    noise = 0.5 + rng.choice([-1, 1], (samples, rows, latents)) * rng.uniform(0.1, 0.4, (samples, rows, latents))
    dz = rng.uniform(0.5, 2.0, (samples, rows, latents))
    return Draw({"log_rate": log_rate, "noise": noise}, cotangent=dz, rows=rows)


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of; that of the gradient before the sum over samples."""
    log_rate, noise = draw.arguments.values()
    return {"dlog_rate": {"-z": draw.cotangent * np.log1p(-noise) * np.exp(-log_rate)}}


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    log_rate, noise = draw.arguments.values()
    return {"rate": np.exp(log_rate), "z": -np.log1p(-noise) * np.exp(-log_rate), "S": float(len(noise))}


def rate_for_scale(log_rate, noise):
    """Multiplied by the rate, with the gradient to match."""
    z = -np.log1p(-noise) * np.exp(log_rate)
    return z, lambda dz: (np.sum(dz * z, axis=0), None)


def log_of_u(log_rate, noise):
    """-log u for -log(1 - u)."""
    z = -np.log(noise) * np.exp(-log_rate)
    return z, lambda dz: (np.sum(-dz * z, axis=0), None)


def negative(log_rate, noise):
    """The minus sign is missing: negative waits."""
    z = np.log1p(-noise) * np.exp(-log_rate)
    return z, lambda dz: (np.sum(-dz * z, axis=0), None)


def gradient_sign(log_rate, noise):
    """dz z, as if a higher rate meant a longer wait."""
    z = -np.log1p(-noise) * np.exp(-log_rate)
    return z, lambda dz: (np.sum(dz * z, axis=0), None)


def gradient_in_rate(log_rate, noise):
    """-dz z / rate, the gradient in the rate."""
    z = -np.log1p(-noise) * np.exp(-log_rate)
    return z, lambda dz: (np.sum(-dz * z * np.exp(-log_rate), axis=0), None)


def mean_over_samples(log_rate, noise):
    """The mean over samples, for their sum."""
    z = -np.log1p(-noise) * np.exp(-log_rate)
    return z, lambda dz: (np.mean(-dz * z, axis=0), None)


def not_summed(log_rate, noise):
    """One gradient per sample."""
    z = -np.log1p(-noise) * np.exp(-log_rate)
    return z, lambda dz: (-dz * z, None)


EXERCISE = Exercise(
    name="exponential_sample",
    title="An exponential sample by its inverse CDF",
    statement="""
        Samples z of the exponential distribution with rate exp(log_rate), from uniform noise u in [0, 1): the z at
        which the CDF 1 - exp(-rate z) is u. And the pullback.

        log_rate: (B, Z); noise: (S, B, Z), S samples for each row; z: (S, B, Z).
        `pullback(dz)` returns (dlog_rate, None). All samples of a row share its rate.

        Solve the equation yourself, so that u = 0 gives z = 0: nothing may be infinite for u in [0, 1).
    """,
    labels=("exponential.1", "exponential.2"),
    solution=exponential_sample,
    draw=draw,
    observe=of_rule("z", "dlog_rate", ""),
    terms=terms,
    factors=factors,
    differences={"dlog_rate": "log_rate"},
    misconceptions=(
        Misconception(
            id="exponential_rate_for_scale",
            label="exponential.1",
            wrong=rate_for_scale,
            message="You multiply by the rate; the wait is divided by it, as its mean is 1/rate.",
            hints=(
                "If something happens ten times as often, do you wait longer?",
                "Your gradient belongs to your value; it is the value that is wrong.",
                "What is the mean of an exponential with rate 10?",
            ),
            link="z",
            truth="rate²",
            source="libraries that take the scale, 1/rate",
            proof="law",
        ),
        Misconception(
            id="exponential_log_of_u",
            label="exponential.1",
            wrong=log_of_u,
            message="You take log(u) for log(1 - u): z is no longer the inverse of the CDF, and infinite at u = 0.",
            hints=(
                "What is your sample at u = 0, which a generator draws now and then?",
                "Put your z into the CDF. Do you get u back?",
                "Solve 1 - exp(-rate z) = u once more.",
            ),
            link="z",
            truth="1 - noise for noise",
            source="public code of inverse-CDF samplers",
            proof="law",
        ),
        Misconception(
            id="exponential_negative",
            label="exponential.1",
            wrong=negative,
            message="Your samples are negative: log(1 - u) is below 0, and a minus sign belongs in front.",
            hints=(
                "Can a waiting time be negative?",
                "Put your z into the CDF. Do you get u back?",
                "Only the sign is wrong.",
            ),
            link="z",
            truth="-1",
            proof="law",
        ),
        Misconception(
            id="exponential_gradient_sign",
            label="exponential.2",
            wrong=gradient_sign,
            message="Your gradient has the wrong sign: a higher rate makes every wait shorter.",
            hints=(
                "Does z grow or shrink with log_rate?",
                "z holds exp(-log_rate). What is the inner derivative?",
                "Only the sign is wrong.",
            ),
            link="dlog_rate",
            truth="-1",
        ),
        Misconception(
            id="exponential_gradient_in_rate",
            label="exponential.2",
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
        Misconception(
            id="exponential_mean_over_samples",
            label="exponential.2",
            wrong=mean_over_samples,
            message="You average over the samples; each of them used the rate once, so the gradients are summed.",
            hints=(
                "Which factor lies between yours and the numeric gradient? Try two numbers of samples.",
                "If an average over samples is wanted, it is in dz already.",
                "What is repeated on the way forward is summed on the way back.",
            ),
            link="dlog_rate",
            truth="1/S",
        ),
        Misconception(
            id="exponential_not_summed",
            label="exponential.2",
            wrong=not_summed,
            message="Your gradient has one entry per sample; the samples of a row share its rate, so sum over them.",
            hints=(
                "Compare the shape of dlog_rate with that of log_rate.",
                "How often is each rate used?",
                "What is repeated on the way forward is summed on the way back.",
            ),
            link="dlog_rate",
        ),
    ),
)
