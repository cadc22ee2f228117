"""What flows buy on MNIST: the same small model with a normal posterior, planar and inverse autoregressive flows.

    python benchmarks/flows.py                       # every run of seed 0, results into results/flows.json; minutes
    python benchmarks/flows.py --seeds 0 1 --latents 20
    python benchmarks/flows.py --table               # as Markdown, from results/

All runs of a seed start from the same seed, see the same rows in the same order and are evaluated on the same bits.
The gap is L_500 - ELBO: at most KL(q(z|x) ‖ p(z|x)), which is what a richer q is there to close.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae import mlp_vae
from numvae.datasets import load
from numvae.datasets.binarization import fresh
from numvae.estimators import log_mean_exp
from numvae.evaluation import batches
from numvae.flows import mlp_flow_vae
from numvae.flows.catalogue import FLOWS
from numvae.objectives import elbo_monte_carlo
from numvae.training import Recipe, start, train

RESULTS = Path(__file__).parent / "results" / "flows.json"

HIDDEN, FLOW_HIDDEN, EPOCHS = 200, 200, 10
TESTED_ROWS, SAMPLES = 2000, 500
COMPARED = {
    "normal": ("none", 0),
    "planar-4": ("planar", 4),
    "planar-10": ("planar", 10),
    "planar-16": ("planar", 16),
    "iaf-2": ("iaf", 2),
    "iaf-4": ("iaf", 4),
}
"""Name -> (flow, steps)."""


def build(name: str, latents: int) -> Any:
    """The model 784-200-latents with the flow of that name."""
    kind, steps = COMPARED[name]
    if kind == "none":
        return mlp_vae(784, latents=latents, hidden=(HIDDEN,))
    return mlp_flow_vae(784, FLOWS[kind](latents, steps, FLOW_HIDDEN), hidden=(HIDDEN,))


def measure(name: str, latents: int, seed: int, epochs: int) -> dict[str, Any]:
    """Train one model and evaluate it; ``per_row`` (2, rows): the ELBO and L_500 of each test row, nats."""
    dataset = load("mnist", seed=0)
    model = build(name, latents)
    recipe = Recipe(epochs=epochs, objective=elbo_monte_carlo, seed=seed)
    state = start(model, dataset, recipe)
    train(model, dataset, recipe, state)
    clock, per_row = time.perf_counter(), []
    rows, rng = dataset.test[:TESTED_ROWS], np.random.default_rng(0)
    for x, noise in batches(model, state.theta, rows, rng, SAMPLES, fresh, "cpu"):
        log_weights = sum(term.astype(np.float64) for term in model.log_weights(state.theta, x, noise))
        per_row.append([log_weights.mean(axis=0), log_mean_exp(log_weights)[0]])
    return {
        "weights": model.layout.size,
        "train_seconds": round(state.seconds, 1),
        "evaluation_seconds": round(time.perf_counter() - clock, 1),
        "test_elbo_by_epoch": [round(row["test_elbo"], 2) for row in state.history],
        "per_row": np.concatenate(per_row, axis=1),
    }


def summary(per_row: npt.NDArray[np.float64], normal: npt.NDArray[np.float64]) -> dict[str, list[float]]:
    """Mean and standard error over rows of the ELBO, L_500, their gap, and what each gains on the normal's, paired."""
    elbo, bound = per_row
    values = {
        "elbo": elbo,
        "l500": bound,
        "gap": bound - elbo,
        "elbo_gain": elbo - normal[0],
        "l500_gain": bound - normal[1],
        "gap_change": (bound - elbo) - (normal[1] - normal[0]),
    }
    return {
        key: [round(float(value.mean()), 3), round(float(value.std(ddof=1)) / math.sqrt(len(value)), 3)]
        for key, value in values.items()
    }


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "| latents | posterior | seed | weights | ELBO | L_500 | gap | ELBO gain | L_500 gain | training |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in results["runs"]:
        cells = [f"{run[key][0]:.2f} ± {run[key][1]:.2f}" for key in ("elbo", "l500", "gap", "elbo_gain", "l500_gain")]
        head = [str(run["latents"]), run["posterior"], str(run["seed"]), f"{run['weights']:,}"]
        lines.append(f"| {' | '.join([*head, *cells])} | {run['train_seconds']:.0f} s |")
    return "\n".join(lines)


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--latents", type=int, nargs="+", default=[20, 2])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="show what was measured, measure nothing")
    options = parser.parse_args()
    results: dict[str, Any] = {"runs": []}
    if options.results.exists():
        results = json.loads(options.results.read_text())
    if options.table:
        print(table(results))
        return
    results["setting"] = {"hidden": HIDDEN, "flow_hidden": FLOW_HIDDEN, "epochs": options.epochs}
    results["setting"] |= {"test_rows": TESTED_ROWS, "samples": SAMPLES}
    for seed in options.seeds:
        for latents in options.latents:
            normal = None
            for name in COMPARED:
                found = measure(name, latents, seed, options.epochs)
                per_row = found.pop("per_row")
                normal = per_row if normal is None else normal
                run = {"latents": latents, "posterior": name, "seed": seed, **found, **summary(per_row, normal)}
                same = ("latents", "posterior", "seed")
                others = [old for old in results["runs"] if any(old[key] != run[key] for key in same)]
                results["runs"] = [*others, run]
                options.results.parent.mkdir(exist_ok=True)
                options.results.write_text(json.dumps(results, indent=1) + "\n")
                print(table({"runs": [run]}).splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
