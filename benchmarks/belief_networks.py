"""Sigmoid belief networks on MNIST under one discrete estimator after another, beside what the papers report.

    python benchmarks/belief_networks.py train runs/belief                   # ten runs, one after another; hours
    python benchmarks/belief_networks.py train runs/belief --only linear_disarm linear_relax
    python benchmarks/belief_networks.py measure runs/belief                 # bounds and variances, into results/
    python benchmarks/belief_networks.py table                               # both as Markdown, from results/

Each run is an ordinary ``numvae train`` and can be opened by every other command.  Settings as in the papers: 200 bits,
batches of 24, bits of the images drawn once, 50,000 training rows.  What differs is said in README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from numvae.adaptation import adapt, estimators_at, start_adaptation
from numvae.arrays import Array
from numvae.belief_networks import SigmoidBeliefNetwork, first_layer_integrand, layered_bound
from numvae.config import read_config
from numvae.estimators import sample_mean
from numvae.estimators.catalogue import ESTIMATORS
from numvae.evaluation import evaluate, evaluate_importance_weighted
from numvae.runs import create_run, open_run
from numvae.training import train

RESULTS = Path(__file__).parent / "results" / "belief_networks.json"

BATCH, TRAIN_ROWS = 24, 50_000
STEPS_PER_EPOCH = -(-TRAIN_ROWS // BATCH)

NETWORKS: dict[str, dict[str, Any]] = {
    "linear": {"hidden": [], "lr": 0.01, "epochs": 96},
    "nonlinear": {"hidden": [200, 200], "lr": 0.001, "epochs": 24},
}
TRAINED: dict[str, dict[str, Any]] = {
    "disarm": {"estimator": "disarm"},
    "reinforce_loo": {"estimator": "reinforce_loo", "samples": 2},
    "rebar": {"estimator": "adaptive_rebar"},
    "vimco": {"estimator": "vimco", "objective": "importance_weighted", "samples": 5},
    "relax": {"estimator": "relax"},
}
COMPARED = {
    "reinforce": 1,
    "nvil": 1,
    "muprop": 1,
    "reinforce_loo": 2,
    "arm": 1,
    "disarm": 1,
    "rebar": 1,
    "adaptive_rebar": 1,
    "relax": 1,
}
"""Estimators whose variance is measured, and the samples (of ARM and DisARM the pairs) in one estimate."""

EVALUATED_ROWS, EVALUATED_SAMPLES = 10_000, 100
PROBED_ROWS, DRAWS, ADAPTING_STEPS = 24, 400, 2000

REPORTED = {
    "linear": {"rebar": -111.6, "relax": -111.20},
    "nonlinear": {"rebar": -81.01, "relax": -78.13},
}
"""Training bounds after 2,000,000 steps, as the RELAX paper (Grathwohl et al. 2018) prints them."""


def train_runs(folder: Path, only: list[str], epochs: int | None) -> None:
    """Train what is not there yet, for so many epochs or those of ``NETWORKS``."""
    for network, usual in NETWORKS.items():
        settings = {**usual, "epochs": epochs or usual["epochs"]}
        for name, choice in TRAINED.items():
            run_folder = folder / f"{network}_{name}"
            if (only and run_folder.name not in only) or run_folder.exists():
                continue
            config = read_config(
                None,
                {
                    **{"data": "mnist", "binarize": "fixed", "train_rows": TRAIN_ROWS, "model": "sbn", "latent": 200},
                    **{"batch": BATCH, "schedule": "cosine"},
                    **{"schedule_options": {"steps": settings["epochs"] * STEPS_PER_EPOCH}, **settings, **choice},
                },
            )
            run, dataset = create_run(config, run_folder)
            train(run.model, dataset, run.recipe, run.state, on_epoch=lambda state: print(state.history[-1]))
            run.save()


def measure_runs(folder: Path) -> None:
    """Evaluate every run, and compare the estimators' variances where the DisARM runs have come to."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"runs": {}, "variances": {}}
    for run_folder in sorted(path for path in folder.iterdir() if (path / "config.json").exists()):
        run = open_run(run_folder)
        dataset = run.load_data()
        if not isinstance(run.model, SigmoidBeliefNetwork):
            sys.exit(f"{run_folder} is no run of a belief network; leave only such runs in {folder}")
        print(run_folder.name)
        keywords: dict[str, Any] = {"rng": np.random.default_rng(0), "binarize": run.recipe.binarize}
        bounds = {
            "train": evaluate(run.model, run.theta, dataset.train, **keywords),
            "test": evaluate(run.model, run.theta, dataset.test, **keywords),
        }
        likelihood = evaluate_importance_weighted(
            run.model, run.theta, dataset.test[:EVALUATED_ROWS], samples=EVALUATED_SAMPLES, **keywords
        )
        results["runs"][run_folder.name] = {
            "steps": run.state.step,
            **{name: [round(bound.elbo, 3), round(bound.standard_error, 3)] for name, bound in bounds.items()},
            f"test_L{EVALUATED_SAMPLES}": round(likelihood, 3),
            "curve": [[row["step"], round(row["train_elbo"], 3)] for row in run.state.history],
        }
        if run_folder.name.endswith("disarm"):
            x = run.recipe.binarize(dataset.train[:1000], np.random.default_rng(0), np.float64)
            results["variances"][run_folder.name] = variances(run.model, run.theta.astype(np.float64), x)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def variances(model: SigmoidBeliefNetwork, theta: Array, rows: Array) -> dict[str, list[float]]:
    """Estimator -> total variance of its gradient in the logits of q(z|x), mean over rows, and its standard error.

    One row of data is one batch: nothing of the variance is that of the minibatch.  An estimator that learns has first
    learned at these weights.
    """
    found = {}
    for name, samples in COMPARED.items():
        rng = np.random.default_rng(1)
        estimator = ESTIMATORS[name]
        adaptation = start_adaptation(estimator, model, theta, rows, rng=rng)
        if adaptation is not None:
            for _ in range(ADAPTING_STEPS):
                x = rows[rng.integers(len(rows), size=BATCH)]
                deta = np.zeros_like(adaptation.eta)
                learning = estimators_at(estimator, adaptation, deta)
                noise = model.draw_noise(learning, rng, (samples, len(x)))
                layered_bound(model, theta, x, noise, learning)[1](np.full(len(x), 1 / len(x)))
                adapt(estimator, adaptation, deta)
        frozen = estimators_at(estimator, adaptation)
        per_row = []
        for row in rows[:PROBED_ROWS]:
            x = np.repeat(row[None], DRAWS, axis=0)
            noise = model.draw_noise(frozen, rng, (samples, DRAWS))
            f = first_layer_integrand(model, theta, x, noise, frozen)
            _, pullback = frozen(model.posterior, model.encode(theta, x), noise, f, sample_mean)
            per_row.append(float(pullback(np.ones(DRAWS))[0].var(axis=0, ddof=1).sum()))
        found[name] = [float(np.mean(per_row)), float(np.std(per_row, ddof=1) / np.sqrt(PROBED_ROWS))]
        print(f"  {name:16} {found[name][0]:12.4g} ± {found[name][1]:.2g}")
    return found


def print_tables() -> None:
    """Markdown: obtained beside reported, then the variances."""
    results = json.loads(RESULTS.read_text())
    print("| network | estimator | steps | train bound | reported | test bound | test L100 |")
    print("|---|---|---|---|---|---|---|")
    order = [f"{network}_{name}" for network in NETWORKS for name in TRAINED]
    for folder, run in sorted(results["runs"].items(), key=lambda item: (item[0] not in order, item[0])):
        network, name = folder.split("_", 1)
        reported = REPORTED.get(network, {}).get(name, "")
        test = f"{run['test'][0]:.2f} | {run[f'test_L{EVALUATED_SAMPLES}']:.2f}"
        print(f"| {network} | {name} | {run['steps']:,} | {run['train'][0]:.2f} | {reported} | {test} |")
    print()
    print("| estimator | samples | " + " | ".join(results["variances"]) + " |")
    print("|---|---|" + "---|" * len(results["variances"]))
    for name, samples in COMPARED.items():
        cells = [f"{found[name][0]:.3g} ± {found[name][1]:.1g}" for found in results["variances"].values()]
        print(f"| {name} | {samples} | " + " | ".join(cells) + " |")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train what is not there yet")
    training.add_argument("folder", type=Path)
    training.add_argument("--only", nargs="+", default=[], metavar="NETWORK_ESTIMATOR")
    training.add_argument("--epochs", type=int, help="passes through the data (default: 96 linear, 24 nonlinear)")
    commands.add_parser("measure", help="evaluate the runs of a folder").add_argument("folder", type=Path)
    commands.add_parser("table", help="print the results as Markdown")
    options = parser.parse_args()
    if options.command == "train":
        train_runs(options.folder, options.only, options.epochs)
    elif options.command == "measure":
        measure_runs(options.folder)
    else:
        print_tables()


if __name__ == "__main__":
    main()
