"""The noise of the gradient while a model is trained: every so many steps one line in a file."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path

import numpy as np

from numvae.adaptation import estimators_at
from numvae.atomic import write_atomically
from numvae.blocks import BLOCK_ROWS
from numvae.datasets.dataset import Dataset
from numvae.devices import to_device
from numvae.errors import InputError
from numvae.gradient_noise import GradientNoise, gradient_noise, pooled
from numvae.models import VAE, Model
from numvae.randomness import generator
from numvae.training import Recipe, State

__all__ = ["EVERY", "VarianceWatch"]

EVERY = 100
"""Steps from one measurement to the next."""
LEAST_ROWS = 16
REMEMBERED = 10
"""So many measurements are taken together in what is shown."""


class VarianceWatch:
    """Call it after every step.  It writes {"step": …, **noise.to_json()} to ``path``, one line per measurement.

    It measures at the weights as they stand, on rows picked with replacement, with the recipe's bits, samples and
    estimator.  Bits drawn anew belong to the row: what they scatter is in the minibatch part.  That part is the one of
    independent rows; an epoch repeats none, which matters where a batch holds much of the data.  The gradient is the
    bound's, before it is clipped and without the weight prior, which adds no noise.

    All it draws comes from a stream of its own that depends on the step alone: the weights are bit for bit those of a
    training nobody watches, and a resumed run writes the lines that it would have written.

    Raises:
        InputError: the gradients of this model and estimator cannot be told apart by rows.
    """

    def __init__(
        self, model: Model, dataset: Dataset, recipe: Recipe, state: State, path: Path, *, every: int = EVERY
    ) -> None:
        if not isinstance(model, VAE):
            raise InputError(f"--watch-variance is for a VAE, not for a {type(model).__name__}; leave it out")
        if every < 1:
            raise InputError(f"--watch-variance takes the steps between two measurements, at least 1, got {every}")
        self.model, self.dataset, self.recipe, self.path, self.every = model, dataset, recipe, path, every
        self.recent: deque[GradientNoise] = deque(maxlen=REMEMBERED)
        kept = _lines_until(path, state.step)
        write_atomically(path, lambda file: file.write("".join(kept).encode()))
        if not kept or json.loads(kept[-1])["step"] < state.step:
            self(state)

    def __call__(self, state: State) -> None:
        """Measure, if it is time."""
        if state.step % self.every == 0:
            noise = self.measure(state)
            self.recent.append(noise)
            with self.path.open("a") as file:
                file.write(json.dumps({"step": state.step, **noise.to_json()}) + "\n")

    @property
    def noise(self) -> GradientNoise | None:
        """The last few measurements taken together; None before the first."""
        return pooled(self.recent) if self.recent else None

    @np.errstate(all="ignore")
    def measure(self, state: State) -> GradientNoise:
        """The noise at this state."""
        recipe, dtype = self.recipe, state.theta.dtype
        rng = generator(recipe.seed, "noise", state.step)
        rows = max(2, min(recipe.batch, max(LEAST_ROWS, BLOCK_ROWS // recipe.samples)))
        picked = rng.integers(len(self.dataset.train), size=rows)
        x = to_device(recipe.draw_rows(self.dataset.train[picked], rng, dtype), recipe.device)
        estimator = estimators_at(recipe.estimator, state.adaptation)
        noises = [recipe.draw_noise(self.model, estimator, rng, rows, dtype) for _ in range(2)]
        noise, independent_noise = (to_device(drawn, recipe.device) for drawn in noises)
        return gradient_noise(
            self.model,
            state.theta,
            x,
            noise,
            independent_noise,
            recipe.objective_at(state.step),
            estimator,
            batch=min(recipe.batch, len(self.dataset.train)),
        )


def _lines_until(path: Path, step: int) -> list[str]:
    """The lines of a run that was stopped, as far as it will not write them again."""
    if not path.exists():
        return []
    whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("}\n")]
    return [line for line in whole if json.loads(line)["step"] <= step]
