"""Pictures that only the review's experiments need, in the style of ``numvae.figures``.

Each takes arrays that lie on the host, draws a ``Picture`` and returns it, or draws into the Axes it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from numvae import figures
from numvae.figures import (
    BLUE,
    GRID,
    INK,
    ORANGE,
    QUIET,
    RED,
    Images,
    Picture,
    _mosaic,
    _plain,
    _show,
)

__all__ = [
    "beta_panel",
    "differences",
    "error_histograms",
    "film_scatter",
    "image_rows",
    "latent_panels",
    "log_from_zero",
    "mixture_panel",
    "pairs_of_panels",
    "training_curves",
]

WIDE = 10.6
"""Inches: the whole width of the page."""
EDGE = 0.15
"""Inches left free on the right."""
GREEN = "#009e73"
LINE_COLOURS = (RED, ORANGE, QUIET, BLUE, GREEN)


# ---- panels


def latent_panels(
    scatter: Callable[[Axes], object],
    decoded: Callable[[Axes], object],
    image_shape: tuple[int, int],
    below: Mapping[str, Images] | None = None,
) -> Picture:
    """A scatter of latents beside decoded points, and below them rows of images by name, as ``image_rows`` draws."""
    side, gap, left, foot = 4.35, 0.95, 0.65, 0.5
    height, width = image_shape
    names = 0.0 if below is None else _names_width(below)
    rows = 0.0 if below is None else _rows_height(below, image_shape, WIDE - names - EDGE) + 0.35
    tall = side * min(1.15, height / width)
    picture = Picture(figsize=(WIDE, rows + foot + max(side, tall) + 0.35))
    scatter(_inches(picture, left, rows + foot + (max(side, tall) - side) / 2, side, side))
    wide = tall * width / height
    decoded(_inches(picture, left + side + gap + (side - wide) / 2, rows + foot, wide, tall))
    if below is not None:
        image_rows(below, image_shape, _inches(picture, names, 0.05, WIDE - names - EDGE, rows - 0.35))
    return picture


def pairs_of_panels(
    titles: Sequence[str], upper: Sequence[Callable[[Axes], object]], lower: Sequence[Callable[[Axes], object]]
) -> Picture:
    """Columns of square panels, one above the other, each column with its title."""
    columns, left, foot, head = len(titles), 0.75, 0.5, 0.4
    side = (WIDE - columns * (left + 0.15)) / columns
    side = min(side, 3.3)
    picture = Picture(figsize=(columns * (side + left + 0.15), 2 * (side + foot) + head))
    for column, title in enumerate(titles):
        x = left + column * (side + left + 0.15)
        top = _inches(picture, x, side + 2 * foot, side, side)
        upper[column](top)
        top.set_title(title, loc="left", fontsize=10, color=INK, pad=8)
        lower[column](_inches(picture, x, foot, side, side))
    return picture


def image_rows(rows: Mapping[str, Images], image_shape: tuple[int, int], ax: Axes | None = None) -> Axes:
    """Rows of images (N, D), each row with its name on the left; N is the same for all."""
    count = len(next(iter(rows.values())))
    mosaic = _mosaic(np.concatenate(list(rows.values())), image_shape, columns=count, gap=1)
    ax = _show(mosaic, ax, left=_names_width(rows), width=WIDE)
    pitch = image_shape[0] + 1
    ax.set_yticks([pitch * number + (pitch - 2) / 2 for number in range(len(rows))], list(rows))
    ax.tick_params(length=0)
    return ax


# ---- points


def small_scatter(means: Images, labels: npt.NDArray[Any] | None, ax: Axes, *, rings: bool = True) -> None:
    """``figures.latent_scatter`` where there is no room for names."""
    figures.latent_scatter(means, labels, ax, rings=rings)
    if (legend := ax.get_legend()) is not None:
        legend.remove()
    for text in list(ax.texts):
        text.set_fontsize(9)


def log_from_zero(ax: Axes) -> None:
    """Both axes linear from 0 to 1 and logarithmic beyond, for positive latents with long tails."""
    for scale, axis in ((ax.set_xscale, ax.xaxis), (ax.set_yscale, ax.yaxis)):
        scale("symlog", linthresh=1.0)
        ticks = [tick for tick in (0, 1, 3, 10, 30, 100, 300, 1000) if tick <= axis.get_view_interval()[1]]
        axis.set_ticks(ticks, [str(tick) for tick in ticks])
        axis.set_minor_locator(NullLocator())
    ax.set_xlim(left=-0.15)
    ax.set_ylim(bottom=-0.15)


def film_scatter(means: Images, ax: Axes) -> None:
    """Latents (N, 2) in the order of a film, coloured by the place in it, with a thin line from each to the next."""
    order = np.arange(len(means))
    figures.latent_scatter(means, None, ax)
    ax.collections[0].remove()
    ax.plot(means[:, 0], means[:, 1], color=GRID, linewidth=0.5, zorder=1)
    points = ax.scatter(means[:, 0], means[:, 1], c=order, cmap="viridis", s=9, linewidths=0, zorder=2)
    bar = ax.inset_axes((0.0, 1.02, 1.0, 0.025))
    assert ax.figure is not None
    ax.figure.colorbar(points, cax=bar, orientation="horizontal").outline.set_visible(False)
    bar.xaxis.set_ticks_position("top")
    bar.tick_params(colors=QUIET, labelcolor=INK, labelsize=8.5, length=2)
    bar.set_title("training frame", fontsize=9, color=INK, loc="left", pad=3)


# ---- histograms and curves


def error_histograms(errors: Mapping[str, npt.NDArray[np.float64]]) -> Picture:
    """How squared errors spread over images, one outline for each model on the same bins; a bar stands at each mean."""
    picture = Picture(figsize=(WIDE * 0.75, 3.6))
    ax = _inches(picture, 0.75, 0.55, WIDE * 0.75 - 0.95, 2.8)
    _plain(ax)
    last = float(np.quantile(np.concatenate(list(errors.values())), 0.998))
    bins = np.linspace(0, last, 61).tolist()
    for (name, values), colour in zip(errors.items(), (BLUE, ORANGE, GREEN), strict=False):
        ax.hist(np.minimum(values, last), bins, color=colour, alpha=0.22, linewidth=0)
        ax.hist(
            np.minimum(values, last), bins, color=colour, histtype="step", linewidth=1.6,
            label=f"{name}: mean {values.mean():.2f}",
        )  # fmt: skip
        ax.axvline(values.mean(), color=colour, linewidth=1.4, linestyle=(0, (4, 3)))
    ax.set(xlabel="squared error of the reconstruction, summed over the pixels of an image", ylabel="test images")
    ax.set_xlim(0, last)
    ax.legend(frameon=False, fontsize=9.5, labelcolor=INK, loc="upper right")
    return picture


def training_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    scales: Mapping[str, Sequence[Mapping[str, Any]]],
    images: Mapping[str, Images],
    image_shape: tuple[int, int],
) -> Picture:
    """Several trainings of one model side by side: bound, gradient, smallest std and squared error; below, digits."""
    gap, foot, head, left = 0.75, 0.5, 0.55, 0.75
    side = (WIDE - left - EDGE - gap) / 2
    tall = 2.1
    names = _names_width(images)
    rows = _rows_height(images, image_shape, WIDE - names - EDGE) + 0.3
    picture = Picture(figsize=(WIDE, rows + 2 * (tall + foot + 0.3) + head))
    panels = [
        _inches(picture, left + column * (side + gap), rows + foot + row * (tall + foot + 0.3), side, tall)
        for row in (1, 0)
        for column in (0, 1)
    ]
    bound, gradient, least, error = panels
    for (name, history), colour in zip(histories.items(), LINE_COLOURS, strict=False):
        style: dict[str, Any] = {"color": colour, "linewidth": 1.5}
        if history:
            bound.plot([r["samples"] for r in history], [r["test_elbo"] for r in history], label=name, **style)
        x = [row["samples"] for row in scales[name]]
        for panel, key in ((gradient, "gradient_norm"), (least, "least_std"), (error, "squared_error")):
            panel.plot(x, [row[key] for row in scales[name]], **style)
    _signed_log(bound)
    gradient.set_yscale("log")
    least.set_yscale("log")
    settled = [row["squared_error"] for lines in scales.values() for row in lines[len(lines) // 4 :]]
    if settled:
        error.set_ylim(0.92 * min(settled), 1.08 * max(settled))
    titles = ("test bound, nats per image", "length of the gradient", "smallest standard deviation of a pixel",
              "squared error of a reconstruction")  # fmt: skip
    for panel, title in zip(panels, titles, strict=True):
        _plain(panel)
        panel.set_title(title, loc="left", fontsize=9.5, color=INK)
        panel.xaxis.set_major_formatter(EngFormatter(sep=" "))
        panel.yaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_locator(MaxNLocator(6))
        panel.set_xlabel("training samples seen")
    picture.legend(
        *bound.get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(left / WIDE - 0.01, 1.0),
        ncols=len(histories), frameon=False, fontsize=9.5, labelcolor=INK,
    )  # fmt: skip
    image_rows(images, image_shape, _inches(picture, names, 0.05, WIDE - names - EDGE, rows - 0.3))
    return picture


def _signed_log(ax: Axes) -> None:
    """Linear from -2000 to 2000, logarithmic beyond: bounds below zero may be so by any number of decades."""
    ax.set_yscale("symlog", linthresh=2000, linscale=2)
    least, most = ax.get_ylim()
    decades = {-(10.0**k): f"$-10^{{{k}}}$" for k in range(4, 30, 2) if -(10.0**k) >= least}
    near = {tick: f"{tick:,.0f}".replace("-", "−") for tick in (-2000.0, 0.0, 1000.0, 2000.0) if least <= tick <= most}
    ax.set_yticks([*decades, *near], [*decades.values(), *near.values()])


def beta_panel(
    scatters: Mapping[str, tuple[Images, npt.NDArray[Any]]], terms: Mapping[str, tuple[float, float]]
) -> Picture:
    """Above, latents under one KL weight after another; below, KL (nats) against reconstruction (nats) of all runs."""
    columns, left, foot, head = len(scatters), 0.6, 0.5, 0.35
    side = (WIDE - 0.1) / columns - left - 0.05
    tall = 2.8
    picture = Picture(figsize=(WIDE, side + head + foot + tall + foot + 0.25))
    for column, (name, (means, labels)) in enumerate(scatters.items()):
        ax = _inches(picture, left + column * (side + left + 0.05), tall + 2 * foot + 0.25, side, side)
        small_scatter(means, labels, ax)
        ax.set_title(name, loc="left", fontsize=10, color=INK)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.yaxis.set_major_locator(MaxNLocator(4))
    ax = _inches(picture, 0.8, foot, WIDE - 1.0, tall)
    _plain(ax)
    for place, (name, (reconstruction, kl)) in enumerate(sorted(terms.items(), key=lambda item: item[1][1])):
        weighted = name.startswith("β = ") and name[4:].replace(".", "").isdigit()
        ax.plot(kl, reconstruction, "o" if weighted else "D", color=BLUE if weighted else ORANGE, markersize=7)
        ax.annotate(
            name, (kl, reconstruction), xytext=(0, 10 if place % 2 else -18), textcoords="offset points",
            ha="center", fontsize=9.5, color=INK,
        )  # fmt: skip
    ax.margins(x=0.1, y=0.22)
    ax.set(xlabel="KL(q(z|x) ‖ p(z)), nats per image", ylabel="reconstruction, nats per image")
    if min(kl for _, kl in terms.values()) > 0:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.xaxis.set_minor_locator(NullLocator())
    return picture


# ---- images


def mixture_panel(
    means: Images, weights: npt.NDArray[np.float64], draws: Sequence[Images], image_shape: tuple[int, int]
) -> Picture:
    """The mean image of each component with its weight above, heaviest first, and below each draws from it."""
    order = np.argsort(-weights)
    stacked = np.concatenate([means[order], *(each[order] for each in draws)])
    height, width = image_shape
    pitch = (WIDE - 1.0) / len(means)
    tall = pitch * height / width * (1 + len(draws))
    picture = Picture(figsize=(WIDE, tall + 0.35))
    ax = _inches(picture, 1.0, 0.0, WIDE - 1.0, tall)
    _show(_mosaic(stacked, image_shape, columns=len(means), gap=1), ax)
    for column, weight in enumerate(weights[order]):
        ax.text((width + 1) * column + width / 2, -2.5, f"{weight:.1%}", ha="center", fontsize=9, color=QUIET)
    middle = (height + 1) * (1 + len(draws) / 2)
    ax.set_yticks([height / 2, middle], ["mean", "draws"])
    ax.tick_params(length=0)
    return picture


def differences(faces: Mapping[str, Images], origin: str, image_shape: tuple[int, int]) -> Picture:
    """Decoded images by name, and below each but ``origin`` its difference from that one: red brighter, blue darker."""
    height, width = image_shape
    columns, gap, head = len(faces), 0.3, 0.35
    wide = (WIDE - 1.0 - columns * gap) / columns
    tall = wide * height / width
    picture = Picture(figsize=(WIDE, 2 * tall + head + 0.3))
    base = np.asarray(faces[origin], dtype=np.float64).reshape(image_shape)
    others = [np.asarray(face, dtype=np.float64).reshape(image_shape) - base for face in faces.values()]
    reach = max(0.05, *(float(np.abs(other).max()) for other in others))
    shown = None
    for column, (name, face) in enumerate(faces.items()):
        x = 0.15 + column * (wide + gap)
        above = _bare(_inches(picture, x, tall + 0.2, wide, tall))
        above.imshow(np.asarray(face).reshape(image_shape), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        above.set_title(name, fontsize=10, color=INK)
        if name != origin:
            below = _bare(_inches(picture, x, 0.1, wide, tall))
            shown = below.imshow(others[column], cmap="RdBu_r", norm=Normalize(-reach, reach), interpolation="nearest")
    if shown is not None:
        bar = _inches(picture, WIDE - 0.75, 0.1 + 0.1 * tall, 0.12, 0.8 * tall)
        picture.colorbar(shown, cax=bar).outline.set_visible(False)
        bar.tick_params(colors=QUIET, labelcolor=INK, labelsize=8.5, length=2)
        bar.set_title("grey", fontsize=8.5, color=QUIET)
    return picture


def _bare(ax: Axes) -> Axes:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def _names_width(rows: Mapping[str, Images]) -> float:
    """Inches for the names on the left of ``image_rows``."""
    return 0.2 + 0.078 * max(map(len, rows))


def _rows_height(rows: Mapping[str, Images], image_shape: tuple[int, int], width: float) -> float:
    """Inches that ``image_rows`` takes at this width."""
    count = len(next(iter(rows.values())))
    return width * len(rows) * (image_shape[0] + 1) / (count * (image_shape[1] + 1))


def _inches(picture: Picture, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes of just this size at this place, all in inches."""
    across, up = picture.get_size_inches()
    return picture.add_axes((left / across, bottom / up, width / across, height / up))
