"""A training run and its folder: config.json, history.jsonl, checkpoint.npz, figures/ and index.html.

config.json is what makes a folder that of a run: a new run writes it last, and only where there is none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array
from numvae.atomic import write_atomically
from numvae.checkpoints import read_checkpoint, save_state
from numvae.config import Config, prepare_data, read_config
from numvae.datasets import DATASETS, Dataset, binarize_once, load
from numvae.devices import to_host
from numvae.distributions.contract import centre
from numvae.errors import InputError
from numvae.flows import FlowVAE
from numvae.gradcheck import ModelCheck, check_model
from numvae.likelihoods import VIEWS
from numvae.models import Model
from numvae.randomness import generator
from numvae.training import Recipe, State, require_finite_state, try_gradient

__all__ = ["CHANGEABLE", "Run", "claim_folder", "create_run", "lasting_name", "open_run", "resume_run"]

CONFIG, HISTORY, CHECKPOINT = "config.json", "history.jsonl", "checkpoint.npz"
CHECKED_ROWS = 5

CHANGEABLE = frozenset(
    ["epochs", "device", "lr", "clip_norm", "schedule", "schedule_options", "warm_up", "optimizer_options"]
)
"""Settings that a run can be resumed with: those that leave model, data and kind of optimizer as they are."""


@dataclass(frozen=True, eq=False)
class Run:
    """A model, where its training stands, and the folder that keeps it."""

    folder: Path
    config: Config
    model: Model
    state: State
    features: int
    image_shape: tuple[int, int] | None
    fingerprint: tuple[int, int] | None = None
    """``Dataset.fingerprint`` of the data it is trained on."""

    @property
    def recipe(self) -> Recipe:
        """How the run is trained."""
        return self.config.build_recipe()

    def load_data(self, data: str | None = None) -> Dataset:
        """The data the run is trained on; or other ``data``, all of it for testing unless it has a test part.

        Raises:
            InputError: it cannot be loaded, or its rows do not fit the model.
        """
        config = self.config
        if data is None or lasting_name(data) == config.data:
            dataset = prepare_data(config)[1]
        else:
            dataset = load(data, seed=config.seed, counts=config.binarize == "counts").for_testing()
            if config.binarize == "fixed":
                dataset = binarize_once(dataset, seed=config.seed)
        if dataset.features != self.features:
            raise InputError(
                f"{data or config.data} has {dataset.features} features per row, but {self.folder} was trained on "
                f"{self.features}"
            )
        return dataset

    def save(self) -> None:
        """Checkpoint first, then history: a kill in between loses nothing, for the checkpoint holds the history too.

        Raises:
            DivergedError: a weight or a moment is not finite; the last good checkpoint stays.
        """
        require_finite_state(self.model, self.recipe, self.state)
        save_state(
            self.folder / CHECKPOINT,
            self.model,
            self.state,
            features=self.features,
            image_shape=self.image_shape,
            fingerprint=self.fingerprint,
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
        """The gradient check of this very model, on a few test rows, as they are: not corrupted."""
        recipe, rng = replace(self.recipe, corruption=None), generator(self.config.seed, "evaluation", 1)
        x = recipe.binarize(dataset.test[:CHECKED_ROWS], rng, np.float64)
        return check_model(self.model, self.theta, x, rng=rng, objective=recipe.objective_at(self.state.step))

    def means(self, rows: npt.NDArray[Any]) -> Array:
        """Means of q(z|x) for rows of data, of several layers the lowest: (N, Z).  Medians where q has no mean.

        Behind a flow: where it takes the mean of the normal before it.
        """
        x = self.recipe.binarize(rows, generator(self.config.seed, "pictures"), self.theta.dtype)
        if isinstance(self.model, FlowVAE):
            return self.model.latent_centre(self.theta, x)
        return centre(self.model.posterior, self.model.encode(self.theta, x), self.model.latents)

    def decode(self, z: npt.NDArray[Any]) -> Array:
        """Mean images of latents, of several layers the lowest: (N, D)."""
        return self.model.decode_mean(self.theta, z.astype(self.theta.dtype))

    def white(self, images: npt.NDArray[Any]) -> float:
        """The value that a picture of these shows as white: 1 of grey values and bits, more of counts and codes."""
        white = VIEWS[self.config.binarize].white
        return float(max(images.max(), 1)) if white is None else white

    def draw(self, count: int, seed: int | None = None) -> Array:
        """Mean images of latents drawn from the prior, (count, D)."""
        rng = generator(self.config.seed if seed is None else seed, "pictures", 1)
        noise = self.model.prior_noise(rng, count)
        return self.decode(self.model.draw_from_prior(self.theta, noise))

    @property
    def theta(self) -> Array:
        """The weights, on the host."""
        weights: Array = to_host(self.state.theta)
        return weights


def create_run(config: Config, folder: Path | None = None) -> tuple[Run, Dataset]:
    """Load the data, make the folder (by default the next free one), and save a first checkpoint, then the config.

    A run killed before it has its config.json is none: started again, it starts afresh.

    Raises:
        InputError: unusable data, an estimator that refuses the model, or a folder that cannot be made or already holds
            a run.
    """
    if folder is not None:
        _require_no_run(folder)
    config, dataset = prepare_data(config)
    config = config.model_copy(update={"data": lasting_name(config.data)})
    model = config.build_model(dataset.features)
    state = config.build_state(model, dataset)
    try_gradient(model, dataset, config.build_recipe(), state)
    try:
        folder = claim_folder(config.data) if folder is None else folder
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(folder, config, model, state, dataset.features, dataset.image_shape, dataset.fingerprint)
        run.save()
        _create_config(run)
    except OSError as error:
        raise InputError(f"--out {folder or 'runs'} cannot be written: {error.strerror}") from None
    return run, dataset


def resume_run(folder: Path, overrides: Mapping[str, Any] | None = None) -> tuple[Run, Dataset]:
    """A run and its data, to go on with.  ``overrides`` replace ``CHANGEABLE`` settings, and are saved.

    Without overrides but ``epochs`` the run ends bit for bit as if it had never stopped.  With others it is another
    run from here on, which no single config.json repeats; its history does not say where it changed.  A schedule is
    replaced with its options, and still counts steps from the start of the run.

    Raises:
        InputError: no run, or a damaged one; another override; unusable or changed data; fewer epochs than are done.
    """
    overrides = dict(overrides or {})
    fixed = sorted(overrides.keys() - CHANGEABLE)
    if fixed:
        raise InputError(
            f"{folder} cannot go on with another {', '.join(fixed)}; what can change is {', '.join(sorted(CHANGEABLE))}"
        )
    if "schedule" in overrides:
        overrides = {"schedule_options": {}, **overrides}
    run = open_run(folder, overrides)
    done = run.state.epoch
    if run.recipe.epochs < done:
        raise InputError(f"{folder} has {done} epochs done; --epochs must be at least that, got {run.recipe.epochs}")
    dataset = run.load_data()
    if dataset.fingerprint != run.fingerprint:
        raise InputError(
            f"the {len(dataset.train)} training rows of {run.config.data} are not those that {folder} was trained on; "
            "put the data back, or train anew"
        )
    write_atomically(folder / CONFIG, lambda file: file.write(_as_json(run.config)))
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
    if _shapes(state) != _shapes(config.build_empty_state(model, checkpoint.features)):
        raise InputError(
            f"{folder / CHECKPOINT} was saved with another optimizer, estimator or dtype than {folder / CONFIG} says "
            "by now; set them back, or train anew"
        )
    return Run(folder, config, model, state, checkpoint.features, checkpoint.image_shape, checkpoint.fingerprint)


def claim_folder(data: str) -> Path:
    """Make runs/NAME-1, or the first number that nobody has: of two that ask at once, each gets a folder of its own."""
    name = data if data in DATASETS else Path(data).stem or "data"
    number = 1
    while True:
        folder = Path("runs") / f"{name}-{number}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1


def _shapes(state: State) -> list[Any]:
    """What a state holds: its dtype, what optimisers remember, and what an estimator has learnt."""
    held = [state.theta.dtype, {name: np.shape(value) for name, value in state.moments.items()}]
    if state.adaptation is not None:
        moments = {name: np.shape(value) for name, value in state.adaptation.moments.items()}
        held += [state.adaptation.eta.dtype, state.adaptation.sizes, moments]
    return held


def _require_no_run(folder: Path) -> None:
    if (folder / CONFIG).exists():
        raise InputError(f"{folder} already holds a run; continue it with --resume {folder}, or name another --out")


def _create_config(run: Run) -> None:
    """Write config.json where there is none: of two runs that start in one folder at once, one is refused here."""
    path = run.folder / CONFIG
    try:
        with path.open("xb") as file:
            file.write(_as_json(run.config))
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        _require_no_run(run.folder)
        raise
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _as_json(config: Config) -> bytes:
    return (json.dumps(config.model_dump(), indent=2) + "\n").encode()


def lasting_name(data: str) -> str:
    """What finds the data from any folder: the name of a data set, or an absolute path."""
    return data if data in DATASETS else str(Path(os.path.expanduser(data)).resolve())
