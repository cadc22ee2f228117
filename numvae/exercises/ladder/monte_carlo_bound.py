"""Estimator A: the bound from samples alone, everything inside the brackets."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def monte_carlo_bound(log_likelihood, mean, log_std, noise):
    samples = len(noise)
    std = np.exp(log_std)
    z = mean + std * noise
    log_prior = np.sum(-0.5 * np.log(2 * np.pi) - 0.5 * z**2, axis=-1)
    log_q = np.sum(-0.5 * np.log(2 * np.pi) - log_std - 0.5 * noise**2, axis=-1)
    bound = np.mean(log_likelihood + log_prior - log_q, axis=0)

    def pullback(dbound):
        dlog_likelihood = np.ones_like(log_likelihood) * dbound / samples
        d = dbound[:, None]
        dmean = -d * np.mean(z, axis=0)
        dlog_std = d - d * np.mean(z * std * noise, axis=0)
        return dlog_likelihood, dmean, dlog_std, None

    return bound, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """No std near 1; as many samples as rows and one more, as many latents as samples and two more."""
    samples, latents = rows + 1, rows + 3
    arguments = {
        "log_likelihood": rng.uniform(-9.0, -4.0, (samples, rows)),
        "mean": rng.standard_normal((rows, latents)),
        "log_std": rng.choice([-1, 1], (rows, latents)) * rng.uniform(0.3, 0.9, (rows, latents)),
        "noise": rng.standard_normal((samples, rows, latents)),
    }
    return Draw(arguments, cotangent=rng.uniform(0.5, 2.0, rows), rows=rows)


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of."""
    log_likelihood, mean, log_std, noise = draw.arguments.values()
    std, d, constant = np.exp(log_std), draw.cotangent[:, None], mean.shape[-1] * 0.5 * np.log(2 * np.pi)
    z, nothing = mean + std * noise, 0 * draw.cotangent
    return {
        "bound": {
            "log-likelihood": np.mean(log_likelihood, axis=0),
            "log prior": {
                "-½ log 2π of log p(z)": nothing - constant,
                "-½ z²": -0.5 * np.mean(np.sum(z**2, axis=-1), axis=0),
            },
            "-log q": {
                "½ log 2π of -log q": nothing + constant,
                "log_std": np.sum(log_std, axis=-1),
                "½ noise²": 0.5 * np.mean(np.sum(noise**2, axis=-1), axis=0),
            },
        },
        "dlog_likelihood": {"dbound/S": np.ones_like(log_likelihood) * draw.cotangent / len(noise)},
        "dmean": {"log prior": -d * z / len(noise)},
        "dlog_std": {"log prior": -d * z * std * noise / len(noise), "-log q": d * np.ones_like(std)},
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    samples, rows, latents = draw.arguments["noise"].shape
    return {
        "std": np.exp(draw.arguments["log_std"]),
        "S": float(samples),
        "B": float(rows),
        "Z": float(latents),
        "2": 2.0,
    }


def log_q_left_out(log_likelihood, mean, log_std, noise):
    """The log of the joint alone: the poster's truncated line."""
    samples, std = len(noise), np.exp(log_std)
    z = mean + std * noise
    log_prior = np.sum(-0.5 * np.log(2 * np.pi) - 0.5 * z**2, axis=-1)

    def pullback(dbound):
        d = dbound[:, None]
        dlog_likelihood = np.ones_like(log_likelihood) * dbound / samples
        return dlog_likelihood, -d * np.mean(z, axis=0), -d * np.mean(z * std * noise, axis=0), None

    return np.mean(log_likelihood + log_prior, axis=0), pullback


def prior_left_out(log_likelihood, mean, log_std, noise):
    """The likelihood and the entropy, no prior."""
    samples = len(noise)
    log_q = np.sum(-0.5 * np.log(2 * np.pi) - log_std - 0.5 * noise**2, axis=-1)

    def pullback(dbound):
        dlog_likelihood = np.ones_like(log_likelihood) * dbound / samples
        return dlog_likelihood, np.zeros_like(mean), dbound[:, None] * np.ones_like(log_std), None

    return np.mean(log_likelihood - log_q, axis=0), pullback


def brackets_left_out(log_likelihood, mean, log_std, noise):
    """The mean of the log joint minus log q of the last sample, as the notes' line reads without its brackets."""
    _, pullback = monte_carlo_bound(log_likelihood, mean, log_std, noise)
    z = mean + np.exp(log_std) * noise
    log_prior = np.sum(-0.5 * np.log(2 * np.pi) - 0.5 * z**2, axis=-1)
    log_q = np.sum(-0.5 * np.log(2 * np.pi) - log_std - 0.5 * noise**2, axis=-1)
    return np.mean(log_likelihood + log_prior, axis=0) - log_q[-1], pullback


def log_q_added(log_likelihood, mean, log_std, noise):
    """Adds log q, with the gradient of that."""
    samples, std = len(noise), np.exp(log_std)
    z = mean + std * noise
    log_prior = np.sum(-0.5 * np.log(2 * np.pi) - 0.5 * z**2, axis=-1)
    log_q = np.sum(-0.5 * np.log(2 * np.pi) - log_std - 0.5 * noise**2, axis=-1)

    def pullback(dbound):
        d = dbound[:, None]
        dlog_likelihood = np.ones_like(log_likelihood) * dbound / samples
        return dlog_likelihood, -d * np.mean(z, axis=0), -d - d * np.mean(z * std * noise, axis=0), None

    return np.mean(log_likelihood + log_prior + log_q, axis=0), pullback


def summed_over_samples(log_likelihood, mean, log_std, noise):
    """The sum over the L samples where their mean is meant."""
    samples = len(noise)
    bound, pullback = monte_carlo_bound(log_likelihood, mean, log_std, noise)
    return bound * samples, lambda dbound: pullback(dbound * samples)


def entropy_not_followed(log_likelihood, mean, log_std, noise):
    """The right value, but log q counts as a constant on the way back."""
    bound, pullback = monte_carlo_bound(log_likelihood, mean, log_std, noise)

    def wrong(dbound):
        dlog_likelihood, dmean, dlog_std, _ = pullback(dbound)
        return dlog_likelihood, dmean, dlog_std - dbound[:, None], None

    return bound, wrong


EXERCISE = Exercise(
    name="monte_carlo_bound",
    title="Estimator A: the bound by samples alone",
    statement="""
        The paper's estimator A: the average over samples of log p(x|z) + log p(z) - log q(z|x), in nats, with
        z = mean + exp(log_std) noise, the prior N(0, I), and log p(x|z) given.

        log_likelihood: (S, B), log p(x|z) of each sample; mean, log_std: (B, Z); noise: (S, B, Z); bound: (B,).
        Return (bound, pullback); `pullback(dbound)` returns (dlog_likelihood, dmean, dlog_std, None).

        The gradients are those of this value with log_likelihood and noise held: by z, and where q's density has
        mean and log_std in it directly. Much of that cancels. Find out what, on paper.
    """,
    labels=("objectives.4", "objectives.5", "normal.3"),
    solution=monte_carlo_bound,
    draw=draw,
    observe=of_rule("bound", "dlog_likelihood", "dmean", "dlog_std", ""),
    terms=terms,
    factors=factors,
    differences={"dlog_likelihood": "log_likelihood", "dmean": "mean", "dlog_std": "log_std"},
    misconceptions=(
        Misconception(
            id="bound_without_log_q",
            label="objectives.4",
            wrong=log_q_left_out,
            message="You left log q(z|x) out: the bound is the average of log p(x, z) minus log q(z|x).",
            hints=(
                "What keeps q from shrinking to a point in your bound?",
                "At the true posterior every sample has to give the same number, log p(x). Does yours?",
                "Three logarithms stand in the brackets.",
            ),
            link="bound",
            truth="-log q × 0",
            source="erratum 004-2",
            proof="law",
        ),
        Misconception(
            id="bound_without_prior",
            label="objectives.4",
            wrong=prior_left_out,
            message="You left the prior out: the joint log p(x, z) is log p(x|z) + log p(z).",
            hints=(
                "What keeps the latents near the origin in your bound?",
                "Does anything in your bound change when all z grow, log p(x|z) staying the same?",
                "Write the joint of x and z as a product of two densities.",
            ),
            link="bound",
            truth="log prior × 0",
            source="forum questions on the paper's equation 6",
            proof="law",
        ),
        Misconception(
            id="bound_without_brackets",
            label="objectives.4",
            wrong=brackets_left_out,
            message="You took log q of one sample off the average: it stands inside the brackets, sample by sample.",
            hints=(
                "Which samples have a part in your log q?",
                "Try it with one sample, then with two.",
                "Put brackets around all three logarithms before you average.",
            ),
            link="bound",
            truth="noise[-1] everywhere for noise in -log q",
            source="erratum 002-3",
            proof="law",
        ),
        Misconception(
            id="bound_log_q_added",
            label="objectives.4",
            wrong=log_q_added,
            message="You added log q(z|x): it is taken away, and the entropy it stands for is what the bound gains.",
            hints=(
                "Should a wider q raise or lower the entropy part?",
                "The bound is an expectation of log(p/q).",
                "Look at the sign of log q.",
            ),
            link="bound",
            truth="-log q × -1",
            source="forum questions on the paper's equation 6",
            proof="law",
        ),
        Misconception(
            id="bound_summed_over_samples",
            label="objectives.4",
            wrong=summed_over_samples,
            message="You summed over the L samples: estimator A is their mean.",
            hints=(
                "Does your bound grow with the number of samples?",
                "Something stands in front of the sum in the paper's equation 6.",
                "Your bound is too large by a whole number.",
            ),
            link="bound",
            truth="S",
            source="public VAE code with L > 1",
            proof="law",
        ),
        Misconception(
            id="bound_entropy_not_followed",
            label="objectives.5",
            wrong=entropy_not_followed,
            message="Your dlog_std does not follow log q: its -log_std pulls every log_std up by 1.",
            hints=(
                "Is your bound's derivative in log_std the one you return? Try a small step.",
                "With the noise held, what is left of log_std in log q?",
                "log q = … - log_std - ½ noise². It is taken away.",
            ),
            link="dlog_std",
            truth="-log q × 0",
            source="log q computed on detached values",
        ),
    ),
)
