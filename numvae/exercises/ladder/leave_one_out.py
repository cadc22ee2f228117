"""A baseline from the other samples: it leaves the average alone because it has not seen its own sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, Observation


def leave_one_out(values, scores):
    baseline = (np.sum(values, axis=0) - values) / (len(values) - 1)
    dparams = np.mean((values - baseline)[..., None] * scores, axis=0)
    return baseline, dparams


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """Values far from 0, as those of f are; more samples than rows, more params than samples."""
    samples, params = rows + 2, rows + 4
    arguments = {
        "values": rng.uniform(1.0, 4.0, (samples, rows)),
        "scores": rng.standard_normal((samples, rows, params)),
    }
    return Draw(arguments, rows=rows)


def observe(function: Any, draw: Draw) -> Observation:
    """The baseline first: the gradient is made of it."""
    baseline, dparams = function(**draw.arguments)
    return {"baseline": baseline, "dparams": dparams}


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of."""
    values, scores = draw.arguments["values"], draw.arguments["scores"]
    others = len(values) - 1
    total = np.sum(values, axis=0) * np.ones_like(values)
    baseline = (total - values) / others
    return {
        "baseline": {"all values": total / others, "-its own value": -values / others},
        "dparams": {
            "value·score": np.mean(values[..., None] * scores, axis=0),
            "-baseline·score": -np.mean(baseline[..., None] * scores, axis=0),
        },
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    samples = float(len(draw.arguments["values"]))
    return {"(S - 1)/S": (samples - 1) / samples, "S": samples, "S - 1": samples - 1, "B": float(draw.rows)}


def mean_of_all(values, scores):
    """The mean of all samples as the baseline of each."""
    baseline = np.mean(values, axis=0) * np.ones_like(values)
    return baseline, np.mean((values - baseline)[..., None] * scores, axis=0)


def divided_by_all(values, scores):
    """The sum of the others, divided by S."""
    baseline = (np.sum(values, axis=0) - values) / len(values)
    return baseline, np.mean((values - baseline)[..., None] * scores, axis=0)


def own_value_left_in(values, scores):
    """The sum of all samples, divided by S - 1."""
    baseline = np.sum(values, axis=0) / (len(values) - 1) * np.ones_like(values)
    return baseline, np.mean((values - baseline)[..., None] * scores, axis=0)


def baseline_added(values, scores):
    """Adds the baseline to the value."""
    baseline = (np.sum(values, axis=0) - values) / (len(values) - 1)
    return baseline, np.mean((values + baseline)[..., None] * scores, axis=0)


def summed_over_samples(values, scores):
    """The sum over samples where their mean is meant."""
    baseline = (np.sum(values, axis=0) - values) / (len(values) - 1)
    return baseline, np.sum((values - baseline)[..., None] * scores, axis=0)


EXERCISE = Exercise(
    name="leave_one_out",
    title="The leave-one-out baseline",
    statement="""
        Hold each sample's value against the mean of the other samples' values, and weight its score by the difference.

        values: (S, B), f of each sample, S at least 2; scores: (S, B, P), the gradient of log q(z_s) in q's P params.
        Return (baseline, dparams): baseline (S, B), one for each sample; dparams (B, P), the average over samples.

        A baseline may know everything but its own sample: then it changes the variance and not the mean.
    """,
    labels=("score_function.3", "score_function.2", "baselines.2"),
    solution=leave_one_out,
    draw=draw,
    observe=observe,
    terms=terms,
    factors=factors,
    misconceptions=(
        Misconception(
            id="baseline_mean_of_all",
            label="score_function.3",
            wrong=mean_of_all,
            message="Your baseline is the mean of all samples and so knows its own: on average that leaves only "
            "(S - 1)/S of the gradient.",
            hints=(
                "May the baseline of a sample depend on that sample?",
                "With two samples, what is left of your gradient compared to the right one?",
                "Leave one out.",
            ),
            link="baseline",
            truth="-its own value × 0",
            source="public REINFORCE code; normalised rewards",
            proof="estimator",
        ),
        Misconception(
            id="baseline_divided_by_all",
            label="score_function.3",
            wrong=divided_by_all,
            message="You divided the sum of the others by S: there are S - 1 of them.",
            hints=(
                "Let all values be 5. What should the baseline be?",
                "How many samples did you add up for one baseline?",
                "One was left out of the sum. Was it left out of the count?",
            ),
            link="baseline",
            truth="(S - 1)/S",
            source="public REINFORCE code",
            proof="law",
        ),
        Misconception(
            id="baseline_knows_its_own_sample",
            label="score_function.3",
            wrong=own_value_left_in,
            message="You divided by S - 1 but left each sample's own value in: its baseline must not know it.",
            hints=(
                "Change one value. Which baselines may change with it?",
                "Let all values be 5. What should the baseline be?",
                "How many values did you add up, and by how many did you divide?",
            ),
            link="baseline",
            truth="-its own value × 0",
            source="public REINFORCE code",
            proof="estimator",
        ),
        Misconception(
            id="baseline_added",
            label="score_function.2",
            wrong=baseline_added,
            message="You added the baseline: taken from the value it cuts the variance, added to it it raises it.",
            hints=(
                "If all samples are equally good, how should the distribution change?",
                "Add 100 to all values: your gradient must not care.",
                "Look at the sign in front of the baseline.",
            ),
            link="dparams",
            truth="-baseline·score × -1",
            source="forum questions on REINFORCE",
            proof="law",
        ),
        Misconception(
            id="baseline_summed_over_samples",
            label="score_function.2",
            wrong=summed_over_samples,
            message="You summed over the samples: dparams is their mean.",
            hints=(
                "Does your gradient grow when there are more samples?",
                "What estimates an expectation?",
                "Your result is too large by a whole number.",
            ),
            link="dparams",
            truth="S",
            source="public REINFORCE code",
            proof="estimator",
        ),
    ),
)
