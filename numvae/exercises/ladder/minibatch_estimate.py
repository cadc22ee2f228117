"""The whole data set's objective from a minibatch: N/M for what is per row, nothing for what is not."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def minibatch_estimate(log_likelihood, theta, dataset_rows, precision):
    scale = dataset_rows / len(log_likelihood)
    log_prior = 0.5 * np.sum(np.log(precision / (2 * np.pi)) - precision * theta**2)
    estimate = scale * np.sum(log_likelihood) + log_prior

    def pullback(destimate):
        return destimate * scale * np.ones_like(log_likelihood), -destimate * precision * theta, None, None

    return estimate, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """N is no multiple of M; weights and precision far from 1."""
    arguments = {
        "log_likelihood": rng.uniform(-4.0, -1.0, (rows, rows + 2)),
        "theta": rng.choice([-1, 1], rows + 4) * rng.uniform(0.3, 0.8, rows + 4),
        "dataset_rows": 7 * rows + 1,
        "precision": float(rng.uniform(2.0, 3.0)),
    }
    return Draw(arguments, cotangent=float(rng.uniform(1.5, 2.5)), rows=rows)


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of."""
    log_likelihood, theta, dataset_rows, precision = draw.arguments.values()
    d, scale = draw.cotangent, dataset_rows / len(log_likelihood)
    return {
        "estimate": {
            "N/M Σ log-likelihood": scale * np.sum(log_likelihood),
            "log p(theta)": {
                "½ log precision": 0.5 * theta.size * np.log(precision),
                "-½ log 2π": -0.5 * theta.size * np.log(2 * np.pi),
                "-½ precision theta²": -0.5 * np.sum(precision * theta**2),
            },
        },
        "dlog_likelihood": {"N/M": d * scale * np.ones_like(log_likelihood)},
        "dtheta": {"-precision theta": -d * precision * theta},
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    rows, features = draw.arguments["log_likelihood"].shape
    dataset_rows = draw.arguments["dataset_rows"]
    return {
        "M/N": rows / dataset_rows,
        "N/M": dataset_rows / rows,
        "M/D": rows / features,
        "N": float(dataset_rows),
        "M": float(rows),
        "D": float(features),
        "precision": draw.arguments["precision"],
        "2": 2.0,
    }


def scale_forgotten(log_likelihood, theta, dataset_rows, precision):
    """The minibatch's sum as it is, beside a prior that counts for the whole data set."""
    log_prior = 0.5 * np.sum(np.log(precision / (2 * np.pi)) - precision * theta**2)

    def pullback(destimate):
        return destimate * np.ones_like(log_likelihood), -destimate * precision * theta, None, None

    return np.sum(log_likelihood) + log_prior, pullback


def features_for_rows(log_likelihood, theta, dataset_rows, precision):
    """N over the number of features, as the notes' words have it."""
    scale = dataset_rows / log_likelihood.shape[1]
    log_prior = 0.5 * np.sum(np.log(precision / (2 * np.pi)) - precision * theta**2)

    def pullback(destimate):
        return destimate * scale * np.ones_like(log_likelihood), -destimate * precision * theta, None, None

    return scale * np.sum(log_likelihood) + log_prior, pullback


def mean_of_rows(log_likelihood, theta, dataset_rows, precision):
    """The mean over rows beside the whole log p(theta): the prior counts N times too much."""
    scale = 1 / len(log_likelihood)
    log_prior = 0.5 * np.sum(np.log(precision / (2 * np.pi)) - precision * theta**2)

    def pullback(destimate):
        return destimate * scale * np.ones_like(log_likelihood), -destimate * precision * theta, None, None

    return scale * np.sum(log_likelihood) + log_prior, pullback


def prior_scaled_too(log_likelihood, theta, dataset_rows, precision):
    """N/M in front of everything: the prior of the weights counts N/M times."""
    scale = dataset_rows / len(log_likelihood)
    log_prior = 0.5 * np.sum(np.log(precision / (2 * np.pi)) - precision * theta**2)

    def pullback(destimate):
        d = destimate * scale
        return d * np.ones_like(log_likelihood), -d * precision * theta, None, None

    return scale * (np.sum(log_likelihood) + log_prior), pullback


def decay_away_from_zero(log_likelihood, theta, dataset_rows, precision):
    """Weight decay as it stands in a loss, + precision theta, beside a bound that is maximised."""
    estimate, pullback = minibatch_estimate(log_likelihood, theta, dataset_rows, precision)

    def wrong(destimate):
        dlog_likelihood, dtheta, _, _ = pullback(destimate)
        return dlog_likelihood, -dtheta, None, None

    return estimate, wrong


EXERCISE = Exercise(
    name="minibatch_estimate",
    title="From a minibatch to the whole data set",
    statement="""
        Estimate log p(X|theta) + log p(theta) of a data set of N rows from M of them, in nats, the prior of the weights
        being N(0, I/precision).

        log_likelihood: (M, D), of each row and feature; theta: (P,); dataset_rows: N; precision: a positive number;
        estimate: one number. Return (estimate, pullback); `pullback(destimate)` returns (dlog_likelihood, dtheta, None,
        None).

        On average over all minibatches it has to be the sum over the whole data set.
    """,
    labels=("objectives.7", "objectives.8", "objectives.9"),
    solution=minibatch_estimate,
    draw=draw,
    observe=of_rule("estimate", "dlog_likelihood", "dtheta", "", ""),
    terms=terms,
    factors=factors,
    differences={"dlog_likelihood": "log_likelihood", "dtheta": "theta"},
    misconceptions=(
        Misconception(
            id="minibatch_scale_forgotten",
            label="objectives.7",
            wrong=scale_forgotten,
            message="You left the minibatch as it is: M rows stand for N, so their sum is multiplied by N/M.",
            hints=(
                "Is your estimate as large for half the batch?",
                "What would it be if the minibatch were the whole data set, and what if it were half of it?",
                "The prior counts once for all N rows. How many rows does your likelihood count?",
            ),
            link="estimate",
            truth="N/M Σ log-likelihood × M/N",
            source="public code for the paper's equation 8",
            proof="law",
        ),
        Misconception(
            id="minibatch_features_for_rows",
            label="objectives.7",
            wrong=features_for_rows,
            message="You divided N by the number of features: M is the number of rows in the minibatch.",
            hints=(
                "What does M count?",
                "Let the minibatch be the whole data set: the factor must then be 1.",
                "The features are summed already and have no part in it.",
            ),
            link="estimate",
            truth="N/M Σ log-likelihood × M/D",
            source="erratum 002-1",
            proof="law",
        ),
        Misconception(
            id="minibatch_mean_of_rows",
            label="objectives.7",
            wrong=mean_of_rows,
            message="You took the mean over rows: beside the whole log p(theta) the N rows count N times, not once.",
            hints=(
                "How large is the likelihood of a data set twice the size?",
                "With a million rows, should the prior of the weights still matter as much?",
                "Your likelihood is too small by a whole number.",
            ),
            link="estimate",
            truth="N/M Σ log-likelihood × 1/N",
            source="weight decay beside a mean loss",
            proof="law",
        ),
        Misconception(
            id="minibatch_prior_scaled_too",
            label="objectives.8",
            wrong=prior_scaled_too,
            message="You multiplied the prior of the weights by N/M too: there is one theta for all rows.",
            hints=(
                "What is per row, and what is not?",
                "How does your log p(theta) change when the batch becomes smaller? How should it?",
                "N/M belongs in front of one of the two parts.",
            ),
            link="estimate",
            truth="log p(theta) × N/M",
            source="weight priors added per minibatch",
            proof="law",
        ),
        Misconception(
            id="minibatch_decay_away_from_zero",
            label="objectives.9",
            wrong=decay_away_from_zero,
            message="Your prior pushes the weights away from 0: the gradient of log p(theta) is -precision theta.",
            hints=(
                "Where is p(theta) largest?",
                "A loss has +weight decay. This is maximised.",
                "Look at the sign of dtheta.",
            ),
            link="dtheta",
            truth="-precision theta × -1",
            source="code moved from a loss to a bound",
        ),
    ),
)
