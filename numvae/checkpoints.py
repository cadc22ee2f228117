"""Training states on disk: one ``.npz`` without pickles, written whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.adaptation import Adaptation
from numvae.atomic import write_atomically
from numvae.devices import Device, to_device, to_host
from numvae.errors import InputError
from numvae.models import Model
from numvae.reading import reading
from numvae.training import HISTORY_KEYS, State

__all__ = ["Checkpoint", "read_checkpoint", "save_state"]

MOMENT, ETA, ETA_MOMENT = "moment.", "eta", "eta_moment."
PROGRESS = ("epoch", "batches", "step", "bound_sum", "seconds", "history")
REMEDY = "restore the file, or train again"


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
        return None if shape is None else (shape[0], shape[1])

    @property
    def fingerprint(self) -> tuple[int, int] | None:
        """``Dataset.fingerprint`` of the training data, where it was saved."""
        mark = self.about["fingerprint"]
        return None if mark is None else (mark[0], mark[1])

    def state(self, model: Model, *, device: Device = "cpu") -> State:
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
        return State(
            theta=to_device(theta, device),
            moments=self._moments(MOMENT, about["numbers"], device),
            noise_rng=noise_rng,
            adaptation=self._adaptation(device),
            **{name: about[name] for name in PROGRESS},
        )

    def _adaptation(self, device: Device) -> Adaptation | None:
        if ETA not in self.arrays:
            return None
        moments = self._moments(ETA_MOMENT, self.about["eta_numbers"], device)
        return Adaptation(to_device(self.arrays[ETA], device), tuple(self.about["eta_sizes"]), moments)

    def _moments(self, prefix: str, numbers: dict[str, Any], device: Device) -> dict[str, Any]:
        vectors = {key.removeprefix(prefix): value for key, value in self.arrays.items() if key.startswith(prefix)}
        return {**{name: to_device(vector, device) for name, vector in vectors.items()}, **numbers}


def save_state(
    path: Path,
    model: Model,
    state: State,
    *,
    features: int,
    image_shape: tuple[int, int] | None = None,
    fingerprint: tuple[int, int] | None = None,
) -> None:
    """Save weights, optimiser moments, generator state, counters and history: ``train`` goes on bit for bit."""
    vectors, numbers = _vectors_and_numbers(state.moments)
    about: dict[str, Any] = {
        "features": features,
        "image_shape": image_shape,
        "fingerprint": fingerprint,
        "layout": _names_and_shapes(model),
        "numbers": numbers,
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
    }
    if state.adaptation is not None:
        vectors, about["eta_numbers"] = _vectors_and_numbers(state.adaptation.moments)
        about["eta_sizes"] = state.adaptation.sizes
        arrays[ETA] = to_host(state.adaptation.eta)
        arrays |= {ETA_MOMENT + name: to_host(vector) for name, vector in vectors.items()}
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    write_atomically(path, lambda file: np.savez(file, **arrays))


def _vectors_and_numbers(moments: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    vectors = {name: value for name, value in moments.items() if hasattr(value, "shape")}
    return vectors, {name: value for name, value in moments.items() if name not in vectors}


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in it is unpickled, and all of it has the types, sizes and range it must have.

    Raises:
        InputError: no file there, or a damaged one.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; is {path.parent} the folder of a run?")
    with reading(path, REMEDY):
        with path.open("rb") as file, np.load(file, allow_pickle=False) as zipped:
            arrays = {name: zipped[name] for name in zipped.files}
        about = {"eta_sizes": [], "eta_numbers": {}, **json.loads(arrays.pop("about").tobytes())}
        wrong = [name for name, is_right in PARTS.items() if name not in about or not is_right(about[name])]
        like = {name: "eta" if name.startswith("eta") else "theta" for name in {"theta", *arrays}}
        wrong += [name for name, vector in like.items() if not _are_weights(arrays.get(name), arrays.get(vector))]
        if not wrong and sum(about["eta_sizes"]) != arrays.get(ETA, np.empty(0)).size:
            wrong = ["eta_sizes"]
        if not wrong and about["image_shape"] and math.prod(about["image_shape"]) != about["features"]:
            wrong = ["image_shape"]
    if wrong:
        raise InputError(f"{path} is no checkpoint, {', '.join(sorted(wrong))} missing or out of order; {REMEDY}")
    return Checkpoint(path, arrays, about)


def _names_and_shapes(model: Model) -> list[list[Any]]:
    weights = np.empty(model.layout.size, np.float32)
    return [[name, list(piece.shape)] for name, piece in model.layout.leaves(weights)]


# ---- what may stand in a checkpoint


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_nothing_or_two_counts(value: Any) -> bool:
    return value is None or (isinstance(value, list) and len(value) == 2 and all(map(_is_count, value)))


def _is_generator_state(value: Any) -> bool:
    np.random.default_rng().bit_generator.state = value  # raises where it is not
    return True


def _holds_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _is_history(value: Any) -> bool:
    return isinstance(value, list) and all(
        _holds_numbers(row) and row.keys() == HISTORY_KEYS and row["seconds"] > 0 for row in value
    )


def _are_weights(vector: npt.NDArray[Any] | None, theta: npt.NDArray[Any] | None) -> bool:
    """Whether it is a flat vector like another, the weights it belongs to, that holds neither NaN nor infinity."""
    if vector is None or theta is None:
        return False
    same_kind = (vector.shape, vector.dtype) == ((theta.size,), theta.dtype) and theta.dtype in (np.float32, np.float64)
    return same_kind and bool(np.isfinite(vector).all())


PARTS: dict[str, Callable[[Any], bool]] = {
    "features": _is_count,
    "image_shape": _is_nothing_or_two_counts,
    "fingerprint": _is_nothing_or_two_counts,
    "layout": lambda value: isinstance(value, list),
    "numbers": _holds_numbers,
    "noise_rng": _is_generator_state,
    "epoch": _is_count,
    "batches": _is_count,
    "step": _is_count,
    "bound_sum": lambda value: isinstance(value, float),  # may have overflowed: the end of the epoch says so
    "seconds": _is_number,
    "history": _is_history,
    "eta_sizes": lambda value: isinstance(value, list) and all(map(_is_count, value)),
    "eta_numbers": _holds_numbers,
}
