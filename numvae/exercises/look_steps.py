"""Are the steps of a training right on average, and each a fresh estimate?  The gradient's mean, and the loop's log."""

# mypy: allow-untyped-calls

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from numvae.arrays import Array
from numvae.checks import check_unbiased
from numvae.exercises.hunted import Code
from numvae.exercises.ladder.vae_gradient import BACKWARDS
from numvae.exercises.looks import LATENTS, ROWS, Fact, Gradient, Look, small_case
from numvae.one_page import elbo_and_gradient

__all__ = ["estimator", "loop_facts"]

SIGNIFICANCE = 1e-6


def estimator(code: Code, seed: int) -> Look:
    """Is the gradient right on average over the noise, and is each step's estimate a fresh one of all the data?"""
    with np.errstate(all="ignore"):
        facts = [
            *_mean_facts(code.vae_gradient, seed),
            *loop_facts(code.train_vae, ("rows", "minibatches", "noise"), seed),
        ]
    question = "Estimator: are the steps right on average, and each from fresh noise, over all the data?"
    return Look("estimator", question, ("it gives", "should be"), tuple(facts))


def _mean_facts(gradient: Gradient, seed: int, repeats: int = 400) -> Iterator[Fact]:
    """Mean gradients over noise against that of the true bound: `one_page`, integrated over the noise by quadrature."""
    p, x, _ = small_case(seed)
    rng = np.random.default_rng([seed, 2])
    drawn = [gradient(p, x, rng.standard_normal((ROWS, LATENTS)))[1] for _ in range(repeats)]
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    weights = weights / weights.sum()
    truth = {name: np.zeros(np.shape(p[name])) for name in BACKWARDS}
    for (a, weight_a), (b, weight_b) in itertools.product(zip(nodes, weights, strict=True), repeat=2):
        _, g = elbo_and_gradient(p, x, np.tile([a, b], (ROWS, 1)))
        for name in BACKWARDS:
            truth[name] += weight_a * weight_b * g[name]
    for name in BACKWARDS:
        estimates = np.stack([g[name] for g in drawn])
        report = check_unbiased(estimates, truth[name], rng=rng, significance=SIGNIFICANCE)
        error = report.standard_error.ravel()
        worst = int(np.argmax(np.abs(estimates.mean(axis=0) - truth[name]).ravel() / (error + 1e-12)))
        mean, right = report.mean.ravel()[worst], truth[name].ravel()[worst]
        yield Fact(f"mean of d{name}, worst entry", (f"{mean:.3g} ± {error[worst]:.1g}", f"{right:.3g}"), report.ok)


# ---- the loop

LOOP = {
    "rows": "rows visited",
    "minibatches": "minibatches as drawn",
    "noise": "noise as drawn for row and epoch",
    "weights": "gradients taken at the newest weights",
    "gradient": "gradients handed to Adam as they are",
    "t": "steps that Adam is told the number of",
    "averages": "averages handed on to the next step",
}
SHOWN_EPOCHS = ("in the first epoch", "later")


def loop_facts(train_vae: Callable[..., Any], names: Sequence[str], seed: int) -> Iterator[Fact]:
    """The loop alone, around a gradient and an Adam that only write down what they are given."""
    kept = _watch_loop(train_vae, seed)
    for name in names:
        for epochs, when in zip((kept[:1], kept[1:]), SHOWN_EPOCHS, strict=True):
            good, all_of_them = (sum(epoch[name][k] for epoch in epochs) for k in (0, 1))
            yield Fact(f"{LOOP[name]}, {when}", (f"{good}", f"{all_of_them}"), good == all_of_them)


def _watch_loop(train_vae: Callable[..., Any], seed: int) -> list[dict[str, tuple[int, int]]]:
    """For each epoch and each question: how often it was as it should be, out of how many times."""
    rng = np.random.default_rng([seed, 3])
    total, batch, epochs = 11, 4, 3
    steps = -(-total // batch)
    orders = np.stack([rng.permutation(total) for _ in range(epochs)])
    noise = rng.permutation(epochs * total).reshape(epochs, total).astype(float)
    log: list[dict[str, Any]] = []

    def gradient(theta: Array, x: Array, noise: Array) -> Array:
        log.append({"at": float(theta[0]), "x": x, "noise": noise, "gradient": float(len(log) + 1)})
        return np.full(1, float(len(log)))

    moves: list[tuple[float, ...]] = []

    def adam_step(theta: Array, gradient: Array, m: Array, v: Array, t: int) -> Any:
        moves.append((float(theta[0]), float(gradient[0]), float(m[0]), float(v[0]), float(t)))
        return theta + 1.0, m + 1.0, v + 2.0

    train_vae(np.zeros(1), np.arange(total, dtype=float), orders, noise, batch, gradient, adam_step)
    per_epoch = len(log) // epochs
    found = []
    for epoch in range(epochs):
        due = [orders[epoch, start : start + batch] for start in range(0, total, batch)]
        here = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        seen = [log[k]["x"].astype(int) for k in here]
        found.append(
            {
                "rows": (len(set(np.concatenate(seen).tolist())), total),
                "minibatches": (sum(map(np.array_equal, seen, due)), min(len(seen), steps)),
                "noise": (
                    sum(np.array_equal(log[k]["noise"], noise[epoch][x]) for k, x in zip(here, seen, strict=True)),
                    per_epoch,
                ),
                "weights": (sum(log[k]["at"] == moves[k][0] for k in here), per_epoch),
                "gradient": (sum(log[k]["gradient"] == moves[k][1] for k in here), per_epoch),
                "t": (sum(moves[k][4] == k + 1 for k in here), per_epoch),
                "averages": (sum(moves[k][2:4] == (k, 2 * k) for k in here), per_epoch),
            }
        )
    return found
