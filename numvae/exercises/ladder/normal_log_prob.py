"""The log-density of a normal in mean and log_std: three gradients, one residual."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def normal_log_prob(mean, log_std, x):
    std = np.exp(log_std)
    r = (x - mean) / std
    log_prob = np.sum(-0.5 * r**2 - log_std - 0.5 * np.log(2 * np.pi), axis=-1)

    def pullback(dlog_prob):
        d = dlog_prob[:, None]
        return d * r / std, d * (r**2 - 1), -d * r / std

    return log_prob, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """No std near 1, where its powers could not be told apart, and no residual near 0."""
    shape = (rows, rows + 2)
    mean, log_std, residual = (rng.choice([-1, 1], shape) * rng.uniform(0.3, 0.9, shape) for _ in range(3))
    arguments = {"mean": mean, "log_std": log_std, "x": mean + 2 * residual}
    return Draw(arguments, cotangent=rng.uniform(0.5, 2.0, rows), rows=rows)


def far_out(draw: Draw) -> Draw:
    """Where the density is 0 in float64."""
    mean, log_std, x = draw.arguments.values()
    return draw.but(x=mean + 50 * np.exp(log_std) * np.sign(x - mean))


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of, with r = (x - mean) / std; those of the value before the sum over features."""
    mean, log_std, x = draw.arguments.values()
    r, d = (x - mean) * np.exp(-log_std), draw.cotangent[:, None]
    return {
        "log_prob": {
            "-½ r²": -0.5 * r**2,
            "-log_std": -log_std,
            "-½ log 2π": np.full(r.shape, -0.5 * np.log(2 * np.pi)),
        },
        "dmean": {"r / std": d * r * np.exp(-log_std)},
        "dlog_std": {"r²": d * r**2, "-1": -d * np.ones_like(r)},
        "dx": {"-r / std": -d * r * np.exp(-log_std)},
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    mean, log_std, x = draw.arguments.values()
    return {"std": np.exp(log_std), "x - mean": x - mean, "2": 2.0, "D": float(x.shape[-1]), "B": float(draw.rows)}


def no_log_std(mean, log_std, x):
    """-log_std forgotten: a wide normal is no longer a low one."""
    r = (x - mean) * np.exp(-log_std)
    log_prob = np.sum(-0.5 * r**2 - 0.5 * np.log(2 * np.pi), axis=-1)

    def pullback(dlog_prob):
        d = dlog_prob[:, None]
        return d * r * np.exp(-log_std), d * r**2, -d * r * np.exp(-log_std)

    return log_prob, pullback


def no_half(mean, log_std, x):
    """-r² for -½ r²."""
    r = (x - mean) * np.exp(-log_std)
    log_prob = np.sum(-(r**2) - log_std - 0.5 * np.log(2 * np.pi), axis=-1)

    def pullback(dlog_prob):
        d = dlog_prob[:, None]
        return 2 * d * r * np.exp(-log_std), d * (2 * r**2 - 1), -2 * d * r * np.exp(-log_std)

    return log_prob, pullback


def no_constant(mean, log_std, x):
    """-½ log 2π forgotten."""
    r = (x - mean) * np.exp(-log_std)
    log_prob = np.sum(-0.5 * r**2 - log_std, axis=-1)

    def pullback(dlog_prob):
        d = dlog_prob[:, None]
        return d * r * np.exp(-log_std), d * (r**2 - 1), -d * r * np.exp(-log_std)

    return log_prob, pullback


def not_divided(mean, log_std, x):
    """The squared error, not in units of std."""
    r = x - mean
    log_prob = np.sum(-0.5 * r**2 - log_std - 0.5 * np.log(2 * np.pi), axis=-1)
    return log_prob, lambda d: (d[:, None] * r, -d[:, None] * np.ones_like(r), -d[:, None] * r)


def log_std_as_log_variance(mean, log_std, x):
    """exp(log_std) taken for the variance."""
    variance = np.exp(log_std)
    squares = (x - mean) ** 2 / variance
    log_prob = np.sum(-0.5 * squares - 0.5 * log_std - 0.5 * np.log(2 * np.pi), axis=-1)

    def pullback(dlog_prob):
        d = dlog_prob[:, None]
        return d * (x - mean) / variance, 0.5 * d * (squares - 1), -d * (x - mean) / variance

    return log_prob, pullback


def mean_divided_once(mean, log_std, x):
    """r for r / std in the gradients of mean and x."""
    r = (x - mean) * np.exp(-log_std)
    log_prob = np.sum(-0.5 * r**2 - log_std - 0.5 * np.log(2 * np.pi), axis=-1)
    return log_prob, lambda d: (d[:, None] * r, d[:, None] * (r**2 - 1), -d[:, None] * r)


def gradient_without_minus_one(mean, log_std, x):
    """dlog_std without the normaliser's share."""
    r = (x - mean) * np.exp(-log_std)
    log_prob = np.sum(-0.5 * r**2 - log_std - 0.5 * np.log(2 * np.pi), axis=-1)

    def pullback(dlog_prob):
        d = dlog_prob[:, None]
        return d * r * np.exp(-log_std), d * r**2, -d * r * np.exp(-log_std)

    return log_prob, pullback


def gradient_in_std(mean, log_std, x):
    """The gradient in std, returned for that in log_std."""
    std = np.exp(log_std)
    r = (x - mean) / std
    log_prob = np.sum(-0.5 * r**2 - log_std - 0.5 * np.log(2 * np.pi), axis=-1)

    def pullback(dlog_prob):
        d = dlog_prob[:, None]
        return d * r / std, d * (r**2 - 1) / std, -d * r / std

    return log_prob, pullback


def same_sign(mean, log_std, x):
    """dx with the sign of dmean."""
    std = np.exp(log_std)
    r = (x - mean) / std
    log_prob = np.sum(-0.5 * r**2 - log_std - 0.5 * np.log(2 * np.pi), axis=-1)

    def pullback(dlog_prob):
        d = dlog_prob[:, None]
        return d * r / std, d * (r**2 - 1), d * r / std

    return log_prob, pullback


EXERCISE = Exercise(
    name="normal_log_prob",
    title="The log-density of a normal",
    statement="""
        log N(x | mean, diag(exp(2 log_std))) in nats, summed over the features, and its pullback.

        mean, log_std, x: (B, D); log_prob: (B,).
        `pullback(dlog_prob)` returns (dmean, dlog_std, dx), each (B, D).

        Write it with the standardised residual r = (x - mean) / std; all three gradients are short in r.
    """,
    labels=("normal.3", "normal.4"),
    solution=normal_log_prob,
    draw=draw,
    observe=of_rule("log_prob", "dmean", "dlog_std", "dx"),
    terms=terms,
    factors=factors,
    differences={"dmean": "mean", "dlog_std": "log_std", "dx": "x"},
    corners={
        "Where x is 50 standard deviations away": far_out,
    },
    misconceptions=(
        Misconception(
            id="normal_without_log_std",
            label="normal.3",
            wrong=no_log_std,
            message="You forgot -log_std, the normaliser: without it a wider normal fits everything better.",
            hints=(
                "Let log_std grow. Does your log-density fall at the mean, as it should?",
                "A density has area 1: twice as wide is half as high.",
                "Look for the std in front of the exponential of the density.",
            ),
            link="log_prob",
            truth="-log_std × 0",
            proof="law",
        ),
        Misconception(
            id="normal_without_half",
            label="normal.3",
            wrong=no_half,
            message="You forgot the ½ at the square: the exponent of a normal is -½ r².",
            hints=(
                "One term is right up to a factor.",
                "At one standard deviation the density is exp(-½) of its height.",
                "Look at the residual's square.",
            ),
            link="log_prob",
            truth="-½ r² × 2",
            proof="law",
        ),
        Misconception(
            id="normal_without_constant",
            label="normal.3",
            wrong=no_constant,
            message="You forgot -½ log 2π per feature: gradients do not see it, but every bound you report is off.",
            hints=(
                "Your gradients are right, your value is off by the same amount in every row.",
                "The standard normal's density at 0 is 0.399.",
                "There is a constant for every feature.",
            ),
            link="log_prob",
            truth="-½ log 2π × 0",
            proof="law",
        ),
        Misconception(
            id="normal_not_divided",
            label="normal.3",
            wrong=not_divided,
            message="You square the plain residual; it is measured in standard deviations, so divide it by std first.",
            hints=(
                "Let log_std grow: what happens to the square?",
                "Your gradient in log_std does not depend on x.",
                "Ten units off is much if std is 1, and nothing if std is 100.",
            ),
            link="log_prob",
            truth="-½ r² × std²",
            source="a squared-error loss taken for a log-density",
            proof="law",
        ),
        Misconception(
            id="normal_log_std_as_log_variance",
            label="normal.3",
            wrong=log_std_as_log_variance,
            message="You read log_std as the logarithm of the variance: the variance is exp(2 log_std).",
            hints=(
                "Which power of the standard deviation stands in each place?",
                "What is the variance of a normal whose log_std is 1?",
                "log σ² is 2 log σ.",
            ),
            link="log_prob",
            truth="-½ r² × std",
            source="numpy-ml and many others",
            proof="law",
        ),
        Misconception(
            id="normal_dmean_divided_once",
            label="normal.4",
            wrong=mean_divided_once,
            message="You divided by std once; dmean has one std from r and one more from the slope of r.",
            hints=(
                "Which power of std lies between yours and the numeric gradient?",
                "d(½ r²) = r dr. What is dr / dmean?",
                "r itself depends on mean through a quotient.",
            ),
            link="dmean",
            truth="std",
        ),
        Misconception(
            id="normal_dlog_std_without_minus_one",
            label="normal.4",
            wrong=gradient_without_minus_one,
            message="Your dlog_std misses the -1 from the normaliser: at r² = 1 the two pulls on the std balance.",
            hints=(
                "Your dlog_std is never negative: the std could only grow.",
                "Your value has two terms with log_std in them.",
                "Differentiate -log_std as well.",
            ),
            link="dlog_std",
            truth="-1 × 0",
        ),
        Misconception(
            id="normal_gradient_in_std",
            label="normal.4",
            wrong=gradient_in_std,
            message="You return the gradient in std; the argument is log_std, which brings one more factor std.",
            hints=(
                "Which power of std lies between yours and the numeric gradient?",
                "In which variable did you differentiate?",
                "d std / d log_std is std.",
            ),
            link="dlog_std",
            truth="1/std",
        ),
        Misconception(
            id="normal_dx_sign",
            label="normal.4",
            wrong=same_sign,
            message="Your dx has the sign of dmean; x and mean enter by their difference, so the two are opposite.",
            hints=(
                "Move x and mean together. The log-density does not change: what does that say of dx + dmean?",
                "If x lies above the mean, moving x up makes it less likely.",
                "Only the sign is wrong.",
            ),
            link="dx",
            truth="-r / std × -1",
        ),
    ),
)
