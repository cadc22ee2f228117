"""The review's section 3.5: one small bound, its four gradients, and the factor that is misprinted there."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, Observation


def sample_gradient(W, b, mean, variance, x, noise, alpha, beta):
    std = np.sqrt(variance)
    z = mean + std * noise
    s = 1 / (1 + np.exp(-(z @ W.T + b)))
    log_likelihood = 0.5 * np.sum(np.log(beta / (2 * np.pi)) - beta * (x - s) ** 2, axis=1)
    kl = 0.5 * np.sum(alpha * (mean**2 + variance) - 1 - np.log(alpha * variance), axis=1)
    bound = log_likelihood - kl

    def pullback(dbound):
        d = dbound[:, None]
        da = d * beta * (x - s) * s * (1 - s)
        dz = da @ W
        dmean = dz - d * alpha * mean
        dvariance = dz * noise / (2 * std) + d * (1 / (2 * variance) - alpha / 2)
        return da.T @ z, da.sum(axis=0), dmean, dvariance

    return bound, pullback


GIVEN = """
    std = np.sqrt(variance)
    z = mean + std * noise
    s = 1 / (1 + np.exp(-(z @ W.T + b)))
    log_likelihood = 0.5 * np.sum(np.log(beta / (2 * np.pi)) - beta * (x - s) ** 2, axis=1)
    kl = 0.5 * np.sum(alpha * (mean**2 + variance) - 1 - np.log(alpha * variance), axis=1)
    bound = log_likelihood - kl
"""


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """No variance near 1, where σ and σ² agree, and no noise near 0."""
    latents, features = rows + 1, rows + 4
    spread = rng.choice([-1, 1], (rows, latents)) * rng.uniform(0.6, 1.2, (rows, latents))
    arguments = {
        "W": rng.standard_normal((features, latents)),
        "b": rng.standard_normal(features),
        "mean": rng.standard_normal((rows, latents)),
        "variance": np.exp(spread),
        "x": rng.random((rows, features)),
        "noise": rng.choice([-1, 1], (rows, latents)) * rng.uniform(0.3, 0.8, (rows, latents)),
        "alpha": float(rng.uniform(1.5, 2.5)),
        "beta": float(rng.uniform(3.0, 5.0)),
    }
    return Draw(arguments, cotangent=rng.uniform(0.5, 2.0, rows), rows=rows)


def observe(function: Any, draw: Draw) -> Observation:
    """The bound, then the gradients from the likelihood down to the latents."""
    bound, pullback = function(**draw.arguments)
    dW, db, dmean, dvariance = pullback(draw.cotangent)
    return {"bound": bound, "dW": dW, "db": db, "dmean": dmean, "dvariance": dvariance}


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of; dW and db still apart by row, the bound before its sums."""
    W, b, mean, variance, x, noise, alpha, beta = draw.arguments.values()
    d, std = draw.cotangent[:, None], np.sqrt(variance)
    z = mean + std * noise
    s = 1 / (1 + np.exp(-(z @ W.T + b)))
    da = d * beta * (x - s) * s * (1 - s)
    nothing = np.zeros(mean.shape)
    return {
        "bound": {
            "log-likelihood": {
                "½ log β": 0.5 * np.log(beta) + 0 * x,
                "-½ log 2π": -0.5 * np.log(2 * np.pi) + 0 * x,
                "-½ β (x - s)²": -0.5 * beta * (x - s) ** 2,
            },
            "-KL": {
                "-½ α mean²": -0.5 * alpha * mean**2,
                "-½ α variance": -0.5 * alpha * variance,
                "½": 0.5 + nothing,
                "½ log α": 0.5 * np.log(alpha) + nothing,
                "½ log variance": 0.5 * np.log(variance),
            },
        },
        "dW": {"likelihood": da[:, :, None] * z[:, None, :]},
        "db": {"likelihood": da},
        "dmean": {"likelihood": da @ W, "prior": -d * alpha * mean},
        "dvariance": {
            "likelihood": da @ W * noise / (2 * std),
            "entropy": d / (2 * variance),
            "prior": -d * alpha / 2 + nothing,
        },
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    a = draw.arguments
    z = a["mean"] + np.sqrt(a["variance"]) * a["noise"]
    s = 1 / (1 + np.exp(-(z @ a["W"].T + a["b"])))
    return {
        "s (1 - s)": s * (1 - s),
        "s": s,
        "1 - s": 1 - s,
        "z": z,
        "std": np.sqrt(a["variance"]),
        "noise": a["noise"],
        "α": a["alpha"],
        "β": a["beta"],
        "2": 2.0,
        "B": float(draw.rows),
    }


def variance_printed(W, b, mean, variance, x, noise, alpha, beta):
    """The likelihood's share divided by σ², as section 3.5 prints it."""
    bound, pullback = sample_gradient(W, b, mean, variance, x, noise, alpha, beta)

    def printed(dbound):
        d = dbound[:, None]
        dW, db, dmean, _ = pullback(dbound)
        dz = dmean + d * alpha * mean
        return dW, db, dmean, dz * noise / (2 * variance) + d * (1 / (2 * variance) - alpha / 2)

    return bound, printed


def variance_without_noise(W, b, mean, variance, x, noise, alpha, beta):
    """The same share without ε, as the second print of the line has it."""
    bound, pullback = sample_gradient(W, b, mean, variance, x, noise, alpha, beta)

    def printed(dbound):
        d = dbound[:, None]
        dW, db, dmean, _ = pullback(dbound)
        dz = dmean + d * alpha * mean
        return dW, db, dmean, dz / (2 * np.sqrt(variance)) + d * (1 / (2 * variance) - alpha / 2)

    return bound, printed


def entropy_without_half(W, b, mean, variance, x, noise, alpha, beta):
    """1/σ² for the entropy: the ½ in front of the product of section 3.5 is lost when it is cancelled."""
    bound, pullback = sample_gradient(W, b, mean, variance, x, noise, alpha, beta)

    def wrong(dbound):
        dW, db, dmean, dvariance = pullback(dbound)
        return dW, db, dmean, dvariance + dbound[:, None] / (2 * variance)

    return bound, wrong


def log_variance_gradient(W, b, mean, variance, x, noise, alpha, beta):
    """The gradient in log σ² where that in σ² is asked for."""
    bound, pullback = sample_gradient(W, b, mean, variance, x, noise, alpha, beta)

    def wrong(dbound):
        dW, db, dmean, dvariance = pullback(dbound)
        return dW, db, dmean, dvariance * variance

    return bound, wrong


def slope_forgotten(W, b, mean, variance, x, noise, alpha, beta):
    """β (x - s) as the gradient of the activations, as if the likelihood were Bernoulli: no slope s (1 - s)."""
    std = np.sqrt(variance)
    z = mean + std * noise
    s = 1 / (1 + np.exp(-(z @ W.T + b)))
    bound, _ = sample_gradient(W, b, mean, variance, x, noise, alpha, beta)

    def pullback(dbound):
        d = dbound[:, None]
        da = d * beta * (x - s)
        dz = da @ W
        dvariance = dz * noise / (2 * std) + d * (1 / (2 * variance) - alpha / 2)
        return da.T @ z, da.sum(axis=0), dz - d * alpha * mean, dvariance

    return bound, pullback


def precision_forgotten(W, b, mean, variance, x, noise, alpha, beta):
    """The prior pulls the mean with strength 1 where α is meant."""
    bound, pullback = sample_gradient(W, b, mean, variance, x, noise, alpha, beta)

    def wrong(dbound):
        dW, db, dmean, dvariance = pullback(dbound)
        return dW, db, dmean + dbound[:, None] * (alpha - 1) * mean, dvariance

    return bound, wrong


def weights_transposed(W, b, mean, variance, x, noise, alpha, beta):
    """dW in the shape of this package's layers, (Z, D), where the review's W is (D, Z)."""
    bound, pullback = sample_gradient(W, b, mean, variance, x, noise, alpha, beta)

    def wrong(dbound):
        dW, db, dmean, dvariance = pullback(dbound)
        return dW.T, db, dmean, dvariance

    return bound, wrong


EXERCISE = Exercise(
    name="sample_gradient",
    title="All four gradients of the review's section 3.5",
    statement="""
        x ~ N(s, I/beta) with s = sigmoid(W z + b), prior N(0, I/alpha), q = N(mean, diag(variance)). The bound with one
        sample z = mean + sqrt(variance) noise is written for you. Derive its gradients and write the pullback.

        W: (D, Z), as the review has it; b: (D,); mean, variance, noise: (B, Z); x: (B, D); alpha, beta: positive
        numbers; bound: (B,), in nats.
        Return (bound, pullback); `pullback(dbound)` returns (dW, db, dmean, dvariance).

        The parameter is the variance itself, not its logarithm. One of the four is misprinted in the review.
    """,
    labels=("sample_gradient.1", "sample_gradient.3", "sample_gradient.4", "sample_gradient.5", "sample_gradient.6"),
    solution=sample_gradient,
    draw=draw,
    observe=observe,
    terms=terms,
    factors=factors,
    differences={"dW": "W", "db": "b", "dmean": "mean", "dvariance": "variance"},
    given=GIVEN,
    misconceptions=(
        Misconception(
            id="variance_of_003",
            label="sample_gradient.6",
            wrong=variance_printed,
            message="You divided the likelihood's share of dvariance by σ², as the review prints: it is divided by σ.",
            hints=(
                "Compare with finite differences at a variance far from 1.",
                "z contains the square root of the variance. What is its derivative?",
                "The derivative of √v has √v in its denominator, not v.",
            ),
            link="dvariance",
            truth="likelihood × 1/std",
            source="erratum 003-1",
        ),
        Misconception(
            id="variance_of_003_without_noise",
            label="sample_gradient.6",
            wrong=variance_without_noise,
            message="The noise is missing from the likelihood's share of dvariance: the variance moves z by ε/(2σ).",
            hints=(
                "Must this share average to 0 for a likelihood that is linear in z?",
                "By how much does z move when the variance does? Which letter decides its direction?",
                "Differentiate z = mean + √variance · noise in the variance.",
            ),
            link="dvariance",
            truth="likelihood × 1/noise",
            source="erratum 003-1, the line's second print",
        ),
        Misconception(
            id="entropy_without_half",
            label="sample_gradient.6",
            wrong=entropy_without_half,
            message="The entropy's share of dvariance is twice too large: it is 1/(2σ²).",
            hints=(
                "Where the likelihood says nothing, dvariance has to be 0 at the prior. Is yours?",
                "The KL has ½ log σ² in it.",
                "In the review's product form a ½ stands in front. What is left when the product cancels?",
            ),
            link="dvariance",
            truth="entropy × 2",
            source="erratum 003-2",
        ),
        Misconception(
            id="variance_as_log_variance",
            label="sample_gradient.6",
            wrong=log_variance_gradient,
            message="You gave the gradient in log σ²: asked for is that in σ² itself, which is smaller by σ².",
            hints=(
                "Of which variable is this the gradient?",
                "dσ² and d log σ² differ by the derivative of the logarithm.",
                "Your result is the right one times something that stands in the arguments.",
            ),
            link="dvariance",
            truth="std²",
            source="appendix B of the paper against the review",
        ),
        Misconception(
            id="gaussian_sigmoid_slope_forgotten",
            label="sample_gradient.3",
            wrong=slope_forgotten,
            message="The slope s (1 - s) of the sigmoid is missing: it cancels for a Bernoulli likelihood, not for a "
            "normal one.",
            hints=(
                "Where does a saturated sigmoid have to show in dW?",
                "You have ∂L/∂s. The weights sit before the sigmoid.",
                "For bits, x - s is the whole gradient. Why, and why not here?",
            ),
            link="dW",
            truth="likelihood × 1/(s (1 - s))",
            source="Bernoulli code reused for grey values",
        ),
        Misconception(
            id="prior_precision_forgotten",
            label="sample_gradient.5",
            wrong=precision_forgotten,
            message="The prior pulls the mean with its precision: α is missing in front of the mean.",
            hints=(
                "What happens to your dmean when the prior becomes very narrow?",
                "Differentiate -α mean²/2.",
                "One letter of the KL is not in your dmean.",
            ),
            link="dmean",
            truth="prior × 1/α",
            source="code written for α = 1",
        ),
        Misconception(
            id="review_weights_transposed",
            label="sample_gradient.3",
            wrong=weights_transposed,
            message="Your dW is the transpose: the review's W is (D, Z), and its gradient has that shape.",
            hints=(
                "Which shape has the gradient of W?",
                "Compare dW.shape and W.shape.",
                "∂L/∂W_ij = δ_i z_j: which index comes first?",
            ),
            link="dW",
            source="row against column conventions",
        ),
    ),
)
