"""The importance-weighted bound, and a gradient in which every sample counts by its normalised weight."""

from __future__ import annotations

from typing import Any

import numpy as np

from numvae.exercises.contract import Draw, Exercise, Misconception, of_rule


def importance_weighted(log_likelihood, mean, log_std, noise):
    std = np.exp(log_std)
    z = mean + std * noise
    log_w = log_likelihood + np.sum(log_std + 0.5 * noise**2 - 0.5 * z**2, axis=-1)
    largest = np.max(log_w, axis=0)
    w = np.exp(log_w - largest)
    bound = largest + np.log(np.mean(w, axis=0))

    def pullback(dbound):
        dlog_w = dbound * w / np.sum(w, axis=0)
        d = dlog_w[..., None]
        return dlog_w, np.sum(-d * z, axis=0), np.sum(d * (1 - z * std * noise), axis=0), None

    return bound, pullback


def draw(rng: np.random.Generator, rows: int) -> Draw:
    """Log-weights a nat or two apart, so that several samples count; no std near 1."""
    samples, latents = rows + 1, rows + 3
    arguments = {
        "log_likelihood": rng.uniform(-7.0, -4.0, (samples, rows)),
        "mean": rng.standard_normal((rows, latents)),
        "log_std": rng.choice([-1, 1], (rows, latents)) * rng.uniform(0.2, 0.4, (rows, latents)),
        "noise": 0.5 * rng.standard_normal((samples, rows, latents)),
    }
    return Draw(arguments, cotangent=rng.uniform(0.5, 2.0, rows), rows=rows)


def terms(draw: Draw) -> dict[str, dict[str, Any]]:
    """What each gradient is a sum of, apart by sample still; the bound is a logarithm of a sum, and no sum itself."""
    log_likelihood, mean, log_std, noise = draw.arguments.values()
    std = np.exp(log_std)
    z = mean + std * noise
    dlog_w = draw.cotangent * _normalised(_log_weights(log_likelihood, mean, log_std, noise))
    d = dlog_w[..., None]
    return {
        "dlog_likelihood": {"dbound·weight": dlog_w},
        "dmean": {"log prior": -d * z},
        "dlog_std": {"log prior": -d * z * std * noise, "-log q": d + 0 * noise},
    }


def factors(draw: Draw) -> dict[str, Any]:
    """What may be there once too often or too rarely."""
    log_w = _log_weights(**draw.arguments)
    weight = _normalised(log_w)
    return {
        "log w": log_w,
        "weight": weight,
        "Σ weights": np.sum(np.exp(log_w - np.max(log_w, axis=0)), axis=0),
        "log w - Σ weight log w": log_w - np.sum(weight * log_w, axis=0),
        "S": float(len(log_w)),
        "Z": float(draw.arguments["mean"].shape[-1]),
        "z": draw.arguments["mean"] + np.exp(draw.arguments["log_std"]) * draw.arguments["noise"],
        "std": np.exp(draw.arguments["log_std"]),
        "2": 2.0,
    }


def _log_weights(log_likelihood, mean, log_std, noise):
    """log p(x|z) + log p(z) - log q(z|x), (S, B); the ½ log 2π of the two normals cancel."""
    z = mean + np.exp(log_std) * noise
    return log_likelihood + np.sum(log_std + 0.5 * noise**2 - 0.5 * z**2, axis=-1)


def _normalised(log_w, axis=0):
    """The weights' shares of their sum."""
    w = np.exp(log_w - np.max(log_w, axis=axis, keepdims=True))
    return w / np.sum(w, axis=axis, keepdims=True)


def _handing_out(weights, mean, log_std, noise):
    """The pullback that gives each log-weight this much of the bound's gradient."""
    std = np.exp(log_std)
    z = mean + std * noise

    def pullback(dbound):
        dlog_w = dbound * weights
        d = dlog_w[..., None]
        return dlog_w, np.sum(-d * z, axis=0), np.sum(d * (1 - z * std * noise), axis=0), None

    return pullback


def logs_averaged(log_likelihood, mean, log_std, noise):
    """The mean of the log-weights: the ELBO with S samples, in value and gradient."""
    log_w = _log_weights(log_likelihood, mean, log_std, noise)
    return np.mean(log_w, axis=0), _handing_out(np.ones_like(log_w) / len(log_w), mean, log_std, noise)


def logs_averaged_on_the_way_back(log_likelihood, mean, log_std, noise):
    """The right bound, and the ELBO's gradient: every sample counts the same."""
    bound, _ = importance_weighted(log_likelihood, mean, log_std, noise)
    return bound, _handing_out(np.ones_like(log_likelihood) / len(noise), mean, log_std, noise)


def weights_not_normalised(log_likelihood, mean, log_std, noise):
    """Weights relative to the largest, not to their sum."""
    bound, _ = importance_weighted(log_likelihood, mean, log_std, noise)
    log_w = _log_weights(log_likelihood, mean, log_std, noise)
    return bound, _handing_out(np.exp(log_w - np.max(log_w, axis=0)), mean, log_std, noise)


def weights_not_held(log_likelihood, mean, log_std, noise):
    """The gradient of Σ weight × log-weight with the weights moving too: they are followed twice."""
    bound, _ = importance_weighted(log_likelihood, mean, log_std, noise)
    log_w = _log_weights(log_likelihood, mean, log_std, noise)
    weights = _normalised(log_w)
    surprise = log_w - np.sum(weights * log_w, axis=0)
    return bound, _handing_out(weights * (1 + surprise), mean, log_std, noise)


def weights_over_rows(log_likelihood, mean, log_std, noise):
    """A softmax over the rows of the batch instead of the samples."""
    bound, _ = importance_weighted(log_likelihood, mean, log_std, noise)
    log_w = _log_weights(log_likelihood, mean, log_std, noise)
    return bound, _handing_out(_normalised(log_w, axis=1), mean, log_std, noise)


def weights_squared(log_likelihood, mean, log_std, noise):
    """The squared weights of the doubly reparameterised gradient, on all paths and for the likelihood too."""
    bound, _ = importance_weighted(log_likelihood, mean, log_std, noise)
    weights = _normalised(_log_weights(log_likelihood, mean, log_std, noise))
    return bound, _handing_out(weights**2, mean, log_std, noise)


EXERCISE = Exercise(
    name="importance_weighted",
    title="The importance-weighted bound and its gradient",
    statement="""
        log (1/S) Σ_s w_s with w_s = p(x, z_s)/q(z_s|x), in nats, for z = mean + exp(log_std) noise, the prior N(0, I)
        and log p(x|z) given; and its pullback.

        log_likelihood: (S, B), log p(x|z) of each sample, also near -800; mean, log_std: (B, Z); noise: (S, B, Z);
        bound: (B,).
        Return (bound, pullback); `pullback(dbound)` returns (dlog_likelihood, dmean, dlog_std, None), with
        log_likelihood and noise held, as in monte_carlo_bound.

        It is estimator A's log-weights, reduced by log_mean_exp. How much of the gradient does each sample get?
    """,
    labels=("objectives.6", "reductions.3", "reductions.4"),
    solution=importance_weighted,
    draw=draw,
    observe=of_rule("bound", "dlog_likelihood", "dmean", "dlog_std", ""),
    terms=terms,
    factors=factors,
    differences={"dlog_likelihood": "log_likelihood", "dmean": "mean", "dlog_std": "log_std"},
    corners={
        "With log-likelihoods near -800": lambda draw: draw.but(log_likelihood=draw.arguments["log_likelihood"] - 800),
    },
    misconceptions=(
        Misconception(
            id="iwae_logs_averaged",
            label="objectives.6",
            wrong=logs_averaged,
            message="You averaged the log-weights: that is the ELBO. The weights are averaged first, then comes the "
            "logarithm.",
            hints=(
                "Does your bound grow with the number of samples, on average?",
                "With one sample this bound is the ELBO. With more it should lie above.",
                "Which comes first, the mean or the logarithm?",
            ),
            link="bound",
            truth="mean log w for bound",
            source="public importance-weighted code",
            proof="law",
        ),
        Misconception(
            id="iwae_even_weights",
            label="reductions.4",
            wrong=logs_averaged_on_the_way_back,
            message="Your bound is right, but each sample gets 1/S of its gradient: it gets its share of the weights.",
            hints=(
                "Which sample moves the bound most?",
                "Differentiate the logarithm of a sum in one of its parts.",
                "The shares are those of a softmax over the samples.",
            ),
            link="dlog_likelihood",
            truth="1/(weight·S)",
            source="the ELBO's backward pass kept for the new bound",
        ),
        Misconception(
            id="iwae_weights_not_normalised",
            label="reductions.4",
            wrong=weights_not_normalised,
            message="Your weights are not normalised: divided by their sum over samples, they add up to 1.",
            hints=(
                "How much do your samples get together, if dbound is 1?",
                "Raise all log-likelihoods by 1: the bound rises by 1. What do your gradients say?",
                "Something is missing in the denominator.",
            ),
            link="dlog_likelihood",
            truth="Σ weights",
            source="public importance-weighted code",
        ),
        Misconception(
            id="iwae_weights_not_held",
            label="reductions.4",
            wrong=weights_not_held,
            message="You followed the weights twice: in Σ weight × log-weight they have to be held.",
            hints=(
                "Where does your sum of weights times log-weights come from?",
                "The derivative of the log-mean-exp has the weights in it already.",
                "If the weights are allowed to move as well, a second part appears that does not belong there.",
            ),
            link="dlog_likelihood",
            truth="dbound·weight·(log w - Σ weight log w) added",
            source="missing detach() on the weights of public PyTorch code",
        ),
        Misconception(
            id="iwae_weights_over_rows",
            label="reductions.4",
            wrong=weights_over_rows,
            message="Your weights add up to 1 over the rows of the batch: they should over the samples of each row.",
            hints=(
                "Does your gradient for one picture depend on which others are in the batch?",
                "Along which axis do your weights add up to 1?",
                "The first axis is that of the samples.",
            ),
            link="dlog_likelihood",
            truth="mixes rows",
            source="softmax(dim=-1) on (S, B)",
        ),
        Misconception(
            id="iwae_weights_squared",
            label="reductions.4",
            wrong=weights_squared,
            message="You squared the weights, as the doubly reparameterised gradient does for q's part alone: this "
            "gradient has them once.",
            hints=(
                "How much do your samples get together, if dbound is 1?",
                "Of which value is this the derivative?",
                "Squared weights belong to another estimator, one that has dropped log q's own derivative.",
            ),
            link="dlog_likelihood",
            truth="weight",
            source="DReG's weights used for decoder and encoder alike",
        ),
    ),
)
