"""Two heads on one hidden layer: it was used twice, so its gradient is a sum of two."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, Observation


def two_heads(h, W_mean, b_mean, W_log_std, b_log_std):
    mean = h @ W_mean + b_mean
    log_std = h @ W_log_std + b_log_std

    def pullback(dmean, dlog_std):
        dh = dmean @ W_mean.T + dlog_std @ W_log_std.T
        return dh, h.T @ dmean, dmean.sum(axis=0), h.T @ dlog_std, dlog_std.sum(axis=0)

    return (mean, log_std), pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """More latents than rows, more hidden units than latents."""
    latents, hidden = rows + 1, rows + 3
    arguments = {
        "h": rng.uniform(-0.9, 0.9, (rows, hidden)),
        "W_mean": rng.standard_normal((hidden, latents)),
        "b_mean": rng.standard_normal(latents),
        "W_log_std": rng.standard_normal((hidden, latents)),
        "b_log_std": rng.standard_normal(latents),
    }
    cotangent = rng.standard_normal((rows, latents)), rng.standard_normal((rows, latents))
    return Draw(arguments, cotangent=cotangent, rows=rows)


def observe(function: Any, draw: Draw) -> Observation:
    """Both heads, their weights' gradients, and last what both hand to the layer below."""
    (mean, log_std), pullback = function(**draw.arguments)
    dh, dW_mean, db_mean, dW_log_std, db_log_std = pullback(*draw.cotangent)
    return {
        "mean": mean,
        "log_std": log_std,
        "dW_mean": dW_mean,
        "db_mean": db_mean,
        "dW_log_std": dW_log_std,
        "db_log_std": db_log_std,
        "dh": dh,
    }


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of."""
    h, W_mean, b_mean, W_log_std, b_log_std = draw.arguments.values()
    dmean, dlog_std = draw.cotangent
    return {
        "mean": {"h @ W": h @ W_mean, "b": b_mean + 0 * dmean},
        "log_std": {"h @ W": h @ W_log_std, "b": b_log_std + 0 * dmean},
        "dW_mean": {"h.T @ dmean": h.T @ dmean},
        "db_mean": {"Σ dmean": dmean.sum(axis=0)},
        "dW_log_std": {"h.T @ dlog_std": h.T @ dlog_std},
        "db_log_std": {"Σ dlog_std": dlog_std.sum(axis=0)},
        "dh": {"from mean": dmean @ W_mean.T, "from log_std": dlog_std @ W_log_std.T},
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    return {"2": 2.0, "B": float(draw.rows), "Z": float(draw.arguments["b_mean"].size)}


def only_the_mean(h, W_mean, b_mean, W_log_std, b_log_std):
    """dh from the mean's head alone."""

    def pullback(dmean, dlog_std):
        return dmean @ W_mean.T, h.T @ dmean, dmean.sum(axis=0), h.T @ dlog_std, dlog_std.sum(axis=0)

    return (h @ W_mean + b_mean, h @ W_log_std + b_log_std), pullback


def only_log_std(h, W_mean, b_mean, W_log_std, b_log_std):
    """dh from the second head alone: it overwrites that of the first."""

    def pullback(dmean, dlog_std):
        return dlog_std @ W_log_std.T, h.T @ dmean, dmean.sum(axis=0), h.T @ dlog_std, dlog_std.sum(axis=0)

    return (h @ W_mean + b_mean, h @ W_log_std + b_log_std), pullback


def same_weights_twice(h, W_mean, b_mean, W_log_std, b_log_std):
    """Both gradients come back through the mean's weights."""

    def pullback(dmean, dlog_std):
        dh = dmean @ W_mean.T + dlog_std @ W_mean.T
        return dh, h.T @ dmean, dmean.sum(axis=0), h.T @ dlog_std, dlog_std.sum(axis=0)

    return (h @ W_mean + b_mean, h @ W_log_std + b_log_std), pullback


def averaged(h, W_mean, b_mean, W_log_std, b_log_std):
    """The mean of what the two heads hand back, where their sum is meant."""

    def pullback(dmean, dlog_std):
        dh = (dmean @ W_mean.T + dlog_std @ W_log_std.T) / 2
        return dh, h.T @ dmean, dmean.sum(axis=0), h.T @ dlog_std, dlog_std.sum(axis=0)

    return (h @ W_mean + b_mean, h @ W_log_std + b_log_std), pullback


def biases_averaged(h, W_mean, b_mean, W_log_std, b_log_std):
    """The biases' gradients averaged over rows, the weights' summed."""

    def pullback(dmean, dlog_std):
        dh = dmean @ W_mean.T + dlog_std @ W_log_std.T
        return dh, h.T @ dmean, dmean.mean(axis=0), h.T @ dlog_std, dlog_std.mean(axis=0)

    return (h @ W_mean + b_mean, h @ W_log_std + b_log_std), pullback


EXERCISE = Exercise(
    name="two_heads",
    title="Two heads on one hidden layer",
    statement="""
        The encoder's last step: mean = h W_mean + b_mean and log_std = h W_log_std + b_log_std, and back.

        h: (B, H); W_mean, W_log_std: (H, Z); b_mean, b_log_std: (Z,); mean, log_std: (B, Z).
        Return ((mean, log_std), pullback); `pullback(dmean, dlog_std)` returns (dh, dW_mean, db_mean, dW_log_std,
        db_log_std).
    """,
    labels=("layers.2", "layers.3", "notation.1b"),
    solution=two_heads,
    draw=draw,
    observe=observe,
    terms=terms,
    factors=factors,
    differences={
        "dh": "h",
        "dW_mean": "W_mean",
        "db_mean": "b_mean",
        "dW_log_std": "W_log_std",
        "db_log_std": "b_log_std",
    },
    misconceptions=(
        Misconception(
            id="heads_only_mean",
            label="layers.3",
            wrong=only_the_mean,
            message="Your dh comes from the mean's head alone: h was used by log_std too, and gets the sum of both.",
            hints=(
                "How many arrows leave h?",
                "Let dmean be 0. Should dh be 0?",
                "An argument used twice gets the sum of both gradients.",
            ),
            link="dh",
            truth="from log_std × 0",
            source="dropped paths in hand-written VAEs",
        ),
        Misconception(
            id="heads_only_log_std",
            label="layers.3",
            wrong=only_log_std,
            message="Your dh comes from log_std's head alone: what the mean hands back is overwritten, not added to.",
            hints=(
                "How many arrows leave h?",
                "Let dlog_std be 0. Should dh be 0?",
                "The second gradient has to be added to the first.",
            ),
            link="dh",
            truth="from mean × 0",
            source="= for += in hand-written VAEs",
        ),
        Misconception(
            id="heads_same_weights_twice",
            label="layers.3",
            wrong=same_weights_twice,
            message="You sent both gradients back through W_mean: each goes back through its own head's weights.",
            hints=(
                "Does your dh change when W_log_std does?",
                "Each head has weights of its own. Which ones did you use?",
                "The way back crosses the same weights as the way there.",
            ),
            link="dh",
            truth="W_mean for W_log_std",
            source="copied lines in hand-written VAEs",
        ),
        Misconception(
            id="heads_averaged",
            label="layers.3",
            wrong=averaged,
            message="You averaged what the two heads hand back: gradients of two uses add up.",
            hints=(
                "Move h a little. How much does each head change, and how much both?",
                "Is there a mean anywhere on the way there?",
                "Your dh is the right one times a simple number.",
            ),
            link="dh",
            truth="½",
            source="forum questions on branching networks",
        ),
        Misconception(
            id="heads_biases_averaged",
            label="layers.2",
            wrong=biases_averaged,
            message="You averaged the biases' gradients over the rows: each row used the bias, so they add up.",
            hints=(
                "Does your db grow with the number of rows, as dW does?",
                "A bias is a weight on an input that is always 1. What is its dW?",
                "Your result is too small by a whole number.",
            ),
            link="db_mean",
            truth="1/B",
            source="course forums: Wrong values for db",
        ),
    ),
)
