"""The small VAE of the bug hunt: three exercises of the ladder put together, one of which may be wrong."""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array
from numvae.datasets import draw_digits, fresh
from numvae.exercises.ladder import EXERCISES
from numvae.exercises.misconceptions import all_misconceptions
from numvae.randomness import generator

__all__ = ["RIGHT", "Code", "Outcome", "Setting", "planted", "setting", "train", "unpack"]

SIDE, HIDDEN, LATENTS = 14, 32, 2
PIXELS = SIDE * SIDE
TRAIN, TEST, BATCH, EPOCHS = 990, 200, 60, 30  # 16 whole minibatches and a short one
ADAM = {"step_size": 0.005, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
SHAPES: Mapping[str, tuple[int, ...]] = {
    "W1": (PIXELS, HIDDEN), "b1": (HIDDEN,), "W2": (HIDDEN, LATENTS), "b2": (LATENTS,), "W3": (HIDDEN, LATENTS),
    "b3": (LATENTS,), "W4": (LATENTS, HIDDEN), "b4": (HIDDEN,), "W5": (HIDDEN, PIXELS), "b5": (PIXELS,),
}  # fmt: skip


@dataclass(frozen=True)
class Code:
    """What trains the VAE, each part by the name of its exercise."""

    vae_gradient: Callable[..., Any]
    adam_step: Callable[..., Any]
    train_vae: Callable[..., Any]

    @property
    def adam(self) -> Callable[..., Any]:
        """(theta, gradient, m, v, t) -> (theta, m, v), with the usual settings."""
        return partial(self.adam_step, **ADAM)


RIGHT = Code(*(EXERCISES[name].solution for name in ("vae_gradient", "adam_step", "train_vae")))


def planted(bug: str) -> Code:
    """The right code with the misconception of this id in its place."""
    exercise, misconception = all_misconceptions()[bug]
    return replace(RIGHT, **{exercise.name: misconception.wrong})


@dataclass(frozen=True, eq=False)
class Setting:
    """All that chance decides, so that two codes can be trained side by side: bits, first weights, orders, noise."""

    x: Array
    x_test: Array
    labels: npt.NDArray[Any]
    """Of the test rows, for pictures."""
    theta: Array
    orders: npt.NDArray[np.int64]
    noise: Array


def setting(seed: int) -> Setting:
    """Digits of 14 x 14 pixels; weights as usual, the last bias where each pixel is on as often as in the data."""
    digits = draw_digits(TRAIN + TEST, seed=seed)
    grey = digits.images.reshape(-1, SIDE, 2, SIDE, 2).mean(axis=(2, 4)).reshape(-1, PIXELS)
    bits = fresh(grey.astype(np.uint8), generator(seed, "bits"), np.float64)
    rng = generator(seed, "weights")
    p = {name: rng.standard_normal(shape) / shape[0] ** 0.5 for name, shape in SHAPES.items() if name[0] == "W"}
    p |= {name: np.zeros(shape) for name, shape in SHAPES.items() if name[0] == "b"}
    often = bits[:TRAIN].mean(axis=0).clip(0.01, 0.99)
    p["b5"] = np.log(often / (1 - often))
    rng = generator(seed, "order")
    orders = np.stack([rng.permutation(TRAIN) for _ in range(EPOCHS)])
    noise = generator(seed, "noise").standard_normal((EPOCHS, TRAIN, LATENTS))
    return Setting(bits[:TRAIN], bits[TRAIN:], digits.labels[TRAIN:], _pack(p), orders, noise)


@dataclass(frozen=True, eq=False)
class Outcome:
    """A training: the mean bound that the code itself gave to each minibatch, and the weights it ended with."""

    bounds: Array
    p: dict[str, Array]

    @property
    def finite(self) -> bool:
        """Whether the weights still are numbers, and small enough to reckon with."""
        return all(bool(np.all(np.abs(value) < 1e100)) for value in self.p.values())


def train(code: Code, setting: Setting) -> Outcome:
    """Train as the code does it, some 500 steps of Adam."""
    bounds = []

    def gradient(theta: Array, x: Array, noise: Array) -> Array:
        bound, g = code.vae_gradient(unpack(theta), x, noise)
        bounds.append(np.mean(bound))
        return _pack(g) / len(x)

    with np.errstate(all="ignore"):  # where it diverges, that is to be seen in the curve
        after = code.train_vae(setting.theta, setting.x, setting.orders, setting.noise, BATCH, gradient, code.adam)
    return Outcome(np.array(bounds), unpack(after[-1]))


def unpack(theta: Array) -> dict[str, Array]:
    """The weights by name, from one flat vector."""
    ends = np.cumsum([int(np.prod(shape)) for shape in SHAPES.values()])
    pieces = np.split(theta, ends[:-1])
    return {name: piece.reshape(shape) for (name, shape), piece in zip(SHAPES.items(), pieces, strict=True)}


def _pack(p: Mapping[str, Array]) -> Array:
    return np.concatenate([np.ravel(p[name]) for name in SHAPES])
