"""Estimator B: the likelihood by samples, the KL in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def analytic_bound(log_likelihood, mean, log_std):
    samples = len(log_likelihood)
    variance = np.exp(2 * log_std)
    kl = 0.5 * np.sum(mean**2 + variance - 1 - 2 * log_std, axis=-1)
    bound = np.mean(log_likelihood, axis=0) - kl

    def pullback(dbound):
        d = dbound[:, None]
        return np.ones_like(log_likelihood) * dbound / samples, -d * mean, -d * (variance - 1)

    return bound, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """No std near 1; more samples than rows, more latents than samples."""
    samples, latents = rows + 1, rows + 3
    arguments = {
        "log_likelihood": rng.uniform(-9.0, -4.0, (samples, rows)),
        "mean": rng.standard_normal((rows, latents)),
        "log_std": rng.choice([-1, 1], (rows, latents)) * rng.uniform(0.3, 0.9, (rows, latents)),
    }
    return Draw(arguments, cotangent=rng.uniform(0.5, 2.0, rows), rows=rows)


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of; the KL's share before its sum over latents."""
    log_likelihood, mean, log_std = draw.arguments.values()
    variance, d = np.exp(2 * log_std), draw.cotangent[:, None]
    half = np.full(mean.shape, 0.5)
    return {
        "bound": {
            "log-likelihood": np.mean(log_likelihood, axis=0),
            "-KL": {"-½ mean²": -0.5 * mean**2, "-½ std²": -0.5 * variance, "½": half, "log_std": log_std},
        },
        "dlog_likelihood": {"dbound/S": np.ones_like(log_likelihood) * draw.cotangent / len(log_likelihood)},
        "dmean": {"-KL": -d * mean},
        "dlog_std": {"-KL": {"-std²": -d * variance, "1": d * np.ones_like(mean)}},
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    return {
        "std": np.exp(draw.arguments["log_std"]),
        "S": float(len(draw.arguments["log_likelihood"])),
        "Z": float(draw.arguments["mean"].shape[-1]),
        "B": float(draw.rows),
        "2": 2.0,
    }


def kl_added(log_likelihood, mean, log_std):
    """Adds the KL, with the gradient of that."""
    samples, variance = len(log_likelihood), np.exp(2 * log_std)
    kl = 0.5 * np.sum(mean**2 + variance - 1 - 2 * log_std, axis=-1)

    def pullback(dbound):
        d = dbound[:, None]
        return np.ones_like(log_likelihood) * dbound / samples, d * mean, d * (variance - 1)

    return np.mean(log_likelihood, axis=0) + kl, pullback


def kl_averaged(log_likelihood, mean, log_std):
    """The mean of the KL over latents, where their sum is meant."""
    samples, variance, latents = len(log_likelihood), np.exp(2 * log_std), mean.shape[-1]
    kl = 0.5 * np.mean(mean**2 + variance - 1 - 2 * log_std, axis=-1)

    def pullback(dbound):
        d = dbound[:, None] / latents
        return np.ones_like(log_likelihood) * dbound / samples, -d * mean, -d * (variance - 1)

    return np.mean(log_likelihood, axis=0) - kl, pullback


def likelihood_summed(log_likelihood, mean, log_std):
    """The sum of the likelihood over samples, where their mean is meant; the KL stands once."""
    variance = np.exp(2 * log_std)
    kl = 0.5 * np.sum(mean**2 + variance - 1 - 2 * log_std, axis=-1)

    def pullback(dbound):
        d = dbound[:, None]
        return np.ones_like(log_likelihood) * dbound, -d * mean, -d * (variance - 1)

    return np.sum(log_likelihood, axis=0) - kl, pullback


def kl_gradient_added(log_likelihood, mean, log_std):
    """The bound with -KL, the gradients with +KL."""
    bound, pullback = analytic_bound(log_likelihood, mean, log_std)

    def wrong(dbound):
        dlog_likelihood, dmean, dlog_std = pullback(dbound)
        return dlog_likelihood, -dmean, -dlog_std

    return bound, wrong


def log_variance_gradient(log_likelihood, mean, log_std):
    """½ (σ² - 1), the gradient in log σ² of the paper's appendix B, returned for log σ."""
    bound, pullback = analytic_bound(log_likelihood, mean, log_std)

    def wrong(dbound):
        dlog_likelihood, dmean, dlog_std = pullback(dbound)
        return dlog_likelihood, dmean, 0.5 * dlog_std

    return bound, wrong


EXERCISE = Exercise(
    name="analytic_bound",
    title="Estimator B: the bound with the KL in closed form",
    statement="""
        The paper's estimator B: the average of log p(x|z) over samples, minus KL(q(z|x) ‖ N(0, I)), in nats.

        log_likelihood: (S, B), log p(x|z) of each sample; mean, log_std: (B, Z), those of q; bound: (B,).
        Return (bound, pullback); `pullback(dbound)` returns (dlog_likelihood, dmean, dlog_std), the last two being what
        the KL hands back: what comes by z goes through dlog_likelihood.
    """,
    labels=("objectives.2", "objectives.3", "normal.6a"),
    solution=analytic_bound,
    draw=draw,
    observe=of_rule("bound", "dlog_likelihood", "dmean", "dlog_std"),
    terms=terms,
    factors=factors,
    differences={"dlog_likelihood": "log_likelihood", "dmean": "mean", "dlog_std": "log_std"},
    misconceptions=(
        Misconception(
            id="bound_kl_added",
            label="objectives.2",
            wrong=kl_added,
            message="You added the KL: the bound is the likelihood minus the KL.",
            hints=(
                "Is your bound still below log p(x)?",
                "A q far from the prior has a large KL. Should that raise the bound?",
                "Losses have +KL. This is a bound, which is maximised.",
            ),
            link="bound",
            truth="-KL × -1",
            source="code moved from a loss to a bound",
            proof="law",
        ),
        Misconception(
            id="bound_kl_averaged_over_latents",
            label="objectives.2",
            wrong=kl_averaged,
            message="You averaged the KL over the latents: it is their sum, as the likelihood is that over features.",
            hints=(
                "How does the KL of independent latents follow from theirs?",
                "Add a latent that equals its prior. Does your KL change?",
                "Your KL is too small by a whole number.",
            ),
            link="bound",
            truth="-KL × 1/Z",
            source="mean() for sum() in public Keras and PyTorch VAEs",
            proof="law",
        ),
        Misconception(
            id="bound_likelihood_summed_over_samples",
            label="objectives.2",
            wrong=likelihood_summed,
            message="You summed the likelihood over the samples: with one KL for all of them, it has to be their mean.",
            hints=(
                "Does your bound grow with the number of samples?",
                "The KL stands once. How often does the likelihood?",
                "Look at what stands in front of the sum in the paper's equation 7.",
            ),
            link="bound",
            truth="log-likelihood × S",
            source="public VAE code with L > 1",
            proof="law",
        ),
        Misconception(
            id="bound_kl_gradient_added",
            label="objectives.3",
            wrong=kl_gradient_added,
            message="Your bound takes the KL away, your gradients add it: they are those of the bound, of -KL.",
            hints=(
                "Take a step along your gradient. Does the bound rise?",
                "In which direction must the prior pull the mean?",
                "The minus sign in front of the KL stands in front of its gradients too.",
            ),
            link="dmean",
            truth="-KL × -1",
            source="code moved from a loss to a bound",
        ),
        Misconception(
            id="bound_log_variance_gradient",
            label="objectives.3",
            wrong=log_variance_gradient,
            message="Your dlog_std is the gradient in log σ²: that in log σ is twice as large.",
            hints=(
                "Of which logarithm is this the gradient?",
                "log σ² = 2 log σ.",
                "Your result is the right one times a simple number.",
            ),
            link="dlog_std",
            truth="½",
            source="appendix B of the paper copied into code that has log_std",
        ),
    ),
)
