"""Two curves in a terminal, one beside the other."""

from __future__ import annotations

import numpy as np

from numvae.arrays import Array

__all__ = ["text_plot"]

WIDTH, HEIGHT = 64, 12
TINY = 1e-12
BEYOND = 0.6
"""By how much of the second curve's range the first may leave it and still be drawn; beyond, only an arrow is."""


def text_plot(first: Array, second: Array) -> str:
    """``first`` as ●, ``second`` as ·, over the same steps; the scale is the second's, ▲ and ▼ point at what leaves it.

    >>> rows = text_plot(np.zeros(64), np.arange(64.0)).splitlines()
    >>> rows[0].strip(), rows[-2].count("●")
    ('63.0 ┤                                                             ···', 64)
    """
    curves = [_binned(curve) for curve in (first, second)]
    low, high = float(np.min(curves[1])), float(np.max(curves[1]))
    room = BEYOND * (high - low)
    inside = curves[0][(curves[0] > low - room) & (curves[0] < high + room)]
    low, high = min([low, *inside]), max([high, *inside])
    canvas = np.full((HEIGHT, len(curves[0])), " ")
    for curve, mark in ((curves[1], "·"), (curves[0], "●")):
        for column, value in enumerate(curve):
            if not np.isnan(value):
                row = round((HEIGHT - 1) * (high - min(max(value, low), high)) / max(high - low, TINY))
                canvas[row, column] = "▲" if value > high else "▼" if value < low else mark
    heights = np.linspace(high, low, HEIGHT)
    lines = [f"{heights[row]:>9.1f} ┤{''.join(canvas[row])}".rstrip() for row in range(HEIGHT)]
    return "\n".join([*lines, f"{'':>9} └{'─' * len(curves[0])}"])


def _binned(curve: Array) -> Array:
    """Means over as many pieces as there are columns."""
    pieces = np.array_split(curve, min(WIDTH, len(curve)))
    with np.errstate(all="ignore"):
        return np.array([np.mean(piece) for piece in pieces])
