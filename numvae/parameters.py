"""All weights of a model as one flat vector: what lies where in it, and how it starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from numvae.arrays import Array

__all__ = ["Initializer", "Layout", "glorot", "initial_theta", "small_normal", "wide_normal"]

Shape: TypeAlias = tuple[int, ...]
Initializer: TypeAlias = Callable[[Shape, np.random.Generator], Array]


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the pieces of a flat vector, in order; a piece may itself be a layout.

    >>> layer = Layout((("W", (2, 3)), ("b", (3,))))
    >>> model = Layout((("encoder", layer), ("decoder", layer)))
    >>> model.size, list(dict(model.leaves(np.zeros(model.size))))
    (18, ['encoder.W', 'encoder.b', 'decoder.W', 'decoder.b'])
    """

    pieces: tuple[tuple[str, Shape | Layout], ...]

    @classmethod
    def of(cls, pieces: Mapping[str, Shape | Layout]) -> Layout:
        """A layout of the given pieces, in the mapping's order."""
        return cls(tuple(pieces.items()))

    @cached_property
    def size(self) -> int:
        """How many numbers the flat vector holds."""
        return sum(size for _, _, size in self._sizes)

    @cached_property
    def _sizes(self) -> list[tuple[str, Shape | Layout, int]]:
        return [
            (name, piece, piece.size if isinstance(piece, Layout) else math.prod(piece)) for name, piece in self.pieces
        ]

    def views(self, theta: Array) -> dict[str, Array]:
        """Name -> a view into ``theta``: shaped for an array, flat for a nested layout.

        Take views at the top of a call and never keep them: ``theta = theta - g`` would silently detach them.
        """
        views, start = {}, 0
        for name, piece, size in self._sizes:
            flat = theta[start : start + size]
            views[name] = flat if isinstance(piece, Layout) else flat.reshape(piece)
            start += size
        return views

    def leaves(self, theta: Array, prefix: str = "") -> Iterator[tuple[str, Array]]:
        """Every array in ``theta`` with its full dotted name, nested layouts unfolded."""
        for (name, piece), view in zip(self.pieces, self.views(theta).values(), strict=True):
            if isinstance(piece, Layout):
                yield from piece.leaves(view, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", view


def glorot(shape: Shape, rng: np.random.Generator) -> Array:
    """Weights uniform in ±sqrt(6 / (m + n)): signals keep their size both ways   (parameters.1).

    Source: Glorot and Bengio 2010, equation 16.
    """
    limit = math.sqrt(6 / sum(shape))  # (parameters.1)
    return rng.uniform(-limit, limit, shape)


def small_normal(shape: Shape, rng: np.random.Generator) -> Array:
    """Weights from N(0, 0.01²)   (parameters.2).

    The paper (section 5) writes "N(0, 0.01)" and does not say whether 0.01 is a variance; we read a standard deviation.
    """
    return 0.01 * rng.standard_normal(shape)  # (parameters.2)


def wide_normal(shape: Shape, rng: np.random.Generator) -> Array:
    """Weights from N(0, 0.1²): the paper's "N(0, 0.01)", if 0.01 is a variance   (parameters.2).

    With few latents this reading learns far sooner: weights of 0.01 leave the decoder's tanh units where they are
    linear.
    """
    return 0.1 * rng.standard_normal(shape)  # (parameters.2)


def initial_theta(
    layout: Layout, *, rng: np.random.Generator, dtype: npt.DTypeLike = np.float64, weights: Initializer = glorot
) -> Array:
    """A starting vector: matrices from ``weights``, everything else (biases) zero.

    Drawn in float64 whatever ``dtype``, so that a float32 and a float64 run start at the same point.
    """
    theta: npt.NDArray[Any] = np.zeros(layout.size)
    for _, piece in layout.leaves(theta):
        if piece.ndim == 2:
            piece[...] = weights(piece.shape, rng)
    return theta.astype(dtype)
