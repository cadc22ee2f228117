"""A training run and its folder: config.json, history.jsonl, checkpoint.npz, figures/ and index.html."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array
from numvae.atomic import write_atomically
from numvae.checkpoints import read_checkpoint, save_state
from numvae.config import Config, prepare_data, read_config
from numvae.datasets import BINARIZATIONS, DATASETS, Dataset
from numvae.devices import to_host
from numvae.errors import DivergedError, InputError
from numvae.gradcheck import ModelCheck, check_model
from numvae.models import VAE
from numvae.training import Recipe, State, generator

__all__ = ["Run", "create_run", "next_free_folder", "open_run", "resume_run"]

CONFIG, HISTORY, CHECKPOINT = "config.json", "history.jsonl", "checkpoint.npz"
CHECKED_ROWS = 5


@dataclass(frozen=True, eq=False)
class Run:
    """A model, where its training stands, and the folder that keeps it."""

    folder: Path
    config: Config
    model: VAE
    state: State
    features: int
    image_shape: tuple[int, int] | None

    @property
    def recipe(self) -> Recipe:
        """How the run is trained."""
        return self.config.build_recipe()

    def load_data(self, data: str | None = None) -> Dataset:
        """The data the run is trained on, or other ``data`` prepared in the same way.

        Raises:
            InputError: it cannot be loaded, or its rows do not fit the model.
        """
        config = self.config if data is None else self.config.model_copy(update={"data": data})
        dataset = prepare_data(config)[1]
        if dataset.features != self.features:
            raise InputError(
                f"{config.data} has {dataset.features} features per row, but {self.folder} was trained on "
                f"{self.features}"
            )
        return dataset

    def save(self) -> None:
        """Checkpoint first, then history: a kill in between loses nothing, for the checkpoint holds the history too.

        Raises:
            DivergedError: a weight is not finite; the last good checkpoint stays.
        """
        for name, piece in self.model.layout.leaves(self.theta):
            if not np.isfinite(piece).all():
                raise DivergedError(f"step {self.state.step} took the weights {name} out of range; try a smaller --lr")
        save_state(
            self.folder / CHECKPOINT, self.model, self.state, features=self.features, image_shape=self.image_shape
        )
        lines = "".join(json.dumps(row) + "\n" for row in self.state.history)
        write_atomically(self.folder / HISTORY, lambda file: file.write(lines.encode()))

    def numbers(self) -> dict[str, Any]:
        """What the run has reached: the object that ``numvae train --json`` prints.  Nats per datum."""
        last: Mapping[str, float] = self.state.history[-1] if self.state.history else {}
        return {
            **{key: last.get(key) for key in ("train_elbo", "test_elbo", "test_reconstruction", "test_kl")},
            "epochs": self.state.epoch,
            "seconds": round(self.state.seconds, 3),
            "samples_per_second": round(last["samples"] / last["seconds"], 1) if last else None,
            "parameters": self.model.layout.size,
            "out": str(self.folder),
        }

    def check_gradient(self, dataset: Dataset) -> ModelCheck:
        """The gradient check of this very model, on a few test rows."""
        recipe, rng = self.recipe, generator(self.config.seed, "evaluation", 1)
        x = recipe.binarize(dataset.test[:CHECKED_ROWS], rng, np.float64)
        return check_model(self.model, self.theta, x, rng=rng, objective=recipe.objective)

    def means(self, rows: npt.NDArray[Any]) -> Array:
        """Posterior means of rows of data, (N, Z)."""
        x = BINARIZATIONS[self.config.binarize](rows, generator(self.config.seed, "pictures"), self.theta.dtype)
        return self.model.posterior.mean(self.model.encode(self.theta, x))

    def decode(self, z: npt.NDArray[Any]) -> Array:
        """Mean images of latents, (N, D)."""
        return self.model.decode_mean(self.theta, z.astype(self.theta.dtype))

    def draw(self, count: int, seed: int | None = None) -> Array:
        """Mean images of latents drawn from the prior, (count, D)."""
        rng = generator(self.config.seed if seed is None else seed, "pictures", 1)
        z = rng.standard_normal((count, self.model.latents)) / np.sqrt(self.model.prior_precision)
        return self.decode(z)

    @property
    def theta(self) -> Array:
        """The weights, on the host."""
        weights: Array = to_host(self.state.theta)
        return weights


def create_run(config: Config, folder: Path | None = None) -> tuple[Run, Dataset]:
    """Load the data, make the folder, and save the effective config and a first checkpoint.

    Raises:
        InputError: unusable data, or a folder that cannot be made or already holds a run.
    """
    folder = next_free_folder(config.data) if folder is None else folder
    if (folder / CONFIG).exists():
        raise InputError(f"{folder} already holds a run; continue it with --resume {folder}, or name another --out")
    config, dataset = prepare_data(config)
    if config.data not in DATASETS:
        config = config.model_copy(update={"data": str(Path(config.data).resolve())})
    model = config.build_model(dataset.features)
    state = config.build_state(model, dataset)
    run = Run(folder, config, model, state, dataset.features, dataset.image_shape)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_config(run)
        run.save()
    except OSError as error:
        raise InputError(f"--out {folder} cannot be written: {error.strerror}") from None
    return run, dataset


def resume_run(folder: Path, overrides: Mapping[str, Any] | None = None) -> tuple[Run, Dataset]:
    """A run and its data, to go on with; ``overrides`` replace settings that leave the model as it is, and are saved.

    Raises:
        InputError: no run, or a damaged one; unusable data; fewer epochs than are done.
    """
    run = open_run(folder, overrides)
    done = run.state.epoch
    if run.config.epochs < done:
        raise InputError(f"{folder} has {done} epochs done; --epochs must be at least that, got {run.config.epochs}")
    dataset = run.load_data()
    _write_config(run)
    return run, dataset


def open_run(folder: Path, overrides: Mapping[str, Any] | None = None) -> Run:
    """A run from its folder, at its last checkpoint; ``overrides`` replace settings that leave the model as it is.

    Raises:
        InputError: the folder holds no run, or a damaged one.
    """
    if not (folder / CONFIG).exists():
        raise InputError(
            f"{folder} holds no run (there is no {folder / CONFIG}); make one with numvae train --out {folder}"
        )
    config = read_config(folder / CONFIG, overrides)
    if "auto" in (config.binarize, config.likelihood):
        raise InputError(f"{folder / CONFIG} must say which binarize and likelihood the run has, not auto")
    checkpoint = read_checkpoint(folder / CHECKPOINT)
    model = config.build_model(checkpoint.features)
    state = checkpoint.state(model, device=config.device)
    saved = (state.theta.dtype, set(state.moments))
    if saved != (np.dtype(config.dtype), set(config.build_optimizer().start(state.theta))):
        raise InputError(
            f"{folder / CHECKPOINT} was saved with another optimizer or dtype than {folder / CONFIG} says by now; "
            "set them back, or train anew"
        )
    return Run(folder, config, model, state, checkpoint.features, checkpoint.image_shape)


def next_free_folder(data: str) -> Path:
    """runs/NAME-1, or the first number that is free."""
    name = data if data in DATASETS else Path(data).stem or "data"
    number = 1
    while (Path("runs") / f"{name}-{number}").exists():
        number += 1
    return Path("runs") / f"{name}-{number}"


def _write_config(run: Run) -> None:
    text = json.dumps(run.config.model_dump(), indent=2) + "\n"
    write_atomically(run.folder / CONFIG, lambda file: file.write(text.encode()))
