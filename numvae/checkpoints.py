"""Training states on disk: one ``.npz`` without pickles, written whole or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.atomic import write_atomically
from numvae.datasets.reading import reading
from numvae.devices import Device, to_device, to_host
from numvae.errors import InputError
from numvae.models import VAE
from numvae.training import State

__all__ = ["Checkpoint", "read_checkpoint", "save_state"]

MOMENT = "moment."
PROGRESS = ("epoch", "batches", "step", "bound_sum", "seconds", "history")
ABOUT = {"features", "image_shape", "layout", "numbers", "noise_rng", *PROGRESS}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint file holds, before it is known to fit a model."""

    path: Path
    arrays: dict[str, npt.NDArray[Any]]
    about: dict[str, Any]

    @property
    def features(self) -> int:
        """D of the data the model was trained on."""
        return int(self.about["features"])

    @property
    def image_shape(self) -> tuple[int, int] | None:
        """(height, width) where rows are images."""
        shape = self.about["image_shape"]
        return None if shape is None else (int(shape[0]), int(shape[1]))

    def state(self, model: VAE, *, device: Device = "cpu") -> State:
        """The training state, for the model that made it.

        Raises:
            InputError: the checkpoint is another model's.
        """
        about, theta = self.about, self.arrays["theta"]
        if about["layout"] != _names_and_shapes(model) or theta.shape != (model.layout.size,):
            raise InputError(
                f"{self.path} holds {theta.size} weights of another model than config.json beside it describes "
                f"({model.layout.size} weights); were files of two runs mixed?"
            )
        noise_rng = np.random.default_rng()
        noise_rng.bit_generator.state = about["noise_rng"]
        vectors = {key.removeprefix(MOMENT): value for key, value in self.arrays.items() if key.startswith(MOMENT)}
        return State(
            theta=to_device(theta, device),
            moments={**{name: to_device(vector, device) for name, vector in vectors.items()}, **about["numbers"]},
            noise_rng=noise_rng,
            **{name: about[name] for name in PROGRESS},
        )


def save_state(
    path: Path, model: VAE, state: State, *, features: int, image_shape: tuple[int, int] | None = None
) -> None:
    """Save weights, optimiser moments, generator state, counters and history: ``train`` goes on bit for bit."""
    vectors = {name: value for name, value in state.moments.items() if hasattr(value, "shape")}
    about = {
        "features": features,
        "image_shape": image_shape,
        "layout": _names_and_shapes(model),
        "numbers": {name: value for name, value in state.moments.items() if name not in vectors},
        "noise_rng": state.noise_rng.bit_generator.state,
        "epoch": state.epoch,
        "batches": state.batches,
        "step": state.step,
        "bound_sum": float(to_host(state.bound_sum)),
        "seconds": state.seconds,
        "history": state.history,
    }
    arrays = {
        "theta": to_host(state.theta),
        **{MOMENT + name: to_host(vector) for name, vector in vectors.items()},
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
    }
    write_atomically(path, lambda file: np.savez(file, **arrays))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in it is unpickled.

    Raises:
        InputError: no file there, or a damaged one.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; is {path.parent} the folder of a run?")
    with reading(path):
        with path.open("rb") as file, np.load(file, allow_pickle=False) as zipped:
            arrays = {name: zipped[name] for name in zipped.files}
        about = json.loads(arrays.pop("about").tobytes())
        if "theta" not in arrays or not about.keys() >= ABOUT:
            raise InputError(f"{path} is no checkpoint, parts of one are missing; restore the file, or train again")
    return Checkpoint(path, arrays, about)


def _names_and_shapes(model: VAE) -> list[list[Any]]:
    weights = np.empty(model.layout.size, np.float32)
    return [[name, list(piece.shape)] for name, piece in model.layout.leaves(weights)]
