"""Pictures of estimates of log p(x), in the style of ``numvae.figures``: ``ax=None`` in, the Axes drawn on out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from numvae.arrays import Array
from numvae.errors import InputError
from numvae.figures import BLUE, GRID, INK, ORANGE, QUIET, _axes_within, _plain
from numvae.marginal_likelihood.annealed import Sandwich
from numvae.marginal_likelihood.breakdown import Breakdown

__all__ = ["breakdown_by_latents", "sandwich_by_temperatures"]

NINE_IN_TEN = 1.645
"""Standard errors on either side that hold nine in ten of normal errors."""


def breakdown_by_latents(records: Sequence[Breakdown], ax: Axes | None = None) -> Axes:
    """Errors of the reciprocal estimate for each number of latents, beside those that it says it has.

    Boxes hold the middle half of the rows, whiskers nine in ten; a bar marks the median, a dot the mean.  The grey box
    beside each is where nine in ten should lie by the median of the stated standard errors.  Below stands how many fits
    leave q/p an infinite variance.
    """
    if not records:
        raise InputError("breakdown_by_latents needs at least one record; reciprocal_breakdown() makes some")
    ax = ax or _axes_within(4.6, 2.9, left=0.75, right=0.1, bottom=0.72, top=0.35)
    _plain(ax)
    for place, record in enumerate(records):
        stated = NINE_IN_TEN * float(np.median(record.standard_errors))
        ax.bar(place + 0.2, 2 * stated, bottom=-stated, width=0.26, color=GRID, edgecolor=QUIET, linewidth=0.8)
        low, first, middle, third, high = np.quantile(record.errors, (0.05, 0.25, 0.5, 0.75, 0.95))
        ax.plot([place - 0.15] * 2, [low, high], color=BLUE, linewidth=1.6, solid_capstyle="butt")
        ax.bar(place - 0.15, third - first, bottom=first, width=0.26, color=BLUE, zorder=2.5)
        ax.plot([place - 0.28, place - 0.02], [middle, middle], color=INK, linewidth=1.6, zorder=2.6)
        ax.plot(place - 0.15, record.errors.mean(), "o", color="white", markeredgecolor=INK, markersize=5, zorder=4)
    ax.axhline(0, color=INK, linewidth=1, zorder=0.9)
    ax.grid(False, axis="x")
    ax.set_xlim(-0.6, len(records) - 0.4)
    shares = [f"{100 * record.infinite_variance:.0f} %" for record in records]
    names = [f"{record.latents}\n{share}" for record, share in zip(records, shares, strict=True)]
    ax.set_xticks(range(len(records)), names)
    ax.tick_params(axis="x", length=0)
    ax.set_xlabel("latents, and share of fits with infinite variance")
    ax.set_ylabel("estimate − log p(x), nats")
    ax.legend(
        handles=[
            Patch(color=BLUE, label="errors of the rows"),
            Patch(facecolor=GRID, edgecolor=QUIET, label="where nine in ten should be"),
        ],
        loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9, labelcolor=INK, borderaxespad=0.2,
    )  # fmt: skip
    return ax


def sandwich_by_temperatures(
    bounds: Mapping[int, Sandwich], ax: Axes | None = None, *, truth: Array | None = None
) -> Axes:
    """Mean lower and upper bound over the rows, with two standard errors, against the number of temperatures.

    ``bounds``: that number -> a ``Sandwich`` of the same rows.  With ``truth``, log p(x) of each row, (B,), the bounds
    are drawn from there.
    """
    if not bounds:
        raise InputError("sandwich_by_temperatures needs the bounds of at least one number of temperatures, got none")
    ax = ax or _axes_within(4.6, 2.7, left=0.8, right=0.15, bottom=0.5, top=0.15)
    _plain(ax)
    numbers = sorted(bounds)
    from_here = 0.0 if truth is None else truth
    for name, colour, mark, rows in (
        ("upper", ORANGE, "v", [bounds[number].upper - from_here for number in numbers]),
        ("lower", BLUE, "^", [bounds[number].lower - from_here for number in numbers]),
    ):
        errors = [2 * row.std(ddof=1) / math.sqrt(len(row)) if len(row) > 1 else 0.0 for row in rows]
        means = [row.mean() for row in rows]
        style: dict[str, Any] = {"color": colour, "marker": mark, "markersize": 6, "linewidth": 1.8, "capsize": 3}
        ax.errorbar(numbers, means, yerr=errors, label=name, **style)
    if truth is not None:
        ax.axhline(0, color=INK, linewidth=1, zorder=0.9)
    ax.set_xscale("log")
    ax.set_xticks(numbers, [str(number) for number in numbers])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("temperatures")
    ax.set_ylabel("bound (nats per datum)" if truth is None else "bound − log p(x), nats per datum")
    ax.legend(loc="upper right", frameon=False, fontsize=9, labelcolor=INK)
    return ax
