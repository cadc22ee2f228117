"""What a distribution over the decoder's weights buys on MNIST, and what it costs.

    python benchmarks/full_variational_bayes.py train --rows 100 1000 --seeds 0 1   # into results/; minutes a run
    python benchmarks/full_variational_bayes.py train --rows 10000 --seeds 0
    python benchmarks/full_variational_bayes.py train --only ml local --samples 600000    # to its end
    python benchmarks/full_variational_bayes.py measure                             # µs per step, variance of gradients
    python benchmarks/full_variational_bayes.py draws                               # log p(x) by draws of the weights
    python benchmarks/full_variational_bayes.py table                               # as Markdown, from results/
    python benchmarks/full_variational_bayes.py draw                                # the picture, from results/

784-100-10-100-784, bits drawn once, float32.  All runs of a seed and a number of rows start from the same encoder and
the same (mean) weights of the decoder, and see as many rows.  ``ml``: a point estimate of all weights.  ``map``: the
same with N(0, I/precision) on the decoder's weights, what full variational Bayes has for a prior; nothing on the
encoder's, in either.  ``A``, ``B``, ``local``: full variational Bayes by the three bounds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from numvae import elbo, mlp_vae
from numvae.arrays import Array, Pullback
from numvae.datasets import load
from numvae.datasets.binarization import binarize_once, fixed
from numvae.datasets.dataset import Dataset
from numvae.distributions.broadcasting import halves
from numvae.estimators import log_mean_exp, pathwise
from numvae.evaluation import evaluate
from numvae.figures import Picture, save
from numvae.learning.full_variational_bayes import (
    BayesianVAE,
    FullBound,
    full_bound,
    full_bound_local,
    full_bound_monte_carlo,
    predictive_log_likelihood,
    start_full,
    train_full,
    weight_kl,
)
from numvae.marginal_likelihood.importance import importance_weighted_bounds
from numvae.objectives import weight_log_prior
from numvae.optimizers import Adam
from numvae.training import Recipe, State, start, train

RESULTS = Path(__file__).parent / "results" / "full_variational_bayes.json"
PICTURE = RESULTS.with_suffix(".png")

VAE = mlp_vae(784, latents=10, hidden=(100,))
SAMPLES, MILESTONES = 150_000, (1 / 15, 2 / 15, 4 / 15, 8 / 15, 12 / 15, 1.0)
STEP_SIZE, START_STD = 0.003, 0.1
TESTED_ROWS, PREDICTED_ROWS, WEIGHT_DRAWS, Z_SAMPLES = 1000, 400, 10, 20

BOUNDS: dict[str, FullBound] = {"A": full_bound_monte_carlo, "B": full_bound, "local": full_bound_local}
COMPARED = [
    *(("ml", 0.0), ("A", 1.0), ("B", 1.0), ("local", 1.0), ("map", 1.0)),
    *(("local", 30.0), ("map", 30.0)),
]
"""(method, precision of the prior of the decoder's weights)."""


# ---- one run


@lru_cache(maxsize=1)
def mnist() -> Dataset:
    """Bits drawn once."""
    return replace(binarize_once(load("mnist", seed=0), seed=0), train_labels=None, test_labels=None)


def data(rows: int, seed: int) -> Dataset:
    """So many training rows, others for each seed; of the test rows the first, which are the same for all."""
    whole = mnist()
    picked = np.random.default_rng([seed, rows]).choice(len(whole.train), rows, replace=False)
    return replace(whole, train=whole.train[picked], test=whole.test[:TESTED_ROWS])


def recipe(seed: int) -> Recipe:
    """Epochs are none of its business: runs end at a number of samples."""
    return Recipe(epochs=10**9, optimizer=Adam(STEP_SIZE), binarize=fixed, seed=seed)


def map_of_decoder(precision: float, rows: int) -> Callable[..., tuple[Array, Pullback]]:
    """The ELBO of each row + log p(θ) / N, θ the decoder's weights: an objective."""

    def objective(model: Any, theta: Array, x: Array, noise: Array, estimator: Any = pathwise) -> Any:
        bound, bound_pullback = elbo(model, theta, x, noise, estimator)
        log_prior, prior_pullback = weight_log_prior(model.layout.views(theta)["decoder"], precision)

        def pullback(dbound: Array) -> tuple[Array, None, None]:
            dtheta, _, _ = bound_pullback(dbound)
            ddecoder = model.layout.views(dtheta)["decoder"]
            ddecoder += prior_pullback(float(np.sum(dbound)) / rows)[0]
            return dtheta, None, None

        return bound + log_prior / rows, pullback

    return objective


@lru_cache(maxsize=2)
def learn(method: str, precision: float, rows: int, seed: int, samples: int) -> tuple[Array, list[list[float]], float]:
    """The weights (theta, or lam), [samples, test bound, training bound] at milestones, CPU seconds of the steps."""
    dataset, settings = data(rows, seed), recipe(seed)
    curve: list[list[float]] = []
    spent = 0.0
    bayesian = BayesianVAE(VAE, precision) if method in BOUNDS else None
    if bayesian is not None:
        state = start_full(bayesian, dataset, settings, weight_std=START_STD)
    else:
        if method == "map":
            settings = replace(settings, objective=map_of_decoder(precision, rows))
        state = start(VAE, dataset, settings)
    of_step = replace(dataset, test=dataset.test[:1])  # the ordinary loop tests after every epoch
    for part in MILESTONES:
        until = round(part * samples)
        clock = time.process_time()
        if bayesian is not None:
            train_full(bayesian, of_step, settings, state, samples=until, bound=BOUNDS[method])
        else:
            batch = min(settings.batch, rows)
            train(VAE, of_step, settings, state, on_batch=lambda s, last=until // batch: s.step >= last)
        spent += time.process_time() - clock
        shown = (dataset.test, dataset.train[:TESTED_ROWS])
        curve.append([until, *(bound_at(state.theta, rows_shown) for rows_shown in shown)])
    return state.theta, curve, spent


def bound_at(weights: Array, rows: Array) -> float:
    """The ELBO per datum at the weights, of q(θ) the mean ones."""
    theta = weights[: VAE.layout.size]
    return evaluate(VAE, theta, rows, rng=np.random.default_rng(0), binarize=fixed).elbo


def likelihood(theta: Array, x: Array) -> Array:
    """log p(x) of each row by as many samples as all draws of the weights together have."""
    samples = WEIGHT_DRAWS * Z_SAMPLES
    return importance_weighted_bounds(VAE, theta, x, rng=np.random.default_rng(1), samples=samples).best


def judge(method: str, precision: float, weights: Array, rows: int, seed: int, samples: int) -> dict[str, Any]:
    """What a run has come to; ``gain_on_ml`` is paired, row by row, with the point estimate after as many samples."""
    rng, theta, dataset = np.random.default_rng(1), weights[: VAE.layout.size], data(rows, seed)
    x = fixed(dataset.test[:PREDICTED_ROWS], rng, np.float32)
    at_mean, of_ml = likelihood(theta, x), likelihood(learn("ml", 0.0, rows, seed, samples)[0], x)
    found: dict[str, Any] = {"at_mean_weights": with_error(at_mean), "predictive": with_error(at_mean)}
    found["gain_on_ml"] = with_error(at_mean - of_ml)
    found["active_latents"] = int(np.sum(halves(VAE.encode(theta, x))[0].var(axis=0) > 0.01))
    found["hidden_units_in_use"] = units_in_use(theta, x)
    if method not in BOUNDS:
        return found
    model = BayesianVAE(VAE, precision)
    predictive = predictive_log_likelihood(model, weights, x, rng=rng, weight_draws=WEIGHT_DRAWS, samples=Z_SAMPLES)
    found["predictive"] = with_error(predictive.log_likelihood)
    found["gain_on_ml"] = with_error(predictive.log_likelihood - of_ml)
    found["one_draw"] = with_error(predictive.of_one_draw)
    pieces = model.layout.views(weights)
    found["weight_kl_per_datum"] = round(float(weight_kl(pieces["mean"], pieces["log_std"], precision)[0]) / rows, 2)
    found["full_bound"] = round(bound_of_data_set(model, weights, dataset.train), 2)
    found["weights_larger_than_their_std"] = round(
        float(np.mean(np.abs(pieces["mean"]) > np.exp(pieces["log_std"]))), 3
    )
    return found


def units_in_use(theta: Array, x: Array) -> int:
    """Hidden units of the decoder that move a logit by more than 0.05, root mean square over rows and pixels."""
    leaves = dict(VAE.layout.leaves(theta))
    W, b, out = (leaves[name] for name in ("decoder.1.W", "decoder.1.b", "decoder.3.W"))
    hidden = np.tanh(halves(VAE.encode(theta, x))[0] @ W + b)
    return int(np.sum(hidden.std(axis=0) * np.sqrt(np.mean(out**2, axis=1)) > 0.05))


def bound_of_data_set(model: BayesianVAE, lam: Array, rows: Array, least: int = 4000) -> float:
    """The full bound per datum of the training set, by ``least`` samples or more."""
    rng, values = np.random.default_rng(2), []
    for _ in range(max(1, least // len(rows))):
        for begin in range(0, min(len(rows), least), 250):
            x = fixed(rows[begin : begin + 250], rng, np.float32)
            z_noise = VAE.draw_noise(pathwise, rng, (1, len(x)), np.float32)
            local_noise = model.local_noise(rng, (1, len(x)), np.float32)
            values.append(full_bound_local(model, lam, x, z_noise, local_noise, len(rows))[0])
    return float(np.mean(np.concatenate(values)))


def with_error(values: Array) -> list[float]:
    """Mean and standard error over rows."""
    return [round(float(values.mean()), 2), round(float(values.std(ddof=1)) / math.sqrt(len(values)), 2)]


def run(method: str, precision: float, rows: int, seed: int, samples: int = SAMPLES) -> dict[str, Any]:
    """Learn and judge."""
    weights, curve, seconds = learn(method, precision, rows, seed, samples)
    judged = judge(method, precision, weights, rows, seed, samples)
    rounded = [[until, round(test, 2), round(training, 2)] for until, test, training in curve]
    key = {"rows": rows, "seed": seed, "method": method, "precision": precision, "samples": samples}
    return {**key, "cpu_seconds": round(seconds, 1), "curve": rounded, **judged}


def by_draws(draws: int = 200, z_samples: int = 10, tested: int = 100) -> dict[str, Any]:
    """How log p(x) of ``local`` at precision 1 grows with K draws of the weights: means over disjoint groups of K."""
    found: dict[str, Any] = {"at_mean_weights": {}}
    for rows in (100, 1000):
        lam, _, _ = learn("local", 1.0, rows, 0, SAMPLES)
        x = fixed(data(rows, 0).test[:tested], np.random.default_rng(1), np.float32)
        of_draws = predictive_log_likelihood(
            BayesianVAE(VAE, 1.0), lam, x, rng=np.random.default_rng(1), weight_draws=draws, samples=z_samples
        ).of_draws
        found[str(rows)] = {
            str(k): round(float(np.mean(log_mean_exp(of_draws.reshape(-1, k, tested).swapaxes(0, 1))[0])), 2)
            for k in (1, 10, 50, 100, 200)
        }
        at_mean = likelihood(lam[: VAE.layout.size], x).mean()
        found["at_mean_weights"][str(rows)] = round(float(at_mean), 2)
    return {"weight_draws_check": found}


# ---- cost and variance


def measure(rounds: int = 15, steps: int = 10, draws: int = 40) -> dict[str, Any]:
    """µs of CPU per step of each method, in turns; and the variance of the gradient by each of the three bounds.

    The variance is that of all noise, for one batch of 100 of 10,000 rows, after 50,000 samples of ``local``.
    """
    dataset, settings = data(10_000, 0), recipe(0)
    model = BayesianVAE(VAE)
    state = start_full(model, dataset, settings, weight_std=START_STD)
    train_full(model, dataset, settings, state, samples=50_000)
    return {
        "cost": cost(model, dataset, settings, rounds, steps),
        "variance": variance(model, state.theta, dataset, draws),
    }


def cost(model: BayesianVAE, dataset: Dataset, settings: Recipe, rounds: int, steps: int) -> dict[str, Any]:
    """Median µs of CPU per step, and quartiles over rounds of the ratio to ``ml``."""
    states: dict[str, State] = {name: start_full(model, dataset, settings) for name in BOUNDS}
    point = start(VAE, dataset, settings)
    times: dict[str, list[float]] = {name: [] for name in ("ml", *BOUNDS)}
    for _ in range(rounds):
        for name, of_method in times.items():
            clock = time.process_time()
            if name == "ml":
                train(VAE, dataset, settings, point, on_batch=lambda s, last=point.step + steps: s.step >= last)
            else:
                state = states[name]
                train_full(
                    model, dataset, settings, state, samples=(state.step + steps) * settings.batch, bound=BOUNDS[name]
                )
            of_method.append((time.process_time() - clock) / steps * 1e6)
    found = {}
    for name, of_method in times.items():
        ratio = np.array(of_method) / np.array(times["ml"])
        found[name] = {
            "microseconds": round(float(np.median(of_method))),
            "ratio": [round(float(q), 2) for q in np.quantile(ratio, [0.25, 0.5, 0.75])],
        }
    return found


def variance(model: BayesianVAE, lam: Array, dataset: Dataset, draws: int) -> dict[str, Any]:
    """Σ of the coordinates' variances in the mean weights and in their log-stds, with standard errors over draws."""
    rng = np.random.default_rng(3)
    x = fixed(dataset.train[:100], rng, np.float32)
    found: dict[str, Any] = {}
    for name, bound in BOUNDS.items():
        gradients = []
        for _ in range(draws):
            z_noise = VAE.draw_noise(pathwise, rng, (1, len(x)), np.float32)
            local = model.local_noise(rng, (1, len(x)), np.float32)
            weight_noise = local if name == "local" else model.weight_noise(rng, np.float32)
            _, pullback = bound(model, lam, x, z_noise, weight_noise, len(dataset.train))
            gradients.append(pullback(np.full(len(x), 1 / len(x), np.float32))[0])
        pieces = model.layout.views(np.arange(lam.size))
        for piece in ("encoder", "mean", "log_std"):
            of_piece = np.array(gradients)[:, pieces[piece]]
            squares = np.sum((of_piece - of_piece.mean(axis=0)) ** 2, axis=1) * draws / (draws - 1)
            found.setdefault(name, {})[piece] = [
                float(f"{squares.mean():.4g}"), float(f"{squares.std(ddof=1) / math.sqrt(draws):.2g}")
            ]  # fmt: skip
    return found


# ---- what is shown


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "| rows | seed | method | precision | samples | test bound | best on the way | training bound | full bound | "
        "log p(x) | gain on ML | at mean weights | active latents | units in use | CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for found in results["runs"]:
        last = found["curve"][-1]
        cells = [
            *(str(found[key]) for key in ("rows", "seed", "method")),
            f"{found['precision']:g}" if found["method"] != "ml" else "",
            f"{found['samples']:,}",
            *(f"{last[1]:.1f}", f"{max(point[1] for point in found['curve']):.1f}", f"{last[2]:.1f}"),
            f"{found['full_bound']:.1f}" if "full_bound" in found else "",
            *(f"{found[key][0]:.1f} ± {found[key][1]:.1f}" for key in ("predictive", "gain_on_ml", "at_mean_weights")),
            *(str(found[key]) for key in ("active_latents", "hidden_units_in_use")),
            f"{found['cpu_seconds']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


INK, QUIET, GRID = "#27313b", "#6b7683", "#e6e9ed"
SHOWN: dict[tuple[str, float], tuple[str, dict[str, Any]]] = {
    ("ml", 0.0): ("ML", {"color": "#c0392b"}),
    ("map", 1.0): ("MAP, τ = 1", {"color": "#e08700"}),
    ("map", 30.0): ("MAP, τ = 30", {"color": "#e08700", "linestyle": "--"}),
    ("local", 1.0): ("full VB, τ = 1", {"color": "#0072b2"}),
    ("local", 30.0): ("full VB, τ = 30", {"color": "#0072b2", "linestyle": "--"}),
}


def curves(runs: Sequence[dict[str, Any]]) -> list[Axes]:
    """The test bound at the (mean) weights against the samples seen, one panel for each number of rows.

    Of a method with a longer run its end is shown as well; lines are means over seeds.
    """
    sizes = sorted({found["rows"] for found in runs})
    figure = Picture(figsize=(0.9 + 2.9 * len(sizes), 3.5))
    width = 1 / figure.get_figwidth()
    panels = []
    for place, rows in enumerate(sizes):
        ax = figure.add_axes(((0.8 + 2.9 * place) * width, 0.26, 2.3 * width, 0.63))
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(QUIET)
        ax.tick_params(which="both", colors=QUIET, labelcolor=INK, labelsize=9, length=3)
        ax.grid(True, color=GRID, linewidth=0.8)
        ax.set_axisbelow(True)
        for how, (name, style) in SHOWN.items():
            chosen = [found for found in runs if (found["method"], found["precision"], found["rows"]) == (*how, rows)]
            usual = [found["curve"] for found in chosen if found["samples"] == SAMPLES]
            line = np.mean(np.array(usual), axis=0)[:, :2].tolist()
            line += [point[:2] for found in chosen if found["samples"] > SAMPLES for point in found["curve"]
                     if point[0] > SAMPLES]  # fmt: skip
            ax.plot(*np.array(line).T, label=name, linewidth=1.8, **style)
        ax.set_xscale("log")
        ax.set_title(f"{rows:,} training rows", loc="left", fontsize=9.5, color=INK)
        ax.set_xlabel("training samples seen", color=INK, size=9.5)
        panels.append(ax)
    panels[0].set_ylabel("test bound (nats per datum)", color=INK, size=9.5)
    figure.legend(
        *panels[0].get_legend_handles_labels(), ncols=len(SHOWN), loc="lower center", frameon=False, fontsize=9,
        labelcolor=INK,
    )  # fmt: skip
    return panels


def read() -> dict[str, Any]:
    """What is in results/ so far."""
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"runs": []}
    return found


def write(change: Callable[[dict[str, Any]], None]) -> None:
    """Read anew, change, write."""
    results = read()
    results["setting"] = {
        **{"layers": "784-100-10-100-784", "samples": SAMPLES, "batch": 100, "adam": STEP_SIZE},
        **{"start_std": START_STD, "test_rows": TESTED_ROWS, "predicted_rows": PREDICTED_ROWS},
        **{"weight_draws": WEIGHT_DRAWS, "z_samples": Z_SAMPLES},
    }
    change(results)
    results["runs"].sort(
        key=lambda found: (found["rows"], found["seed"], found["samples"], found["method"] != "ml", found["precision"])
    )
    fresh = RESULTS.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(results, indent=1) + "\n")
    fresh.replace(RESULTS)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train and judge what is not there yet")
    training.add_argument("--rows", type=int, nargs="+", default=[100, 1000, 10_000])
    training.add_argument("--seeds", type=int, nargs="+", default=[0])
    training.add_argument("--only", nargs="+", default=["ml", "map", *BOUNDS], metavar="METHOD")
    training.add_argument("--samples", type=int, default=SAMPLES)
    commands.add_parser("measure", help="cost of a step and variance of the gradient")
    commands.add_parser("draws", help="log p(x) by the number of draws of the weights")
    commands.add_parser("table", help="print the results as Markdown")
    commands.add_parser("draw", help="draw the picture")
    options = parser.parse_args()
    if options.command == "measure":
        measured = measure()
        write(lambda results: results.update(measured))
    elif options.command == "draws":
        counted = by_draws()
        write(lambda results: results.update(counted))
    elif options.command == "table":
        print(table(read()))
    elif options.command == "draw":
        save(curves(read()["runs"])[0], PICTURE)
    else:
        there = {
            tuple(found[k] for k in ("method", "precision", "rows", "seed", "samples")) for found in read()["runs"]
        }
        methods = [how for how in COMPARED if how[0] in options.only]
        wanted = [
            (*how, rows, seed, options.samples) for rows in options.rows for seed in options.seeds for how in methods
        ]
        for key in wanted:
            if key not in there:
                found = run(*key)
                write(lambda results, found=found: results["runs"].append(found))
                print(table({"runs": [found]}).splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
