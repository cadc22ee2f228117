"""KL(N(mean, diag(std²)) ‖ N(0, I/α)): four terms, of which source 001 has two with the wrong sign."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def normal_kl(mean, log_std, alpha):
    variance = np.exp(2 * log_std)
    kl = 0.5 * np.sum(alpha * (mean**2 + variance) - 1 - 2 * log_std - np.log(alpha), axis=-1)

    def pullback(dkl):
        d = dkl[:, None]
        return d * alpha * mean, d * (alpha * variance - 1), None

    return kl, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """Two latents more than rows, no std near 1, where powers of it could not be told apart."""
    latents = rows + 2
    arguments = {
        "mean": rng.standard_normal((rows, latents)),
        "log_std": rng.choice([-1, 1], (rows, latents)) * rng.uniform(0.3, 0.9, (rows, latents)),
        "alpha": float(rng.uniform(1.5, 3.0)),
    }
    return Draw(arguments, cotangent=rng.uniform(0.5, 2.0, rows), rows=rows)


def near_the_prior(draw: Draw) -> Draw:
    """A mean and a log_std that differ little from those of the prior."""
    mean, log_std, alpha = draw.arguments.values()
    return draw.but(mean=0.05 * mean, log_std=0.05 * log_std - 0.5 * np.log(alpha))


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of; those of the value before the sum over latents."""
    mean, log_std, alpha = draw.arguments.values()
    variance, d = np.exp(2 * log_std), draw.cotangent[:, None]
    return {
        "kl": {
            "½ α mean²": 0.5 * alpha * mean**2,
            "½ α std²": 0.5 * alpha * variance,
            "-½": np.full(mean.shape, -0.5),
            "-log_std": -log_std,
            "-½ log α": np.full(mean.shape, -0.5 * np.log(alpha)),
        },
        "dmean": {"α mean": d * alpha * mean},
        "dlog_std": {"α std²": d * alpha * variance, "-1": -d * np.ones_like(log_std)},
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    mean, log_std, alpha = draw.arguments.values()
    return {"std": np.exp(log_std), "α": alpha, "2": 2.0, "Z": float(mean.shape[-1]), "B": float(draw.rows)}


def printed_in_001(mean, log_std, alpha):
    """Its signs: -½ Σ (1 + log σ² + σ² + μ²)."""
    variance = np.exp(2 * log_std)
    kl = -0.5 * np.sum(1 + 2 * log_std + alpha * variance + alpha * mean**2 + np.log(alpha), axis=-1)

    def pullback(dkl):
        d = dkl[:, None]
        return -d * alpha * mean, -d * (1 + alpha * variance), None

    return kl, pullback


def minus_kl(mean, log_std, alpha):
    """The term as it stands in the bound, -KL."""
    variance = np.exp(2 * log_std)
    kl = 0.5 * np.sum(1 + 2 * log_std + np.log(alpha) - alpha * (mean**2 + variance), axis=-1)

    def pullback(dkl):
        d = dkl[:, None]
        return -d * alpha * mean, d * (1 - alpha * variance), None

    return kl, pullback


def log_std_as_log_variance(mean, log_std, alpha):
    """exp(log_std) where exp(2 log_std) is meant."""
    variance = np.exp(log_std)
    kl = 0.5 * np.sum(alpha * (mean**2 + variance) - 1 - log_std - np.log(alpha), axis=-1)

    def pullback(dkl):
        d = dkl[:, None]
        return d * alpha * mean, 0.5 * d * (alpha * variance - 1), None

    return kl, pullback


def std_for_variance(mean, log_std, alpha):
    """σ where σ² is meant, in the one place where it is not in a logarithm."""
    std = np.exp(log_std)
    kl = 0.5 * np.sum(alpha * (mean**2 + std) - 1 - 2 * log_std - np.log(alpha), axis=-1)

    def pullback(dkl):
        d = dkl[:, None]
        return d * alpha * mean, d * (0.5 * alpha * std - 1), None

    return kl, pullback


def no_half(mean, log_std, alpha):
    """The ½ in front is missing."""
    variance = np.exp(2 * log_std)
    kl = np.sum(alpha * (mean**2 + variance) - 1 - 2 * log_std - np.log(alpha), axis=-1)

    def pullback(dkl):
        d = dkl[:, None]
        return 2 * d * alpha * mean, 2 * d * (alpha * variance - 1), None

    return kl, pullback


def standard_prior(mean, log_std, alpha):
    """Appendix B of the paper as it stands: the prior's precision is taken to be 1."""
    variance = np.exp(2 * log_std)
    kl = 0.5 * np.sum(mean**2 + variance - 1 - 2 * log_std, axis=-1)

    def pullback(dkl):
        d = dkl[:, None]
        return d * mean, d * (variance - 1), None

    return kl, pullback


def no_log_alpha(mean, log_std, alpha):
    """-½ log α forgotten: the prior's normaliser."""
    variance = np.exp(2 * log_std)
    kl = 0.5 * np.sum(alpha * (mean**2 + variance) - 1 - 2 * log_std, axis=-1)

    def pullback(dkl):
        d = dkl[:, None]
        return d * alpha * mean, d * (alpha * variance - 1), None

    return kl, pullback


def mean_over_latents(mean, log_std, alpha):
    """The mean over latents for their sum."""
    variance = np.exp(2 * log_std)
    kl = 0.5 * np.mean(alpha * (mean**2 + variance) - 1 - 2 * log_std - np.log(alpha), axis=-1)

    def pullback(dkl):
        d = dkl[:, None] / mean.shape[-1]
        return d * alpha * mean, d * (alpha * variance - 1), None

    return kl, pullback


def summed_over_rows(mean, log_std, alpha):
    """One number for the whole batch."""
    variance = np.exp(2 * log_std)
    kl = 0.5 * np.sum(alpha * (mean**2 + variance) - 1 - 2 * log_std - np.log(alpha))
    return kl, lambda dkl: (np.sum(dkl) * alpha * mean, np.sum(dkl) * (alpha * variance - 1), None)


def gradient_in_variance(mean, log_std, alpha):
    """½ (α - 1/σ²), the gradient in σ²."""
    variance = np.exp(2 * log_std)
    kl = 0.5 * np.sum(alpha * (mean**2 + variance) - 1 - 2 * log_std - np.log(alpha), axis=-1)

    def pullback(dkl):
        d = dkl[:, None]
        return d * alpha * mean, 0.5 * d * (alpha - 1 / variance), None

    return kl, pullback


def gradient_in_log_variance(mean, log_std, alpha):
    """½ (ασ² - 1), the gradient in log σ²."""
    variance = np.exp(2 * log_std)
    kl = 0.5 * np.sum(alpha * (mean**2 + variance) - 1 - 2 * log_std - np.log(alpha), axis=-1)

    def pullback(dkl):
        d = dkl[:, None]
        return d * alpha * mean, 0.5 * d * (alpha * variance - 1), None

    return kl, pullback


EXERCISE = Exercise(
    name="normal_kl",
    title="The KL divergence to a normal prior",
    statement="""
        KL(N(mean, diag(exp(2 log_std))) ‖ N(0, I/alpha)) in nats, one number per row, and its pullback.

        mean, log_std: (B, Z); alpha: a positive number, the prior's precision; kl: (B,).
        `pullback(dkl)` returns (dmean, dlog_std, None).

        Derive it: the paper's appendix B has it for alpha = 1. It is never negative, and zero where q is the prior.
    """,
    labels=("normal.5", "normal.6"),
    solution=normal_kl,
    draw=draw,
    observe=of_rule("kl", "dmean", "dlog_std", ""),
    terms=terms,
    factors=factors,
    differences={"dmean": "mean", "dlog_std": "log_std"},
    readings={"1/alpha² for alpha": lambda draw: draw.but(alpha=draw.arguments["alpha"] ** -2)},
    corners={
        "With alpha below 1": lambda draw: draw.but(alpha=1 / draw.arguments["alpha"]),
        "Where q is close to the prior": near_the_prior,
    },
    misconceptions=(
        Misconception(
            id="kl_signs_of_001",
            label="normal.5",
            wrong=printed_in_001,
            message="Your KL has the signs that source 001 prints, which make it negative: σ² and μ² count upwards.",
            hints=(
                "A KL divergence is never negative. Is yours?",
                "Put in mean 0, std 1, alpha 1: the result has to be 0.",
                "Look at the signs of σ² and μ² against that of log σ².",
            ),
            link="kl",
            truth="½ α mean² × -1",
            source="erratum 001-1",
            proof="law",
        ),
        Misconception(
            id="kl_negated",
            label="normal.5",
            wrong=minus_kl,
            message="You return -KL, as it stands in the bound; the KL itself is never negative.",
            hints=(
                "A KL divergence is never negative. Is yours?",
                "In the bound a minus sign stands before the KL. Where did you put that?",
                "Gradients and value: all signs are turned.",
            ),
            link="kl",
            truth="-1",
            source="losses that add the KL of appendix B, which is printed as -KL",
            proof="law",
        ),
        Misconception(
            id="kl_log_std_as_log_variance",
            label="normal.5",
            wrong=log_std_as_log_variance,
            message="You read log_std as the logarithm of the variance: the variance is exp(2 log_std).",
            hints=(
                "Which power of the standard deviation stands in the formula?",
                "What is the variance of a normal whose log_std is 1?",
                "σ² = exp(2 log_std), and log σ² = 2 log_std.",
            ),
            link="kl",
            truth="½ α std² × 1/std",
            source="numpy-ml and many others",
            proof="law",
        ),
        Misconception(
            id="kl_std_for_variance",
            label="normal.5",
            wrong=std_for_variance,
            message="You add the standard deviation where the variance belongs: it is σ² that stands beside μ².",
            hints=(
                "One term is off by a power of the standard deviation.",
                "μ² and its neighbour have to be in the same unit.",
                "E[z²] is μ² plus the variance.",
            ),
            link="kl",
            truth="½ α std² × 1/std",
            proof="law",
        ),
        Misconception(
            id="kl_without_half",
            label="normal.5",
            wrong=no_half,
            message="You forgot the ½ in front of the sum: your KL is twice what it should be.",
            hints=(
                "Which factor lies between yours and the right one?",
                "KL(N(1, 1) ‖ N(0, 1)) is 0.5.",
                "Both log-densities have the squares halved.",
            ),
            link="kl",
            truth="2",
            proof="law",
        ),
        Misconception(
            id="kl_to_the_standard_normal",
            label="normal.5",
            wrong=standard_prior,
            message="Your KL is that to N(0, I); the prior here is N(0, I/alpha), and alpha is in three of the terms.",
            hints=(
                "Which of the arguments does your function not use?",
                "With std = 1/√alpha and mean 0, q is the prior, and the KL has to be 0.",
                "A precision multiplies the squares, and its root the density.",
            ),
            link="kl",
            truth="1 for alpha",
            proof="law",
        ),
        Misconception(
            id="kl_without_log_alpha",
            label="normal.5",
            wrong=no_log_alpha,
            message="You forgot -½ log alpha, the prior's normaliser: gradients do not see it, but the bound does.",
            hints=(
                "With std = 1/√alpha and mean 0, q is the prior, and the KL has to be 0.",
                "Your gradients are right, your value is off by a constant.",
                "The prior's density has a normaliser in which alpha stands.",
            ),
            link="kl",
            truth="-½ log α × 0",
            proof="law",
        ),
        Misconception(
            id="kl_mean_over_latents",
            label="normal.5",
            wrong=mean_over_latents,
            message="You average over the latents; the KL of independent latents is the sum.",
            hints=(
                "Give it the same latent twice. The KL should double.",
                "Which factor lies between yours and the right one? Try two numbers of latents.",
                "Densities multiply, so logarithms add.",
            ),
            link="kl",
            truth="1/Z",
            source="default reductions of the frameworks",
            proof="law",
        ),
        Misconception(
            id="kl_summed_over_rows",
            label="normal.5",
            wrong=summed_over_rows,
            message="You sum over the whole batch; the KL is one number per row, and the rows are averaged at the top.",
            hints=(
                "Compare the shape of your KL with (B,).",
                "Over which axis are the latents?",
                "Each row has its own q and its own KL.",
            ),
            link="kl",
            proof="law",
        ),
        Misconception(
            id="kl_gradient_in_variance",
            label="normal.6",
            wrong=gradient_in_variance,
            message="You return the gradient in σ²; the argument is log_std, which brings a factor 2σ².",
            hints=(
                "Your value and dmean are right. Which power of std lies between your dlog_std and the numeric one?",
                "In which variable did you differentiate?",
                "d σ² / d log σ is 2σ².",
            ),
            link="dlog_std",
            truth="½/std²",
        ),
        Misconception(
            id="kl_gradient_in_log_variance",
            label="normal.6",
            wrong=gradient_in_log_variance,
            message="You return the gradient in log σ²; the argument is log σ, which brings a factor 2.",
            hints=(
                "Your value and dmean are right. Which factor lies between your dlog_std and the numeric one?",
                "In which variable did you differentiate?",
                "log σ² is 2 log σ.",
            ),
            link="dlog_std",
            truth="½",
            source="the paper's appendix B, differentiated as printed",
        ),
    ),
)
