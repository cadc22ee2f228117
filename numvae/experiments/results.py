"""What was obtained, a row for every run, beside what was reported: for the page and for ``results.json``."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from numvae import __version__
from numvae.atomic import write_atomically
from numvae.experiments.review import STARTS_FROM
from numvae.experiments.running import Trained

__all__ = ["REPORTED", "made_with", "obtained", "write_results"]

NOT_REPORTED = "not reported"
REPORTED: Mapping[str, str] = {
    "model_3": "“much more difficult to train”",
    "exponential_bernoulli": "left as future work",
    "exponential_normal": "left as future work",
    "exponential_poisson": "left as future work",
    "counts": "left as future work",
    "denoising": "proposed on the poster",
}
"""What the sources say of an experiment's outcome.  Of none of them is a number known for certain."""


def obtained(name: str, trained: Trained) -> dict[str, Any]:
    """One run as a row of numbers and words; what is not there, or not finite, is None.

    Bounds in nats per test datum, of the last epoch.  ``squared_error``: grey values in [0, 1], summed over pixels,
    mean over test data, decoded from the mean latent.  ``least_std``: of a likelihood that has one for every pixel.
    """
    run, last = trained.run, trained.last
    numbers = {
        **{key: last.get(key) for key in ("test_elbo", "test_reconstruction", "test_kl")},
        "squared_error": float(trained.squared_errors(trained.dataset.test).mean()),
        "seconds": round(run.state.seconds, 1),
    }
    return {
        "experiment": name,
        "starts_from": STARTS_FROM.get(name),
        "data": run.config.data,
        "train_rows": len(trained.dataset.train),
        "test_rows": len(trained.dataset.test),
        "epochs": run.state.epoch,
        "likelihood": run.config.likelihood,
        "least_std": run.config.least_std if run.config.likelihood == "normal" else None,
        **{key: value if value is not None and math.isfinite(value) else None for key, value in numbers.items()},
        "diverged": trained.diverged,
        "reported": REPORTED.get(name, NOT_REPORTED),
    }


def made_with(runs: Mapping[str, Trained]) -> str:
    """Versions, machine and seeds: what the numbers hold for."""
    seeds = sorted({trained.run.config.seed for trained in runs.values()})
    return (
        f"numvae {__version__}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"{platform.system()} on {platform.machine()} with {os.cpu_count()} cores, "
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    )


def write_results(path: Path, profile: str, runs: Mapping[str, Trained], words: Mapping[str, str]) -> None:
    """Write everything that was obtained as JSON: a row for each run, and each figure's sentence with numbers in it."""
    content = {
        "profile": profile,
        "made_with": made_with(runs),
        "runs": [obtained(name, trained) for name, trained in runs.items()],
        "figures": {name: sentence for name, sentence in words.items() if sentence},
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
