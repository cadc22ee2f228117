"""What goes wrong where a normal likelihood has a standard deviation for every pixel, measured while it trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from numvae.atomic import write_atomically
from numvae.datasets import Dataset
from numvae.models import VAE
from numvae.randomness import generator
from numvae.runs import Run
from numvae.training import State, bound_and_gradient

__all__ = ["ScaleWatch", "read_scales"]

SCALES = "scales.jsonl"
EVERY = 20
PROBED_ROWS = 100


class ScaleWatch:
    """Call it after every step; ``save`` writes the run's scales.jsonl, a line for every ``EVERY`` steps.

    Each line: the length of the gradient of the mean bound, the smallest standard deviation that the decoder puts out,
    and the squared error of reconstructions, all on the same few test rows with the same noise.
    """

    def __init__(self, run: Run, dataset: Dataset) -> None:
        assert isinstance(run.model, VAE), "it looks at a VAE's likelihood"
        self.model, self.recipe, self.path = run.model, run.recipe, run.folder / SCALES
        rng, dtype = generator(run.config.seed, "evaluation", 2), run.state.theta.dtype
        self.x = self.recipe.binarize(dataset.test[:PROBED_ROWS], rng, dtype)
        self.noise = run.model.posterior.noise(rng, (1, len(self.x), run.model.latents), dtype)
        self.lines = [line for line in read_scales(run.folder) if line["step"] <= run.state.step]

    @np.errstate(all="ignore")  # what overflows is the very thing to be seen
    def __call__(self, state: State) -> None:
        """Measure, if it is time."""
        if state.step % EVERY:
            return
        model, theta = self.model, state.theta
        _, gradient = bound_and_gradient(model, theta, self.x, self.noise)
        params = model.decode(theta, model.posterior.mean(model.encode(theta, self.x)))
        errors = model.likelihood.mean(params) - self.x
        self.lines.append(
            {
                "step": state.step,
                "samples": state.step * self.recipe.batch,
                "gradient_norm": float(np.linalg.norm(gradient.astype(np.float64))),
                "least_std": float(model.likelihood.std(params).min()),
                "squared_error": float(np.sum(errors * errors, axis=-1).mean()),
            }
        )

    def save(self) -> None:
        """Write all lines anew."""
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        write_atomically(self.path, lambda file: file.write(text.encode()))


def read_scales(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's scales.jsonl; none where nobody watched."""
    path = folder / SCALES
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
