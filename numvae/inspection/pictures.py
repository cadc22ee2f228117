"""Pictures of trained models, in the style of ``numvae.figures``: ``ax=None`` in, the Axes drawn on out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from numvae.arrays import Array
from numvae.errors import InputError
from numvae.figures import BLUE, GRID, INK, ORANGE, QUIET, _axes_within, _plain
from numvae.inspection.exact_posterior import GridPosterior
from numvae.inspection.inference_gap import InferenceGaps

__all__ = ["gap_bars", "posterior_contours"]

MASSES = (0.95, 0.5)
"""What the regions of highest density hold."""
FILLS = ("#dfe4ea", "#b3bdc9")
COLOURS = (ORANGE, BLUE)
PANEL = 2.1
"""Inches."""


def posterior_contours(
    exact: Sequence[GridPosterior],
    family: Any,
    fitted: Mapping[str, Array],
    ax: Axes | None = None,
    *,
    images: Array | None = None,
    image_shape: tuple[int, int] | None = None,
    columns: int = 3,
) -> Axes:
    """For each datum the exact p(z|x), filled, and over it the contours of q: each holds half and 95 % of the mass.

    ``exact``: of B data.  ``fitted``: name -> params (B, P) of ``family``, one or two of them, say q(z|x) as the
    encoder says it and as refined for each datum.  ``images``: (B, D), shown beside.  Each panel has a scale of its
    own, the same along z_1 and z_2.  The panels are insets of the Axes returned (``ax.child_axes``).
    """
    if not exact or not 1 <= len(fitted) <= len(COLOURS):
        raise InputError(
            f"posterior_contours needs the posterior of a datum, and one or two q, got {len(exact)} and {len(fitted)}"
        )
    if any(len(params) != len(exact) for params in fitted.values()):
        raise InputError(f"each q needs one row of params for each of the {len(exact)} posteriors")
    columns = min(columns, len(exact))
    rows = -(-len(exact) // columns)
    across, up = columns * (PANEL + 0.62), rows * (PANEL + 0.5)
    ax = ax or _axes_within(across, up, left=0.05, right=0.2, bottom=0.2, top=0.35)
    ax.set_axis_off()
    for place, posterior in enumerate(exact):
        row, column = divmod(place, columns)
        corner = ((column * (PANEL + 0.62) + 0.55) / across, 1 - ((row + 1) * (PANEL + 0.5) - 0.4) / up)
        panel = ax.inset_axes((*corner, PANEL / across, PANEL / up))
        _one_posterior(panel, posterior, family, [params[place] for params in fitted.values()])
        if images is not None and image_shape is not None:
            inset = panel.inset_axes((0.78, 0.78, 0.22, 0.22))
            inset.imshow(images[place].reshape(image_shape), cmap="gray_r", interpolation="nearest")
            inset.set(xticks=[], yticks=[])
            inset.spines[:].set_color(GRID)
    handles = [
        Patch(facecolor=FILLS[1], edgecolor=QUIET, label="exact p(z|x)"),
        *(
            Line2D([], [], color=colour, linewidth=1.6, label=name)
            for name, colour in zip(fitted, COLOURS, strict=False)
        ),
    ]
    ax.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(handles), frameon=False, fontsize=9,
        labelcolor=INK, borderaxespad=0.2,
    )  # fmt: skip
    return ax


def _one_posterior(panel: Axes, posterior: GridPosterior, family: Any, fitted: Sequence[Array]) -> None:
    _plain(panel)
    panel.grid(False)
    density = np.exp(posterior.log_density)
    levels = _levels(density)
    panel.contourf(posterior.z1, posterior.z2, density, [*levels, density.max()], colors=FILLS)
    reaches = [_reach(posterior.z1, posterior.z2, density > levels[0])]
    for params, colour in zip(fitted, COLOURS, strict=False):
        z1, z2, of_q = _density_of(family, params, posterior)
        levels_of_q = _levels(of_q)
        panel.contour(z1, z2, of_q, levels_of_q, colors=colour, linewidths=(1.0, 1.8))
        reaches.append(_reach(z1, z2, of_q > levels_of_q[0]))
    low, high = np.min([reach[0] for reach in reaches], axis=0), np.max([reach[1] for reach in reaches], axis=0)
    middle, half = (low + high) / 2, 0.65 * float(np.max(high - low))
    panel.set(
        xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half),
        xlabel="$z_1$", ylabel="$z_2$",
    )  # fmt: skip
    panel.locator_params(nbins=4)
    panel.xaxis.labelpad = panel.yaxis.labelpad = 1


def _density_of(family: Any, params: Array, posterior: GridPosterior) -> tuple[Array, Array, Array]:
    """q on a grid of its own: five standard deviations to either side, or where the posterior is if it has none."""
    params = params[None].astype(np.float64)
    mean = family.mean(params)[0]
    spread = np.sqrt(posterior.covariance.diagonal()) if not hasattr(family, "std") else family.std(params)[0]
    z1, z2 = (np.linspace(m - 5 * s, m + 5 * s, 121) for m, s in zip(mean, spread, strict=True))
    nodes = np.stack(np.meshgrid(z1, z2), axis=-1)
    return z1, z2, np.exp(family.log_prob(params[0], nodes)[0])


def _levels(density: Array) -> list[float]:
    """Densities above which the region holds ``MASSES``, ascending."""
    falling = np.sort(density.ravel())[::-1]
    share = np.cumsum(falling) / falling.sum()
    return [float(falling[np.searchsorted(share, mass)]) for mass in MASSES]


def _reach(z1: Array, z2: Array, within: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """The corners of the box around where ``within`` is true, (2,) each."""
    first, second = z1[within.any(axis=0)], z2[within.any(axis=1)]
    return np.array([first[0], second[0]]), np.array([first[-1], second[-1]])


def gap_bars(gaps: Mapping[str, InferenceGaps], ax: Axes | None = None) -> Axes:
    """For each name two bars of mean gaps, approximation and amortisation, with two standard errors over the rows."""
    if not gaps:
        raise InputError("gap_bars needs at least one record; inference_gaps() makes some")
    ax = ax or _axes_within(max(3.0, 1.2 * len(gaps)), 2.6, left=0.75, right=0.1, bottom=0.35, top=0.35)
    _plain(ax)
    for shift, (name, colour) in zip((-0.2, 0.2), (("approximation", BLUE), ("amortisation", ORANGE)), strict=True):
        for place, record in enumerate(gaps.values()):
            gap = getattr(record, name)
            error = 2 * gap.standard_error if math.isfinite(gap.standard_error) else 0.0
            ax.bar(place + shift, gap.mean, width=0.34, color=colour, label=name if place == 0 else None)
            ax.errorbar(place + shift, gap.mean, yerr=error, color=INK, linewidth=1, capsize=3)
    ax.axhline(0, color=INK, linewidth=1, zorder=0.9)
    ax.grid(False, axis="x")
    ax.set_xlim(-0.6, len(gaps) - 0.4)
    ax.set_xticks(range(len(gaps)), list(gaps))
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel("gap (nats per datum)")
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9, labelcolor=INK, borderaxespad=0.2
    )
    return ax
