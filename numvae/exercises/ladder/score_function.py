"""The gradient of an expectation from values and scores alone: no derivative of f is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, Observation


def score_function(mean, log_std, z, values):
    noise = (z - mean) / np.exp(log_std)
    f = values[..., None]
    dmean = np.mean(f * noise / np.exp(log_std), axis=0)
    dlog_std = np.mean(f * (noise**2 - 1), axis=0)
    return dmean, dlog_std


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """Two latents more than rows, one sample more than those; no std near 1 and no value near 0."""
    samples, latents = rows + 3, rows + 2
    mean = rng.standard_normal((rows, latents))
    log_std = rng.choice([-1, 1], (rows, latents)) * rng.uniform(0.3, 0.9, (rows, latents))
    arguments = {
        "mean": mean,
        "log_std": log_std,
        "z": mean + np.exp(log_std) * rng.standard_normal((samples, rows, latents)),
        "values": rng.uniform(1.0, 3.0, (samples, rows)),
    }
    return Draw(arguments, rows=rows)


def observe(function: Any, draw: Draw) -> Observation:
    """The two gradients."""
    dmean, dlog_std = function(**draw.arguments)
    return {"dmean": dmean, "dlog_std": dlog_std}


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each gradient is a sum of."""
    a = draw.arguments
    std, f = np.exp(a["log_std"]), a["values"][..., None]
    noise = (a["z"] - a["mean"]) / std
    return {
        "dmean": {"f·score": np.mean(f * noise / std, axis=0)},
        "dlog_std": {"f·noise²": np.mean(f * noise**2, axis=0), "-f": -np.mean(f, axis=0) * np.ones_like(std)},
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    return {
        "std": np.exp(draw.arguments["log_std"]),
        "S": float(len(draw.arguments["z"])),
        "2": 2.0,
        "B": float(draw.rows),
    }


def score_in_z(mean, log_std, z, values):
    """The derivative of log q in z where that in the mean is meant."""
    noise = (z - mean) / np.exp(log_std)
    f = values[..., None]
    return np.mean(-f * noise / np.exp(log_std), axis=0), np.mean(f * (noise**2 - 1), axis=0)


def noise_as_score(mean, log_std, z, values):
    """The standardised sample where its score is meant: divided by std once, not twice."""
    noise = (z - mean) / np.exp(log_std)
    f = values[..., None]
    return np.mean(f * noise, axis=0), np.mean(f * (noise**2 - 1), axis=0)


def normaliser_forgotten(mean, log_std, z, values):
    """Differentiates the exponent of the density only, not the 1/std in front of it."""
    noise = (z - mean) / np.exp(log_std)
    f = values[..., None]
    return np.mean(f * noise / np.exp(log_std), axis=0), np.mean(f * noise**2, axis=0)


def summed_over_samples(mean, log_std, z, values):
    """The sum over samples where their mean is meant."""
    noise = (z - mean) / np.exp(log_std)
    f = values[..., None]
    return np.sum(f * noise / np.exp(log_std), axis=0), np.sum(f * (noise**2 - 1), axis=0)


def values_averaged_first(mean, log_std, z, values):
    """The mean value times the mean score, where the mean of their products is meant."""
    noise = (z - mean) / np.exp(log_std)
    f = np.mean(values, axis=0)[:, None]
    return f * np.mean(noise / np.exp(log_std), axis=0), f * np.mean(noise**2 - 1, axis=0)


EXERCISE = Exercise(
    name="score_function",
    title="The score function",
    statement="""
        Estimate the gradient of E[f(z)], z ~ N(mean, diag(exp(2 log_std))), from S samples and their values alone.
        f may be a black box: its derivative is not to be had.

        mean, log_std: (B, Z); z: (S, B, Z), the samples; values: (S, B), f of each.
        Return (dmean, dlog_std), both (B, Z): for every row the average over its samples.

        Derive the score first: the derivative of log q(z) in mean and in log_std, with z held.
    """,
    labels=("score_function.1", "score_function.2", "normal.4"),
    solution=score_function,
    draw=draw,
    observe=observe,
    terms=terms,
    factors=factors,
    misconceptions=(
        Misconception(
            id="score_in_z",
            label="score_function.2",
            wrong=score_in_z,
            message="You took the derivative of log q in z: the score is that in the mean, of opposite sign.",
            hints=(
                "Which of the two may move here, the sample or the distribution?",
                "If large z have large f, must the mean go up or down?",
                "log q has (z - mean)² in it: compare its derivatives in z and in mean.",
            ),
            link="dmean",
            truth="f·score × -1",
            source="forum questions on REINFORCE",
            proof="estimator",
        ),
        Misconception(
            id="score_without_second_std",
            label="score_function.2",
            wrong=noise_as_score,
            message="You weighted by the noise (z - mean)/std: the score of the mean is divided by std once more.",
            hints=(
                "In which units does the gradient come out if z is measured in metres?",
                "Differentiate -(z - mean)²/(2 std²) in the mean, on paper.",
                "Compare the power of std in that derivative with yours.",
            ),
            link="dmean",
            truth="std",
            source="forum questions on REINFORCE",
            proof="estimator",
        ),
        Misconception(
            id="score_without_normaliser",
            label="score_function.2",
            wrong=normaliser_forgotten,
            message="You left the 1/std in front of the density out of the score: it adds -1 for each log_std.",
            hints=(
                "What must the mean of a score be?",
                "Put in f = 1 with many samples: does your dlog_std average to 0?",
                "log q has three parts; one of them is -log_std.",
            ),
            link="dlog_std",
            truth="-f × 0",
            source="unnormalised densities in public REINFORCE code",
            proof="estimator",
        ),
        Misconception(
            id="score_summed_over_samples",
            label="score_function.2",
            wrong=summed_over_samples,
            message="You summed over the samples: an expectation is estimated by their mean.",
            hints=(
                "Does your result stay about as large when there are ten times as many samples?",
                "E[…] becomes what over the samples?",
                "Your result is too large by a whole number.",
            ),
            link="dmean",
            truth="S",
            source="public REINFORCE code",
            proof="estimator",
        ),
        Misconception(
            id="score_values_averaged_first",
            label="score_function.2",
            wrong=values_averaged_first,
            message="You multiplied the mean value by the mean score: the product has to be taken sample by sample.",
            hints=(
                "The mean score tends to 0 with many samples. What does your result tend to?",
                "Is the mean of a product the product of the means?",
                "Which sample was good? Only its own score may be weighted by its value.",
            ),
            link="dmean",
            truth="the mean of values over its first axis for values",
            source="reward averaged over the batch before it is multiplied, in public REINFORCE code",
            proof="estimator",
        ),
    ),
)
