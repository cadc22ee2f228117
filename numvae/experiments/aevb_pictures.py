"""Figures 2 to 5 of the paper, from outcomes; the two that show images, from the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from numvae import figures
from numvae.experiments.outcomes import Outcome, last
from numvae.figures import BLUE, INK, ORANGE, Picture, _plain
from numvae.runs import open_run

__all__ = ["DATA", "NAMES", "bound_panels", "likelihood_panels", "manifolds", "samples"]

WIDE = 10.6
"""Inches: the whole width of the page."""
GREEN = "#009e73"
COLOURS = {"aevb": BLUE, "wake_sleep": ORANGE, "monte_carlo_em": GREEN}
NAMES = {"aevb": "AEVB", "wake_sleep": "wake-sleep", "monte_carlo_em": "Monte Carlo EM"}
DATA = {"mnist": "MNIST", "frey": "Frey face"}
DASHED, FEW = (0, (3, 2)), 12
"""Fewer points than that are marked."""
LEAST_SEEN = 0.2
"""Of the height, below where the best learners began; curves that begin lower come in from there."""


def bound_panels(outcomes: Mapping[str, Outcome]) -> Picture:
    """Figure 2: a panel for each data set and number of latents, test solid and training dashed, a colour a learner."""
    rows: dict[str, dict[int, list[Outcome]]] = {}
    for outcome in outcomes.values():
        rows.setdefault(outcome["data"], {}).setdefault(outcome["latents"], []).append(outcome)
    columns, left, gap, high, head, foot, between = max(map(len, rows.values())), 0.75, 0.16, 2.1, 0.62, 0.55, 0.3
    wide = (WIDE - left - columns * gap) / columns
    height = head + len(rows) * (high + foot + between) - between
    picture = Picture(figsize=(WIDE, height))
    for line, (data, panels) in enumerate(rows.items()):
        shared: Axes | None = None
        curves = [outcome for each in panels.values() for outcome in each]
        for column, latents in enumerate(sorted(panels)):
            place = (left + column * (wide + gap), height - head - line * (high + foot + between) - high, wide, high)
            box = (place[0] / WIDE, place[1] / height, place[2] / WIDE, place[3] / height)
            ax = picture.add_axes(box, sharey=shared)
            _plain(ax)
            for outcome in panels[latents]:
                _pair(ax, outcome, pass_rows=outcome["train_rows"])
            ax.set_title(f"{DATA[data]}, {latents} latents", loc="left", fontsize=9.5, color=INK)
            _samples(ax, panels[latents])
            if shared is None:
                shared = ax
                ax.set_ylabel("bound (nats per datum)")
                ax.set_ylim(*_limits(curves))
            else:
                ax.tick_params(labelleft=False)
    _legend(picture, ["aevb", "wake_sleep"])
    return picture


def likelihood_panels(outcomes: Mapping[str, Outcome]) -> Picture:
    """Figure 3: a panel for each number of training points, test solid and training dashed, a colour a learner."""
    panels: dict[int, list[Outcome]] = {}
    for outcome in outcomes.values():
        panels.setdefault(outcome["train_rows"], []).append(outcome)
    left, gap, high, head, foot = 0.85, 0.2, 2.9, 0.62, 0.55
    wide = (WIDE - len(panels) * (left + gap)) / len(panels)
    height = high + head + foot
    picture = Picture(figsize=(WIDE, height))
    for column, (rows, curves) in enumerate(sorted(panels.items())):
        x = left + column * (wide + left + gap)
        ax = picture.add_axes((x / WIDE, foot / height, wide / WIDE, high / height))
        _plain(ax)
        for outcome in curves:
            _pair(ax, outcome)
        ax.set_title(f"{rows:,} training points", loc="left", fontsize=9.5, color=INK)
        ax.set_ylabel("log p(x), estimated (nats)")
        ax.set_ylim(*_limits(curves))
        _samples(ax, curves)
    _legend(picture, ["aevb", "wake_sleep", "monte_carlo_em"])
    return picture


def manifolds(runs: Path, titles: Mapping[str, str], side: int = 20) -> Picture:
    """Figure 4: what two latents decode to, on a grid of equal cells of the prior, for each run of a title."""
    opened = [open_run(runs / name) for name in titles]
    shapes = [run.image_shape or (1, run.features) for run in opened]
    picture, axes = _side_by_side(list(titles.values()), [(side * height, side * width) for height, width in shapes])
    for run, shape, ax in zip(opened, shapes, axes, strict=True):
        figures.manifold(run.decode, shape, side, ax)
        ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
    return picture


def samples(runs: Path, names: Sequence[str], columns: int = 8) -> Picture:
    """Figure 5: mean images of draws from the prior, a square mosaic for each run."""
    opened = [open_run(runs / name) for name in names]
    shapes = [run.image_shape or (1, run.features) for run in opened]
    sizes = [(columns * (height + 1) - 1, columns * (width + 1) - 1) for height, width in shapes]  # with lines between
    picture, axes = _side_by_side([f"{run.model.latents} latents" for run in opened], sizes)
    for run, shape, ax in zip(opened, shapes, axes, strict=True):
        figures.image_grid(run.draw(columns**2), shape, columns, ax)
    return picture


def _side_by_side(titles: Sequence[str], sizes: Sequence[tuple[int, int]]) -> tuple[Picture, list[Axes]]:
    """Axes for mosaics of so many (rows, columns) of pixels, each pixel the same whole number of dots."""
    gap, head, grain = 0.25, 0.35, 1e-9  # rounding must not lose a dot
    dots = max(1, int((WIDE - gap * (len(sizes) - 1)) * figures.DPI / sum(columns for _, columns in sizes)))
    inches = [(rows * dots / figures.DPI, columns * dots / figures.DPI) for rows, columns in sizes]
    width = sum(wide for _, wide in inches) + gap * (len(sizes) - 1) + grain
    height = max(high for high, _ in inches) + head + grain
    picture, axes, x = Picture(figsize=(width, height)), [], 0.0
    for title, (high, wide) in zip(titles, inches, strict=True):
        ax = picture.add_axes((x / width, 1 - (head + high) / height, wide / width, high / height))
        ax.set_title(title, loc="left", fontsize=10, color=INK)
        axes.append(ax)
        x += wide + gap
    return picture, axes


def _pair(ax: Axes, outcome: Outcome, pass_rows: int = 0) -> None:
    """Test and training curve of one learner; the latter, if it is a mean over passes, at the middle of each."""
    x = np.array(outcome["samples"], dtype=float)
    style: dict[str, Any] = {
        "color": COLOURS[outcome["learner"]], "marker": "o" if len(x) < FEW else None, "markersize": 3
    }  # fmt: skip
    ax.plot(x, _numbers(outcome["test"]), linewidth=1.6, **style)
    ax.plot(x - pass_rows / 2, _numbers(outcome["train"]), linewidth=1.2, linestyle=DASHED, **style)


def _numbers(values: Sequence[float | None]) -> Any:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _limits(curves: Sequence[Outcome]) -> tuple[float, float]:
    """From below where each panel's best learner began, by a fifth, to the top: what fell far below falls out."""
    panels: dict[Any, list[Outcome]] = {}
    for outcome in curves:
        panels.setdefault((outcome.get("latents"), outcome["train_rows"]), []).append(outcome)
    best = [max(each, key=_end) for each in panels.values()]
    starts = np.concatenate([_numbers(outcome["test"]) for outcome in best])
    points = np.concatenate([_numbers([*outcome["test"], *outcome["train"]]) for outcome in curves])
    starts, points = starts[np.isfinite(starts)], points[np.isfinite(points)]
    if not len(starts):
        return 0.0, 1.0
    low, high = float(starts.min()), float(points.max())
    length = high - low or 1.0
    return low - LEAST_SEEN * length, high + 0.05 * length


def _end(outcome: Outcome) -> float:
    """Where the test curve ends; below all where it does not."""
    value = last(outcome, "test")
    return float("-inf") if value is None else float(value)


def _samples(ax: Axes, curves: Sequence[Outcome]) -> None:
    """The horizontal axis: a tick for every decade, or two where there are few decades."""
    places = [place for outcome in curves for place in outcome["samples"]]
    few = not places or max(places) < 30 * min(places)
    ax.set_xscale("log")
    ax.set_xlabel("training samples")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3) if few else (1,)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(EngFormatter(sep=" "))


def _legend(picture: Picture, learners: Sequence[str]) -> None:
    lines = [Line2D([], [], color=COLOURS[name], linewidth=1.8, label=NAMES[name]) for name in learners]
    lines += [
        Line2D([], [], color=INK, linewidth=1.6, label="test"),
        Line2D([], [], color=INK, linewidth=1.2, linestyle=DASHED, label="training"),
    ]
    picture.legend(handles=lines, loc="upper left", ncols=len(lines), frameon=False, fontsize=9.5, labelcolor=INK)
