"""The whole VAE and its gradient, and some forty ways to get a line of it wrong.

A misconception replaces one of the ``LINES`` of the way there and back, or those that belong together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, Observation


def vae_gradient(p, x, noise):
    h = np.tanh(x @ p["W1"] + p["b1"])
    mean = h @ p["W2"] + p["b2"]
    log_std = h @ p["W3"] + p["b3"]
    std = np.exp(log_std)
    z = mean + std * noise
    k = np.tanh(z @ p["W4"] + p["b4"])
    logits = k @ p["W5"] + p["b5"]
    log_likelihood = np.sum(x * logits - np.logaddexp(0, logits), axis=1)
    kl = 0.5 * np.sum(mean**2 + std**2 - 1 - 2 * log_std, axis=1)
    elbo = log_likelihood - kl

    g = {}
    dlogits = x - 1 / (1 + np.exp(-logits))
    g["W5"], g["b5"] = k.T @ dlogits, dlogits.sum(axis=0)
    dk = dlogits @ p["W5"].T * (1 - k**2)
    g["W4"], g["b4"] = z.T @ dk, dk.sum(axis=0)
    dz = dk @ p["W4"].T
    dmean = dz - mean
    dlog_std = dz * std * noise - (std**2 - 1)
    g["W2"], g["b2"] = h.T @ dmean, dmean.sum(axis=0)
    g["W3"], g["b3"] = h.T @ dlog_std, dlog_std.sum(axis=0)
    dh = (dmean @ p["W2"].T + dlog_std @ p["W3"].T) * (1 - h**2)
    g["W1"], g["b1"] = x.T @ dh, dh.sum(axis=0)
    return elbo, g


BACKWARDS = ("W5", "b5", "W4", "b4", "W2", "b2", "W3", "b3", "W1", "b1")


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """B < Z < H < D, units well inside the bend of the tanh, no std near 1."""
    Z, H, D = rows + 1, rows + 3, rows + 4
    shapes = {"W1": (D, H), "W2": (H, Z), "W3": (H, Z), "W4": (Z, H), "W5": (H, D)}
    p = {name: 0.4 * rng.standard_normal(shape) for name, shape in shapes.items()}
    p |= {f"b{name[1]}": 0.5 * rng.standard_normal(shape[1]) for name, shape in shapes.items()}
    p["W3"] *= 0.3
    p["b3"] = rng.choice([-1, 1], Z) * rng.uniform(0.5, 0.9, Z)
    x = rng.integers(2, size=(rows, D)).astype(float)
    noise = rng.choice([-1, 1], (rows, Z)) * rng.uniform(0.4, 1.6, (rows, Z))
    return Draw({"p": p, "x": x, "noise": noise}, rows=rows)


def observe(function: Any, draw: Draw) -> Observation:
    """The bound, then the gradients from the decoder's last layer to the encoder's first."""
    elbo, g = function(**draw.arguments)
    return {"elbo": elbo} | {f"d{name}": g[name] for name in BACKWARDS}


LINES: dict[str, Callable[..., Any]] = {
    "z": lambda mean, log_std, noise: mean + np.exp(log_std) * noise,
    "log_likelihood": lambda x, logits: np.sum(x * logits - np.logaddexp(0, logits), axis=1),
    "kl": lambda mean, log_std: 0.5 * np.sum(mean**2 + np.exp(2 * log_std) - 1 - 2 * log_std, axis=1),
    "dlogits": lambda x, logits: x - _sigmoid(logits),
    "dW5": lambda h, k, dlogits: k.T @ dlogits,
    "db5": lambda dlogits: dlogits.sum(axis=0),
    "decoder_slope": lambda k: 1 - k**2,
    "dW4": lambda mean, z, dk: z.T @ dk,
    "dmean": lambda dz, mean: dz - mean,
    "dlog_std": lambda dz, log_std, noise: dz * np.exp(log_std) * noise - (np.exp(2 * log_std) - 1),
    "dh": lambda p, dmean, dlog_std: dmean @ p["W2"].T + dlog_std @ p["W3"].T,
    "encoder_slope": lambda h: 1 - h**2,
}
"""The lines that a misconception may replace, by what stands to the left of the equals sign."""


def _vae(p: dict[str, Any], x: Any, noise: Any, **instead: Callable[..., Any]) -> tuple[Any, dict[str, Any]]:
    """The solution, with some of its ``LINES`` replaced."""
    line = LINES | instead
    h = np.tanh(x @ p["W1"] + p["b1"])
    mean = h @ p["W2"] + p["b2"]
    log_std = h @ p["W3"] + p["b3"]
    z = line["z"](mean, log_std, noise)
    k = np.tanh(z @ p["W4"] + p["b4"])
    logits = k @ p["W5"] + p["b5"]
    elbo = line["log_likelihood"](x, logits) - line["kl"](mean, log_std)

    g: dict[str, Any] = {}
    dlogits = line["dlogits"](x, logits)
    g["W5"], g["b5"] = line["dW5"](h, k, dlogits), line["db5"](dlogits)
    dk = dlogits @ p["W5"].T * line["decoder_slope"](k)
    g["W4"], g["b4"] = line["dW4"](mean, z, dk), dk.sum(axis=0)
    dz = dk @ p["W4"].T
    dmean = line["dmean"](dz, mean)
    dlog_std = line["dlog_std"](dz, log_std, noise)
    g["W2"], g["b2"] = h.T @ dmean, dmean.sum(axis=0)
    g["W3"], g["b3"] = h.T @ dlog_std, dlog_std.sum(axis=0)
    dh = line["dh"](p, dmean, dlog_std) * line["encoder_slope"](h)
    g["W1"], g["b1"] = x.T @ dh, dh.sum(axis=0)
    return elbo, g


def _sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


def _parts(draw: Draw) -> dict[str, Any]:
    """What is there on the way, by its name in the solution."""
    p, x, noise = draw.arguments.values()
    h = np.tanh(x @ p["W1"] + p["b1"])
    mean, log_std = h @ p["W2"] + p["b2"], h @ p["W3"] + p["b3"]
    std = np.exp(log_std)
    z = mean + std * noise
    k = np.tanh(z @ p["W4"] + p["b4"])
    logits = k @ p["W5"] + p["b5"]
    dlogits = x - _sigmoid(logits)
    dk = dlogits @ p["W5"].T * (1 - k**2)
    return {"h": h, "mean": mean, "std": std, "z": z, "k": k, "logits": logits, "dlogits": dlogits, "dk": dk} | {
        "dz": dk @ p["W4"].T
    }


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each output is a sum of, apart by row still: (B, in, out) for weights, (B, out) for biases."""
    p, x, noise = draw.arguments.values()
    h, mean, std, z, k, logits, dlogits, dk, dz = _parts(draw).values()
    slope = 1 - h**2
    dmean, dlog_std = dz - mean, dz * std * noise - (std**2 - 1)
    ways = {"through the mean": dmean @ p["W2"].T * slope, "through log_std": dlog_std @ p["W3"].T * slope}
    minus_kl = {"-½ mean²": -0.5 * mean**2, "-½ std²": -0.5 * std**2, "½": 0.5 + 0 * std, "log_std": np.log(std)}
    return {
        "elbo": {"log-likelihood": x * logits - np.logaddexp(0, logits), "-KL": minus_kl},
        **_of_layer("5", k, {"likelihood": dlogits}),
        **_of_layer("4", z, {"likelihood": dk}),
        **_of_layer("2", h, {"likelihood": dz, "-KL": -mean}),
        **_of_layer("3", h, {"likelihood": dz * std * noise, "-std² of the KL": -(std**2), "1 of the KL": 1 + 0 * std}),
        **_of_layer("1", x, ways),
    }


def _of_layer(name: str, inputs: Any, terms: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The gradients of a layer's weights and biases, row by row, from those of its outputs."""
    return {
        f"dW{name}": {term: inputs[:, :, None] * doutputs[:, None, :] for term, doutputs in terms.items()},
        f"db{name}": terms,
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely, or in the place of another."""
    _, mean, std, z, k, logits, *_ = _parts(draw).values()
    h, p = _parts(draw)["h"], _sigmoid(logits)
    slopes = {"p (1 - p)": p * (1 - p), "1 - k²": 1 - k**2, "1 - h²": 1 - h**2, "k (1 - k)": k * (1 - k)}
    twice = {"1 - tanh(k)²": 1 - np.tanh(k) ** 2, "1 - tanh(h)²": 1 - np.tanh(h) ** 2}
    units = {"h": h, "k": k, "mean": mean, "z": z, "std": std, "noise": draw.arguments["noise"]}
    sizes = {"B": draw.rows, "Z": z.shape[1], "H": h.shape[1], "D": logits.shape[1]}
    return slopes | twice | units | {name: float(size) for name, size in sizes.items()}


def _heads(draw: Draw, mean: Any, log_std: Any) -> Draw:
    """The same draw with other numbers from the heads, each (weights, bias) of the last hidden layer."""
    p = draw.arguments["p"] | {"W2": mean[0], "b2": mean[1], "W3": log_std[0], "b3": log_std[1]}
    return replace(draw, arguments={**draw.arguments, "p": p})


def _with_log_std(times: float) -> Callable[[Draw], Draw]:
    """log_std so many times as large."""

    def read(draw: Draw) -> Draw:
        p = draw.arguments["p"]
        return _heads(draw, (p["W2"], p["b2"]), (times * p["W3"], times * p["b3"]))

    return read


def _exchanged(draw: Draw) -> Draw:
    p = draw.arguments["p"]
    return _heads(draw, (p["W3"], p["b3"]), (p["W2"], p["b2"]))


READINGS = {
    "½ log_std for log_std": _with_log_std(0.5),
    "2 log_std for log_std": _with_log_std(2.0),
    "log_std and mean for mean and log_std": _exchanged,
}


# ---- misconceptions that show in the bound already


def printed_in_001(p, x, noise):
    """The KL with the signs of source 001, -½ Σ (1 + log σ² + σ² + μ²), followed faithfully on the way back."""
    return _vae(
        p,
        x,
        noise,
        kl=lambda mean, log_std: -0.5 * np.sum(1 + 2 * log_std + np.exp(2 * log_std) + mean**2, axis=1),
        dmean=lambda dz, mean: dz + mean,
        dlog_std=lambda dz, log_std, noise: dz * np.exp(log_std) * noise + 1 + np.exp(2 * log_std),
    )


def kl_added(p, x, noise):
    """The likelihood plus the KL, and its gradient."""
    return _vae(
        p,
        x,
        noise,
        kl=lambda mean, log_std: -LINES["kl"](mean, log_std),
        dmean=lambda dz, mean: dz + mean,
        dlog_std=lambda dz, log_std, noise: dz * np.exp(log_std) * noise + np.exp(2 * log_std) - 1,
    )


def no_kl(p, x, noise):
    """The likelihood alone: a noisy auto-encoder, whose noise dies out."""
    return _vae(
        p,
        x,
        noise,
        kl=lambda mean, log_std: 0.0,
        dmean=lambda dz, mean: dz,
        dlog_std=lambda dz, log_std, noise: dz * np.exp(log_std) * noise,
    )


def _weighted_kl(weight: float) -> dict[str, Callable[..., Any]]:
    """The lines of a VAE whose KL counts so much."""
    return {
        "kl": lambda mean, log_std: weight * LINES["kl"](mean, log_std),
        "dmean": lambda dz, mean: dz - weight * mean,
        "dlog_std": lambda dz, log_std, noise: dz * np.exp(log_std) * noise - weight * (np.exp(2 * log_std) - 1),
    }


def kl_averaged_over_latents(p, x, noise):
    """The mean of the KL over latents, where their sum is meant."""
    return _vae(p, x, noise, **_weighted_kl(1 / noise.shape[1]))


def kl_divided_by_rows(p, x, noise):
    """The KL divided by the batch size, beside a likelihood that is not."""
    return _vae(p, x, noise, **_weighted_kl(1 / len(x)))


def kl_of_the_batch(p, x, noise):
    """Each row's likelihood is charged with the KL of the whole batch."""
    weighted = _weighted_kl(len(x))
    return _vae(p, x, noise, **weighted | {"kl": lambda mean, log_std: np.sum(LINES["kl"](mean, log_std))})


def likelihood_averaged_over_pixels(p, x, noise):
    """The mean of the log-likelihood over pixels beside the sum of the KL over latents."""
    pixels = x.shape[1]
    return _vae(
        p,
        x,
        noise,
        log_likelihood=lambda x, logits: LINES["log_likelihood"](x, logits) / pixels,
        dlogits=lambda x, logits: (x - _sigmoid(logits)) / pixels,
    )


def squashed_twice(p, x, noise):
    """Probabilities given to a likelihood that takes logits, so that no pixel gets above 0.73."""
    return _vae(
        p,
        x,
        noise,
        log_likelihood=lambda x, logits: LINES["log_likelihood"](x, _sigmoid(logits)),
        dlogits=lambda x, logits: (x - _sigmoid(_sigmoid(logits))) * _sigmoid(logits) * _sigmoid(-logits),
    )


def log_variance_sampled(p, x, noise):
    """Samples with exp(log_std / 2), as if the head put out log σ², and takes the KL of exp(log_std)."""
    return _vae(
        p,
        x,
        noise,
        z=lambda mean, log_std, noise: mean + np.exp(log_std / 2) * noise,
        dlog_std=lambda dz, log_std, noise: 0.5 * dz * np.exp(log_std / 2) * noise - (np.exp(2 * log_std) - 1),
    )


def log_variance_in_the_kl(p, x, noise):
    """Samples with exp(log_std), and takes the KL as if log_std were log σ²."""
    return _vae(
        p,
        x,
        noise,
        kl=lambda mean, log_std: 0.5 * np.sum(mean**2 + np.exp(log_std) - 1 - log_std, axis=1),
        dlog_std=lambda dz, log_std, noise: dz * np.exp(log_std) * noise - 0.5 * (np.exp(log_std) - 1),
    )


def variance_as_scale(p, x, noise):
    """Multiplies the noise by the variance."""
    return _vae(
        p,
        x,
        noise,
        z=lambda mean, log_std, noise: mean + np.exp(2 * log_std) * noise,
        dlog_std=lambda dz, log_std, noise: 2 * dz * np.exp(2 * log_std) * noise - (np.exp(2 * log_std) - 1),
    )


def deterministic(p, x, noise):
    """Decodes the mean: the noise is not used."""
    return _vae(
        p,
        x,
        noise,
        z=lambda mean, log_std, noise: mean,
        dlog_std=lambda dz, log_std, noise: -(np.exp(2 * log_std) - 1),
    )


# ---- misconceptions of the way back


def expected_minus_seen(p, x, noise):
    """sigmoid(logits) - x, the gradient of the loss, beside a KL that still pulls the right way."""
    return _vae(p, x, noise, dlogits=lambda x, logits: _sigmoid(logits) - x)


def sigmoid_slope_extra(p, x, noise):
    """The slope of the sigmoid once more, though it has cancelled."""
    return _vae(p, x, noise, dlogits=lambda x, logits: (x - _sigmoid(logits)) * _sigmoid(logits) * _sigmoid(-logits))


def likelihood_divided_by_rows(p, x, noise):
    """The likelihood's gradient divided by the batch size, and the KL's not."""
    return _vae(p, x, noise, dlogits=lambda x, logits: (x - _sigmoid(logits)) / len(x))


def encoder_units_for_decoder_units(p, x, noise):
    """The encoder's hidden units in the gradient of the decoder's last weights; the shapes agree."""
    return _vae(p, x, noise, dW5=lambda h, k, dlogits: h.T @ dlogits)


def bias_averaged(p, x, noise):
    """The last bias's gradient averaged over rows, the weights' summed."""
    return _vae(p, x, noise, db5=lambda dlogits: dlogits.mean(axis=0))


def decoder_slope_forgotten(p, x, noise):
    """Goes back through the decoder's tanh as if it were not there."""
    return _vae(p, x, noise, decoder_slope=lambda k: 1.0)


def decoder_slope_of_the_output(p, x, noise):
    """1 - tanh(k)²: the tanh of what is a tanh already."""
    return _vae(p, x, noise, decoder_slope=lambda k: 1 - np.tanh(k) ** 2)


def decoder_slope_of_a_sigmoid(p, x, noise):
    """k (1 - k): the sigmoid's slope at a tanh."""
    return _vae(p, x, noise, decoder_slope=lambda k: k * (1 - k))


def mean_for_sample(p, x, noise):
    """The mean where the sample went in, in the gradient of the decoder's first weights."""
    return _vae(p, x, noise, dW4=lambda mean, z, dk: mean.T @ dk)


def kl_forgotten_in_mean(p, x, noise):
    """dmean is dz alone: the prior does not pull."""
    return _vae(p, x, noise, dmean=lambda dz, mean: dz)


def kl_gradient_added(p, x, noise):
    """The gradients of +KL, under a bound that has -KL."""
    return _vae(
        p,
        x,
        noise,
        dmean=lambda dz, mean: dz + mean,
        dlog_std=lambda dz, log_std, noise: dz * np.exp(log_std) * noise + np.exp(2 * log_std) - 1,
    )


def kl_forgotten_in_log_std(p, x, noise):
    """dlog_std has only what comes by the sample: every std shrinks."""
    return _vae(p, x, noise, dlog_std=lambda dz, log_std, noise: dz * np.exp(log_std) * noise)


def path_dropped(p, x, noise):
    """dlog_std has only the KL: the sample counts as a constant in it."""
    return _vae(p, x, noise, dlog_std=lambda dz, log_std, noise: -(np.exp(2 * log_std) - 1))


def noise_forgotten(p, x, noise):
    """dz std, without the noise that stands beside std in the sample."""
    return _vae(p, x, noise, dlog_std=lambda dz, log_std, noise: dz * np.exp(log_std) - (np.exp(2 * log_std) - 1))


def std_forgotten(p, x, noise):
    """dz noise, which is the gradient in std and not in its logarithm."""
    return _vae(p, x, noise, dlog_std=lambda dz, log_std, noise: dz * noise - (np.exp(2 * log_std) - 1))


def variance_for_std(p, x, noise):
    """dz variance noise."""
    return _vae(
        p, x, noise, dlog_std=lambda dz, log_std, noise: dz * np.exp(2 * log_std) * noise - (np.exp(2 * log_std) - 1)
    )


def other_noise_on_the_way_back(p, x, noise):
    """Other noise on the way back than on the way there: here that of another row, as good as drawn again."""
    return _vae(p, x, noise, dlog_std=lambda dz, log_std, noise: LINES["dlog_std"](dz, log_std, noise[::-1]))


def log_variance_gradient(p, x, noise):
    """The gradient in log σ², half of that in log σ."""
    return _vae(p, x, noise, dlog_std=lambda dz, log_std, noise: 0.5 * LINES["dlog_std"](dz, log_std, noise))


def kl_std_not_squared(p, x, noise):
    """The KL's share of dlog_std with std where the variance is meant."""
    return _vae(p, x, noise, dlog_std=lambda dz, log_std, noise: dz * np.exp(log_std) * noise - (np.exp(log_std) - 1))


def kl_one_added(p, x, noise):
    """The KL's share of dlog_std with the sign of source 001: variance + 1."""
    return _vae(
        p, x, noise, dlog_std=lambda dz, log_std, noise: dz * np.exp(log_std) * noise - (np.exp(2 * log_std) + 1)
    )


def only_through_the_mean(p, x, noise):
    """The first layer learns from the mean's head alone."""
    return _vae(p, x, noise, dh=lambda p, dmean, dlog_std: dmean @ p["W2"].T)


def only_through_log_std(p, x, noise):
    """The first layer learns from log_std's head alone: the second line overwrites the first."""
    return _vae(p, x, noise, dh=lambda p, dmean, dlog_std: dlog_std @ p["W3"].T)


def heads_swapped(p, x, noise):
    """Each head's gradient goes back through the other's weights; the shapes agree."""
    return _vae(p, x, noise, dh=lambda p, dmean, dlog_std: dmean @ p["W3"].T + dlog_std @ p["W2"].T)


def encoder_slope_forgotten(p, x, noise):
    """Goes back through the encoder's tanh as if it were not there."""
    return _vae(p, x, noise, encoder_slope=lambda h: 1.0)


def encoder_slope_of_the_output(p, x, noise):
    """1 - tanh(h)²: the tanh of what is a tanh already."""
    return _vae(p, x, noise, encoder_slope=lambda h: 1 - np.tanh(h) ** 2)


MISCONCEPTIONS = (
    Misconception(
        id="vae_kl_signs_of_001",
        label="normal.6a",
        wrong=printed_in_001,
        message="Your KL has the signs that source 001 prints: σ² and μ² have to count upwards, or it is negative.",
        hints=(
            "Can your KL be negative? A KL divergence cannot.",
            "Put in mean 0 and log_std 0: the KL has to be 0.",
            "Look at the signs of the mean's and std's squares against that of log_std.",
        ),
        link="elbo",
        truth="-½ mean² × -1",
        source="erratum 001-1",
        proof="law",
    ),
    Misconception(
        id="vae_kl_added",
        label="objectives.2",
        wrong=kl_added,
        message="You added the KL: the bound is the log-likelihood minus the KL.",
        hints=(
            "Is your bound still below log p(x)?",
            "A q far from the prior has a large KL. Should that raise the bound?",
            "A loss has +KL. This is a bound, which is maximised.",
        ),
        link="elbo",
        truth="-KL × -1",
        source="code moved from a loss to a bound",
        proof="law",
    ),
    Misconception(
        id="vae_no_kl",
        label="objectives.2",
        wrong=no_kl,
        message="The KL is missing: without it this is an auto-encoder with noise, and no bound.",
        hints=(
            "What keeps the latents near the prior?",
            "From which samples would your decoder generate?",
            "A bound has two parts.",
        ),
        link="elbo",
        truth="-KL × 0",
        source="KL weight left at 0 after an experiment, in public trackers",
        proof="law",
    ),
    Misconception(
        id="vae_kl_averaged_over_latents",
        label="objectives.2",
        wrong=kl_averaged_over_latents,
        message="You averaged the KL over the latents: it is their sum, as the likelihood is that over pixels.",
        hints=(
            "How does the KL of independent latents follow from theirs?",
            "Add a latent that equals its prior. Does your KL change?",
            "Your KL is too small by a whole number.",
        ),
        link="elbo",
        truth="-KL × 1/Z",
        source="mean() for sum() in public Keras VAEs",
        proof="law",
    ),
    Misconception(
        id="vae_kl_divided_by_rows",
        label="objectives.2",
        wrong=kl_divided_by_rows,
        message="You divided each row's KL by the batch size, and its likelihood not: both belong to one row.",
        hints=(
            "Does one row's bound depend on how many others are in the batch?",
            "Which of the two parts is divided by something, and which is not?",
            "The mean over rows is taken once, of the whole bound, and not in here.",
        ),
        link="elbo",
        truth="-KL × 1/B",
        source="KLD /= BATCH_SIZE * 784 in an early version of a much-copied example",
        proof="law",
    ),
    Misconception(
        id="vae_kl_of_the_batch",
        label="objectives.2",
        wrong=kl_of_the_batch,
        message="You charged each row with the KL of the whole batch: each has its own.",
        hints=(
            "Does one row's bound depend on the others in the batch?",
            "Which shape has your KL before it is taken away?",
            "Sum over the latents, not over the rows.",
        ),
        link="elbo",
        truth="mixes rows",
        source="mean likelihood beside a summed KL, in public PyTorch VAEs",
        proof="law",
    ),
    Misconception(
        id="vae_likelihood_averaged_over_pixels",
        label="bernoulli.2",
        wrong=likelihood_averaged_over_pixels,
        message="You averaged the log-likelihood over the pixels: it is their sum, or the KL outweighs it.",
        hints=(
            "What is the probability of two independent bits?",
            "Do all latents fall back to the prior? What could be too weak?",
            "Your log-likelihood is too small by a whole number.",
        ),
        link="elbo",
        truth="log-likelihood × 1/D",
        source="mean-reduced cross-entropy beside a summed KL, in public trackers",
        proof="law",
    ),
    Misconception(
        id="vae_squashed_twice",
        label="bernoulli.2",
        wrong=squashed_twice,
        message="You put probabilities where logits belong: x logits - softplus(logits) has the sigmoid in it already.",
        hints=(
            "How close to black or white can your pixels get?",
            "How often does a number pass a sigmoid between the last layer and the bound?",
            "The formula of the log-likelihood takes what the last layer puts out, as it is.",
        ),
        link="elbo",
        source="a sigmoid before a with-logits loss, in public trackers",
        proof="law",
    ),
    Misconception(
        id="vae_log_variance_sampled",
        label="normal.1",
        wrong=log_variance_sampled,
        message="Your sampler reads log_std as log σ² and your KL does not: std is exp(log_std) in both.",
        hints=(
            "Which std do the samples have, and which one does the KL speak of?",
            "What is std where log_std is 1, in each of the two places?",
            "Look for a ½ that does not belong there.",
        ),
        link="elbo",
        truth="½ log_std for log_std in log-likelihood",
        source="the most reported bug of written VAEs",
        proof="law",
    ),
    Misconception(
        id="vae_log_variance_in_the_kl",
        label="normal.6a",
        wrong=log_variance_in_the_kl,
        message="Your KL reads log_std as log σ² and your sampler does not: the variance is exp(2 log_std) in both.",
        hints=(
            "Which std do the samples have, and which one does the KL speak of?",
            "What is the variance where log_std is 1?",
            "σ² = exp(2 log_std), and log σ² = 2 log_std.",
        ),
        link="elbo",
        truth="½ log_std for log_std in -KL",
        source="numpy-ml and many others",
        proof="law",
    ),
    Misconception(
        id="vae_variance_as_scale",
        label="normal.1",
        wrong=variance_as_scale,
        message="You multiplied the noise by the variance: a sample is mean + std · noise.",
        hints=(
            "Which standard deviation do your samples have?",
            "In which units are mean, std and variance?",
            "exp(2 log_std) is the variance.",
        ),
        link="elbo",
        truth="2 log_std for log_std in log-likelihood",
        source="public trackers; its gradient check passes",
        proof="law",
    ),
    Misconception(
        id="vae_deterministic",
        label="normal.1",
        wrong=deterministic,
        message="You decoded the mean: the bound needs a sample, mean + std · noise.",
        hints=(
            "Does your bound change with the noise?",
            "What tells a VAE from an auto-encoder?",
            "One argument is not used.",
        ),
        link="elbo",
        truth="0 for noise",
        source="code for testing used in training, in public trackers",
        proof="law",
    ),
    Misconception(
        id="vae_expected_minus_seen",
        label="bernoulli.4",
        wrong=expected_minus_seen,
        message="Your dlogits is the loss's gradient: that of the bound is seen minus expected, x - sigmoid(logits).",
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
        id="vae_sigmoid_slope_extra",
        label="bernoulli.4",
        wrong=sigmoid_slope_extra,
        message="You multiplied dlogits by the sigmoid's slope: in x - sigmoid(logits) it has cancelled already.",
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
        id="vae_likelihood_divided_by_rows",
        label="objectives.3",
        wrong=likelihood_divided_by_rows,
        message="You divided the likelihood's gradient by the batch size and the KL's not: both are sums over rows.",
        hints=(
            "Is the gradient asked for that of the mean over rows, or of the sum?",
            "With larger batches, which part of the bound wins in your gradient?",
            "Your dlogits is too small by a whole number.",
        ),
        link="dW5",
        truth="1/B",
        source="mean likelihood beside a summed KL, in public trackers",
    ),
    Misconception(
        id="vae_encoder_units_in_dW5",
        label="layers.2",
        wrong=encoder_units_for_decoder_units,
        message="You used the encoder's hidden units in dW5: what went into that layer were the decoder's, k.",
        hints=(
            "What went into the last layer on the way there?",
            "Both hidden layers have the same size, so nothing complains. Which one is it?",
            "A weight's gradient is its input times its output's gradient.",
        ),
        link="dW5",
        truth="likelihood × h/k",
        source="reused names in hand-written VAEs",
    ),
    Misconception(
        id="vae_bias_averaged",
        label="layers.2",
        wrong=bias_averaged,
        message="You averaged the last bias's gradient over the rows: each row used it, so they add up.",
        hints=(
            "Does db5 grow with the number of rows, as dW5 does?",
            "A bias is a weight on an input that is always 1.",
            "Your db5 is too small by a whole number.",
        ),
        link="db5",
        truth="1/B",
        source="course forums: Wrong values for db",
    ),
    Misconception(
        id="vae_decoder_slope_forgotten",
        label="layers.6",
        wrong=decoder_slope_forgotten,
        message="The decoder's tanh is missing on the way back: multiply by its slope, 1 - k².",
        hints=(
            "What lies between W5 and W4 on the way there?",
            "What does a saturated hidden unit pass back?",
            "Each line of the way there has one on the way back. Count them.",
        ),
        link="dW4",
        truth="likelihood × 1/(1 - k²)",
        source="course forums: Wrong values for dW1",
    ),
    Misconception(
        id="vae_decoder_slope_of_the_output",
        label="layers.6",
        wrong=decoder_slope_of_the_output,
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
        id="vae_decoder_slope_of_a_sigmoid",
        label="layers.6",
        wrong=decoder_slope_of_a_sigmoid,
        message="You used the sigmoid's slope k (1 - k) at a tanh: its slope is 1 - k².",
        hints=(
            "Which function made k?",
            "Can a tanh have a negative slope? Look at your factor where k is negative.",
            "y (1 - y) belongs to the sigmoid. What belongs to the tanh?",
        ),
        link="dW4",
        truth="likelihood × (k (1 - k))/(1 - k²)",
        source="sigmoid networks changed to tanh",
    ),
    Misconception(
        id="vae_mean_for_sample_in_dW4",
        label="layers.2",
        wrong=mean_for_sample,
        message="You used the mean in dW4: what went into the decoder was the sample z.",
        hints=(
            "What went into the decoder on the way there?",
            "Does your dW4 know of the noise?",
            "A weight's gradient is its input times its output's gradient.",
        ),
        link="dW4",
        truth="likelihood × mean/z",
        source="hand-written VAEs grown out of auto-encoders",
    ),
    Misconception(
        id="vae_kl_forgotten_in_mean",
        label="objectives.3",
        wrong=kl_forgotten_in_mean,
        message="The KL's pull on the mean is missing: dmean is dz minus the mean.",
        hints=(
            "By how many ways does the mean reach the bound?",
            "What does the KL do when a mean moves away from 0?",
            "Differentiate -½ mean².",
        ),
        link="dW2",
        truth="-KL × 0",
        source="hand-written VAEs",
    ),
    Misconception(
        id="vae_kl_gradient_added",
        label="objectives.3",
        wrong=kl_gradient_added,
        message="Your gradients add the KL: the bound takes it away, so they have its minus sign too.",
        hints=(
            "Take a step along your gradient. Does the bound rise?",
            "In which direction must the prior pull the mean?",
            "The minus sign in front of the KL stands in front of its gradients too.",
        ),
        link="dW2",
        truth="-KL × -1",
        source="code moved from a loss to a bound",
    ),
    Misconception(
        id="vae_kl_forgotten_in_log_std",
        label="objectives.3",
        wrong=kl_forgotten_in_log_std,
        message="The KL's share of dlog_std is missing: it keeps every std from shrinking to nothing.",
        hints=(
            "By how many ways does log_std reach the bound?",
            "What keeps a std from becoming 0?",
            "Differentiate the KL in log_std: at std 1 it gives 0.",
        ),
        link="dW3",
        truth="-std² of the KL × 0",
        source="hand-written VAEs",
    ),
    Misconception(
        id="vae_path_dropped",
        label="normal.2",
        wrong=path_dropped,
        message="Your dlog_std has only the KL: the sample depends on std too, so dz comes back by it.",
        hints=(
            "By how many ways does log_std reach the bound?",
            "Every std goes to 1 in your VAE. What does not hold against it?",
            "z = mean + std · noise: follow dz through this line, into both.",
        ),
        link="dW3",
        truth="likelihood × 0",
        source="the path through the sample dropped, in course forums",
    ),
    Misconception(
        id="vae_noise_forgotten",
        label="normal.2",
        wrong=noise_forgotten,
        message="The noise is missing in dlog_std: std moves z by the noise that stands beside it.",
        hints=(
            "By how much does z move when std does?",
            "Rows with positive and negative noise: must they push std the same way?",
            "Differentiate mean + exp(log_std) · noise in log_std.",
        ),
        link="dW3",
        truth="likelihood × 1/noise",
        source="erratum 003-1, the line's second print",
    ),
    Misconception(
        id="vae_std_forgotten",
        label="normal.2",
        wrong=std_forgotten,
        message="A std is missing in dlog_std: you gave the sample's gradient in std, not in its logarithm.",
        hints=(
            "Of which variable is dlog_std the gradient?",
            "What is the derivative of exp(log_std)?",
            "Differentiate mean + exp(log_std) · noise in log_std.",
        ),
        link="dW3",
        truth="likelihood × 1/std",
        source="hand-written VAEs",
    ),
    Misconception(
        id="vae_variance_for_std",
        label="normal.2",
        wrong=variance_for_std,
        message="You have the variance where std belongs in dlog_std: z contains std · noise.",
        hints=(
            "Which power of std is in z?",
            "The derivative of exp(log_std) is itself.",
            "There is one std too many.",
        ),
        link="dW3",
        truth="likelihood × std",
        source="hand-written VAEs; erratum 003-1",
    ),
    Misconception(
        id="vae_other_noise_on_the_way_back",
        label="normal.2",
        wrong=other_noise_on_the_way_back,
        message="You used other noise on the way back than on the way there: each row keeps the noise of its sample.",
        hints=(
            "Which noise made the sample that was decoded?",
            "Is noise drawn, or its order changed, between the way there and the way back?",
            "Noise is an argument: the same numbers serve both ways.",
        ),
        link="dW3",
        source="noise drawn twice, in public trackers",
        proof="pullback",
    ),
    Misconception(
        id="vae_log_variance_gradient",
        label="objectives.3",
        wrong=log_variance_gradient,
        message="Your dlog_std is the gradient in log σ²: that in log σ is twice as large.",
        hints=(
            "Of which logarithm is this the gradient?",
            "log σ² = 2 log σ.",
            "Your result is the right one times a simple number.",
        ),
        link="dW3",
        truth="½",
        source="appendix B of the paper copied into code that has log_std",
    ),
    Misconception(
        id="vae_kl_std_not_squared",
        label="normal.6a",
        wrong=kl_std_not_squared,
        message="The KL's share of dlog_std has std where the variance belongs: it is -(std² - 1).",
        hints=(
            "Which power of std is in the KL?",
            "Differentiate ½ exp(2 log_std) in log_std.",
            "At std 1 yours is right. Try std 2.",
        ),
        link="dW3",
        truth="-std² of the KL × 1/std",
        source="hand-written VAEs",
    ),
    Misconception(
        id="vae_kl_one_added",
        label="normal.6a",
        wrong=kl_one_added,
        message="The KL's share of dlog_std has the sign of source 001: it is -(std² - 1), which is 0 at std 1.",
        hints=(
            "Where does the KL have its minimum, and what is its gradient there?",
            "Put in std 1: the KL's share has to be 0.",
            "std² and 1 pull in opposite directions.",
        ),
        link="dW3",
        truth="1 of the KL × -1",
        source="erratum 001-1",
    ),
    Misconception(
        id="vae_only_through_the_mean",
        label="layers.3",
        wrong=only_through_the_mean,
        message="The encoder's first layer learns from the mean's head alone: h was used by log_std too.",
        hints=(
            "How many arrows leave h?",
            "Let dmean be 0. Should dh be 0?",
            "An argument used twice gets the sum of both gradients.",
        ),
        link="dW1",
        truth="through log_std × 0",
        source="dropped paths in hand-written VAEs",
    ),
    Misconception(
        id="vae_only_through_log_std",
        label="layers.3",
        wrong=only_through_log_std,
        message="The encoder's first layer learns from log_std's head alone: what the mean hands back is overwritten.",
        hints=(
            "How many arrows leave h?",
            "Let dlog_std be 0. Should dh be 0?",
            "The second gradient has to be added to the first.",
        ),
        link="dW1",
        truth="through the mean × 0",
        source="= for += in hand-written VAEs",
    ),
    Misconception(
        id="vae_heads_swapped",
        label="layers.3",
        wrong=heads_swapped,
        message="You sent each head's gradient back through the other head's weights.",
        hints=(
            "Which weights made the mean?",
            "Both heads have the same shape, so nothing complains. Is each with its own?",
            "The way back crosses the same weights as the way there.",
        ),
        link="dW1",
        source="copied lines in hand-written VAEs",
    ),
    Misconception(
        id="vae_encoder_slope_forgotten",
        label="layers.6",
        wrong=encoder_slope_forgotten,
        message="The encoder's tanh is missing on the way back: multiply by its slope, 1 - h².",
        hints=(
            "What lies between the heads and W1 on the way there?",
            "What does a saturated hidden unit pass back?",
            "Each line of the way there has one on the way back. Count them.",
        ),
        link="dW1",
        truth="1/(1 - h²)",
        source="course forums: Wrong values for dW1",
    ),
    Misconception(
        id="vae_encoder_slope_of_the_output",
        label="layers.6",
        wrong=encoder_slope_of_the_output,
        message="You took the tanh of h, which is a tanh already: its slope is 1 - h².",
        hints=(
            "What goes into the formula of the slope, the input or the output?",
            "At a unit with h near 1 the slope must be near 0. Is yours?",
            "h has been through the tanh once.",
        ),
        link="dW1",
        truth="(1 - tanh(h)²)/(1 - h²)",
        source="course forums: Wrong values for dW1",
    ),
)

EXERCISE = Exercise(
    name="vae_gradient",
    title="The whole VAE",
    statement="""
        The paper's VAE with one sample, bits as data and the prior N(0, I): the bound of each row, in nats, and the
        gradient of the bounds' sum over rows in all weights.

        there: x (B, D) -> h = tanh(x W1 + b1) (B, H) -> mean = h W2 + b2, log_std = h W3 + b3 (B, Z)
        -> z = mean + exp(log_std) noise (B, Z) -> k = tanh(z W4 + b4) (B, H) -> logits = k W5 + b5 (B, D)

        p: a dict of W1 (D, H), b1, W2 (H, Z), b2, W3 (H, Z), b3, W4 (Z, H), b4, W5 (H, D), b5; x: (B, D) bits;
        noise: (B, Z), standard normal.
        Return (elbo, g): elbo (B,), and g a dict of the gradients with the names and shapes of p.

        One straight line there, and one back: each line of the way there gives one on the way back.
    """,
    labels=("objectives.2", "objectives.3", "bernoulli.4", "layers.6", "normal.2", "normal.6a"),
    solution=vae_gradient,
    draw=draw,
    observe=observe,
    terms=terms,
    factors=factors,
    readings=READINGS,
    corners={
        "With logits of some hundreds": lambda draw: draw.but(
            p=draw.arguments["p"] | {"W5": 300 * draw.arguments["p"]["W5"]}
        ),
    },
    misconceptions=MISCONCEPTIONS,
)
