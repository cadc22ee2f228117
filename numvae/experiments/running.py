"""Experiments trained one after another, each an ordinary run in its own folder; what is there is not made anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array
from numvae.atomic import write_atomically
from numvae.config import Config, prepare_data
from numvae.datasets import Dataset
from numvae.datasets.binarization import EXPOSURE
from numvae.errors import DivergedError, InputError
from numvae.experiments.scale_watch import ScaleWatch
from numvae.experiments.warm_start import residual_std, start_from_shared_std
from numvae.interruption import Interrupted, Interruption
from numvae.models import VAE
from numvae.progress import Progress
from numvae.runs import Run, create_run, lasting_name, open_run, resume_run
from numvae.training import State, train

__all__ = ["Experiment", "Trained", "estimate_seconds", "train_experiment"]

DIVERGED = "diverged.json"
RESIDUAL_ROWS = 10_000
TIMED_STEPS, UNTIMED_STEPS = 30, 10


@dataclass(frozen=True)
class Experiment:
    """What is trained: a name, its settings, the run it starts from, and whether its scales are watched."""

    name: str
    config: Config
    starts_from: str | None = None
    watched: bool = False


@dataclass(frozen=True, eq=False)
class Trained:
    """A run that has come to its end: to the last epoch, or to a NaN."""

    run: Run
    dataset: Dataset
    diverged: str | None = None
    """What the first NaN or infinity was, where there was one."""

    @property
    def model(self) -> VAE:
        """Every experiment is one with a VAE."""
        assert isinstance(self.run.model, VAE), "the experiments are VAEs"
        return self.run.model

    @property
    def last(self) -> Mapping[str, float]:
        """The last epoch's row of the history; empty where none was completed."""
        return self.run.state.history[-1] if self.run.state.history else {}

    def decoded(self, rows: npt.NDArray[Any]) -> Array:
        """The mean image decoded from each row's mean latent, in grey values, (N, D)."""
        return self.decode(self.run.means(rows))

    def decode(self, z: npt.NDArray[Any]) -> Array:
        """The mean image of latents in grey values, (N, D); of photons their rate over that of white."""
        mean = self.run.decode(z)
        return mean / EXPOSURE if self.run.config.binarize == "photons" else mean

    def squared_errors(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Σ over pixels of (grey value - decoded mean)², for each row, (N,)."""
        errors = grey(rows) - self.decoded(rows)
        squares: npt.NDArray[np.float64] = np.sum(errors.astype(np.float64) ** 2, axis=1)
        return squares


def grey(rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Grey values in [0, 1]."""
    return rows.astype(np.float64) / (255 if rows.dtype == np.uint8 else 1)


def train_experiment(
    experiment: Experiment,
    folder: Path,
    earlier: Mapping[str, Trained] | None = None,
    command: str | None = None,
    until: int | None = None,
) -> Trained:
    """The experiment's run in ``folder``, trained to its end: made, gone on with, or only opened where it is complete.

    ``earlier``: the runs by name that it may start from.  ``command``: what goes on after an interruption;
    without it, the same call does.  ``until``: stop when so many epochs are done, to look at what they reached.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the run is saved.
        InputError: the folder holds a run with other settings.
    """
    if (folder / "config.json").exists():
        _require_same_settings(open_run(folder).config, experiment.config, folder)
        run, dataset = resume_run(folder)
    else:
        run, dataset = create_run(experiment.config, folder)
        if experiment.starts_from is not None:
            _start_from(run, (earlier or {})[experiment.starts_from])
            run.save()
    epochs = run.recipe.epochs if until is None else min(until, run.recipe.epochs)
    if run.state.epoch < epochs and not (folder / DIVERGED).exists():
        try:
            _train(run, dataset, epochs, experiment.watched, command)
        except DivergedError as error:
            about = json.dumps({"step": run.state.step, "message": str(error)}) + "\n"
            write_atomically(folder / DIVERGED, lambda file: file.write(about.encode()))
            run = open_run(folder)  # the last good checkpoint
    diverged = folder / DIVERGED
    message = json.loads(diverged.read_text())["message"] if diverged.exists() else None
    return Trained(run, dataset, message)


def _train(run: Run, dataset: Dataset, epochs: int, watched: bool, command: str | None) -> None:
    progress = Progress(run, len(dataset.train))
    progress.bar.set_description(run.folder.name)
    watch = ScaleWatch(run, dataset) if watched else None
    calls: list[Callable[[State], object]] = [progress.on_batch, *([watch] if watch else [])]

    with Interruption() as interruption, progress.bar:

        def on_batch(state: State) -> bool:
            for call in calls:
                call(state)
            return interruption.requested

        def on_epoch(state: State) -> None:
            run.save()
            if watch is not None:
                watch.save()

        try:
            recipe = replace(progress.recipe, epochs=epochs)
            train(run.model, dataset, recipe, run.state, on_batch=on_batch, on_epoch=on_epoch)
        finally:
            if watch is not None:
                watch.save()
        run.save()
    if interruption.signal is not None:
        how = "" if command is None else f"; go on with: {command}"
        raise Interrupted(f"interrupted in {run.folder.name}{how}", interruption.signal)


def _start_from(run: Run, learnt: Trained) -> None:
    """The warm start: means as there, and the standard deviations of what they leave over."""
    assert isinstance(run.model, VAE), "a warm start is a VAE's"
    rows = learnt.run.recipe.binarize(learnt.dataset.train[:RESIDUAL_ROWS], np.random.default_rng(0), np.float32)
    std = residual_std(learnt.model, learnt.run.theta, rows)
    start_from_shared_std(run.model, run.state.theta, learnt.model, learnt.run.theta, np.maximum(std, 1e-3))


def _require_same_settings(there: Config, wanted: Config, folder: Path) -> None:
    differ = {name for name, value in wanted if getattr(there, name) != value and value != "auto"}
    differ -= {"epochs"} if wanted.epochs is None else set()
    differ -= {"data"} if lasting_name(wanted.data) == there.data else set()
    if differ:
        raise InputError(
            f"{folder} was trained with other settings ({', '.join(sorted(differ))}); name another --out, or remove it"
        )


def estimate_seconds(experiments: Sequence[Experiment], folder: Path) -> float:
    """How long the training that is still to be done will take here: some steps of each are timed, and thrown away."""
    return sum(_seconds(experiment, folder / experiment.name) for experiment in experiments)


def _seconds(experiment: Experiment, folder: Path) -> float:
    config, dataset = prepare_data(experiment.config)
    done = open_run(folder).state.step if (folder / "config.json").exists() else 0
    recipe = config.build_recipe()
    left = recipe.epochs * -(-len(dataset.train) // recipe.batch) - done
    if left <= 0 or (folder / DIVERGED).exists():
        return 0.0
    model = config.build_model(dataset.features)
    state, clocks = config.build_state(model, dataset), [0.0]

    def on_batch(state: State) -> bool:
        if state.step == UNTIMED_STEPS:
            clocks[0] = state.seconds
        return state.step >= UNTIMED_STEPS + TIMED_STEPS

    train(model, dataset, recipe, state, on_batch=on_batch)
    evaluating = 1 + 0.4 * len(dataset.test) / len(dataset.train)  # once an epoch, forward only
    return left * evaluating * (state.seconds - clocks[0]) / max(1, state.step - UNTIMED_STEPS)
