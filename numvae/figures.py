"""Every picture.  Each function takes ``ax=None``, draws there, and returns the Axes it drew on.

Without ``ax`` a function makes its own `Picture`, never touching pyplot; a notebook shows it when a cell ends in
``….figure``.  With ``ax``, say from ``plt.subplots()``, it draws into a figure of yours.  All arrays live on the host.
"""

from __future__ import annotations

import io
import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator
from scipy.special import ndtr, ndtri

from numvae.atomic import write_atomically
from numvae.errors import InputError

__all__ = [
    "Picture",
    "bound_curves",
    "bound_terms",
    "gradient_check",
    "image_grid",
    "latent_scatter",
    "manifold",
    "prior_samples",
    "reconstructions",
    "save",
]

Images: TypeAlias = npt.NDArray[Any]
"""(N, D): one flattened image per row, 0 black to 1 white; what lies outside is clipped for display."""

Row: TypeAlias = Mapping[str, Any]
"""One line of ``history.jsonl`` or one group of a gradient check."""

# The house style: light, quiet, nothing in the picture that does not inform.
DPI, CSS_DPI = 200, 96  # dots in the file, pixels of a web page: two for one keeps dense screens sharp
WIDTH = 5.4  # inches; half the page
INK, QUIET, GRID = "#27313b", "#6b7683", "#e6e9ed"
BLUE, ORANGE, RED = "#0072b2", "#e08700", "#c0392b"
# Petroff (2021), arXiv:2107.02270: ten colours that stay apart under colour-vision deficiency; in an order that keeps
# its two greys off a pair of digits that lie side by side, such as 3 and 8.
TEN_COLOURS = (
    "#717581", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#3f90da", "#92dadd",
)  # fmt: skip
MOST_DOTS = 8  # per image pixel: a lone digit is not blown up into a poster


class Picture(Figure):
    """A Figure that a notebook shows by itself, without pyplot and without ``%matplotlib inline``."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = self.get_size_inches()
        return _png(self), {"width": round(width * CSS_DPI), "height": round(height * CSS_DPI)}


def bound_curves(history: Sequence[Row], ax: Axes | None = None, *, climbed: str = "train") -> Axes:
    """The bound in nats per datum, on training and test data, against the number of training samples seen.

    ``train_elbo`` is a mean over its epoch, while the weights were changing; it is drawn at the middle of the epoch,
    where it belongs, and not at the end, where it would look too low beside the test bound.  ``climbed``: its name in
    the legend, where training climbs something else than the bound that is tested.
    """
    samples = _column(history, "samples")
    ax = ax or _axes_within(WIDTH - 0.9, 2.7, left=0.8, right=0.1, bottom=0.5, top=0.25)
    _plain(ax)
    middles = (samples + np.concatenate([[0.0], samples[:-1]])) / 2
    for key, name, x, colour in (("train_elbo", climbed, middles, ORANGE), ("test_elbo", "test", samples, BLUE)):
        bound = _column(history, key)
        ax.plot(x, bound, color=colour, label=f"{name}  {_signed(bound[-1])}", **_line_style(len(bound)))
    ax.set_ylabel("bound (nats per datum)")
    ax.legend(loc="lower right", frameon=False, fontsize=9, labelcolor=INK)
    _samples_axis(ax, middles[0], samples[-1])
    return ax


def bound_terms(history: Sequence[Row], ax: Axes | None = None) -> Axes:
    """The two terms of the test bound, reconstruction − KL, in nats per datum, each on a scale of its own.

    The two panels are insets of the Axes returned (``ax.child_axes``): they fit into one Axes of a larger figure.
    """
    samples = _column(history, "samples")
    ax = ax or _axes_within(WIDTH - 0.9, 2.7, left=0.8, right=0.1, bottom=0.5, top=0.25)
    ax.set_axis_off()
    upper = ax.inset_axes((0.0, 0.57, 1.0, 0.43))
    lower = ax.inset_axes((0.0, 0.0, 1.0, 0.43), sharex=upper)
    terms = ((upper, "test_reconstruction", "reconstruction", BLUE), (lower, "test_kl", "KL", ORANGE))
    for panel, key, name, colour in terms:
        _plain(panel)
        term = _column(history, key)
        panel.plot(samples, term, color=colour, **_line_style(len(term)))
        panel.set_title(f"{name}  {_signed(term[-1])} nats", loc="left", fontsize=9.5, color=INK)
        panel.yaxis.set_major_locator(MaxNLocator(4))
    _samples_axis(lower, samples[0], samples[-1])
    upper.tick_params(labelbottom=False)
    upper.set_xlabel("")
    return ax


def image_grid(images: Images, image_shape: tuple[int, int], columns: int, ax: Axes | None = None) -> Axes:
    """N images side by side, `columns` in a row, with thin white lines between them.

    images: (N, D) with D = height · width of `image_shape`.  Raises `InputError` where they do not fit.
    """
    return _show(_mosaic(images, image_shape, columns, gap=1), ax)


def prior_samples(images: Images, image_shape: tuple[int, int], ax: Axes | None = None) -> Axes:
    """Images (N, D) decoded from draws of the prior, in a mosaic about as wide as high."""
    height, width = image_shape
    square = math.sqrt(max(1, len(images)) * height / width)
    near_square = range(max(1, round(0.7 * square)), round(1.4 * square) + 1)
    return image_grid(images, image_shape, min(near_square, key=lambda n: (-len(images) % n, abs(n - square))), ax)


def reconstructions(originals: Images, decoded: Images, image_shape: tuple[int, int], ax: Axes | None = None) -> Axes:
    """Each original (N, D) above the mean image decoded from its latent (N, D)."""
    if np.shape(originals) != np.shape(decoded):
        raise InputError(
            f"originals and decoded must have one shape, got {np.shape(originals)} and {np.shape(decoded)}; "
            "pass the rows of `decoded` in the order of `originals`"
        )
    mosaic = _mosaic(np.concatenate([originals, decoded]), image_shape, columns=len(originals), gap=1)
    many = len(originals) > 10
    ax = _show(mosaic, ax, left=0.85, width=2 * WIDTH if many else WIDTH)
    ax.set_yticks([image_shape[0] * 0.5 - 0.5, image_shape[0] * 1.5 + 0.5], ["original", "decoded"])
    ax.tick_params(length=0)
    return ax


def latent_scatter(
    means: Images, labels: npt.NDArray[Any] | None = None, ax: Axes | None = None, *, rings: bool = True
) -> Axes:
    """The posterior mean (N, 2) of each datum, coloured by its label (N,) where given.

    Each class is named at the median of its points, and up to ten beside their colours above; of more than ten classes,
    some share a colour.  ``rings`` mark 1, 2 and 3 standard deviations of the prior N(0, I); without them the axes
    enclose the points alone.
    """
    means = np.asarray(means)
    if means.ndim != 2 or means.shape[1] != 2 or len(means) == 0:
        raise InputError(
            f"latent_scatter needs means of shape (N, 2), got {means.shape}; train with a 2-D latent, "
            "or pick two coordinates: means[:, :2]"
        )
    if labels is not None and np.shape(labels) != means.shape[:1]:
        raise InputError(f"labels must have shape {means.shape[:1]}, one per row of means, got {np.shape(labels)}")
    ax = ax or _axes_within(4.6, 4.6, left=0.65, right=0.2, bottom=0.5, top=0.3)
    _plain(ax)
    for radius in (1, 2, 3) if rings else ():
        ax.add_patch(Circle((0, 0), radius, fill=False, color=GRID, linewidth=1.2, zorder=0))
    area = float(np.clip(20_000 / len(means), 3, 20))
    dots: dict[str, Any] = {"s": area, "alpha": 0.6, "linewidths": 0}
    if labels is None:
        ax.scatter(means[:, 0], means[:, 1], c=BLUE, **dots)
    else:
        names, classes = np.unique(labels, return_inverse=True)
        colours = np.array(TEN_COLOURS)[classes % len(TEN_COLOURS)]
        ax.scatter(means[:, 0], means[:, 1], c=colours, **dots)
        _name_classes(ax, names, [np.median(means[classes == k], axis=0) for k in range(len(names))])
    ax.grid(False)
    ax.set(xlabel="$z_1$", ylabel="$z_2$")
    if rings:
        reach = 1.05 * float(np.abs(means).max(initial=3))
        ax.set(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach))
    return ax


def manifold(
    decode: Callable[[npt.NDArray[np.float64]], Images],
    image_shape: tuple[int, int],
    side: int = 20,
    ax: Axes | None = None,
    *,
    quantile: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]] | None = None,
) -> Axes:
    """What a 2-D latent has learnt: `decode` over a grid that covers the prior evenly.

    The grid is z = F⁻¹(u) for u = (i + ½)/side along each axis, F⁻¹ the prior's ``quantile`` function, by default the
    standard normal's: every cell holds the same prior mass.  z₁ grows to the right, z₂ upward.
    Source: Kingma and Welling (2013), figure 4.

    decode: (N, 2) → (N, D), latents to mean images, called once with N = side².
    """
    if side < 1:
        raise InputError(f"side must be at least 1, got {side}")
    z = (quantile or ndtri)((np.arange(side) + 0.5) / side)
    z1, z2 = np.meshgrid(z, z[::-1])  # the first row of the mosaic is the top: the largest z2
    mosaic = _mosaic(decode(np.stack([z1.ravel(), z2.ravel()], axis=1)), image_shape, columns=side, gap=0)
    ax = _show(mosaic, ax, left=0.7, bottom=0.5, extent=(0, 1, 0, 1))
    if quantile is None:
        ticks = [tick for tick in (-2, -1, -0.5, 0, 0.5, 1, 2) if abs(tick) <= max(z[-1], 0.5) + 0.1]
        levels, names = ndtr(ticks), [f"{tick:g}".replace("-", "−") for tick in ticks]
    else:
        levels = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
        names = [f"{tick:.2g}".replace("-", "−") for tick in quantile(levels)]
    ax.set_xticks(levels, names)  # along the edge the scale is F(z), so z sits at F(z)
    ax.set_yticks(levels, names)
    ax.set(xlabel="$z_1$", ylabel="$z_2$")
    return ax


def gradient_check(groups: Sequence[Row], ax: Axes | None = None, *, tolerance: float = 1e-8) -> Axes:
    """Relative error between the analytic and the numeric derivative of each group of weights, on a log axis.

    groups: rows with ``name`` and ``relative_error``, as in ``numvae gradcheck --json``.  Dots left of the line pass.
    An error of exactly 0 is drawn hollow at the left edge, one that is not finite as a cross at the right edge.
    """
    if not groups:
        raise InputError("gradient_check needs at least one group of weights, got none")
    for_names = 0.25 + 0.085 * max(len(str(group["name"])) for group in groups)
    ax = ax or _axes_within(
        max(WIDTH - 0.15 - for_names, 2.5), 0.24 * len(groups), left=for_names, right=0.15, bottom=0.5, top=0.25
    )
    _plain(ax)
    errors = _column(groups, "relative_error")
    shown = errors[np.isfinite(errors) & (errors > 0)]
    left = 10.0 ** math.floor(math.log10(min([*shown, tolerance * 1e-4]))) / 3
    right = 10.0 ** math.ceil(math.log10(max([*shown, tolerance * 10]))) * 3
    for place, error in enumerate(errors):
        passed = error <= tolerance
        mark = "o" if np.isfinite(error) else "X"
        x = float(np.clip(error, left, right)) if np.isfinite(error) else right
        colour = BLUE if passed else RED
        face = colour if error > 0 or not passed else "white"
        ax.plot(x, place, mark, color=colour, markerfacecolor=face, markersize=6, clip_on=False, zorder=3)
    ax.axvline(tolerance, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    ax.annotate(
        f"tolerance {_power(tolerance)}", (tolerance, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
        textcoords="offset points", ha="center", va="bottom", fontsize=8.5, color=QUIET,
    )  # fmt: skip
    ax.set(xscale="log", xlim=(left, right), ylim=(len(groups) - 0.5, -0.5))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_yticks(range(len(groups)), [str(group["name"]) for group in groups])
    ax.set_xlabel("relative error, analytic against numeric")
    return ax


def save(axes_or_figure: Axes | Figure, path: str | os.PathLike[str]) -> None:
    """Write a PNG, whole or not at all.  The same picture gives the same bytes: no date, no version inside."""
    figure = axes_or_figure if isinstance(axes_or_figure, Figure) else axes_or_figure.figure
    while isinstance(figure, SubFigure):
        figure = figure.figure
    if figure is None:
        raise InputError("these Axes belong to no figure any more; draw again and save what the function returns")
    png = _png(figure)
    write_atomically(path, lambda file: file.write(png))


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _mosaic(images: Images, image_shape: tuple[int, int], columns: int, gap: int) -> npt.NDArray[np.float64]:
    """The images row by row in one array, `gap` white pixels between them, cells left over white."""
    height, width = image_shape
    images = np.asarray(images, dtype=np.float64)
    if images.ndim != 2 or images.shape[1] != height * width or len(images) == 0:
        raise InputError(
            f"images must have shape (N, {height * width}) to be shown as {height}×{width} pixels, got {images.shape}"
        )
    if columns < 1:
        raise InputError(f"columns must be at least 1, got {columns}")
    rows = -(-len(images) // columns)
    mosaic = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap))
    for (row, column), image in zip(itertools.product(range(rows), range(columns)), images, strict=False):
        top, left = row * (height + gap), column * (width + gap)
        mosaic[top : top + height, left : left + width] = np.clip(image, 0, 1).reshape(image_shape)
    return mosaic


def _show(
    mosaic: npt.NDArray[np.float64],
    ax: Axes | None,
    *,
    left: float = 0.0,
    bottom: float = 0.0,
    width: float = WIDTH,
    extent: tuple[float, float, float, float] | None = None,
) -> Axes:
    """Draw a mosaic; left, bottom: margins in inches for labels; width: of the whole figure, about."""
    rows, columns = mosaic.shape
    if ax is None:
        # A whole number of dots per image pixel: sharp edges, and no pixel wider than its neighbour.
        dots = max(1, min(round((width - left) * DPI / columns), round(2 * WIDTH * DPI / rows), MOST_DOTS))
        ax = _axes_within(dots * columns / DPI, dots * rows / DPI, left=left, bottom=bottom)
    _plain(ax)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.imshow(mosaic, cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=extent)
    ax.set_aspect("equal" if extent is None else rows / columns)
    ax.set(xticks=[], yticks=[])
    return ax


def _axes_within(
    width: float, height: float, *, left: float = 0.0, right: float = 0.0, bottom: float = 0.0, top: float = 0.0
) -> Axes:
    """Axes of just this size with just these margins, all in inches, in a picture of their own.

    Margins are fixed: an automatic layout would shift a little each time the figure is drawn.
    """
    grain = 1e-9  # sizes that are whole dots stay so, where rounding would lose one
    across, up = left + width + right + grain, bottom + height + top + grain
    return Picture(figsize=(across, up)).add_axes((left / across, bottom / up, width / across, height / up))


def _plain(ax: Axes) -> None:
    """The house style, set on the Axes themselves, so that it also holds on Axes made elsewhere."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(QUIET)
    ax.tick_params(which="both", colors=QUIET, labelcolor=INK, labelsize=9, length=3)
    ax.grid(True, color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set(color=INK, size=9.5)


def _name_classes(ax: Axes, names: npt.NDArray[Any], places: Sequence[npt.NDArray[Any]]) -> None:
    """Each name at its place, and in a row of coloured dots above: places may crowd, a row does not."""
    halo = [withStroke(linewidth=3, foreground="white")]
    handles = []
    for (x, y), name, colour in zip(places, names, itertools.cycle(TEN_COLOURS), strict=False):
        ax.text(x, y, str(name), ha="center", va="center", size=12, weight="bold", color=INK, path_effects=halo)
        handles.append(Line2D([], [], linestyle="", marker="o", markersize=6, color=colour, label=str(name)))
    if len(handles) <= len(TEN_COLOURS):
        ax.legend(
            handles=handles, ncols=len(handles), loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False,
            fontsize=9, labelcolor=INK, handletextpad=0, columnspacing=1.2, borderaxespad=0.2,
        )  # fmt: skip


def _samples_axis(ax: Axes, first: float, last: float) -> None:
    """Training samples: on a log axis, as in the paper, once they span a decade."""
    ax.set_xlabel("training samples seen")
    if last >= 10 * first > 0:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if last < 100 * first else (1, 3)))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(EngFormatter(sep=" "))


def _line_style(points: int) -> dict[str, Any]:
    return {"linewidth": 1.8, "marker": "o" if points <= 30 else None, "markersize": 3.5}


def _column(rows: Sequence[Row], key: str) -> npt.NDArray[np.float64]:
    if not rows:
        raise InputError("the history is empty; train for at least one epoch before drawing it")
    return np.array([row[key] for row in rows], dtype=np.float64)


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _power(value: float) -> str:
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"$10^{{{int(exponent)}}}$" if mantissa == "1" else f"${mantissa}\\cdot 10^{{{int(exponent)}}}$"
