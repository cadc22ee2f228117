"""The Bernoulli decoder, from the log-likelihood of the bits back to the latents."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, Observation


def decoder_gradient(z, W4, b4, W5, b5, x):
    k = np.tanh(z @ W4 + b4)
    logits = k @ W5 + b5
    log_likelihood = np.sum(x * logits - np.logaddexp(0, logits), axis=1)

    def pullback(dlog_likelihood):
        dlogits = dlog_likelihood[:, None] * (x - 1 / (1 + np.exp(-logits)))
        da = dlogits @ W5.T * (1 - k**2)
        return da @ W4.T, z.T @ da, da.sum(axis=0), k.T @ dlogits, dlogits.sum(axis=0), None

    return log_likelihood, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """B < Z < H < D, and hidden units well inside the bend of the tanh."""
    latents, hidden, features = rows + 1, rows + 3, rows + 4
    arguments = {
        "z": rng.standard_normal((rows, latents)),
        "W4": 0.5 * rng.standard_normal((latents, hidden)),
        "b4": 0.5 * rng.standard_normal(hidden),
        "W5": rng.standard_normal((hidden, features)),
        "b5": rng.standard_normal(features),
        "x": rng.integers(2, size=(rows, features)).astype(float),
    }
    return Draw(arguments, cotangent=rng.uniform(0.5, 2.0, rows), rows=rows)


def observe(function: Any, draw: Draw) -> Observation:
    """The likelihood, then the gradients from the logits down to the latents."""
    log_likelihood, pullback = function(**draw.arguments)
    dz, dW4, db4, dW5, db5, _ = pullback(draw.cotangent)
    return {"log_likelihood": log_likelihood, "dW5": dW5, "db5": db5, "dW4": dW4, "db4": db4, "dz": dz}


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of, apart by row still: (B, in, out) for weights, (B, out) for biases."""
    z, W4, b4, W5, b5, x = draw.arguments.values()
    d, k = draw.cotangent[:, None], np.tanh(z @ W4 + b4)
    logits = k @ W5 + b5
    p = 1 / (1 + np.exp(-logits))
    dlogits, dk = {"x": d * x, "-p": -d * p}, d * (x - p) @ W5.T
    da = {"1": dk, "-k²": -dk * k**2}
    return {
        "log_likelihood": {"x logits": x * logits, "-softplus": -np.logaddexp(0, logits)},
        "dW5": {"likelihood": {name: k[:, :, None] * part[:, None, :] for name, part in dlogits.items()}},
        "db5": {"likelihood": dlogits},
        "dW4": {"likelihood": {name: z[:, :, None] * part[:, None, :] for name, part in da.items()}},
        "db4": {"likelihood": da},
        "dz": {"likelihood": {name: part[:, None, :] * W4 for name, part in da.items()}},
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely, or in the place of another."""
    z, W4, b4, W5, b5, _ = draw.arguments.values()
    k = np.tanh(z @ W4 + b4)
    p = 1 / (1 + np.exp(-(k @ W5 + b5)))
    slopes = {"p (1 - p)": p * (1 - p), "1 - k²": 1 - k**2, "1 - tanh(k)²": 1 - np.tanh(k) ** 2, "1 - z²": 1 - z**2}
    return slopes | {"k": k, "k (1 - k)": k * (1 - k), "B": float(draw.rows), "D": float(b5.size), "H": float(b4.size)}


def _back(z, W4, W5, k, dlogits, slope):
    """From the logits' gradient to the rest, with this slope for the tanh."""
    da = dlogits @ W5.T * slope
    return da @ W4.T, z.T @ da, da.sum(axis=0), k.T @ dlogits, dlogits.sum(axis=0), None


def sigmoid_slope_extra(z, W4, b4, W5, b5, x):
    """(x - p) p (1 - p): the slope of the sigmoid once more, though it has cancelled."""
    k = np.tanh(z @ W4 + b4)
    logits = k @ W5 + b5
    p = 1 / (1 + np.exp(-logits))
    log_likelihood = np.sum(x * logits - np.logaddexp(0, logits), axis=1)
    return log_likelihood, lambda d: _back(z, W4, W5, k, d[:, None] * (x - p) * p * (1 - p), 1 - k**2)


def expected_minus_seen(z, W4, b4, W5, b5, x):
    """p - x, the gradient of the cross-entropy loss."""
    k = np.tanh(z @ W4 + b4)
    logits = k @ W5 + b5
    p = 1 / (1 + np.exp(-logits))
    log_likelihood = np.sum(x * logits - np.logaddexp(0, logits), axis=1)
    return log_likelihood, lambda d: _back(z, W4, W5, k, d[:, None] * (p - x), 1 - k**2)


def mean_over_pixels(z, W4, b4, W5, b5, x):
    """The mean over features, as the losses of most frameworks take it."""
    log_likelihood, pullback = decoder_gradient(z, W4, b4, W5, b5, x)
    features = x.shape[1]
    return log_likelihood / features, lambda d: pullback(d / features)


def tanh_slope_forgotten(z, W4, b4, W5, b5, x):
    """Goes through the hidden layer as if it were linear."""
    k = np.tanh(z @ W4 + b4)
    logits = k @ W5 + b5
    p = 1 / (1 + np.exp(-logits))
    log_likelihood = np.sum(x * logits - np.logaddexp(0, logits), axis=1)
    return log_likelihood, lambda d: _back(z, W4, W5, k, d[:, None] * (x - p), 1.0)


def slope_of_the_output(z, W4, b4, W5, b5, x):
    """1 - tanh(k)²: the tanh is taken of what is a tanh already."""
    k = np.tanh(z @ W4 + b4)
    logits = k @ W5 + b5
    p = 1 / (1 + np.exp(-logits))
    log_likelihood = np.sum(x * logits - np.logaddexp(0, logits), axis=1)
    return log_likelihood, lambda d: _back(z, W4, W5, k, d[:, None] * (x - p), 1 - np.tanh(k) ** 2)


def slope_of_the_latents(z, W4, b4, W5, b5, x):
    """Multiplies dz by 1 - z², as if the latents too had come out of a tanh."""
    log_likelihood, pullback = decoder_gradient(z, W4, b4, W5, b5, x)

    def wrong(dlog_likelihood):
        dz, *rest = pullback(dlog_likelihood)
        return dz * (1 - z**2), *rest

    return log_likelihood, wrong


EXERCISE = Exercise(
    name="decoder_gradient",
    title="The Bernoulli decoder, back to the latents",
    statement="""
        k = tanh(z W4 + b4), logits = k W5 + b5, and the log-likelihood of the bits x under them, in nats, one number
        per row; and back to the latents.

        z: (B, Z); W4: (Z, H); b4: (H,); W5: (H, D); b5: (D,); x: (B, D) bits; log_likelihood: (B,).
        Return (log_likelihood, pullback); `pullback(dlog_likelihood)` returns (dz, dW4, db4, dW5, db5, None).
    """,
    labels=("bernoulli.2", "bernoulli.4", "layers.2", "layers.3", "layers.6"),
    solution=decoder_gradient,
    draw=draw,
    observe=observe,
    terms=terms,
    factors=factors,
    differences={"dW5": "W5", "db5": "b5", "dW4": "W4", "db4": "b4", "dz": "z"},
    corners={
        "With logits of some hundreds": lambda draw: draw.but(W5=300 * draw.arguments["W5"]),
    },
    misconceptions=(
        Misconception(
            id="decoder_sigmoid_slope_extra",
            label="bernoulli.4",
            wrong=sigmoid_slope_extra,
            message="You multiplied by the sigmoid's slope once more: in x - sigmoid(logits) it has cancelled already.",
            hints=(
                "How strongly does a pixel learn that is surely wrong?",
                "Differentiate x logits - softplus(logits) directly, without a probability in between.",
                "1/(p (1 - p)) from the logarithms times p (1 - p) from the sigmoid is 1.",
            ),
            link="dW5",
            truth="likelihood × p (1 - p)",
            source="cross-entropy and sigmoid layers chained by hand",
        ),
        Misconception(
            id="decoder_expected_minus_seen",
            label="bernoulli.4",
            wrong=expected_minus_seen,
            message="Yours is the gradient of the loss: that of the log-likelihood is seen minus expected.",
            hints=(
                "Take a step along your gradient. Does the likelihood rise?",
                "A pixel is on and the logit says off. Must the logit go up or down?",
                "Compare the order of x and the probability.",
            ),
            link="dW5",
            truth="-1",
            source="code moved from a loss to a bound",
        ),
        Misconception(
            id="decoder_mean_over_pixels",
            label="bernoulli.2",
            wrong=mean_over_pixels,
            message="You averaged over the pixels: the log-likelihood of a picture is the sum over them.",
            hints=(
                "What is the probability of two independent bits?",
                "Beside a KL that is summed over latents, does your likelihood have its full weight?",
                "Your result is too small by a whole number.",
            ),
            link="log_likelihood",
            truth="1/D",
            source="mean-reduced cross-entropies in public VAEs",
            proof="law",
        ),
        Misconception(
            id="decoder_tanh_slope_forgotten",
            label="layers.6",
            wrong=tanh_slope_forgotten,
            message="The slope of the tanh, 1 - k², is missing on the way back.",
            hints=(
                "What does a saturated hidden unit pass back?",
                "Your first wrong gradient is the first one below the hidden layer. What lies in between?",
                "Each line of the way there has one on the way back. Count them.",
            ),
            link="dW4",
            truth="likelihood × 1/(1 - k²)",
            source="course forums: Wrong values for dW1",
        ),
        Misconception(
            id="decoder_slope_of_the_output",
            label="layers.6",
            wrong=slope_of_the_output,
            message="You took the tanh of k, which is a tanh already: its slope is 1 - k².",
            hints=(
                "What goes into the formula of the slope, the input or the output?",
                "At a unit with k near 1 the slope must be near 0. Is yours?",
                "k has been through the tanh once.",
            ),
            link="dW4",
            truth="likelihood × (1 - tanh(k)²)/(1 - k²)",
            source="course forums: Wrong values for dW1",
        ),
        Misconception(
            id="decoder_slope_of_the_latents",
            label="layers.3",
            wrong=slope_of_the_latents,
            message="You multiplied dz by 1 - z²: the latents went through no tanh, so dz is the affine map's alone.",
            hints=(
                "How did z come about? Was there a tanh?",
                "All gradients but the last are right. What did you do to it that the others were spared?",
                "dz = da @ W4.T, and then?",
            ),
            link="dz",
            truth="1 - z²",
            source="a loop over layers that multiplies by the slope once too often",
        ),
    ),
)
