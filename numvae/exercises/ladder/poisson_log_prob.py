"""The log-probability of counts from a log-rate."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def poisson_log_prob(log_rate, x):
    from scipy.special import gammaln

    rate = np.exp(log_rate)
    log_prob = np.sum(x * log_rate - rate - gammaln(x + 1), axis=-1)

    def pullback(dlog_prob):
        return dlog_prob[:, None] * (x - rate), None

    return log_prob, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """Counts of 2 to 9, where log x! is not 0, and no rate near 1."""
    shape = (rows, rows + 2)
    log_rate = rng.choice([-1, 1], shape) * rng.uniform(0.4, 1.6, shape)
    x = rng.integers(2, 10, shape).astype(np.float64)
    return Draw({"log_rate": log_rate, "x": x}, cotangent=rng.uniform(0.5, 2.0, rows), rows=rows)


def count_of_200(draw: Draw) -> Draw:
    """One count whose factorial overflows."""
    x = draw.arguments["x"].copy()
    x[0, 0] = 200
    return draw.but(x=x)


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of; those of the value before the sum over features."""
    from scipy.special import gammaln

    log_rate, x = draw.arguments.values()
    rate, d = np.exp(log_rate), draw.cotangent[:, None]
    return {
        "log_prob": {
            "x log_rate": x * log_rate,
            "-rate": -rate,
            "-log x!": -gammaln(x + 1),
        },
        "dlog_rate": {"x": d * x, "-rate": -d * rate},
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    rate = np.exp(draw.arguments["log_rate"])
    return {"rate": rate, "D": float(rate.shape[-1]), "B": float(draw.rows), "2": 2.0}


def no_factorial(log_rate, x):
    """-log x! left out, as it has no gradient."""
    rate = np.exp(log_rate)
    return np.sum(x * log_rate - rate, axis=-1), lambda d: (d[:, None] * (x - rate), None)


def factorial_of_one_less(log_rate, x):
    """gammaln(x), which is log (x - 1)!."""
    from scipy.special import gammaln

    rate = np.exp(log_rate)
    return np.sum(x * log_rate - rate - gammaln(x), axis=-1), lambda d: (d[:, None] * (x - rate), None)


def log_rate_as_rate(log_rate, x):
    """The log-rate taken for the rate in the second term, where no logarithm reminds of it."""
    from scipy.special import gammaln

    return np.sum(x * log_rate - log_rate - gammaln(x + 1), axis=-1), lambda d: (d[:, None] * (x - 1), None)


def gradient_in_rate(log_rate, x):
    """x / rate - 1, the gradient in the rate."""
    from scipy.special import gammaln

    rate = np.exp(log_rate)
    log_prob = np.sum(x * log_rate - rate - gammaln(x + 1), axis=-1)
    return log_prob, lambda d: (d[:, None] * (x / rate - 1), None)


def sign_of_a_loss(log_rate, x):
    """rate - x, the gradient of the loss."""
    from scipy.special import gammaln

    rate = np.exp(log_rate)
    log_prob = np.sum(x * log_rate - rate - gammaln(x + 1), axis=-1)
    return log_prob, lambda d: (d[:, None] * (rate - x), None)


EXERCISE = Exercise(
    name="poisson_log_prob",
    title="The log-probability of counts",
    statement="""
        log p(x) of independent Poisson counts with rate exp(log_rate), in nats, summed over the features, and its
        pullback. A Poisson probability is rate^x exp(-rate) / x!.

        log_rate: (B, D), any numbers; x: (B, D), whole numbers of at least 0, as floats; log_prob: (B,).
        `pullback(dlog_prob)` returns (dlog_rate, None): a count has no gradient.

        x! itself overflows at x = 171; `scipy.special.gammaln` does not.
    """,
    labels=("poisson.2", "poisson.3"),
    solution=poisson_log_prob,
    draw=draw,
    observe=of_rule("log_prob", "dlog_rate", ""),
    terms=terms,
    factors=factors,
    differences={"dlog_rate": "log_rate"},
    corners={
        "Where a count is 200": count_of_200,
    },
    misconceptions=(
        Misconception(
            id="poisson_without_factorial",
            label="poisson.2",
            wrong=no_factorial,
            message="You left out -log x!: it has no gradient, but without it the probabilities do not sum to 1.",
            hints=(
                "Your gradient is right. Do your probabilities sum to 1?",
                "With rate 1, what is the probability of the count 3?",
                "One part of the formula depends on x alone.",
            ),
            link="log_prob",
            truth="-log x! × 0",
            source="default of PoissonNLLLoss in PyTorch",
            proof="law",
        ),
        Misconception(
            id="poisson_factorial_of_one_less",
            label="poisson.2",
            wrong=factorial_of_one_less,
            message="gammaln(x) is log (x - 1)!, one step short: log x! is gammaln(x + 1).",
            hints=(
                "Your gradient is right. Do your probabilities sum to 1?",
                "3! is 6. What is Γ(3)?",
                "What happens to your value at x = 0?",
            ),
            link="log_prob",
            truth="x - 1 for x in -log x!",
            proof="law",
        ),
        Misconception(
            id="poisson_log_rate_as_rate",
            label="poisson.2",
            wrong=log_rate_as_rate,
            message="You subtract the log-rate; what is subtracted is the rate itself, exp(log_rate).",
            hints=(
                "A rate is never negative. Is what you subtract?",
                "One of the terms has a logarithm in it and one has not.",
                "Read the argument's name once more.",
            ),
            link="log_prob",
            truth="-rate × log_rate/rate",
            source="PoissonNLLLoss with the wrong `log_input`",
            proof="law",
        ),
        Misconception(
            id="poisson_gradient_in_rate",
            label="poisson.3",
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
            id="poisson_sign_of_a_loss",
            label="poisson.3",
            wrong=sign_of_a_loss,
            message="Your gradient is rate - x, that of the loss; the log-probability ascends along x - rate.",
            hints=(
                "If the count is above the rate, a higher rate makes it likelier. Which sign has the gradient then?",
                "Your value ascends and your gradient descends.",
                "Only the sign is wrong.",
            ),
            link="dlog_rate",
            truth="x × -1",
        ),
    ),
)
