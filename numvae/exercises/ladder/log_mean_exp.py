"""The log of a mean of exponentials, which neither overflows nor loses everything, and whose weights are a softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def log_mean_exp(values):
    largest = np.max(values, axis=0)
    weights = np.exp(values - largest)
    total = np.sum(weights, axis=0)

    def pullback(dbound):
        return (dbound * weights / total,)

    return largest + np.log(total / len(values)), pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """Log-weights of pictures: near -800, where the exponential is 0, and a few nats apart."""
    samples = rows + 2
    values = -800 + rng.uniform(-20, 20, rows) + 1.5 * rng.standard_normal((samples, rows))
    return Draw({"values": values}, cotangent=rng.uniform(0.5, 2.0, rows), rows=rows)


def rows_far_apart(draw: Draw) -> Draw:
    """What is taken out of one row's logarithm is too much for the others'."""
    values = draw.arguments["values"].copy()
    values[:, 0] += 1000
    return draw.but(values=values)


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What the bound is a sum of."""
    values = draw.arguments["values"]
    largest = np.max(values, axis=0)
    weights = np.exp(values - largest)
    total = np.sum(weights, axis=0)
    return {
        "bound": {
            "largest": largest,
            "log Σ exp(values - largest)": np.log(total),
            "-log S": np.full(draw.rows, -np.log(len(values))),
        },
        "dvalues": {"dbound·weight": draw.cotangent * weights / total},
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    values = draw.arguments["values"]
    weights = np.exp(values - np.max(values, axis=0))
    return {
        "weight": weights / np.sum(weights, axis=0),
        "S": float(len(values)),
        "B": float(draw.rows),
    }


def mean_of_logs(values):
    """The mean of the values: the ELBO, which lies below."""
    samples = len(values)

    def pullback(dbound):
        return (np.ones_like(values) * dbound / samples,)

    return np.mean(values, axis=0), pullback


def nothing_subtracted(values):
    """The formula as printed: exponentials of -800 are 0, and the log of 0 is -∞."""
    weights = np.exp(values)
    total = np.sum(weights, axis=0)

    def pullback(dbound):
        return (dbound * weights / total,)

    return np.log(total / len(values)), pullback


def sum_for_mean(values):
    """The log of the sum: log S too large, with the right gradient."""
    bound, pullback = log_mean_exp(values)
    return bound + np.log(len(values)), pullback


def even_weights(values):
    """The right value, and a gradient that hands every sample the same."""
    samples = len(values)
    bound, _ = log_mean_exp(values)

    def pullback(dbound):
        return (np.ones_like(values) * dbound / samples,)

    return bound, pullback


def maximum_not_put_back(values):
    """Takes the maximum out and does not add it again."""
    bound, pullback = log_mean_exp(values)
    return bound - np.max(values, axis=0), pullback


def over_rows(values):
    """Reduces over the rows of the batch instead of the samples."""
    largest = np.max(values, axis=1, keepdims=True)
    weights = np.exp(values - largest)
    total = np.sum(weights, axis=1, keepdims=True)

    def pullback(dbound):
        return (dbound * weights / total,)

    return (largest + np.log(total / values.shape[1]))[:, 0], pullback


EXERCISE = Exercise(
    name="log_mean_exp",
    title="The log-mean-exp, and the weights it hands out",
    statement="""
        log (1/S) Σ_s exp(values_s) for every row, in nats, for values near -800 as well, and its pullback.

        values: (S, B), log-weights of S samples; bound: (B,). Return (bound, pullback); `pullback(dbound)` returns
        (dvalues,).

        exp(-800) is 0 in float64. What may be taken out of the logarithm, so that it does not matter?
    """,
    labels=("reductions.3", "reductions.4"),
    solution=log_mean_exp,
    draw=draw,
    observe=of_rule("bound", "dvalues"),
    terms=terms,
    factors=factors,
    differences={"dvalues": "values"},
    corners={
        "Where rows lie a thousand nats apart": rows_far_apart,
    },
    misconceptions=(
        Misconception(
            id="mean_of_logs",
            label="reductions.3",
            wrong=mean_of_logs,
            message="You averaged the logarithms: asked for is the logarithm of the average, which is larger.",
            hints=(
                "What comes first, the mean or the logarithm?",
                "Try the values log 1 and log 3: the bound is log 2.",
                "By Jensen's inequality yours is the ELBO, and this one lies above it.",
            ),
            link="bound",
            truth="mean values for bound",
            source="importance-weighted bounds that turn out to be ELBOs",
            proof="law",
        ),
        Misconception(
            id="log_mean_exp_unshifted",
            label="reductions.3",
            wrong=nothing_subtracted,
            message="Your exponentials are all 0 and their logarithm is -∞: take the largest value out first.",
            hints=(
                "What is exp(-800) in float64?",
                "Add the same number to all values: what happens to the bound?",
                "If the largest value is taken out, the largest exponential is 1.",
            ),
            link="bound",
            source="the formula typed in as printed",
        ),
        Misconception(
            id="log_sum_exp",
            label="reductions.3",
            wrong=sum_for_mean,
            message="You took the log of the sum: that of the mean is smaller by log S.",
            hints=(
                "Let all values be equal. What is the bound then?",
                "Does your bound rise when every sample is counted twice?",
                "scipy's logsumexp has no mean in it.",
            ),
            link="bound",
            truth="-log S × 0",
            source="logsumexp taken for it: 8.5 nats too good at S = 5000",
            proof="law",
        ),
        Misconception(
            id="log_mean_exp_even_weights",
            label="reductions.4",
            wrong=even_weights,
            message="Your gradient hands each sample 1/S: it is its share of the sum of exponentials, the softmax.",
            hints=(
                "Which sample moves the bound most, the largest or the smallest?",
                "Differentiate log Σ exp(v) in one of the v, on paper.",
                "The shares are positive, add up to 1, and are not equal.",
            ),
            link="dvalues",
            truth="1/(weight·S)",
            source="the gradient of the mean kept when the bound was changed",
        ),
        Misconception(
            id="log_mean_exp_maximum_lost",
            label="reductions.3",
            wrong=maximum_not_put_back,
            message="You took the largest value out of the sum and did not add it again.",
            hints=(
                "About how large should the bound be, compared to the values?",
                "Multiplying the sum by exp(-m) changes its log by how much?",
                "What is taken out of the logarithm has to stand outside of it.",
            ),
            link="bound",
            truth="largest × 0",
            source="softmax code reused",
        ),
        Misconception(
            id="log_mean_exp_over_rows",
            label="reductions.3",
            wrong=over_rows,
            message="You reduced over the rows of the batch: the samples are the first axis.",
            hints=(
                "Which shape should the bound have?",
                "values is (S, B). Which axis has to go?",
                "Rows are different pictures; their weights have nothing to do with each other.",
            ),
            link="bound",
            source="arrays laid out (B, S) in other code",
            proof="law",
        ),
    ),
)
