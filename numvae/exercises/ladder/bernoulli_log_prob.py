"""The log-probability of bits from logits: stable, with the simplest gradient there is."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def bernoulli_log_prob(logits, x):
    softplus = np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits)))
    log_prob = np.sum(x * logits - softplus, axis=-1)

    def pullback(dlog_prob):
        p = 0.5 * (1 + np.tanh(0.5 * logits))
        return dlog_prob[:, None] * (x - p), None

    return log_prob, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """In the first row two pixels that are confidently wrong, one of each kind: a clip or a rounded log shows there."""
    shape = (rows, rows + 2)
    logits = rng.choice([-1, 1], shape) * rng.uniform(0.4, 2.5, shape)
    x = rng.integers(0, 2, shape).astype(np.float64)
    logits[0, :2], x[0, :2] = rng.uniform(800, 1000, 2) * [1, -1], [0, 1]
    return Draw({"logits": logits, "x": x}, cotangent=rng.uniform(0.5, 2.0, rows), rows=rows)


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of; those of the value before the sum over features."""
    logits, x = draw.arguments.values()
    d, p = draw.cotangent[:, None], 0.5 * (1 + np.tanh(0.5 * logits))
    ramp, correction = np.maximum(logits, 0), np.log1p(np.exp(-np.abs(logits)))
    softplus = {"-max(logit, 0)": -ramp, "-log(1 + exp(-|logit|))": -correction}
    return {
        "log_prob": {"x logit": x * logits, "-softplus(logit)": softplus},
        "dlogits": {"x": d * x, "-p": -d * p},
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    p = 0.5 * (1 + np.tanh(0.5 * draw.arguments["logits"]))
    return {"p (1 - p)": p * (1 - p), "D": float(p.shape[-1]), "B": float(draw.rows), "2": 2.0}


def log_of_rounded(logits, x):
    """log p of a probability that has rounded to 0."""
    p = 0.5 * (1 + np.tanh(0.5 * logits))
    log_prob = np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=-1)
    return log_prob, lambda d: (d[:, None] * (x - p), None)


def clipped(logits, x):
    """Probabilities clipped away from 0 and 1, and the gradient with them."""
    p = 0.5 * (1 + np.tanh(0.5 * logits))
    kept = np.clip(p, 1e-7, 1 - 1e-7)
    log_prob = np.sum(x * np.log(kept) + (1 - x) * np.log(1 - kept), axis=-1)
    return log_prob, lambda d: (d[:, None] * (x - kept) * (kept == p), None)


def mean_over_pixels(logits, x):
    """The mean over pixels, where the log-probability is the sum."""
    softplus = np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits)))
    p = 0.5 * (1 + np.tanh(0.5 * logits))
    return np.mean(x * logits - softplus, axis=-1), lambda d: (d[:, None] * (x - p) / x.shape[-1], None)


def negative(logits, x):
    """The cross-entropy, a loss, for the log-probability."""
    softplus = np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits)))
    p = 0.5 * (1 + np.tanh(0.5 * logits))
    return np.sum(softplus - x * logits, axis=-1), lambda d: (d[:, None] * (p - x), None)


def sigmoid_slope(logits, x):
    """(x - p) p (1 - p): a second time through the sigmoid."""
    softplus = np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits)))
    p = 0.5 * (1 + np.tanh(0.5 * logits))
    return np.sum(x * logits - softplus, axis=-1), lambda d: (d[:, None] * (x - p) * p * (1 - p), None)


def sign_of_a_loss(logits, x):
    """p - x, the gradient of the loss."""
    softplus = np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits)))
    p = 0.5 * (1 + np.tanh(0.5 * logits))
    return np.sum(x * logits - softplus, axis=-1), lambda d: (d[:, None] * (p - x), None)


def logit_for_probability(logits, x):
    """x - logit: the logit taken for the probability."""
    softplus = np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits)))
    return np.sum(x * logits - softplus, axis=-1), lambda d: (d[:, None] * (x - logits), None)


EXERCISE = Exercise(
    name="bernoulli_log_prob",
    title="The log-probability of bits",
    statement="""
        log p(x) of independent bits x, where P(1) = sigmoid(logit), in nats, summed over the features, and its
        pullback.

        logits: (B, D), any numbers, also ±1000, where the result has to be exact; x: (B, D), zeros and ones;
        log_prob: (B,). `pullback(dlog_prob)` returns (dlogits, None): a bit has no gradient.

        Bring log p into a form with the softplus before you code it. Nothing has to be clipped.
    """,
    labels=("bernoulli.2", "bernoulli.4"),
    solution=bernoulli_log_prob,
    draw=draw,
    observe=of_rule("log_prob", "dlogits", ""),
    terms=terms,
    factors=factors,
    differences={"dlogits": "logits"},
    misconceptions=(
        Misconception(
            id="bernoulli_log_of_rounded",
            label="bernoulli.3",
            wrong=log_of_rounded,
            message="You take the log of a probability that rounded to 0; work from the logit, where nothing is lost.",
            hints=(
                "Which pixels give infinity or NaN? Look at their logits.",
                "What is sigmoid(-1000) in float64, and its log?",
                "log sigmoid(l) is -softplus(-l), without ever forming the probability.",
            ),
            link="log_prob",
            source="NaN losses in public trackers",
        ),
        Misconception(
            id="bernoulli_clipped",
            label="bernoulli.2",
            wrong=clipped,
            message="You clip the probabilities: a pixel wrong by 1000 nats then costs 16, and its gradient is lost.",
            hints=(
                "Take a bit of 1 with the logit -1000. What should it cost?",
                "What is the gradient where the clip is active?",
                "The clip cures a log of 0. Work from the logit, and there is no log of 0.",
            ),
            link="log_prob",
            truth="where logits gets large",
            source="`log(p + 1e-7)` in public code",
            proof="law",
        ),
        Misconception(
            id="bernoulli_mean_over_pixels",
            label="bernoulli.2",
            wrong=mean_over_pixels,
            message="You average over the pixels; the log-probability of independent bits is their sum.",
            hints=(
                "The probability of two independent coins is a product. Its log?",
                "Give it the same pixel twice. The log-probability should double.",
                "Against a KL that is a sum over latents, your likelihood weighs D times too little.",
            ),
            link="log_prob",
            truth="1/D",
            source="default reductions of the frameworks",
            proof="law",
        ),
        Misconception(
            id="bernoulli_sign_of_the_value",
            label="bernoulli.2",
            wrong=negative,
            message="You return the cross-entropy, a loss; the log-probability is its negative, never above 0.",
            hints=(
                "Can the log of a probability be positive?",
                "One fair coin has log ½ = -0.69. What do you get?",
                "Objectives ascend here: the log-likelihood is what grows.",
            ),
            link="log_prob",
            truth="x logit × -1",
            proof="law",
        ),
        Misconception(
            id="bernoulli_sigmoid_slope",
            label="bernoulli.4",
            wrong=sigmoid_slope,
            message="You multiply by the sigmoid's slope p (1 - p), which has cancelled already: it is x - p alone.",
            hints=(
                "A pixel that is confidently wrong should have the largest gradient. Has it, in yours?",
                "Differentiate x l - softplus(l) in l directly.",
                "Where does the sigmoid's slope go when you write x/p - (1 - x)/(1 - p) over one denominator?",
            ),
            link="dlogits",
            truth="p (1 - p)",
            source="public code that takes the loss's gradient in logits for one in p",
        ),
        Misconception(
            id="bernoulli_sign_of_a_loss",
            label="bernoulli.4",
            wrong=sign_of_a_loss,
            message="Your gradient is p - x, that of the loss; the log-probability ascends along x - p.",
            hints=(
                "Where x is 1, a larger logit makes the datum likelier. Which sign has dlogit then?",
                "Your value ascends and your gradient descends.",
                "Only the sign is wrong.",
            ),
            link="dlogits",
            truth="x × -1",
        ),
        Misconception(
            id="bernoulli_logit_for_probability",
            label="bernoulli.4",
            wrong=logit_for_probability,
            message="You subtract the logit from x; what is compared with a bit is the probability, sigmoid(logit).",
            hints=(
                "Your gradient grows without bound. Can x - p?",
                "At a logit of 0 a fair coin has dlogit = x - ½.",
                "What is the slope of softplus?",
            ),
            link="dlogits",
            truth="-dlog_prob·logits for -p",
        ),
    ),
)
